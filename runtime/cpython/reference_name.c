/* What a reference is called: the index, key or attribute that a programmer
 * knows it by.  The object may be any thread's, so it is read with care.
 *
 * The layouts are those of Include/cpython/listobject.h, tupleobject.h,
 * setobject.h and dictobject.h, and of the tables of dictionaries and the values
 * of instances in Include/internal/pycore_dict.h.
 */
#include "runtime/cpython/reference_name.h"

#include "runtime/base/log_format.h"
#include "runtime/cpython/object.h"

enum {
    OB_TYPE = 8, OB_SIZE = 16,
    LIST_ITEMS = 24,
    SET_TABLE = 40, SET_SMALL = 64, SET_SMALL_END = 192, SET_ENTRY = 16,
    DICT_VALUES = 40,
    BASES = 64,
};

/* Asked of one reference. */
struct of {
    const char *from, *where, *memory;      /* the object, the pointer, the block it is in */
    const char *type_at;
    struct isan__type_object type;
    struct isan__reference_name *edge;
};

static const char *
pointer_at(const char *at)
{
    const char *p;
    return isan__peek(&p, at, sizeof p) ? p : NULL;
}

void
isan__member_name(char *name, size_t size, const void *type, ptrdiff_t at)
{
    /* Include/descrobject.h, PyMemberDef */
    struct { const char *name; int type; int64_t offset; int flags; const char *doc; } member;
    enum { RELATIVE = 8, MAX_MEMBERS = 4096 };
    struct isan__type_object t;
    name[0] = 0;
    for (int i = 0; i < BASES && isan__read_type(&t, type); i++, type = t.base) {
        for (int j = 0; j < MAX_MEMBERS && t.members != NULL; j++, t.members += sizeof member) {
            if (!isan__peek(&member, t.members, sizeof member) || member.name == NULL) {
                break;
            }
            if (member.offset == at && !(member.flags & RELATIVE)
                && !isan__peek_string(name, member.name, size)) {
                name[0] = 0;
            }
            if (name[0] != 0) {
                return;
            }
        }
    }
}

static bool
has_base(const void *type, const void *base)
{
    struct isan__type_object t;
    for (int i = 0; i < BASES && type != base; i++, type = t.base) {
        if (!isan__read_type(&t, type)) {
            return false;
        }
    }
    return type == base;
}

static void
name_it(struct of *of, enum isan_edge edge, uint64_t offset, const char *key)
{
    of->edge->edge = edge;
    of->edge->offset = offset;
    if (key != NULL && pointer_at(key + OB_TYPE) == isan__py.unicode_type) {
        isan__copy_str(of->edge->label, sizeof of->edge->label, key, false);
    }
}

/* The index in the array of `size` bytes each that starts at `start`; -1: it is
 * not of the n that there are. */
static int64_t
index_in(const struct of *of, const char *start, size_t size, int64_t n)
{
    int64_t i = start == NULL || of->where < start ? -1 : (of->where - start) / (int64_t)size;
    return i < n ? i : -1;
}

/* The pointer is one of a dictionary's or an instance's values, whose names are
 * the keys of a table. */
static bool
among_values(struct of *of, const char *values, const char *table)
{
    struct isan__keys keys;
    int64_t i = isan__keys_at(&keys, table, false)
        ? index_in(of, values, sizeof(void *), (int64_t)keys.n) : -1;
    if (i >= 0) {
        name_it(of, ISAN_EDGE_ATTRIBUTE, (uint64_t)i,
                pointer_at(keys.entries + (size_t)i * keys.entry_size + keys.key));
    }
    return i >= 0;
}

static bool
in_dict(struct of *of)
{
    const char *table = pointer_at(of->from + ISAN__MA_KEYS);
    const char *values = pointer_at(of->from + DICT_VALUES);
    struct isan__keys keys;
    if (values != NULL) {
        return among_values(of, values + isan__py.values_header, table);
    }
    int64_t i = isan__keys_at(&keys, table, false)
        ? index_in(of, keys.entries, keys.entry_size, (int64_t)keys.n) : -1;
    if (i < 0) {
        return false;
    }
    const char *key = keys.entries + (size_t)i * keys.entry_size + keys.key;
    if (of->where == key) {
        name_it(of, ISAN_EDGE_KEY, (uint64_t)i, NULL);
    }
    else {
        name_it(of, ISAN_EDGE_VALUE, (uint64_t)i, pointer_at(key));
    }
    return true;
}

