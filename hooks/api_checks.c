/* The checks of the wrappers of the C API: the slow paths.
 *
 * On a stock Python all wrappers check their arguments before the call.  A Python that was
 * built with isan's header checks reference counts and attribute access itself.  There the
 * wrappers check after the call what those checks do not see.
 */
#define _GNU_SOURCE
#include "hooks/api_checks.h"

#include "hooks/instrumented.h"
#include "runtime/base/check.h"
#include "runtime/base/sanitizer.h"
#include "runtime/core/attach.h"
#include "runtime/core/origin.h"
#include "runtime/detect/foreign_use.h"
#include "runtime/detect/gilstate.h"
#include "runtime/detect/import_map.h"
#include "runtime/elf/modules.h"

isan__function isan__api_real[ISAN__API_ROWS];

const struct isan__api_row isan__api_rows[ISAN__API_ROWS] = {
#define ISAN_API(name, arguments, result) { #name, arguments, result, false },
#define ISAN_API_SLOT(name, arguments, result) { #name, arguments, result, true },
#define ISAN_API_JUMP(name, arguments) { #name, arguments, 0, false },
#include "hooks/api.inc"
#undef ISAN_API
#undef ISAN_API_SLOT
#undef ISAN_API_JUMP
};

/* Before 3.13 there is no PyRefTracer, and only the wrappers mark where objects begin. */
static void
mark_object(const void *op)
{
    const char *block = isan__block_of(op);
    if (block != NULL && !(isan__load_tag(block) & (ISAN__RAW | ISAN__FREED))) {
        __atomic_or_fetch(isan__tag_word(op), ISAN__OBJECT, __ATOMIC_RELAXED);
    }
}

/* isan__foreign() compares with the slot of the last isan__sync_thread_state().  So this compares
 * again after another one. */
void
isan__api_check_object(isan__word op, int access, void *pc)
{
    if (isan__foreign((const void *)op)) {
        isan__sync_thread_state(true);
        if (isan__foreign((const void *)op)) {
            mark_object((const void *)op);
            isan__check_foreign_use(ISAN__KIND_share, access, (const void *)op, pc);
        }
    }
    ISAN__ASSERT(isan__holds_no_lock());
}

bool
isan__api_check_argument(char letter, isan__word arg, isan__word next, int row, void *pc)
{
    switch (letter) {
    case 't':
        isan__gilstate_check_attach((const char *)arg, isan__api_rows[row].name, pc);
        break;
    case 'o':
        isan__api_check_object(arg, ISAN__ACCESS_argument, pc);
        break;
    case 'a':
        isan__api_check_object(arg, ISAN__ACCESS_attribute, pc);
        break;
    case 'i':
        isan__api_check_object(arg, ISAN__ACCESS_incref, pc);
        break;
    case 'd':
        isan__check_decref((void *)arg);
        break;
    case 'x':
        return isan__check_dealloc((void *)arg);
    case 'p':
        if (arg != 0) {
            isan__api_check_object(*(isan__word *)arg, ISAN__ACCESS_argument, pc);
        }
        break;
    case 'v':
        /* PY_VECTORCALL_ARGUMENTS_OFFSET is the highest bit. */
        for (size_t n = next << 1 >> 1, i = 0; arg != 0 && i < n; i++) {
            isan__api_check_object(((isan__word *)arg)[i], ISAN__ACCESS_argument, pc);
        }
    }
    return false;
}

/* The real function is entered from here.  ThreadSanitizer's stack of the thread has to show
 * the extension that called it. */
static isan__word
call_real(const isan__word arg[], int row, void *pc)
{
    isan__tsan_enter(pc);
    isan__word r = isan__api_real[row](arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
    isan__tsan_leave();
    return r;
}

/* Instrumented builds already check reference counts and attribute access.  Some calls do
 * neither: PyList_Size(), or one that puts an object into a list, which steals the
 * reference.  So this checks the arguments after the call, unless the call itself has
 * made a finding. */
static isan__word
check_after_call(const isan__word arg[], int row, void *pc)
{
    const char *letters = isan__api_rows[row].letters;
    uint32_t n_findings = isan__self.n_findings;
    isan__word r = call_real(arg, row, pc);
    for (int i = 0; isan__slot != 0 && isan__self.n_findings == n_findings && letters[i] != 0; i++) {
        if (letters[i] == 'o' || letters[i] == 'v') {
            isan__api_check_argument(letters[i], arg[i], arg[i + 1], row, pc);
        }
    }
    return r;
}

isan__word
isan__api_call_checked(isan__word a, isan__word b, isan__word c, isan__word d, isan__word e, isan__word f,
                       int row, void *pc)
{
    const isan__word arg[] = { a, b, c, d, e, f, 0 };
    const struct isan__api_row *r = &isan__api_rows[row];
    if (!isan__stock && r->result != 's' && r->result != 'S') {
        return check_after_call(arg, row, pc);
    }
    isan__sync_thread_state(true);
    if (isan__slot == 0 && r->result != 's') {
        isan__gilstate_check_call(r->name, pc);
    }
    for (int i = 0; r->letters[i] != 0; i++) {
        if ((r->letters[i] == 'd' || r->letters[i] == 'x') && isan__foreign((void *)arg[i])) {
            mark_object((void *)arg[i]);
        }
        if (isan__api_check_argument(r->letters[i], arg[i], arg[i + 1], row, pc)) {
            return 0;
        }
    }
    ISAN__ASSERT(isan__holds_no_lock());
    return call_real(arg, row, pc);
}

/* Python may call an extension's init function again without loading the extension again
 * (Python/import.c, reload_singlephase_extension).  Python may also run the init function in the
 * main interpreter on behalf of the importing one (switch_to_main_interpreter).  Then there is no
 * Python frame, and the main interpreter has not imported the extension. */
void
isan__api_note_definition(const void *definition, bool made)
{
    uintptr_t base = isan__module_base((uint64_t)definition);
    isan__sync_thread_state(true);
    if (base != UINTPTR_MAX) {
        isan__import_defined(base, definition);
        if (made && isan__in_python_frame()) {
            isan__import_module(base);
        }
    }
    ISAN__ASSERT(isan__holds_no_lock());
}
