/* What an interpreter left behind, or owns. */
#ifndef ISAN_DETECT_LEAK_H
#define ISAN_DETECT_LEAK_H

#include "runtime/core/events.h"

/* Subscriber of interp_ends: records the leaks of an interpreter that has ended, and sets
 * `left`. */
void isan__report_leaks(struct isan__interp_end *end);
/* Records what a living interpreter owns.  This thread holds its GIL.  Returns the number of
 * blocks. */
uint32_t isan__report_owned(isan__slot_t slot);
/* Is another allocator around isan's, such as tracemalloc's (hooks/alloc.c)? */
extern bool (*isan__allocator_is_wrapped)(void);

#endif
