/* The extension boundary: extensions call the C API through wrappers.  A wrapper checks the
 * objects and thread states of the call.  hooks/api.inc has the functions, api_checks.c the
 * checks.
 *
 * An executable that contains the runtime, as Debian's python3 does, never calls a
 * function of the same name in a preloaded library, and neither do the extensions it
 * loads: the dynamic linker looks for symbols in the executable first.  So the entries
 * of each module's global offset table that lead to the C API are rewritten to lead to
 * the wrappers here.
 */
#define _GNU_SOURCE
#include "hooks/boundary.h"

#include <dlfcn.h>
#include <link.h>

#include "hooks/api_jumps.h"
#include "hooks/instrumented.h"
#include "runtime/base/options.h"
#include "runtime/base/table.h"
#include "runtime/core/attach.h"
#include "runtime/core/finding.h"
#include "runtime/detect/gilstate.h"
#include "runtime/elf/imports.h"
#include "runtime/elf/modules.h"

/* --- wrappers in C --------------------------------------------------------------- */

/* 0: there are fewer arguments. */
ISAN__ALWAYS_INLINE char
letter_at(const char *letters, size_t i)
{
    return i < strlen(letters) ? letters[i] : 0;
}

/* May this argument be another interpreter's object or thread state?  `next` is the argument after
 * it. */
ISAN__ALWAYS_INLINE bool
is_foreign_argument(char letter, isan__word arg, isan__word next)
{
    switch (letter) {
    case 'o': case 'a': case 'i': case 'd': case 'x':
        return isan__foreign((const void *)arg);
    case 't':
        return isan__gilstate_may_be_foreign((const void *)arg);
    case 'p':
        return arg != 0 && isan__foreign(*(const void **)arg);
    case 'v':
        /* PY_VECTORCALL_ARGUMENTS_OFFSET is the highest bit. */
        for (size_t n = next << 1 >> 1, i = 0; arg != 0 && i < n; i++) {
            if (isan__foreign(((const void **)arg)[i])) {
                return true;
            }
        }
    }
    return false;
}

/* Before and after a call that changes thread states. */
ISAN__ALWAYS_INLINE void
begin_state_call(int row, char letter, isan__word arg, void *pc)
{
    if (row == ISAN__API_PyGILState_Ensure) {
        isan__gilstate_check_ensure(pc);
    }
    if (row == ISAN__API_PyThreadState_Delete) {
        isan__gilstate_deleted((const char *)arg);
    }
    if (letter == 't') {
        isan__self.requested_tstate = (const char *)arg;
    }
    if (letter == 'e' && arg != 0) {
        isan__gilstate_end_interp(*(void **)(arg + isan__py.ts_interp), pc);
    }
    if (letter == 'E') {
        isan__gilstate_end_interp((void *)arg, pc);
    }
}

ISAN__ALWAYS_INLINE void
end_state_call(int row, char letter, isan__word result, void *pc)
{
    if (row == ISAN__API_PyEval_SaveThread || row == ISAN__API_PyEval_ReleaseThread
        || row == ISAN__API_PyThreadState_DeleteCurrent) {
        isan__self.requested_tstate = NULL;
    }
    isan__sync_thread_state(true);
    if (isan__self.tstate == NULL && row != ISAN__API_PyThreadState_New && row != ISAN__API_PyThreadState_Delete) {
        isan__self.detach_pc = pc;
    }
    if (row == ISAN__API_PyGILState_Release) {
        isan__gilstate_released();
    }
    if (row == ISAN__API_PyThreadState_New) {
        isan__gilstate_created((const char *)result, pc);
    }
    if (letter == 'e' || letter == 'E') {
        isan__gilstate_end_interp(NULL, NULL);
    }
}

/* Has the call put another interpreter's object where the argument points? */
ISAN__ALWAYS_INLINE bool
is_foreign_result(char letter, isan__word arg, isan__word result)
{
    return ((letter == 'r' && (int)result >= 0) || (letter == 'R' && (int)result > 0))
        && arg != 0 && isan__foreign(*(const void **)arg) && isan__stock;
}

