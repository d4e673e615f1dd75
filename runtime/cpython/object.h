/* Objects of CPython, recognised and read.  Their owner may free them at any moment,
 * so they are read with isan__peek(), unless the caller knows that they are stable. */
#ifndef ISAN_CPYTHON_OBJECT_H
#define ISAN_CPYTHON_OBJECT_H

#include "runtime/cpython/layout.h"

/* Is this the reference count of an object that is alive?  A count on the heap is less
 * than 2^32, and 3.14 keeps flags in the uppermost 16 bits (Include/refcount.h).  An
 * object in a free list has the count 0, or a link there
 * (Include/internal/pycore_freelist.h). */
static inline bool
isan__is_count(uint64_t count)
{
    return (count >> 32 & 0xffff) == 0 && (uint32_t)count != 0;
}

/* A quick first test for isan__is_object(), which reads nothing but the head at op.  Most memory
 * that is no object fails it.  `op` is readable. */
static inline bool
isan__may_be_object(const char *op)
{
    uint64_t count, type;
    memcpy(&count, op, sizeof count);
    memcpy(&type, op + ISAN__OB_TYPE, sizeof type);
    return isan__is_count(count) && isan__is_user_address(type) && type % sizeof(void *) == 0;
}

/* The table of a dictionary: n entries, used or not, of entry_size bytes.  The
 * key is `key` bytes from the start of an entry, the value is after it. */
struct isan__keys {
    const char *entries;
    size_t entry_size, key;
    uint64_t n;
    int64_t users;                          /* dictionaries and types that use the table */
    bool split;                             /* its values are elsewhere, one array for each instance */
};
bool isan__keys_at(struct isan__keys *keys, const char *table, bool stable);  /* false: it is none */

/* The type name of an object that may be damaged; false if it makes no sense. */
bool isan__type_name(const void *op, char *name, size_t size);
/* The same; "?" if it makes no sense. */
void isan__type_name_or_unknown(const void *op, char *name, size_t size);
/* A str as UTF-8, cut to fit; "": it cannot be read. */
void isan__copy_str(char *to, size_t size, const char *str, bool stable);
/* tp_flags; 0: it cannot be read. */
static inline unsigned long
isan__type_flags(const void *type)
{
    unsigned long flags = 0;
    isan__peek(&flags, (const char *)type + isan__py.type_flags, sizeof flags);
    return flags;
}
/* The items of a list that is readable, and how many there are. */
static inline const char *
isan__list_items(const char *list, uint64_t *n)
{
    memcpy(n, list + ISAN__OB_SIZE, sizeof *n);
    return *(const char *const *)(list + ISAN__LIST_ITEMS);
}

/* The link to the next object in the collector's list.  The object is readable and has a PyGC_Head.
 * 0: it is not tracked. */
static inline uint64_t
isan__gc_next(const char *op)
{
    uint64_t next;
    memcpy(&next, op + ISAN__GC_NEXT, sizeof next);
    return next;
}

/* The start of an object, which the rules examine. */
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
    return isan__head_is_str(h) && (h->state & ISAN__STR_INTERNED) != 0;
}
bool isan__is_str(const void *op);

/* Content heuristics; object.c has a table of them. */

/* Is there an object at op, of at most `size` bytes?  `dead`: its count may be 0. */
bool isan__is_object(const char *op, size_t size, bool dead, bool stable);
/* Is this block the table of the dictionary of interned strings? */
bool isan__is_interned_table(const char *block, size_t size);
/* Is the word at `at` bytes from the start of this memory the hash of a dictionary's key? */
bool isan__is_dict_hash(const char *table, size_t size, size_t at, bool stable);
/* The object at op points at `memory`.  Is the word at `at` of that memory in use?  A list or
 * dictionary has more room than items, with old pointers in it. */
bool isan__is_word_in_use(const char *op, const char *memory, size_t at);
/* The block that has the values that the word points at, after a prefix (isan__py.values_prefixed).
 * NULL: the word is no pointer to values. */
const char *isan__prefixed_values_block(uint64_t word);
/* Is the object in the collector's list?  It is readable and has a PyGC_Head. */
bool isan__is_in_gc_list(const char *op);
/* Of the word at an address in the data of a module: */
bool isan__is_module_copy(uint64_t where);      /* is it m_copy of a PyModuleDef? */
bool isan__is_type_slot(uint64_t where);        /* is it a member of a static type that PyType_Ready sets? */
/* Is it the cache of argument names (_PyArg_Parser) that has the tuple at op? */
bool isan__is_arg_parser_cache(uint64_t where, const void *op);

#endif
