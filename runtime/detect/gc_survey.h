/* What tp_traverse of extension types visits, asked while their interpreter still runs. */
#ifndef ISAN_DETECT_GC_SURVEY_H
#define ISAN_DETECT_GC_SURVEY_H

#include "runtime/core/events.h"
#include "runtime/cpython/layout.h"

/* The interpreter begins to end, on this thread: calls tp_traverse of instances of each extension type. */
void isan__survey_traverse(isan__slot_t slot);
void isan__survey_forget(isan__slot_t slot);
void isan__survey_interp_ended(struct isan__interp_end *end);   /* subscriber of interp_ends */

/* Who visits the C members of an instance: the runtime; nothing, as its type takes no part in
 * garbage collection; tp_traverse of a static base type, which its heap type has inherited; its
 * extension type's own tp_traverse. */
enum isan__traverse {
    ISAN__TRAVERSE_BY_RUNTIME, ISAN__TRAVERSE_NONE, ISAN__TRAVERSE_INHERITED, ISAN__TRAVERSE_OWN,
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

/* What the survey of a slot's interpreter found of the type, if it still has this tp_traverse; or
 * NULL. */
const struct isan__type_visits *isan__survey_find(isan__slot_t slot, const void *type, const void *traverse);

/* How many bytes to scan of the memory that a word refers to; 0: it is an object, or nothing of
 * the interpreter's. */
size_t isan__referred_memory_size(isan__slot_t slot, uint64_t word);
/* The object for which `is` holds that this word of the instance at op refers to, or a word of the
 * memory that it refers to; or NULL.  Only objects that the collector can track. */
typedef bool isan__object_predicate(const char *op, const char *object, void *arg);
const char *isan__find_referred(isan__slot_t slot, const char *op, uint64_t word, isan__object_predicate *is,
    void *arg);
/* The end of what is scanned of an instance that ends there. */
size_t isan__scan_end(const char *op, size_t end);

#endif