/* The body of a wrapper.  It passes on all six integer registers that arguments can be in,
 * even if the function takes fewer, and returns the register of an integer result.  A
 * double result stays in its own register (System V ABI, x86-64).  `row`, `letters` and
 * `result` are constants, so each wrapper has only the code for its own letters. */
ISAN__ALWAYS_INLINE isan__word
wrap(int row, const char *letters, char result, isan__word a, isan__word b, isan__word c, isan__word d,
     isan__word e, isan__word f, void *pc)
{
    isan__word r;
    const bool state = result == 's' || result == 'S';
    if (state) {
        begin_state_call(row, letter_at(letters, 0), a, pc);
    }
    if ((result != 's' && ISAN__UNLIKELY(isan__slot == 0))
        || is_foreign_argument(letter_at(letters, 0), a, b) || is_foreign_argument(letter_at(letters, 1), b, c)
        || is_foreign_argument(letter_at(letters, 2), c, d) || is_foreign_argument(letter_at(letters, 3), d, e)
        || is_foreign_argument(letter_at(letters, 4), e, f) || is_foreign_argument(letter_at(letters, 5), f, 0)) {
        r = isan__api_call_checked(a, b, c, d, e, f, row, pc);
    }
    else {
        r = isan__api_real[row](a, b, c, d, e, f);
    }
    if ((result == 'o' || result == 'm') && isan__foreign((const void *)r) && isan__stock) {
        isan__api_check_object(r, ISAN__ACCESS_return, pc);
    }
    /* A recycled object of this interpreter only changes its origin. */
    if (result == 'n' && r != 0 && isan__slot != 0 && !isan__reftrace_active
        && (isan__options.origin != ISAN__ORIGIN_none || isan__foreign((const void *)r))) {
        isan__hook_table.create((void *)r);
    }
    if (state) {
        end_state_call(row, letter_at(letters, 0), r, pc);
    }
    if (result == 'm' || result == 'd') {
        isan__api_note_definition((const void *)a, result == 'm');
    }
    if (is_foreign_result(letter_at(letters, 1), b, r)) {
        isan__api_check_object(*(isan__word *)b, ISAN__ACCESS_return, pc);
    }
    if (is_foreign_result(letter_at(letters, 2), c, r)) {
        isan__api_check_object(*(isan__word *)c, ISAN__ACCESS_return, pc);
    }
    if (is_foreign_result(letter_at(letters, 3), d, r)) {
        isan__api_check_object(*(isan__word *)d, ISAN__ACCESS_return, pc);
    }
    return r;
}

#define ISAN_API(name, arguments, result)                                       \
    static isan__word                                                           \
    wrap_##name(isan__word a, isan__word b, isan__word c, isan__word d,         \
                isan__word e, isan__word f)                                     \
    {                                                                           \
        return wrap(ISAN__API_##name, arguments, result, a, b, c, d, e, f,      \
                    __builtin_return_address(0));                               \
    }
#define ISAN_API_SLOT(name, arguments, result) ISAN_API(name, arguments, result)
#define ISAN_API_JUMP(name, arguments)
#include "hooks/api.inc"
#undef ISAN_API
#undef ISAN_API_SLOT
#undef ISAN_API_JUMP

/* --- the table of wrappers -------------------------------------------------------- */

static const isan__function wrappers[ISAN__API_ROWS] = {
#define ISAN_API(name, arguments, result) wrap_##name,
#define ISAN_API_SLOT(name, arguments, result) wrap_##name,
#define ISAN_API_JUMP(name, arguments) isan__jump_##name,
#include "hooks/api.inc"
#undef ISAN_API
#undef ISAN_API_SLOT
#undef ISAN_API_JUMP
#undef ISAN_API_LEFT_OUT
};

/* Hash of a name -> row + 1.  A function without an entry is not wrapped. */
static struct isan__table row_of = ISAN__TABLE;

static uint64_t
name_key(const char *name)
{
    return isan__table_key(ISAN__KEY_HASH, name, strlen(name));
}

