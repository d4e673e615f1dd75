/* Findings about races, of both detectors. */
#ifndef ISAN_DETECT_RACE_H
#define ISAN_DETECT_RACE_H

#include "runtime/core/finding.h"

/* A race on the object or block of raw memory at `op`; without a block, on the variable at
 * holder.address; without that, on `memory`. */
struct isan__race {
    struct isan_holder holder;
    const void *op;
    char *block;                            /* the block that has `op`; NULL: none */
    struct isan_object memory;
    uint32_t current, stack;                /* the interpreter (serial) and stack of the later access */
    uint64_t key;                           /* accesses with the same key are one race */
};
/* Makes the finding.  NULL: it is known already, or ignored. */
struct isan_rec_finding *isan__report_race(const struct isan__race *race);

#endif
