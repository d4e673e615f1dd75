/* Where an object was created, in 24 bits.
 *
 * A code object that creates something is registered once.  It gets a range of numbers,
 * one for each code unit, and its names and line table go to the log.  The shadow of the
 * code object has the first number, so the number of the running instruction takes a few
 * loads and a subtraction.  The same code in another interpreter gets the same numbers.
 *
 * Numbers from STACKS on are whole stacks.  With origin=native all objects have one, else
 * those that an extension creates while it is imported: their Python line is always the
 * same one of importlib.
 */
#include "runtime/core/origin.h"

#include "runtime/base/table.h"
#include "runtime/core/block_notes.h"
#include "runtime/core/interp.h"
#include "runtime/core/stack.h"
#include "runtime/cpython/object.h"

#define STACKS   (1u << (ISAN__ORIGIN_BITS - 1))
#define NO_SITES 1u                         /* in the shadow word of a code object: the numbers are used up */

static uint32_t next_site = 2, next_stack = 1;
/* Content hash -> first site, stack id.  Without an entry the log has the code or
 * stack once more. */
static struct isan__table codes = ISAN__TABLE, stacks = ISAN__TABLE;

bool
isan__origin_is_stack(uint32_t origin)
{
    return origin >= STACKS;
}

#define MAX_LINETABLE (1 << 20)

/* Lib/importlib/_bootstrap.py and _bootstrap_external.py: an extension's
 * PyInit and Py_mod_exec functions run directly below these two. */
static uint32_t
importlib_mark(const char *filename, const char *qualname)
{
    if (strcmp(filename, "<frozen importlib._bootstrap>") == 0) {
        return strcmp(qualname, "_call_with_frames_removed") == 0 ? ISAN__CODE_IMPORTS : 0;
    }
    if (strcmp(filename, "<frozen importlib._bootstrap_external>") == 0) {
        return strncmp(qualname, "ExtensionFileLoader.", 20) == 0 ? ISAN__CODE_LOADS : 0;
    }
    return 0;
}

/* Gives a code object its numbers; returns its shadow word. */
static uint32_t
register_code(char *code)
{
    char *block = isan__block_of(code);
    const void *type;
    memcpy(&type, code + ISAN__OB_TYPE, sizeof type);
    if (type != isan__py.code_type
        || (block != NULL && (size_t)(code - block) + ISAN__CODE_SITE >= isan__block_size(block))) {
        return 0;                           /* the static code of shim frames */
    }
    char filename[1024], qualname[512];
    const char *p;
    int32_t firstlineno;
    int64_t units, linetable_size;
    memcpy(&p, code + isan__py.code_filename, sizeof p);
    isan__copy_str(filename, sizeof filename, p, true);
    memcpy(&p, code + isan__py.code_qualname, sizeof p);
    isan__copy_str(qualname, sizeof qualname, p, true);
    memcpy(&firstlineno, code + isan__py.code_firstlineno, sizeof firstlineno);
    memcpy(&units, code + ISAN__OB_SIZE, sizeof units);
    const char *linetable;
    memcpy(&linetable, code + isan__py.code_linetable, sizeof linetable);
    memcpy(&linetable_size, linetable + isan__py.bytes_size, sizeof linetable_size);
    linetable += isan__py.bytes_data;
    if (units <= 0 || units > 1 << 22 || linetable_size < 0 || linetable_size > MAX_LINETABLE) {
        return 0;
    }
    size_t f = strlen(filename) + 1, q = strlen(qualname) + 1;
    uint64_t key = isan__hash(filename, f, (uint64_t)firstlineno << 32 | (uint64_t)units);
    key = isan__hash(qualname, q, key);
    key = isan__hash(linetable, (size_t)linetable_size, key) | 1;
    uint32_t base = (uint32_t)isan__table_get(&codes, key);
    if (base == 0) {
        base = __atomic_fetch_add(&next_site, (uint32_t)units, __ATOMIC_RELAXED);
        if (base + (uint64_t)units > STACKS) {
            __atomic_fetch_sub(&next_site, (uint32_t)units, __ATOMIC_RELAXED);
            base = NO_SITES;
        }
        else {
            struct isan_rec_code *r =
                isan__log_reserve(sizeof *r + f + q + (size_t)linetable_size);
            if (r != NULL) {
                r->base = base;
                r->units = (uint32_t)units;
                r->firstlineno = firstlineno;
                r->linetable_size = (uint32_t)linetable_size;
                r->text_size = (uint32_t)(f + q);
                memcpy(r->text, filename, f);
                memcpy(r->text + f, qualname, q);
                memcpy(r->text + f + q, linetable, (size_t)linetable_size);
                isan__log_publish(r, ISAN_REC_CODE);
            }
        }
        base |= importlib_mark(filename, qualname);
        isan__table_put_or_drop(&codes, key, base);
    }
    *isan__tag_word(code + ISAN__CODE_SITE) = base;
    if (block != NULL) {                    /* 3.11 and 3.12 have static code (deepfreeze) */
        *isan__tag_word(code) |= ISAN__OBJECT;  /* block_notes.c looks for it; a stock Python does not mark it */
        isan__note_block(block, ISAN__NOTE_CODE, 0);
    }
    return base;
}