static bool
in_set(struct of *of)
{
    int64_t i = index_in(of, of->memory, SET_ENTRY, INT64_MAX);
    if (of->memory == NULL) {
        i = index_in(of, of->from + SET_SMALL, SET_ENTRY, (SET_SMALL_END - SET_SMALL) / SET_ENTRY);
    }
    else if (of->memory != pointer_at(of->from + SET_TABLE)) {
        i = -1;
    }
    if (i >= 0) {
        name_it(of, ISAN_EDGE_KEY, (uint64_t)i, NULL);
    }
    return i >= 0;
}

static bool
in_sequence(struct of *of, const char *items)
{
    int64_t n, i = isan__peek(&n, of->from + OB_SIZE, sizeof n)
        ? index_in(of, items, sizeof(void *), n) : -1;
    if (i >= 0) {
        name_it(of, ISAN_EDGE_ITEM, (uint64_t)i, NULL);
    }
    return i >= 0;
}

/* The attributes of an instance: in 3.11 and 3.12 it points at its values
 * (_PyObject_ValuesPointer, _PyDictOrValues_GetValues), later they are within it
 * (_PyObject_InlineValues). */
static bool
among_attributes(struct of *of)
{
    const char *values = NULL, *table;
    if (of->type.flags & ISAN__TYPE_INLINE_VALUES && !isan__py.values_prefixed) {
        values = of->from + of->type.basicsize + isan__py.values_header;
    }
    else if (of->type.flags & ISAN__TYPE_MANAGED_DICT && isan__py.values_prefixed
             && of->memory != NULL) {
        uintptr_t p = (uintptr_t)pointer_at(of->from + (isan__py.one_gil ? -32 : ISAN__MANAGED_DICT));
        values = isan__py.one_gil || p & 1 ? (const char *)((p + 1) & ~(uintptr_t)1) : NULL;
    }
    table = pointer_at(of->type_at + isan__py.type_cached_keys);
    return values != NULL && of->type.flags & ISAN__TYPE_HEAP && among_values(of, values, table);
}

/* Where an instance has its dictionary, if it has one of its own: 0 or less
 * than 0: nowhere after its head (Objects/object.c, _PyObject_DictPointer). */
static ptrdiff_t
dict_offset(const struct of *of)
{
    int64_t n;
    if (of->type.dictoffset >= 0 || of->type.itemsize == 0
        || !isan__peek(&n, of->from + OB_SIZE, sizeof n)) {
        return of->type.dictoffset;
    }
    /* From the end; a number's count of digits is less than 0. */
    return ((of->type.basicsize + of->type.itemsize * (n < 0 ? -n : n) + 7) & ~(ptrdiff_t)7)
        + of->type.dictoffset;
}

void
isan__name_reference(const char *from, const char *memory, ptrdiff_t at, struct isan__reference_name *edge)
{
    struct of of = { .from = from, .where = (memory ? memory : from) + at, .memory = memory,
                     .edge = edge };
    const char *type = from == NULL ? NULL : pointer_at(from + OB_TYPE);
    memset(edge, 0, sizeof *edge);
    edge->edge = ISAN_EDGE_FIELD;
    edge->offset = (uint64_t)at;
    if (!isan__read_type(&of.type, type)) {
        return;
    }
    of.type_at = type;
    edge->basicsize = (uint32_t)of.type.basicsize;
    edge->code = (uint64_t)of.type.dealloc;
    unsigned long flags = of.type.flags;
    if (memory == NULL && at == OB_TYPE) {
        edge->edge = ISAN_EDGE_TYPE;
        return;
    }
    if ((flags & ISAN__TYPE_LIST && memory != NULL
         && memory == pointer_at(from + LIST_ITEMS) && in_sequence(&of, memory))
        || (flags & ISAN__TYPE_TUPLE && memory == NULL
            && in_sequence(&of, from + isan__py.tuple_items))
        || (flags & ISAN__TYPE_DICT && memory != NULL && in_dict(&of))
        || among_attributes(&of)
        || ((has_base(type, isan__py.set_type) || has_base(type, isan__py.frozenset_type))
            && in_set(&of))) {
        return;
    }
    if (memory == NULL && (at > 0 ? at == dict_offset(&of)
                           : at == ISAN__MANAGED_DICT && flags & ISAN__TYPE_MANAGED_DICT)) {
        edge->edge = ISAN_EDGE_ATTRIBUTE;
        strcpy(edge->label, "__dict__");
        return;
    }
    if (memory != NULL) {
        /* Its name is that of what points at the memory. */
        edge->edge = ISAN_EDGE_MEMORY;
        edge->offset = 0;
        for (at = OB_SIZE; at + 8 <= of.type.basicsize && edge->offset == 0; at += 8) {
            if (pointer_at(from + at) == memory) {
                edge->offset = (uint64_t)at;
            }
        }
        at = (ptrdiff_t)edge->offset;
    }
    isan__member_name(edge->member, sizeof edge->member, type, at);
}
