/* The hook of PyRefTracer (3.13 and later, Objects/object.c): the creation and destruction of every
 * object.  Objects from free lists are among them, which no allocator sees.
 *
 * There is one tracer for the process, and tracemalloc uses it too (Python/tracemalloc.c,
 * _PyTraceMalloc_TraceRef).  The later one replaces the other.  So isan checks from time to time
 * that its tracer is still installed.  If not, isan installs it again and passes the calls on to
 * the tracer that it found.
 */
#include "hooks/reftrace.h"

#include "hooks/instrumented.h"
#include "runtime/core/attach.h"
#include "runtime/base/check.h"
#include "runtime/core/origin.h"
#include "runtime/detect/foreign_use.h"

typedef int (*tracer)(void *op, int event, void *data);
typedef tracer getter(void **data);
typedef int setter(tracer function, void *data);
enum { CREATE, DESTROY };                   /* PyRefTracerEvent, Include/cpython/object.h */

static struct { tracer function; void *data; } next;

static void __attribute__((noinline, cold))
destroy_foreign(void *op)
{
    isan__sync_thread_state(true);
    if (isan__foreign(op)) {
        isan__check_foreign_use(ISAN__KIND_free, ISAN__ACCESS_dealloc, op, __builtin_return_address(0));
        /* Its memory goes into this interpreter's free list, or is freed. */
        char *block = isan__block_of(op);
        if (block != NULL && isan__share_obmalloc((isan__slot_t)isan__load_tag(block), isan__slot)) {
            isan__retag(block, isan__slot);
        }
    }
    ISAN__ASSERT(isan__holds_no_lock());
}

/* A new object in a fresh block has no mark yet.  One from a free list has its old mark.
 * An object of a type without a GC head, such as float, is at the start of its block. */
static int
trace(void *op, int event, void *data)
{
    (void)data;
    uint32_t *w = isan__tag_word(op), word = *w;
    isan__slot_t slot = isan__slot;
    if (ISAN__UNLIKELY((isan__slot_t)word != slot)) {
        if (slot != 0 && (isan__slot_t)word != 0) {
            if (event == CREATE) {
                isan__hook_table.create(op);
            }
            else {
                destroy_foreign(op);
            }
        }
    }
    else if (event == CREATE && slot != 0) {
        if (!(word & ISAN__OBJECT)) {
            *w = word | ISAN__OBJECT;
        }
        else if (word & ISAN__START) {
            isan__set_origin(op, isan__current_origin());
        }
        else {
            isan__hook_table.create(op);
        }
    }
    return 0;
}

static int
trace_and_pass_on(void *op, int event, void *data)
{
    trace(op, event, data);
    return next.function(op, event, next.data);
}

void
isan__reftrace_install(int unused)
{
    (void)unused;
    static setter *set;
    static getter *get;
    static int (*check)(void);
    static bool known;
    if (!known) {
        set = (setter *)isan__python_symbol("PyRefTracer_SetTracer");
        get = (getter *)isan__python_symbol("PyRefTracer_GetTracer");
        check = (int (*)(void))isan__python_symbol("PyGILState_Check");
        known = true;
    }
    /* The tracer finds the creation sites of objects from free lists: origin=none needs none.  A
     * pydebug build aborts if these functions are called without the GIL. */
    if (!isan__stock || set == NULL || isan__options.origin == ISAN__ORIGIN_none || !check()) {
        return;
    }
    void *data;
    tracer now = get(&data);
    if (now != trace && now != trace_and_pass_on) {
        next.data = data;
        next.function = now;
        set(now != NULL ? trace_and_pass_on : trace, NULL);
        if (isan__reftrace_active) {
            isan__interps_clear_marked();       /* another tracer was installed meanwhile */
        }
        isan__reftrace_active = true;
    }
}

void
isan__reftrace_interp_finalizes(isan__slot_t slot)
{
    (void)slot;
    isan__reftrace_install(0);              /* without it, marks may be missing */
}
