/* Names a reference by what a programmer knows it by: index, key, attribute, C member.
 * The object may belong to any thread, so it is read with isan__peek().
 *
 * Each kind of container has a function that names a reference of its own and says whether
 * it did; isan__name_reference() tries them in the order of `kinds`.
 */
#include "runtime/cpython/reference_name.h"

#include "runtime/base/log_format.h"
#include "runtime/base/scan.h"
#include "runtime/cpython/object.h"

enum { BASES = 64 };

/* The reference that is to be named. */
struct reference {
    const char *from;                       /* the object */
    const char *memory;                     /* that has the pointer; NULL: the object itself has it */
    ptrdiff_t at;                           /* offset of the pointer in that */
    const char *where;                      /* the pointer */
    const char *type_at;
    struct isan__type_object type;          /* a copy of what is at type_at */
    struct isan__reference_name *name;
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

/* The name is this kind of edge, this number, and the text of `key` if that is a str. */
static void
set_name(struct reference *r, enum isan_edge edge, uint64_t offset, const char *key)
{
    r->name->edge = edge;
    r->name->offset = offset;
    if (key != NULL && pointer_at(key + ISAN__OB_TYPE) == isan__py.unicode_type) {
        isan__copy_str(r->name->label, sizeof r->name->label, key, false);
    }
}

/* The index of the pointer in the array at `start` of n elements of `size` bytes; -1: it is not in
 * it. */
static int64_t
index_in(const struct reference *r, const char *start, size_t size, int64_t n)
{
    int64_t i = start == NULL || r->where < start ? -1 : (r->where - start) / (int64_t)size;
    return i < n ? i : -1;
}

/* The pointer is in the array of the values of a dictionary or instance.  The keys of a
 * table are their names. */
static bool
name_value(struct reference *r, const char *values, const char *table)
{
    struct isan__keys keys;
    int64_t i = isan__keys_at(&keys, table, false)
        ? index_in(r, values, sizeof(void *), (int64_t)keys.n) : -1;
    if (i >= 0) {
        set_name(r, ISAN_EDGE_ATTRIBUTE, (uint64_t)i,
                 pointer_at(keys.entries + (size_t)i * keys.entry_size + keys.key));
    }
    return i >= 0;
}

static bool
name_item(struct reference *r, const char *items)
{
    int64_t n, i = isan__peek(&n, r->from + ISAN__OB_SIZE, sizeof n)
        ? index_in(r, items, sizeof(void *), n) : -1;
    if (i >= 0) {
        set_name(r, ISAN_EDGE_ITEM, (uint64_t)i, NULL);
    }
    return i >= 0;
}

/* --- the kinds of container ------------------------------------------------------------ */

static bool
name_type(struct reference *r)
{
    if (r->memory == NULL && r->at == ISAN__OB_TYPE) {
        r->name->edge = ISAN_EDGE_TYPE;
        return true;
    }
    return false;
}

static bool
name_list_item(struct reference *r)
{
    return r->type.flags & ISAN__TYPE_LIST && r->memory != NULL
        && r->memory == pointer_at(r->from + ISAN__LIST_ITEMS) && name_item(r, r->memory);
}

static bool
name_tuple_item(struct reference *r)
{
    return r->type.flags & ISAN__TYPE_TUPLE && r->memory == NULL && name_item(r, r->from + isan__py.tuple_items);
}

static bool
name_dict_entry(struct reference *r)
{
    if (!(r->type.flags & ISAN__TYPE_DICT) || r->memory == NULL) {
        return false;
    }
    const char *table = pointer_at(r->from + ISAN__MA_KEYS);
    const char *values = pointer_at(r->from + ISAN__MA_VALUES);
    struct isan__keys keys;
    if (values != NULL) {
        return name_value(r, values + isan__py.values_header, table);
    }
    int64_t i = isan__keys_at(&keys, table, false)
        ? index_in(r, keys.entries, keys.entry_size, (int64_t)keys.n) : -1;
    if (i < 0) {
        return false;
    }
    const char *key = keys.entries + (size_t)i * keys.entry_size + keys.key;
    if (r->where == key) {
        set_name(r, ISAN_EDGE_KEY, (uint64_t)i, NULL);
    }
    else {
        set_name(r, ISAN_EDGE_VALUE, (uint64_t)i, pointer_at(key));
    }
    return true;
}

/* The values of an instance's attributes: until 3.12 memory that it points at, later part of it
 * (Include/internal/pycore_object.h, _PyObject_InlineValues). */
static bool
name_instance_attribute(struct reference *r)
{
    const char *values = NULL;
    if (!isan__py.values_prefixed) {
        if (r->type.flags & ISAN__TYPE_INLINE_VALUES) {
            values = r->from + r->type.basicsize + isan__py.values_header;
        }
    }
    else if (r->type.flags & ISAN__TYPE_MANAGED_DICT && r->memory != NULL) {
        uintptr_t p = (uintptr_t)pointer_at(r->from + isan__py.values_pointer);
        values = !isan__py.has_dict_or_values || p & 1 ? (const char *)((p + 1) & ~(uintptr_t)1) : NULL;
    }
    const char *table = pointer_at(r->type_at + isan__py.type_cached_keys);
    return values != NULL && r->type.flags & ISAN__TYPE_HEAP && name_value(r, values, table);
}

static bool
name_set_member(struct reference *r)
{
    if (!has_base(r->type_at, isan__py.set_type) && !has_base(r->type_at, isan__py.frozenset_type)) {
        return false;
    }
    int64_t i = -1;
    if (r->memory == NULL) {
        i = index_in(r, r->from + ISAN__SET_SMALL, ISAN__SET_ENTRY,
                     (ISAN__SET_SMALL_END - ISAN__SET_SMALL) / ISAN__SET_ENTRY);
    }
    else if (r->memory == pointer_at(r->from + ISAN__SET_TABLE)) {
        i = index_in(r, r->memory, ISAN__SET_ENTRY, INT64_MAX);
    }
    if (i >= 0) {
        set_name(r, ISAN_EDGE_KEY, (uint64_t)i, NULL);
    }
    return i >= 0;
}

/* The offset of an instance's own pointer to its dictionary; 0 or less: it has none after
 * its head (Objects/object.c, _PyObject_DictPointer). */
static ptrdiff_t
dict_offset(const struct reference *r)
{
    int64_t n;
    if (r->type.dictoffset >= 0 || r->type.itemsize == 0
        || !isan__peek(&n, r->from + ISAN__OB_SIZE, sizeof n)) {
        return r->type.dictoffset;
    }
    /* It counts from the end; the size of an int is negative if the int is (3.11). */
    return ((r->type.basicsize + r->type.itemsize * (n < 0 ? -n : n) + 7) & ~(ptrdiff_t)7)
        + r->type.dictoffset;
}

static bool
name_own_dict(struct reference *r)
{
    bool managed = r->at == ISAN__MANAGED_DICT && r->type.flags & ISAN__TYPE_MANAGED_DICT;
    if (r->memory != NULL || !(r->at > 0 ? r->at == dict_offset(r) : managed)) {
        return false;
    }
    r->name->edge = ISAN_EDGE_ATTRIBUTE;
    strcpy(r->name->label, "__dict__");
    return true;
}

/* The word of the object that points at the memory. */
struct member { const char *memory; size_t at; };

static bool
is_other_word(size_t at, uint64_t word, void *arg)
{
    struct member *member = arg;
    if (word == (uint64_t)member->memory) {
        member->at = at;
    }
    return member->at == 0;
}

/* A C member.  A reference from memory has the name of the member that points at the memory. */
static bool
name_member(struct reference *r)
{
    ptrdiff_t at = r->at;
    if (r->memory != NULL) {
        struct member member = { r->memory, 0 };
        if (r->type.basicsize > ISAN__OB_SIZE) {
            isan__scan_unstable(r->from, (size_t)r->type.basicsize, is_other_word, &member);
        }
        r->name->edge = ISAN_EDGE_MEMORY;
        r->name->offset = member.at;
        at = (ptrdiff_t)member.at;
    }
    isan__member_name(r->name->member, sizeof r->name->member, r->type_at, at);
    return true;
}

static bool (*const kinds[])(struct reference *) = {
    name_type, name_list_item, name_tuple_item, name_dict_entry, name_instance_attribute, name_set_member,
    name_own_dict, name_member,
};

void
isan__name_reference(const char *from, const char *memory, ptrdiff_t at, struct isan__reference_name *edge)
{
    struct reference r = {
        .from = from, .memory = memory, .at = at, .where = (memory ? memory : from) + at,
        .type_at = from == NULL ? NULL : pointer_at(from + ISAN__OB_TYPE), .name = edge,
    };
    memset(edge, 0, sizeof *edge);
    edge->edge = ISAN_EDGE_FIELD;
    edge->offset = (uint64_t)at;
    if (!isan__read_type(&r.type, r.type_at)) {
        return;
    }
    edge->basicsize = (uint32_t)r.type.basicsize;
    edge->code = (uint64_t)r.type.dealloc;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !kinds[i](&r); i++) {
    }
}
