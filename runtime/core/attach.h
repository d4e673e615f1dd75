/* Which interpreter a thread is in: attaching and detaching thread states. */
#ifndef ISAN_CORE_ATTACH_H
#define ISAN_CORE_ATTACH_H

#include "runtime/core/interp.h"
#include "runtime/core/thread.h"
#include "runtime/cpython/layout.h"

void isan__attach(void *tstate);            /* the thread state becomes this thread's current one */
void isan__detach(void);
void isan__finalize(void *tstate);          /* its interpreter begins to end */
/* Has Python been initialised again, with its own allocators (hooks/alloc.c)? */
extern bool (*isan__allocators_were_reset)(void);

void isan__sync_thread_state_slow(bool raw);

/* Notes which interpreter this thread is in now.  `raw`: the thread may be without the GIL.  If
 * the place of the current thread state is not known (current_at is 0), this reads the thread
 * pointer instead (System V ABI, x86-64, TLS), which equals no thread state. */
static inline void
isan__sync_thread_state_stock(bool raw)
{
    const struct isan__thread *self = &isan__self;
    const char *tstate = NULL;
#ifdef __x86_64__
    __asm__ volatile("movq %%fs:(%1), %0" : "=r"(tstate) : "r"(isan__py.current_at));
#endif
    if (ISAN__UNLIKELY(tstate != self->tstate || isan__epoch != self->epoch || *self->ends != 0)) {
        isan__sync_thread_state_slow(raw);
    }
}
static inline void
isan__sync_thread_state(bool raw)
{
    if (isan__stock) {
        isan__sync_thread_state_stock(raw);
    }
}

#endif