/* 3.14: f_executable is a tagged _PyStackRef (Include/internal/pycore_stackref.h). */
static char *
code_of_frame(const char *frame)
{
    uintptr_t bits;
    memcpy(&bits, frame + isan__py.frame_executable, sizeof bits);
    return (char *)(bits & ~(uintptr_t)3);
}

static uint32_t
site_of_frame(const char *frame, uint32_t *word)
{
    char *code = code_of_frame(frame), *instr;
    *word = code == NULL ? 0 : *isan__tag_word(code + ISAN__CODE_SITE);
    if (ISAN__UNLIKELY(*word == 0) && (code == NULL || (*word = register_code(code)) == 0)) {
        return 0;
    }
    memcpy(&instr, frame + isan__py.frame_instr, sizeof instr);
    uint32_t base = *word & ~(ISAN__CODE_IMPORTS | ISAN__CODE_LOADS);
    ptrdiff_t unit = (instr - (code + isan__py.code_units)) / 2;
    /* Before 3.13 a frame that has not begun points before its first unit. */
    return base == NO_SITES ? 0 : base + (unit > 0 ? (uint32_t)unit : 0);
}

static const char *
top_frame(const char *tstate)
{
    const char *frame;
    memcpy(&frame, tstate + isan__py.ts_frame, sizeof frame);
    if (isan__py.has_cframe) {
        memcpy(&frame, frame + isan__py.cframe_frame, sizeof frame);
    }
    return frame;
}

bool
isan__tstate_runs_python(const char *tstate)
{
    return top_frame(tstate) != NULL;
}

bool
isan__in_python_frame(void)
{
    return isan__self.tstate != NULL && top_frame(isan__self.tstate) != NULL;
}

uint32_t
isan__current_site(void)
{
    const char *tstate = isan__self.tstate, *frame;
    uint32_t word;
    return tstate == NULL || (frame = top_frame(tstate)) == NULL ? 0 : site_of_frame(frame, &word);
}

static bool
loads_extension(const char *frame)
{
    uint32_t word = 0;
    memcpy(&frame, frame + isan__py.frame_previous, sizeof frame);
    if (frame != NULL) {
        site_of_frame(frame, &word);
    }
    return word & ISAN__CODE_LOADS;
}

enum { MAX_NATIVE = 64, MAX_PYTHON = 64 };

/* The frames of one thread state, innermost first.  stable: they are readable, as those of the
 * current thread state are unless the process is crashing.  A thread state that this thread
 * detached long ago may have been deleted since.
 *
 * own_as_0: frames of the current interpreter get serial 0. */
static int
python_frames(const char *tstate, struct isan_frame *to, int max, bool stable, bool own_as_0)
{
    const char *interp, *frame;
    int n = 0;
    if (!isan__read(&interp, tstate + isan__py.ts_interp, sizeof interp, stable)
        || !isan__read(&frame, tstate + isan__py.ts_frame, sizeof frame, stable)
        || (isan__py.has_cframe
            && !isan__read(&frame, frame + isan__py.cframe_frame, sizeof frame, stable))) {
        return 0;
    }
    isan__slot_t slot = isan__slot_of_interp(interp);
    uint32_t serial = own_as_0 && slot == isan__self.slot ? 0 : isan__interp_of(slot)->serial;
    while (frame != NULL && n < max) {
        char owner, is_entry = 0;
        if (!isan__read(&owner, frame + isan__py.frame_owner, 1, stable)
            || (isan__py.frame_is_entry != 0
                && !isan__read(&is_entry, frame + isan__py.frame_is_entry, 1, stable))) {
            break;
        }
        if (owner >= 3) {
            /* FRAME_OWNED_BY_CSTACK (3.12), _INTERPRETER (3.14): where one
             * activation of the evaluation loop began; in 3.11 the frame has
             * a flag. */
            if (n > 0) {
                to[n - 1].flags |= ISAN_FRAME_ENTRY;
            }
        }
        else {
            uint32_t word;
            char probe;
            to[n] = (struct isan_frame){ .interp = serial };
            if (stable || isan__peek(&probe, code_of_frame(frame), 1)) {
                to[n].site = site_of_frame(frame, &word);
            }
            to[n].flags = is_entry ? ISAN_FRAME_ENTRY : 0;
            n++;
        }
        if (!isan__read(&frame, frame + isan__py.frame_previous, sizeof frame, stable)) {
            break;
        }
    }
    if (n > 0) {
        to[n - 1].flags |= ISAN_FRAME_ENTRY;
    }
    return n;
}

