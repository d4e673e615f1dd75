/* An interpreter uses an object that it does not own: share, stale and free findings. */
#ifndef ISAN_DETECT_FOREIGN_USE_H
#define ISAN_DETECT_FOREIGN_USE_H

#include "runtime/core/finding.h"

/* The instruction before pc uses the object or the block of raw memory at op.  True: the use is a
 * finding.  False: the rules excuse it, or the object is not foreign. */
bool isan__check_foreign_use(int kind, int access, const void *op, void *pc);

#endif
