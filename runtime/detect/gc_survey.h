/* What tp_traverse of extension types visits, asked while their interpreter still runs. */
#ifndef ISAN_DETECT_GC_SURVEY_H
#define ISAN_DETECT_GC_SURVEY_H

#include "runtime/core/events.h"
#include "runtime/cpython/layout.h"

/* Calls tp_traverse of instances of each extension type.  This thread is in the interpreter. */
void isan__survey_traverse(isan__slot_t slot);
void isan__survey_forget(isan__slot_t slot);
void isan__survey_interp_ended(struct isan__interp_end *end);   /* subscriber of interp_ends */

/* What visits the C members of an instance. */
enum isan__traverse {
    ISAN__TRAVERSE_BY_RUNTIME,              /* the runtime */
    ISAN__TRAVERSE_NONE,                    /* nothing: its type takes no part in garbage collection */
    ISAN__TRAVERSE_INHERITED,               /* tp_traverse of a static base type, which a heap type has inherited */
    ISAN__TRAVERSE_OWN,                     /* the extension type's own tp_traverse */
};

/* The extension's type among an object's type and its bases. */
struct isan__native_type {
    enum isan__traverse traverse;
    const char *address;
    struct isan__type_object type;
    size_t start;                           /* of its members: the end of the runtime's base */
};
void isan__find_native_type(struct isan__native_type *native, const void *type);

enum {
    ISAN__MAX_UNVISITED = 16,               /* members of a type */
    ISAN__MAX_WORDS = 512,                  /* of one instance, or of memory it points at */
};

/* What tp_traverse of a type's instances visits. */
struct isan__type_visits {
    const void *type;                       /* of the instances */
    const void *traverse;
    size_t start, end, itemsize;            /* of the members */
    uint32_t n_instances;
    bool heap;                              /* it has to visit its type */
    bool managed_dict;                      /* it has to visit the managed dictionary */
    bool misses_type, misses_dict;
    bool tracked, untracked;                /* there was such an instance */
    uint32_t n_unvisited, unvisited[ISAN__MAX_UNVISITED];     /* offsets */
    uint64_t visited[ISAN__MAX_WORDS / 64];       /* bits: the words at which an instance showed something */
};

/* What the survey of a slot's interpreter found about the type.  NULL: nothing, or the type has
 * another tp_traverse now. */
const struct isan__type_visits *isan__survey_find(isan__slot_t slot, const void *type, const void *traverse);

/* Bytes to scan of the memory that a word refers to; 0: it is an object, or it is not the
 * interpreter's. */
size_t isan__referred_memory_size(isan__slot_t slot, uint64_t word);
/* Finds an object for which `is` holds: the one that this word of the instance at op refers to, or
 * one that a word of the memory there refers to.  Only objects that the collector can track count.
 * NULL: there is none. */
typedef bool isan__object_predicate(const char *op, const char *object, void *arg);
const char *isan__find_referred(isan__slot_t slot, const char *op, uint64_t word, isan__object_predicate *is,
    void *arg);
/* The offset at which the scan of an instance of `end` bytes ends. */
size_t isan__scan_end(const char *op, size_t end);

#endif
