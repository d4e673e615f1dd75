/* The hooks of the arena allocator. */
#ifndef ISAN_HOOKS_ARENA_H
#define ISAN_HOOKS_ARENA_H

#include "runtime/base/compiler.h"

void isan__arenas_install(void);
void isan__arenas_of_ended(uint32_t serial);            /* subscriber of interp_unused */

#endif
