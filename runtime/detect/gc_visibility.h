/* References that the garbage collector cannot see. */
#ifndef ISAN_DETECT_GC_VISIBILITY_H
#define ISAN_DETECT_GC_VISIBILITY_H

#include "runtime/base/compiler.h"
#include "runtime/core/kinds.h"

struct isan__gc_reason {
    uint32_t reason, basicsize;             /* enum isan__reason; of the type */
    uint64_t offset, code;                  /* of the member; a function of the type, which names its module */
    char type[128], target[128], member[64];
};
/* Number of references to an object or memory in the other blocks that were left. */
typedef uint32_t isan__ref_counter(const void *target, void *arg);
/* Why the collector cannot see through an object that its interpreter left, or cannot clear it.
 * Returns how many reasons there are in `to`, at most `max`. */
int isan__gc_reasons(const char *op, isan__ref_counter *count_refs, void *arg, struct isan__gc_reason *to, int max);
/* The reference count of an object that was left. */
uint32_t isan__reference_count(const char *op);

#endif
