/* Objects of CPython, recognised and read.  Their owner may free them at any moment,
 * so they are read with isan__peek(), unless the caller knows that they are stable. */
#ifndef ISAN_CPYTHON_OBJECT_H
#define ISAN_CPYTHON_OBJECT_H

#include "runtime/cpython/layout.h"

/* Does what is where an object has its count say that it is alive?  A count on
 * the heap is less than 2^32, and 3.14 keeps flags in the uppermost 16 bits
 * (Include/refcount.h); an object in a free list has none, or a link there
 * (Include/internal/pycore_freelist.h). */
static inline bool
isan__is_count(uint64_t count)
{
    return (count >> 32 & 0xffff) == 0 && (uint32_t)count != 0;
}
/* The table of a dictionary: n entries, used or not, of entry_size bytes, the
 * key `key` bytes from their start, the value after it. */
struct isan__keys {
    const char *entries;
    size_t entry_size, key;
    uint64_t n;
};
bool isan__keys_at(struct isan__keys *keys, const char *table, bool stable);  /* false: it is none */

/* The type name of an object that may be damaged; false if it makes no sense. */
bool isan__type_name(const void *op, char *name, size_t size);
/* The same; "?" if it makes no sense. */
void isan__type_name_or_unknown(const void *op, char *name, size_t size);
/* A str as UTF-8, cut to fit; "": it cannot be read. */
void isan__copy_str(char *to, size_t size, const char *str, bool stable);

/* The start of an object, as the rules ask for it. */
struct isan__object_head {
    int32_t count;                          /* the low half of ob_refcnt */
    const void *type;                       /* NULL: it could not be read */
    uint32_t state;                         /* of a str */
};
struct isan__object_head isan__object_head(const char *op, bool stable);
static inline bool
isan__is_immortal(const struct isan__object_head *h)
{
    return h->count < 0;                    /* _Py_IsImmortal, 64-bit */
}
static inline bool
isan__head_is_str(const struct isan__object_head *h)
{
    return h->type == isan__py.unicode_type;
}
static inline bool
isan__is_interned(const struct isan__object_head *h)
{
    return isan__head_is_str(h) && (h->state & 3) != 0;
}
bool isan__is_str(const void *op);

/* Is there an object at op, of at most `size` bytes?  `dead`: its count may be 0. */
bool isan__is_object(const char *op, size_t size, bool dead, bool stable);

/* Content heuristics; object.c has a table of them. */
bool isan__is_interned_table(const char *block, size_t size);
bool isan__is_module_copy(uint64_t where);          /* m_copy of a PyModuleDef */
bool isan__is_type_slot(uint64_t where);            /* what PyType_Ready fills in */
bool isan__is_arg_parser_cache(uint64_t where, const void *op);

#endif