/* Two threads may do this at a time: they write the same values. */
static void
find_functions(void)
{
    static bool found;
    if (__atomic_load_n(&found, __ATOMIC_ACQUIRE)) {
        return;
    }
    for (int i = 0; i < ISAN__API_ROWS; i++) {
        isan__function f = (isan__function)isan__python_symbol(isan__api_rows[i].name);
        if (f != NULL) {
            isan__api_real[i] = f;
            isan__table_put_or_drop(&row_of, name_key(isan__api_rows[i].name), (uint64_t)i + 1);
        }
    }
    __atomic_store_n(&found, true, __ATOMIC_RELEASE);
}

/* --- modules ------------------------------------------------------------------------ */

/* Is the function wrapped even in a Python that has checks compiled in?  These are functions that
 * change thread states or import modules.  They are also functions that take objects and do not
 * count them (api_checks.c, check_after_call()), unless they return a new object, or a double in a
 * register that a check after the call would change. */
static bool
is_wrapped_always(const struct isan__api_row *row)
{
    bool objects = false, counts = false;
    for (const char *letter = row->letters; *letter != 0; letter++) {
        objects |= *letter == 'o';
        counts |= strchr("idxt", *letter) != NULL;
    }
    return row->result != 0                 /* ISAN_API_JUMP */
        && (strchr("sSmd", row->result) != NULL || (strchr("-o=", row->result) != NULL && objects && !counts));
}

static void *
find_wrapper(const char *name, bool call, void *unused)
{
    (void)unused;
    if (strncmp(name, "Py", 2) != 0 && strncmp(name, "_Py", 3) != 0) {
        return NULL;
    }
    uint64_t i = isan__table_get(&row_of, name_key(name));
    if (i == 0) {
        return NULL;
    }
    const struct isan__api_row *row = &isan__api_rows[i - 1];
    if (strcmp(row->name, name) != 0 || (row->calls_only && !call)
        || (!isan__stock && !is_wrapped_always(row))) {
        return NULL;
    }
    return (void *)wrappers[i - 1];
}

/* Program headers of the modules that are done -> 1.  A module without an entry is rewritten again,
 * which changes nothing. */
static struct isan__table done = ISAN__TABLE;

static bool
rewrite_module(const struct isan__module *module, void *unused)
{
    static uint64_t unloaded;               /* one thread at a time visits kept modules */
    uint64_t key = (uint64_t)module->headers;
    (void)unused;
    if (isan__modules_unloaded() != unloaded) {
        unloaded = isan__modules_unloaded();
        isan__table_clear(&done);           /* other modules may be at the same addresses */
    }
    if (isan__table_get(&done, key) == 0) {
        if (!module->has_runtime) {
            isan__imports_rewrite(module, find_wrapper, NULL);
        }
        isan__table_put_or_drop(&done, key, 1);
    }
    return true;
}

/* A module is listed before ld.so has written its global offset table and made it read-only
 * (elf/dl-open.c, dl_open_worker()).  dladdr() takes the lock that dlopen() holds from beginning
 * to end (elf/dl-addr.c, _dl_addr()), so it returns after that.  So if no module has been added
 * since before dladdr() was called, all of them are ready. */
void
isan__boundary_wrap_modules(const struct link_map *opened)
{
    static uint64_t seen;                   /* the last generation that was wrapped */
    uint64_t generation;
    find_functions();
    /* If dlopen() has loaded nothing, it has not taken the linker's locks that are taken below. */
    if (opened != NULL && isan__module_is_known(opened->l_addr, opened->l_name)
        && isan__modules_generation() == __atomic_load_n(&seen, __ATOMIC_ACQUIRE)) {
        return;
    }
    do {
        generation = isan__modules_refresh();
        if (generation == 0 || generation == __atomic_load_n(&seen, __ATOMIC_ACQUIRE)) {
            return;
        }
        Dl_info info;
        dladdr(isan__py.runtime, &info);
    } while (!isan__visit_kept_modules(generation, rewrite_module, NULL));
    __atomic_store_n(&seen, generation, __ATOMIC_RELEASE);
}
