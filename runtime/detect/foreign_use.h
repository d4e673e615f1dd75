/* An interpreter uses an object that it does not own: share, stale and free findings. */
#ifndef ISAN_DETECT_FOREIGN_USE_H
#define ISAN_DETECT_FOREIGN_USE_H

#include "runtime/core/finding.h"

/* The object (or block) at op was used, with `access`, by the instruction before pc.
 * True: a finding; false: it is excused or was not foreign. */
bool isan__check_foreign_use(int kind, int access, const void *op, void *pc);

#endif
