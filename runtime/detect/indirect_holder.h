/* The static that leads to an object through memory. */
#ifndef ISAN_DETECT_INDIRECT_HOLDER_H
#define ISAN_DETECT_INDIRECT_HOLDER_H

#include "runtime/base/log_format.h"
#include "runtime/detect/static_scan.h"

/* A path from a static through `hops` pieces of memory, from a word at this offset in one to
 * the next.  hops 0: the static points at the object itself. */
struct isan__pointer_path {
    struct isan_holder holder;
    uint32_t hops, at[ISAN_HOPS];
};
/* Each wanted word in such memory, or only in that which is no interpreter's, until
 * found() says that it is enough.  False: the search was cut short before that, as all
 * searches of a process together may take only so long; later ones find less. */
bool isan__search_indirect(bool untagged, bool (*wanted)(uint64_t value, void *arg),
    bool (*found)(const struct isan__pointer_path *path, uint64_t value, void *arg), void *arg);
/* The static that points at the block or its object (then hops is 0), or leads to it;
 * address 0:
 * none, or the search was cut short (ISAN_HOLDER_CUT_SHORT). */
void isan__find_holder(const void *block, const void *object, struct isan__pointer_path *path);
void isan__log_path(uint32_t finding, const struct isan__pointer_path *path);     /* if hops is not 0 */

#endif
