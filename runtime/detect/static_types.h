/* Static types: PyTypeObject in the writable data of a module. */
#ifndef ISAN_DETECT_STATIC_TYPES_H
#define ISAN_DETECT_STATIC_TYPES_H

#include "runtime/elf/module.h"

/* A search for static types in a writable segment of a module.  The segment is read through a copy
 * of the part that was needed last. */
struct isan__type_search {
    uintptr_t base;                         /* the module's load address */
    struct isan__range segment;
    uintptr_t at;                           /* address that bytes[] is a copy of */
    size_t n;                               /* number of bytes copied */
    char bytes[4096];
};

struct isan__static_type {
    const char *type;
    uint64_t dict;
};
/* Is the word at `where`, with the value `meta`, ob_type of a static type that PyType_Ready was
 * called for? */
bool isan__find_static_type(struct isan__type_search *search, uint64_t where, uint64_t meta,
    struct isan__static_type *found);

/* Interpreters that use a static type (serials). */
struct isan__type_users {
    uint32_t owner, other;
    bool again;                             /* both are main interpreters, of two Py_Initialize() */
};
/* False: fewer than two interpreters use it. */
bool isan__find_type_users(const struct isan__static_type *type, uintptr_t base, struct isan__type_users *users);

#endif
