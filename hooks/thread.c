/* The interceptor of pthread_create(): notes the interpreter that started a thread.
 *
 * A thread that a C library starts for its callbacks has no thread state, so it does not show
 * for which interpreter it calls PyGILState_Ensure().  But pthread_create() was called in an
 * interpreter, or in a thread that was started in one.  Threads of the main interpreter need no
 * note: PyGILState_Ensure() leads there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#include "runtime/base/check.h"
#include "runtime/core/attach.h"
#include "runtime/core/origin.h"

static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

/* dlsym() takes the dynamic linker's lock.  Constructors that run before this one call it later. */
__attribute__((constructor(101))) static void
find_function(void)
{
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
}

struct new_thread {
    void *(*start)(void *);
    void *arg;
    uint32_t creator, stack, tid;           /* of the interpreter (serial) and thread that started it */
};

static void *
run_thread(void *arg)
{
    struct new_thread thread = *(struct new_thread *)arg;
    free(arg);
    isan__self.creator_serial = thread.creator;
    isan__self.creator_stack = thread.stack;
    isan__self.creator_tid = thread.tid;
    return thread.start(thread.arg);
}

/* The sub-interpreter that starts a thread now.  False: it is the main interpreter, or none. */
static bool
find_creator(struct new_thread *thread)
{
    if (isan__main_slot == 0) {
        return false;
    }
    isan__sync_thread_state(true);
    const struct isan__thread *self = &isan__self;
    const struct isan__interp *last = isan__interp_of(self->slot);
    if (last->serial != 0 && last->kind != ISAN_INTERP_MAIN) {
        thread->creator = last->serial;
        thread->stack = isan__record_stack(NULL);
        thread->tid = isan__tid();
    }
    else if (last->serial == 0) {           /* a library's thread that starts other threads */
        thread->creator = self->creator_serial;
        thread->stack = self->creator_stack;
        thread->tid = self->creator_tid;
    }
    return thread->creator != 0;
}

__attribute__((visibility("default"))) int
pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *arg)
{
    struct new_thread here = { start, arg, 0, 0, 0 }, *started = NULL;
    if (real == NULL) {
        find_function();
    }
    if (find_creator(&here) && (started = malloc(sizeof *started)) != NULL) {
        *started = here;
    }
    ISAN__ASSERT(isan__holds_no_lock());
    if (started == NULL) {
        return real(thread, attributes, start, arg);
    }
    int error = real(thread, attributes, run_thread, started);
    if (error != 0) {
        free(started);
    }
    return error;
}
