/* isan_ignore_begin() and isan_ignore_end() (include/isan/isan.h): what this thread does
 * in between is no finding. */
#include "isan/isan.h"
#include "runtime/core/thread.h"

void
(isan_ignore_begin)(const char *reason)
{
    struct isan__thread *self = &isan__self;
    if (self->ignoring < UINT8_MAX) {
        if (self->ignoring < ISAN__NESTED) {
            self->reason[self->ignoring] = reason;
        }
        self->ignoring++;
    }
}

void
(isan_ignore_end)(void)
{
    if (isan__self.ignoring > 0) {
        isan__self.ignoring--;
    }
}
