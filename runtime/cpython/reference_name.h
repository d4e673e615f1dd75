/* Names a reference for the report: list index, dict key, attribute, C member. */
#ifndef ISAN_CPYTHON_REFERENCE_NAME_H
#define ISAN_CPYTHON_REFERENCE_NAME_H

#include "runtime/base/compiler.h"

struct isan__reference_name {
    uint32_t edge, basicsize;               /* enum isan_edge of base/log_format.h; of the type */
    uint64_t offset, code;                  /* index, or offset of a member; the type's tp_dealloc */
    char label[64], member[64];             /* the key or attribute, and the C member; "": not known */
};
/* Names the reference from the object at `from` (NULL: raw memory) to another object.  The pointer
 * is `at` bytes from the object's start, less than 0 before it; or, if `memory` is not NULL, `at`
 * bytes from the start of that memory, which the object points at. */
void isan__name_reference(const char *from, const char *memory, ptrdiff_t at, struct isan__reference_name *edge);
/* The C member at this offset of an instance, from tp_members of its type and bases; "": they have
 * none there. */
void isan__member_name(char *name, size_t size, const void *type, ptrdiff_t at);

#endif
