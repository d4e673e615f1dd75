/* Findings about immortal objects. */
#ifndef ISAN_DETECT_IMMORTAL_FINDING_H
#define ISAN_DETECT_IMMORTAL_FINDING_H

#include "runtime/base/compiler.h"

/* The count of the immortal object at op, of the interpreter `owner` (serial) or of none, was
 * changed, on this stack if that is known (not 0).  Returns the finding's id; 0: the log is
 * full. */
uint32_t isan__report_immortal(const void *op, uint32_t owner, const char *name, uint32_t stack);

#endif
