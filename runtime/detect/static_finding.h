/* Findings about statics: objects in them, and static types. */
#ifndef ISAN_DETECT_STATIC_FINDING_H
#define ISAN_DETECT_STATIC_FINDING_H

#include "runtime/core/finding.h"

/* The static holds the object at op.  Its owner and the interpreter `other` (serial) can
 * both reach it there. */
void isan__report_static(const struct isan_holder *holder, const void *op, char *block, uint32_t other);
/* Has a finding said that the static holds the object in that block? */
bool isan__static_is_reported(const struct isan_holder *holder, const char *block);
/* The interpreter `other` (serial) uses the static type, and so does the interpreter `owner`
 * if that is not 0.  own: the type is the standard library's.  again: both are main
 * interpreters, one of a Py_Initialize() and one of a later call. */
void isan__report_static_type(const char *type, uint32_t owner, uint32_t other, bool own, bool again);

#endif
