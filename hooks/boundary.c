/* The extension boundary: what an extension's calls of the C API do with thread
 * states and with objects (hooks/api.inc); the latter, of a Python that was built
 * with isan's header, as far as its checks do not see it.
 *
 * An executable that contains the runtime, as Debian's python3 does, never
 * calls a function that a preloaded library has under the same name, and
 * neither do the extensions it loads: symbols are looked for in the executable
 * first.  So the entries of each module's global offset table that lead to the
 * C API are rewritten to lead to the wrappers here.
 */
#define _GNU_SOURCE
#include "hooks/boundary.h"

#include <dlfcn.h>
#include <link.h>

#include "hooks/instrumented.h"
#include "runtime/base/options.h"
#include "runtime/base/table.h"
#include "runtime/core/attach.h"
#include "runtime/core/block.h"
#include "runtime/core/origin.h"
#include "runtime/detect/foreign_use.h"
#include "runtime/detect/gilstate.h"
#include "runtime/detect/import_map.h"
#include "runtime/elf/imports.h"
#include "runtime/elf/modules.h"

enum {
#define ISAN_API(name, arguments, result) API_##name,
#define ISAN_API_SLOT(name, arguments, result) API_##name,
#define ISAN_API_JUMP(name, arguments) API_##name,
#define ISAN_API_LEFT_OUT(name, reason)
#include "hooks/api.inc"
#undef ISAN_API
#undef ISAN_API_SLOT
#undef ISAN_API_JUMP
    ROWS
};

typedef uintptr_t word;
typedef word (*function)(word, word, word, word, word, word);

/* What is wrapped, in the Python of this process; NULL: it has none. */
static function real[ROWS];

static const struct row {
    const char *name, *letters;             /* of the arguments */
    function wrapper;
    char result;
    bool calls_only;                        /* ISAN_API_SLOT */
} rows[ROWS];

/* --- what a letter asks for ---------------------------------------------------------- */

/* Without PyRefTracer (before 3.13) nobody else marks objects. */
static void
mark(const void *op)
{
    const char *block = isan__block_of(op);
    if (block != NULL && !(isan__load_tag(block) & (ISAN__RAW | ISAN__FREED))) {
        __atomic_or_fetch(isan__tag_word(op), ISAN__OBJECT, __ATOMIC_RELAXED);
    }
}

/* The slot that checks compare with is the one the thread was last seen in, so
 * where it is now is looked up before anything is said.  pc: where the
 * extension goes on. */
static void __attribute__((noinline, cold))
look(word op, int access, void *pc)
{
    if (isan__foreign((const void *)op)) {
        isan__sync_thread_state(true);
        if (isan__foreign((const void *)op)) {
            mark((const void *)op);
            isan__check_foreign_use(ISAN__KIND_share, access, (const void *)op, pc);
        }
    }
}

/* An argument, before the call.  True: there must not be one. */
static bool
before(char letter, word arg, word next, int row, void *pc)
{
    switch (letter) {
    case 't':
        isan__gilstate_check_attach((const char *)arg, rows[row].name, pc);
        break;
    case 'o':
        look(arg, ISAN__ACCESS_argument, pc);
        break;
    case 'a':
        look(arg, ISAN__ACCESS_attribute, pc);
        break;
    case 'i':
        look(arg, ISAN__ACCESS_incref, pc);
        break;
    case 'd':
        isan__check_decref((void *)arg);
        break;
    case 'x':
        return isan__check_dealloc((void *)arg);
    case 'p':
        if (arg != 0) {
            look(*(word *)arg, ISAN__ACCESS_argument, pc);
        }
        break;
    case 'v':
        for (size_t n = next << 1 >> 1, i = 0; arg != 0 && i < n; i++) {
            look(((word *)arg)[i], ISAN__ACCESS_argument, pc);
        }
    }
    return false;
}

/* --- wrappers in C --------------------------------------------------------------- */

/* The checks compiled into a Python see what it counts, and attributes.  What it does to
 * an object without those, as to give its length, or to put it or something immortal
 * into a list, is told when the call is over and none of them has found anything. */
