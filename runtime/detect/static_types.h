/* Static types: PyTypeObject in the writable data of a module. */
#ifndef ISAN_DETECT_STATIC_TYPES_H
#define ISAN_DETECT_STATIC_TYPES_H

#include "runtime/elf/module.h"

/* Where one is looked for: a writable segment of a module, which is read through a copy of
 * the part that was asked for last. */
struct isan__type_search {
    uintptr_t base;                         /* the module's load address */
    struct isan__range segment;
    uintptr_t at;                           /* bytes[] begin there, */
    size_t n;                               /* and so many are copied */
    char bytes[4096];
};

/* Is there a type that PyType_Ready has been called for, and the word of its ob_type is at
 * `where`? */
struct isan__static_type {
    const char *type;
    uint64_t dict;
};
bool isan__find_static_type(struct isan__type_search *search, uint64_t where, uint64_t meta,
    struct isan__static_type *found);

/* Several interpreters that use it (serials). */
struct isan__type_users {
    uint32_t owner, other;
    bool again;                             /* the main interpreter, of two Py_Initialize */
};
bool isan__find_type_users(const struct isan__static_type *type, uintptr_t base, struct isan__type_users *users);

#endif