/* All frames of this thread. */
static int
all_python_frames(struct isan_frame *to, bool stable, bool own_as_0)
{
    int n = 0;
    if (isan__self.tstate != NULL) {
        n = python_frames(isan__self.tstate, to, MAX_PYTHON, stable, own_as_0);
    }
    for (int i = isan__self.depth; i-- > 0;) {
        n += python_frames(isan__self.suspended_tstates[i], to + n, MAX_PYTHON - n, false, own_as_0);
    }
    return n;
}

static uint32_t
record_stack(const uint64_t *native_frames, int native, const struct isan_frame *python_frames, int python)
{
    if (native + python == 0) {
        return 0;
    }
    size_t n = (size_t)native * sizeof *native_frames, p = (size_t)python * sizeof *python_frames;
    uint64_t key = isan__hash(python_frames, p, isan__hash(native_frames, n, 0)) | 1;
    uint32_t id = (uint32_t)isan__table_get(&stacks, key);
    if (id != 0) {
        return id;
    }
    id = __atomic_fetch_add(&next_stack, 1, __ATOMIC_RELAXED);
    isan__log_modules();
    struct isan_rec_stack *r = isan__log_reserve(sizeof *r + n + p);
    if (r == NULL) {
        return 0;
    }
    r->id = id;
    r->n_native = (uint16_t)native;
    r->n_python = (uint16_t)python;
    memcpy(r->data, native_frames, n);
    memcpy((char *)r->data + n, python_frames, p);
    isan__log_publish(r, ISAN_REC_STACK);
    isan__table_put_or_drop(&stacks, key, id);
    return id;
}

static uint32_t
stack_here(void *ucontext, bool own_as_0)
{
    uint64_t native[MAX_NATIVE];
    struct isan_frame python[MAX_PYTHON];
    int n = isan__unwind(native, MAX_NATIVE, ucontext);
    return record_stack(native, n, python, all_python_frames(python, ucontext == NULL, own_as_0));
}

uint32_t
isan__record_native_stack(const uint64_t *native, int n, bool here)
{
    struct isan_frame python[MAX_PYTHON];
    return record_stack(native, n < MAX_NATIVE ? n : MAX_NATIVE, python,
                        here ? all_python_frames(python, true, false) : 0);
}

uint32_t
isan__record_stack(void *ucontext)
{
    return stack_here(ucontext, false);
}

/* The first address of a stack is exact; a return address is after its call. */
uint32_t
isan__record_return_address(const void *pc)
{
    uint64_t native = (uint64_t)pc - 1;
    return pc == NULL ? 0 : record_stack(&native, 1, NULL, 0);
}

/* Records the Python line, or the native stack if the line says nothing.  The line says nothing for
 * init functions of extensions, which run below importlib.  There is no line for single-phase init
 * functions, which run in the main interpreter without a frame, and for the C code of a host.
 * While an interpreter begins or ends there is no frame either, but the stack would say nothing.
 *
 * The stack of an import is the same in each interpreter.  The interpreter's own serial is 0 in it,
 * so that the stack is recorded once. */
uint32_t
isan__origin_slow(void)
{
    const struct isan__thread *self = &isan__self;
    if (isan__options.origin == ISAN__ORIGIN_none || self->tstate == NULL) {
        return 0;
    }
    const char *frame = top_frame(self->tstate);
    uint32_t word = 0, here = frame ? site_of_frame(frame, &word) : 0;
    if (ISAN__UNLIKELY((word & ISAN__CODE_IMPORTS && loads_extension(frame))
                       || (frame == NULL && self->running && !self->finalizing)
                       || self->scope == ISAN__INIT
                       || isan__options.origin == ISAN__ORIGIN_native)) {
        uint32_t stack = stack_here(NULL, true);
        return stack != 0 && stack < STACKS ? stack + STACKS : here;
    }
    return here;
}