static word
seen_by_none(const word arg[], int row, void *pc)
{
    uint32_t trapped = isan__self.n_findings;
    word r = real[row](arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
    for (int i = 0; isan__slot != 0 && isan__self.n_findings == trapped && rows[row].letters[i] != 0; i++) {
        if (rows[row].letters[i] == 'o') {
            look(arg[i], ISAN__ACCESS_argument, pc);
        }
    }
    return r;
}

static word __attribute__((noinline, cold))
suspicious(word a, word b, word c, word d, word e, word f, int row, void *pc)
{
    const word arg[] = { a, b, c, d, e, f, 0 };
    const char *letters = rows[row].letters;
    if (!isan__stock && rows[row].result != 's' && rows[row].result != 'S') {
        return seen_by_none(arg, row, pc);
    }
    isan__sync_thread_state(true);
    if (isan__slot == 0 && rows[row].result != 's') {
        isan__gilstate_check_call(rows[row].name, pc);
    }
    for (int i = 0; letters[i] != 0; i++) {
        if ((letters[i] == 'd' || letters[i] == 'x') && isan__foreign((void *)arg[i])) {
            mark((void *)arg[i]);
        }
        if (before(letters[i], arg[i], arg[i + 1], row, pc)) {
            return 0;
        }
    }
    return real[row](a, b, c, d, e, f);
}

/* The runtime may have an extension make a module without loading it again
 * (Python/import.c, reload_singlephase_extension).  And have it made in the main
 * interpreter, where it is in no Python frame, for another that imports it
 * (switch_to_main_interpreter). */
static void __attribute__((noinline, cold))
defined(const void *definition, bool made)
{
    uintptr_t base = isan__module_base((uint64_t)definition, UINTPTR_MAX);
    isan__sync_thread_state(true);
    if (base != UINTPTR_MAX) {
        isan__import_defined(base, definition);
        if (made && isan__in_python_frame()) {
            isan__import_module(base);
        }
    }
}

#define INLINE static inline __attribute__((always_inline))

INLINE char
letter(const char *letters, size_t i)
{
    return i < strlen(letters) ? letters[i] : 0;
}

INLINE bool
strange(char letter, word arg, word next)
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

/* What a thread is about to do with thread states, and has done. */
INLINE void
state_before(int row, char letter, word arg, void *pc)
{
    if (row == API_PyGILState_Ensure) {
        isan__gilstate_check_ensure(pc);
    }
    if (row == API_PyThreadState_Delete) {
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

INLINE void
state_after(int row, char letter, word result, void *pc)
{
    if (row == API_PyEval_SaveThread || row == API_PyEval_ReleaseThread || row == API_PyThreadState_DeleteCurrent) {
        isan__self.requested_tstate = NULL;
    }
    isan__sync_thread_state(true);
    if (isan__self.tstate == NULL && row != API_PyThreadState_New && row != API_PyThreadState_Delete) {
        isan__self.detach_pc = pc;
    }
    if (row == API_PyGILState_Release) {
        isan__gilstate_released();
    }
    if (row == API_PyThreadState_New) {
        isan__gilstate_created((const char *)result, pc);
    }
    if (letter == 'e' || letter == 'E') {
        isan__gilstate_end_interp(NULL, NULL);
    }
}

INLINE bool
strange_result(char letter, word arg, word result)
{
    return ((letter == 'r' && (int)result >= 0) || (letter == 'R' && (int)result > 0))
        && arg != 0 && isan__foreign(*(const void **)arg) && isan__stock;
}

/* All that the calling convention passes in integer registers is passed on,
 * whatever the function takes, and what it returns there is given back, while
 * a double result stays in its register.  `letters` is a constant, so only
 * what it asks for is compiled, and short. */
INLINE word
wrap(int row, const char *letters, char result, word a, word b, word c, word d, word e, word f,
     void *pc)
{
    word r;
    const bool state = result == 's' || result == 'S';
    if (state) {
        state_before(row, letter(letters, 0), a, pc);
    }
    if ((result != 's' && ISAN__UNLIKELY(isan__slot == 0))
        || strange(letter(letters, 0), a, b) || strange(letter(letters, 1), b, c)
        || strange(letter(letters, 2), c, d) || strange(letter(letters, 3), d, e)
        || strange(letter(letters, 4), e, f) || strange(letter(letters, 5), f, 0)) {
        r = suspicious(a, b, c, d, e, f, row, pc);
    }
    else {
        r = real[row](a, b, c, d, e, f);
    }
    if ((result == 'o' || result == 'm') && isan__foreign((const void *)r) && isan__stock) {
        look(r, ISAN__ACCESS_return, pc);
    }
    /* A recycled object of this interpreter only changes its origin. */
    if (result == 'n' && r != 0 && isan__slot != 0 && !isan__reftrace_active
        && (isan__options.origin != ISAN__ORIGIN_none || isan__foreign((const void *)r))) {
        isan__hook_table.create((void *)r);
    }
    if (state) {
        state_after(row, letter(letters, 0), r, pc);
    }
    if (result == 'm' || result == 'd') {
        defined((const void *)a, result == 'm');
    }
    if (strange_result(letter(letters, 1), b, r)) {
        look(*(word *)b, ISAN__ACCESS_return, pc);
    }
    if (strange_result(letter(letters, 2), c, r)) {
        look(*(word *)c, ISAN__ACCESS_return, pc);
    }
    if (strange_result(letter(letters, 3), d, r)) {
        look(*(word *)d, ISAN__ACCESS_return, pc);
    }
    return r;
}

#define ISAN_API(name, arguments, result)                                       \
    static word                                                                 \
    wrap_##name(word a, word b, word c, word d, word e, word f)                 \
    {                                                                           \
        return wrap(API_##name, arguments, result, a, b, c, d, e, f,            \
                    __builtin_return_address(0));                               \
    }
#define ISAN_API_SLOT(name, arguments, result) ISAN_API(name, arguments, result)
#define ISAN_API_JUMP(name, arguments)
#include "hooks/api.inc"
#undef ISAN_API
#undef ISAN_API_SLOT
#undef ISAN_API_JUMP

/* --- wrappers that jump ---------------------------------------------------------- */

/* What the assembler below has saved; va_list is made of the same. */
struct saved {
    word integer[6];
    word unused[2];
    struct { double value, high; } vector[8];
};

struct arguments {
    const struct saved *saved;
    const word *stack;
    unsigned integers, doubles;             /* taken */
};

static word
next_word(struct arguments *args)
{
    return args->integers < 6 ? args->saved->integer[args->integers++] : *args->stack++;
}

static void
skip_double(struct arguments *args)
{
    if (args->doubles < 8) {
        args->doubles++;
    }
    else {
        args->stack++;
    }
}

/* Python/modsupport.c, do_mkvalue(). */
static void
look_at_format(const char *format, struct arguments *args, void *pc)
{
    for (; format != NULL && *format != 0; format++) {
        switch (*format) {
        case 'N': case 'S': case 'O':
            if (format[1] == '&') {
                format++;
                next_word(args);
                next_word(args);
            }
            else {
                look(next_word(args), ISAN__ACCESS_argument, pc);
            }
            break;
        case 'd': case 'f':
            skip_double(args);
            break;
        case 'u': case 'U': case 's': case 'z': case 'y':
            next_word(args);
            if (format[1] == '#') {
                format++;
                next_word(args);
            }
            break;
        case '(': case ')': case '[': case ']': case '{': case '}':
        case ',': case ':': case ' ': case '\t':
            break;
        default:                            /* a number or the address of one */
            next_word(args);
        }
    }
}

/* Called by the assembler below, and returns where it is to jump. */
__attribute__((visibility("hidden"))) function isan__api_jump(const struct saved *saved,
    const word *stack, int row, void *pc);

function
isan__api_jump(const struct saved *saved, const word *stack, int row, void *pc)
{
    struct arguments args = { saved, stack, 0, 0 };
    word arg = 0;
    if (ISAN__UNLIKELY(isan__slot == 0)) {
        isan__gilstate_check_call(rows[row].name, pc);
    }
    for (const char *l = rows[row].letters; isan__slot != 0 && *l != 0; l++) {
        word last = arg;
        switch (*l) {
        case '*':
            while ((arg = next_word(&args)) != 0) {
                look(arg, ISAN__ACCESS_argument, pc);
            }
            break;
        case '+':
            for (word i = 0; i < last; i++) {
                look(next_word(&args), ISAN__ACCESS_argument, pc);
            }
            break;
        case 'f':
            look_at_format((const char *)next_word(&args), &args, pc);
            break;
        default:
            arg = next_word(&args);
            before(*l, arg, args.integers < 6 ? saved->integer[args.integers] : *args.stack, row, pc);
        }
    }
    return real[row];
}

/* One small piece for each function, which says which it is, and one that
 * saves what arguments are passed in.  `row` counts in step with the enum. */
#define ISAN_API(name, arguments, result) ".set isan__row, isan__row + 1\n"
#define ISAN_API_SLOT(name, arguments, result) ISAN_API(name, arguments, result)
#define ISAN_API_JUMP(name, arguments)                                          \
    ".type wrap_" #name ", @function\n"                                         \
    "wrap_" #name ":\n"                                                         \
    "    .cfi_startproc\n"                                                      \
    "    movl $isan__row, %r11d\n"                                              \
    "    jmp save_and_jump\n"                                                   \
    "    .cfi_endproc\n"                                                        \
    ".size wrap_" #name ", . - wrap_" #name "\n"                                \
    ".set isan__row, isan__row + 1\n"
__asm__(
    ".text\n"
    ".set isan__row, 0\n"
#include "hooks/api.inc"
    ".type save_and_jump, @function\n"
    "save_and_jump:\n"
    "    .cfi_startproc\n"
    "    pushq %rbp\n"
    "    .cfi_def_cfa_offset 16\n"
    "    .cfi_offset %rbp, -16\n"
    "    movq %rsp, %rbp\n"
    "    .cfi_def_cfa_register %rbp\n"
    "    subq $192, %rsp\n"
    "    movq %rdi, 0(%rsp)\n"
    "    movq %rsi, 8(%rsp)\n"
    "    movq %rdx, 16(%rsp)\n"
    "    movq %rcx, 24(%rsp)\n"
    "    movq %r8, 32(%rsp)\n"
    "    movq %r9, 40(%rsp)\n"
    "    movq %rax, 48(%rsp)\n"             /* al: the vector registers used */
    "    movaps %xmm0, 64(%rsp)\n"
    "    movaps %xmm1, 80(%rsp)\n"
    "    movaps %xmm2, 96(%rsp)\n"
    "    movaps %xmm3, 112(%rsp)\n"
    "    movaps %xmm4, 128(%rsp)\n"
    "    movaps %xmm5, 144(%rsp)\n"
    "    movaps %xmm6, 160(%rsp)\n"
    "    movaps %xmm7, 176(%rsp)\n"
    "    movq %rsp, %rdi\n"
    "    leaq 16(%rbp), %rsi\n"
    "    movl %r11d, %edx\n"
    "    movq 8(%rbp), %rcx\n"
    "    call isan__api_jump\n"
    "    movq %rax, %r11\n"
    "    movq 0(%rsp), %rdi\n"
    "    movq 8(%rsp), %rsi\n"
    "    movq 16(%rsp), %rdx\n"
    "    movq 24(%rsp), %rcx\n"
    "    movq 32(%rsp), %r8\n"
    "    movq 40(%rsp), %r9\n"
    "    movq 48(%rsp), %rax\n"
    "    movaps 64(%rsp), %xmm0\n"
    "    movaps 80(%rsp), %xmm1\n"
    "    movaps 96(%rsp), %xmm2\n"
    "    movaps 112(%rsp), %xmm3\n"
    "    movaps 128(%rsp), %xmm4\n"
    "    movaps 144(%rsp), %xmm5\n"
    "    movaps 160(%rsp), %xmm6\n"
    "    movaps 176(%rsp), %xmm7\n"
    "    leave\n"
    "    .cfi_def_cfa %rsp, 8\n"
    "    jmp *%r11\n"
    "    .cfi_endproc\n"
    ".size save_and_jump, . - save_and_jump\n"
);
#undef ISAN_API
#undef ISAN_API_SLOT
#undef ISAN_API_JUMP

/* --- which name is what ------------------------------------------------------------ */

#define ISAN_API(name, arguments, result)
#define ISAN_API_SLOT(name, arguments, result)
#define ISAN_API_JUMP(name, arguments)                                          \
    word wrap_##name(word, word, word, word, word, word) __attribute__((visibility("hidden")));
#include "hooks/api.inc"
#undef ISAN_API
#undef ISAN_API_SLOT
#undef ISAN_API_JUMP

static const struct row rows[ROWS] = {
#define ISAN_API(name, arguments, result) { #name, arguments, wrap_##name, result, false },
#define ISAN_API_SLOT(name, arguments, result) { #name, arguments, wrap_##name, result, true },
#define ISAN_API_JUMP(name, arguments) { #name, arguments, wrap_##name, 0, false },
#include "hooks/api.inc"
#undef ISAN_API
#undef ISAN_API_SLOT
#undef ISAN_API_JUMP
#undef ISAN_API_LEFT_OUT
};

static struct isan__table row_of = ISAN__TABLE;           /* hash of the name -> index + 1 */

static uint64_t
hash(const char *name)
{
    return isan__table_key(ISAN__KEY_HASH, name, strlen(name));
}

/* Two threads may do this at once, and do the same. */
static void
find_python(void)
{
    static bool found;
    if (__atomic_load_n(&found, __ATOMIC_ACQUIRE)) {
        return;
    }
    for (int i = 0; i < ROWS; i++) {
        function f = (function)isan__python_symbol(rows[i].name);
        if (f != NULL) {
            real[i] = f;
            isan__table_put_or_drop(&row_of, hash(rows[i].name), (uint64_t)i + 1);
        }
    }
    __atomic_store_n(&found, true, __ATOMIC_RELEASE);
}

/* --- modules ------------------------------------------------------------------------ */

/* Of a Python with checks compiled in, too: what is about thread states and imports, and
 * what takes objects and neither counts them itself, nor gives a new one, nor a result in a
 * register that another call would change. */
static bool
is_wrapped_always(const struct row *row)
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
substitute(const char *name, bool call, void *arg)
{
    (void)arg;
    if (strncmp(name, "Py", 2) != 0 && strncmp(name, "_Py", 3) != 0) {
        return NULL;
    }
    uint64_t i = isan__table_get(&row_of, hash(name));
    if (i == 0 || strcmp(rows[i - 1].name, name) != 0 || (rows[i - 1].calls_only && !call)) {
        return NULL;
    }
    if (!isan__stock && !is_wrapped_always(&rows[i - 1])) {
        return NULL;
    }
    return (void *)rows[i - 1].wrapper;
}

/* Program headers of the modules that are done -> 1. */
static struct isan__table done = ISAN__TABLE;

static bool
rewrite_module(const struct isan__module *module, void *arg)
{
    static uint64_t unloaded;               /* used only while modules are kept, as by one thread */
    uint64_t key = (uint64_t)module->headers;
    (void)arg;
    if (isan__modules_unloaded() != unloaded) {
        unloaded = isan__modules_unloaded();
        isan__table_clear(&done);           /* others may be at the same addresses */
    }
    if (isan__table_get(&done, key) == 0) {
        if (!module->has_runtime) {
            isan__imports_rewrite(module, substitute, NULL);
        }
        isan__table_put_or_drop(&done, key, 1);
    }
    return true;
}

/* A module is listed long before ld.so has written its table and made it
 * read-only (elf/dl-open.c, dl_open_worker()), which another thread may be
 * waiting for.  dladdr() returns when that is over: it takes the lock that
 * dlopen() holds from beginning to end (elf/dl-addr.c, _dl_addr()).  So if no
 * module has been added since before it was called, all of them are ready. */
void
isan__boundary_wrap_modules(const struct link_map *opened)
{
    static uint64_t seen;                   /* the generation that is done */
    uint64_t generation;
    find_python();
    /* dlopen() has taken no lock of the linker's that is taken below if it has loaded nothing. */
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
