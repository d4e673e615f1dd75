/* A stock Python: what its hook points and a look at its thread state tell.
 *
 * The allocators are installed when the main interpreter gets its GIL: by then
 * PYTHONMALLOC and -X dev have been obeyed (Python/preconfig.c,
 * _PyPreConfig_Write), and no object is there yet (Python/pylifecycle.c,
 * pycore_create_interpreter).  What shows that is its call of
 * pthread_cond_init (Python/ceval_gil.c, create_gil); no audit event does,
 * since there is no thread state that hooks could be called with.
 *
 * Which interpreter a thread runs in is looked up whenever it allocates, calls
 * the C API through boundary.c, or does something that needs a closer look.
 */
#define _GNU_SOURCE
#include <link.h>
#include <pthread.h>

#include "runtime/owner.h"

bool isan__stock;
uint32_t isan__epoch;

static int
gil_created(pthread_cond_t *cond, const pthread_condattr_t *attributes)
{
    if (isan__main_slot == 0) {
        isan__alloc_install();
    }
    else if (!isan__initialized()) {           /* Python is initialised again */
        isan__main_end(isan__main_slot);
        isan__alloc_install();
    }
    return pthread_cond_init(cond, attributes);
}

static void *
substitute(const char *name, bool call, void *arg)
{
    (void)call;
    (void)arg;
    return strcmp(name, "pthread_cond_init") == 0 ? (void *)gil_created : NULL;
}

static int
rewrite_runtime(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    if (!isan__module_has_runtime(info)) {
        return 0;
    }
    isan__imports_rewrite(info, substitute, arg);
    return 1;
}

void
isan__stock_begin(void)
{
    dl_iterate_phdr(rewrite_runtime, NULL);
    if (isan__initialized()) {
        isan__say("Python was running before isan was loaded: what there is already is not "
                  "checked; preload libisan.so when the process starts (LD_PRELOAD, isan run)");
        isan__alloc_install();
    }
}

/* 3.11 has one current thread state for the process, that of whoever holds the
 * GIL; without the GIL it may be gone at any moment.  One that another thread
 * has made is this thread's when it has asked for it (boundary.c). */
static bool
of_this_thread(const char *tstate)
{
    enum { THREAD_ID = 152 };               /* offsetof(PyThreadState, thread_id) in 3.11 */
    unsigned long id;
    return isan__peek(&id, tstate + THREAD_ID, sizeof id) && id == (unsigned long)pthread_self();
}

void
isan__sync_thread_state_slow(bool raw)
{
    struct isan__thread *self = &isan__self;
    char *tstate = isan__py.current();
    if (tstate == self->tstate && self->epoch == isan__epoch && *self->ends == 0) {
        return;
    }
    if (tstate != NULL && raw && isan__py.one_gil && tstate != self->requested_tstate && !of_this_thread(tstate)) {
        tstate = NULL;
    }
    if (tstate == NULL) {
        self->epoch = isan__epoch;
        if (self->tstate != NULL) {
            isan__hook_table.detach();
        }
        return;
    }
    /* Another one may be at its address later. */
    char *block = isan__block_of(tstate);
    if (block != NULL && !(isan__load_tag(block) & ISAN__NOTED)) {
        isan__gilstate_attached(tstate);
    }
    isan__hook_table.attach(tstate);
    isan__reftrace_install();
    if (*self->ends != 0) {
        isan__hook_table.finalize(tstate);
    }
}

/* Include/object.h, PyTypeObject.tp_basicsize: after PyVarObject and tp_name. */
enum { TP_BASICSIZE = 32 };

/* Is there a type at `type`?  The type of that says so. */
static bool
is_type(const char *type)
{
    const char *meta;
    unsigned long flags;
    return (uintptr_t)type >= 4096 && (uintptr_t)type % 8 == 0
        && isan__peek(&meta, type + 8, sizeof meta)
        && (uintptr_t)meta >= 4096 && (uintptr_t)meta % 8 == 0
        && isan__peek(&flags, meta + isan__py.type_flags, sizeof flags)
        && (flags & ISAN__TYPE_TYPE) != 0;
}

/* Is there a PyObject at op?  Its type must be one, and its size must fit.  In a
 * table of types, such as that of datetime's C API (Modules/_datetimemodule.c,
 * get_datetime_capi), the one before would be the count, which the address of a
 * type in an executable at a low address could be. */
static bool
is_object(const char *op, size_t size, bool dead, bool stable)
{
    struct { uint64_t count; const char *type; } head;
    const char *name;
    int64_t basicsize;
    char first;
    /* Unless it is stable, its owner may be giving the memory back just now. */
    if (size < sizeof head || !isan__read(&head, op, sizeof head, stable)) {
        return false;
    }
    if (!isan__is_count(dead ? head.count | 1 : head.count)) {
        return false;
    }
    return is_type(head.type) && !is_type((const char *)head.count)
        && isan__peek(&basicsize, head.type + TP_BASICSIZE, sizeof basicsize)
        && basicsize >= 16
        /* That of str is of the longest kind (PyUnicodeObject), which is rare. */
        && (uint64_t)(head.type == isan__py.unicode_type ? isan__py.unicode_ascii : basicsize) <= size
        && (isan__runtime_has((uintptr_t)head.type)
            || (isan__peek(&name, head.type + isan__py.type_name, sizeof name)
                && isan__peek(&first, name, 1) && first != 0));
}

/* What comes before an object in its block: nothing, a PyGC_Head, or that and
 * the managed dictionary's and weak references' pre-header. */
char *
isan__recognise_object(char *block, bool dead)
{
    uint32_t word = isan__load_tag(block);
    size_t size = isan__block_size(block);
    dead |= (word & ISAN__FREED) != 0;
    if (word & ISAN__RAW) {
        return NULL;
    }
    for (size_t before = 0; before <= 2 * ISAN__GRANULE && before < size; before += ISAN__GRANULE) {
        if (is_object(block + before, size - before, dead, isan__memory_is_stable((isan__slot_t)word))) {
            if (dead) {                     /* nobody will tell any more */
                __atomic_or_fetch(isan__tag_word(block + before), ISAN__OBJECT, __ATOMIC_RELAXED);
            }
            return block + before;
        }
    }
    return NULL;
}
