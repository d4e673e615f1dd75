/* What an interpreter left behind, or owns. */
#ifndef ISAN_DETECT_LEAK_H
#define ISAN_DETECT_LEAK_H

#include "runtime/core/events.h"

void isan__report_leaks(struct isan__interp_end *end);      /* subscriber of interp_ends: sets `left` */
uint32_t isan__report_owned(isan__slot_t slot);             /* the same of a living one whose GIL this thread holds */
/* True while another allocator is around isan's, such as tracemalloc's (hooks/alloc.c). */
extern bool (*isan__allocator_is_wrapped)(void);

#endif
