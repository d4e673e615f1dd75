/* Which interpreter a thread is in: see attach.h. */
#define _GNU_SOURCE
#include "runtime/core/attach.h"

#include <pthread.h>

#include "runtime/core/block.h"
#include "runtime/core/lifetime.h"
#include "runtime/core/thread_registry.h"

bool (*isan__allocators_were_reset)(void);

/* The thread attaches another thread state than its last one.  It goes back to an outer one, or it
 * enters one more interpreter from the last one. */
static void
note_nesting(const char *tstate)
{
    struct isan__thread *self = &isan__self;
    int i = self->depth;
    while (i > 0 && self->suspended_tstates[i - 1] != tstate) {
        i--;
    }
    if (i > 0) {
        self->depth = (uint8_t)(i - 1);
    }
    else if (self->depth < ISAN__NESTED) {
        self->suspended_tstates[self->depth++] = self->detached;
    }
    /* A thread that creates an interpreter goes back when the interpreter is complete
     * (Python/pylifecycle.c, new_interpreter).  The main one is complete before there is
     * another. */
    struct isan__interp *last = isan__interp_of(self->slot);
    if (i > 0 || last->kind == ISAN_INTERP_MAIN) {
        last->running = 1;
    }
}

/* The main interpreter's thread state is attached after its end has begun.  Either Python was
 * initialised again, or Python still frees objects. */
static void
attach_finalizing_main(isan__slot_t slot, const void *interp)
{
    struct isan__thread *self = &isan__self;
    if (isan__allocators_were_reset()) {
        isan__main_end(slot);
        self->slot = isan__register_interp(interp);
        self->epoch = ~isan__epoch;
    }
    self->finalizing = 0;
}

/* Python/pystate.c, current_fast_set. */
void
isan__attach(void *tstate)
{
    const void *interp;
    memcpy(&interp, (char *)tstate + isan__py.ts_interp, sizeof interp);
    struct isan__thread *self = &isan__self;
    if (tstate != self->detached) {
        isan__publish_tstate_attached(tstate);
        if (self->detached != NULL) {
            note_nesting(tstate);
        }
    }
    self->tstate = self->detached = tstate;
    isan__slot_t slot = self->slot;
    if (ISAN__UNLIKELY(slot == 0 || isan__interp_of(slot)->interp != interp)) {
        slot = isan__register_interp(interp);
        self->slot = slot;
        isan__thread_note_interp(isan__interp_of(slot)->serial);
    }
    const struct isan__interp *i = isan__interp_of(slot);
    if (i->finalizing || slot == 0) {
        isan__thread_end_is_known();
    }
    else {
        self->ends = i->ends;
    }
    self->epoch = slot == 0 ? ~isan__epoch : isan__epoch;   /* 0: sync again */
    self->finalizing = i->finalizing;
    self->running = i->running;
    if (ISAN__UNLIKELY(i->finalizing && i->kind == ISAN_INTERP_MAIN)) {
        attach_finalizing_main(slot, interp);
    }
    isan__thread_update_slots();
}

void
isan__detach(void)
{
    isan__self.tstate = NULL;
    isan__thread_end_is_known();
    isan__thread_update_slots();
}

/* Python/pylifecycle.c, finalize_modules: the interpreter's modules go. */
void
isan__finalize(void *tstate)
{
    (void)tstate;
    isan__interp_finalize(isan__self.slot);
    isan__thread_end_is_known();
    if (isan__interp_of(isan__self.slot)->kind != ISAN_INTERP_MAIN) {
        isan__self.finalizing = 1;
        isan__thread_update_slots();
    }
}

/* 3.11 has one current thread state for the process, that of the thread with the GIL.  A thread
 * without the GIL may see it freed at any moment.  A thread state that another thread created is
 * this thread's if this thread has requested it (requested_tstate, hooks/boundary.c). */
static bool
is_of_this_thread(const char *tstate)
{
    unsigned long id;
    return isan__peek(&id, tstate + isan__py.ts_thread, sizeof id) && id == (unsigned long)pthread_self();
}

void
isan__sync_thread_state_slow(bool raw)
{
    struct isan__thread *self = &isan__self;
    char *tstate = isan__py.current();
    if (tstate == self->tstate && self->epoch == isan__epoch && *self->ends == 0) {
        return;
    }
    if (tstate != NULL && raw && isan__py.process_wide_tstate && tstate != self->requested_tstate
        && !is_of_this_thread(tstate)) {
        tstate = NULL;
    }
    if (tstate == NULL) {
        self->epoch = isan__epoch;
        if (self->tstate != NULL) {
            isan__detach();
        }
        return;
    }
    /* The note on its block shows when another thread state is at its address. */
    char *block = isan__block_of(tstate);
    if (block != NULL && !(isan__load_tag(block) & ISAN__NOTED)) {
        isan__publish_tstate_attached(tstate);
    }
    isan__attach(tstate);
    isan__publish_thread_synced(0);
    if (*self->ends != 0) {
        isan__finalize(tstate);
    }
}
