/* The static that leads to an object through memory. */
#ifndef ISAN_DETECT_INDIRECT_HOLDER_H
#define ISAN_DETECT_INDIRECT_HOLDER_H

#include "runtime/detect/static_scan.h"

/* A path from a static through `n_steps` pieces of memory, from the word at offset at[i] of piece i
 * to the next.  n_steps 0: the static points at the object itself. */
struct isan__pointer_path {
    struct isan_holder holder;
    uint32_t n_steps, at[ISAN_MAX_STEPS];
};
/* Calls found() for each wanted word in memory that statics lead to, until found() returns true.
 * untagged: only in memory that is no interpreter's.  False: the search was cut short.  All
 * searches of a process together have a limit, so later ones find less. */
bool isan__search_indirect(bool untagged, bool (*wanted)(uint64_t value, void *arg),
    bool (*found)(const struct isan__pointer_path *path, uint64_t value, void *arg), void *arg);
/* Finds the static that points at the block or its object, or else one that leads to it through
 * memory.  holder.address 0: there is none, or the search was cut short (ISAN_HOLDER_CUT_SHORT). */
void isan__find_holder(const void *block, const void *object, struct isan__pointer_path *path);
void isan__log_path(uint32_t finding, const struct isan__pointer_path *path);     /* unless it has no steps */

#endif
