/* An interpreter uses an object that it does not own: share, stale and free findings. */
#ifndef ISAN_DETECT_FOREIGN_USE_H
#define ISAN_DETECT_FOREIGN_USE_H

#include "runtime/core/finding.h"

/* The instruction before pc used the object (or the block of raw memory) at op, with
 * `access`.  True: that is a finding.  False: the rules excuse it, or it was not foreign. */
bool isan__check_foreign_use(int kind, int access, const void *op, void *pc);

#endif
