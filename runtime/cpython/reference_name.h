/* Names a reference for the report: list index, dict key, attribute, C member. */
#ifndef ISAN_CPYTHON_REFERENCE_NAME_H
#define ISAN_CPYTHON_REFERENCE_NAME_H

#include "runtime/base/compiler.h"

struct isan__reference_name {
    uint32_t edge, basicsize;               /* enum isan_edge of core/log_format.h */
    uint64_t offset, code;
    char label[64], member[64];
};
/* How the object at `from` (NULL: raw memory) refers to another: at this offset
 * from its start, less than 0 before it; or, if `memory` is not NULL, at this
 * offset in a block of memory that it points at. */
void isan__name_reference(const char *from, const char *memory, ptrdiff_t at, struct isan__reference_name *edge);
/* The C member there of an instance, if its type tells; "": it does not. */
void isan__member_name(char *name, size_t size, const void *type, ptrdiff_t at);

#endif
