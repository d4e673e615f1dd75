/* Findings about statics: objects in them, and static types. */
#ifndef ISAN_DETECT_STATIC_FINDING_H
#define ISAN_DETECT_STATIC_FINDING_H

#include "runtime/core/finding.h"

/* The static holds the object at op, which interpreter `other` (serial) can reach as well
 * as its owner. */
void isan__report_static(const struct isan_holder *holder, const void *op, char *block, uint32_t other);
/* The static type is used by the interpreter `other` (serial), and by the one `owner` if that
 * is not 0; own: it is the standard library's; again: both are the main interpreter, of one
 * Py_Initialize and of a later one. */
void isan__report_static_type(const char *type, uint32_t owner, uint32_t other, bool own, bool again);

#endif
