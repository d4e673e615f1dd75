/* The state of a thread: see thread.h. */
#include "runtime/core/thread.h"

#include "runtime/base/options.h"
#include "runtime/core/interp.h"
#include "runtime/core/shadow.h"
#include "runtime/cpython/layout.h"

static const uint32_t never;
__thread struct isan__thread isan__self = { .ends = &never };
uint32_t isan__epoch;
bool isan__scan_requested;

void
isan__thread_update_slots(void)
{
    struct isan__thread *self = &isan__self;
    isan__slot_t slot = self->tstate == NULL ? 0
        : self->scope == ISAN__FOR_MAIN ? isan__main_slot : self->slot;
    self->free_slot = slot == 0 || self->finalizing || isan__scan_requested ? ISAN__NO_INTERP : slot;
    self->fast_origin = self->tstate != NULL && self->scope != ISAN__INIT && !isan__py.has_cframe
        && isan__options.origin == ISAN__ORIGIN_python;
    isan__slot = slot;
}

void
isan__thread_end_is_known(void)
{
    isan__self.ends = &never;
}
