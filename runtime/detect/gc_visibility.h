/* References that the garbage collector cannot see. */
#ifndef ISAN_DETECT_GC_VISIBILITY_H
#define ISAN_DETECT_GC_VISIBILITY_H

#include "runtime/core/events.h"
#include "runtime/core/kinds.h"

struct isan__gc_reason {
    uint32_t reason, basicsize;             /* enum isan__reason */
    uint64_t offset, code;
    char type[128], target[128], member[64];
};
/* The interpreter begins to end, on this thread: ask what there is of its types. */
void isan__survey_traverse(isan__slot_t slot);
/* Why the collector cannot see through an object that its interpreter left, or
 * not clear it; returns how many reasons.  found: how many references to an
 * object or memory there are in the other blocks that were left. */
int isan__gc_reasons(const char *op,
    uint32_t (*found)(const void *of, void *arg), void *arg, struct isan__gc_reason *to, int max);
uint32_t isan__reference_count(const char *op);           /* its count, of an object that was left */
void isan__survey_forget(isan__slot_t slot);
void isan__survey_interp_ended(struct isan__interp_end *end);   /* subscriber of interp_ends */

#endif
