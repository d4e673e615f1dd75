/* pthread_create: on whose behalf a thread was started.
 *
 * A library's callback thread knows nothing of Python, so what PyGILState_Ensure
 * is called for in it is not to be seen there.  But the call that started it was
 * made in an interpreter, or in a thread that was.  What the main interpreter
 * starts is left alone: that is where PyGILState_Ensure leads.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#include "runtime/core/attach.h"
#include "runtime/core/origin.h"

typedef int create_function(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

struct birth {
    void *(*start)(void *);
    void *arg;
    uint32_t maker, stack, tid;
};

static void *
run(void *arg)
{
    struct birth birth = *(struct birth *)arg;
    free(arg);
    isan__self.creator_serial = birth.maker;
    isan__self.creator_stack = birth.stack;
    isan__self.creator_tid = birth.tid;
    return birth.start(birth.arg);
}

/* False: it is of the main interpreter, or of none. */
static bool
find_maker(struct birth *birth)
{
    if (isan__main_slot == 0) {
        return false;
    }
    isan__sync_thread_state(true);
    const struct isan__thread *self = &isan__self;
    const struct isan__interp *last = isan__interp_of(self->slot);
    if (last->serial != 0 && last->kind != ISAN_INTERP_MAIN) {
        birth->maker = last->serial;
        birth->stack = isan__record_stack(NULL);
        birth->tid = isan__tid();
    }
    else if (last->serial == 0) {           /* a library's thread that starts more of them */
        birth->maker = self->creator_serial;
        birth->stack = self->creator_stack;
        birth->tid = self->creator_tid;
    }
    return birth->maker != 0;
}

__attribute__((visibility("default"))) int
pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *arg)
{
    static create_function *real;
    struct birth here = { start, arg, 0, 0, 0 }, *birth = NULL;
    if (real == NULL) {
        real = (create_function *)dlsym(RTLD_NEXT, "pthread_create");
    }
    if (find_maker(&here) && (birth = malloc(sizeof *birth)) != NULL) {
        *birth = here;
    }
    if (birth == NULL) {
        return real(thread, attributes, start, arg);
    }
    int error = real(thread, attributes, run, birth);
    if (error != 0) {
        free(birth);
    }
    return error;
}
