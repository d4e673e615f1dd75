/* The hooks of the allocators. */
#ifndef ISAN_HOOKS_ALLOC_H
#define ISAN_HOOKS_ALLOC_H

#include "runtime/core/events.h"

void isan__alloc_install(void);
void isan__alloc_interp_begins(isan__slot_t slot);      /* subscriber of interp_begins */

#endif
