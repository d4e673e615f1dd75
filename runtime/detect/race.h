/* Findings about races, whichever detector saw them. */
#ifndef ISAN_DETECT_RACE_H
#define ISAN_DETECT_RACE_H

#include "runtime/core/finding.h"

/* A race on the object or block of raw memory at `op`, or on the variable that the holder is
 * at (address 0: none), or else on `memory`. */
struct isan__race {
    struct isan_holder holder;
    const void *op;
    char *block;                            /* that has op; NULL: none */
    struct isan_object memory;
    uint32_t current, stack;                /* the interpreter (serial) and stack of the later access */
    uint64_t key;                           /* the same for all accesses that are one race */
};
struct isan_rec_finding *isan__report_race(const struct isan__race *race);   /* NULL: it is known, or ignored */

#endif
