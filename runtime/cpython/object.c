/* Objects of CPython, recognised and read: see object.h.
 *
 * Recognition by content can be wrong.  This is all of it in isan:
 *
 *   what                         since   how it can be wrong
 *   isan__may_be_object          3.11    memory with a small number, and an aligned address after it
 *   isan__is_object              3.11    memory with a small number, and the address of a type after it
 *   isan__keys_at                3.11    memory that begins with four plausible numbers
 *   isan__is_interned_table      3.11    a dictionary of 512 strings and more, each key its own value
 *   isan__is_dict_hash           3.11    memory that isan__keys_at takes for a table: a pointer in it is missed
 *   isan__is_word_in_use         3.11    a list or dictionary that another interpreter changes just now
 *   isan__prefixed_values_block  3.11,   a pointer into any block, if the byte before it is the distance to
 *                                3.12    the start of that block
 *   isan__is_in_gc_list          3.11    two words before an object that are links to memory with a link back
 *   isan__is_module_copy         3.11    no case known: the type of the definition is compared
 *   isan__is_type_slot           3.11    a struct with &PyType_Type as its second word
 *   isan__is_arg_parser_cache    3.11    a struct like _PyArg_Parser with the same first string
 *
 * These need owner tags or modules, too, so they are in other files:
 *
 *   isan__recognise_object       3.11    core/block.c: as isan__is_object, at each place in a block where an
 *                                        object can begin; a PyGC_Head may look like an object
 *   isan__is_of_static_type      3.11    core/block.c: no case known; types are compared
 *   find_interned_dict           3.12    detect/immortal.c: the first dictionary with an interned table in the
 *                                        main interpreter's state; another such dictionary before it
 *   static types                 3.11    detect/static_scan.c: a struct with plausible tp_flags, tp_basicsize and
 *                                        tp_mro, and a metatype as its second word
 *   _import_state                3.12    detect/static_scan.c: any pointer to that struct in the first 16 KiB of
 *                                        an interpreter's state
 *   malloc's chunks              3.11    detect/indirect_holder.c: memory with a plausible size before it
 *   interior pointers            3.11    detect/refgraph.c: raw memory is known by an object's pointer into it if
 *                                        nothing points at its start; that pointer may be an old one
 *   isan__reference_count        3.11    detect/gc_visibility.c, for gc_fini_untrack: in 3.11 an object that was
 *                                only    never tracked is taken for one that the end of its interpreter untracked
 */
#include "runtime/cpython/object.h"

struct isan__object_head
isan__object_head(const char *op, bool stable)
{
    struct isan__object_head h = { 0, NULL, 0 };
    if (!isan__read(&h.count, op, sizeof h.count, stable)
        || !isan__read(&h.type, op + ISAN__OB_TYPE, sizeof h.type, stable)
        || (h.type == isan__py.unicode_type
            && !isan__read(&h.state, op + isan__py.unicode_state, sizeof h.state, stable))) {
        h.type = NULL;
    }
    return h;
}

bool
isan__is_str(const void *op)
{
    const struct isan__object_head h = isan__object_head(op, false);
    return isan__head_is_str(&h);
}

bool
isan__type_name(const void *op, char *name, size_t size)
{
    const char *type, *tp_name;
    name[0] = 0;
    return isan__peek(&type, (const char *)op + ISAN__OB_TYPE, sizeof type)
        && isan__peek(&tp_name, type + isan__py.type_name, sizeof tp_name)
        && isan__peek_string(name, tp_name, size)
        && name[0] != 0;
}

void
isan__type_name_or_unknown(const void *op, char *name, size_t size)
{
    if (!isan__type_name(op, name, size)) {
        strcpy(name, "?");
    }
}

/* Include/cpython/unicodeobject.h: state has interned:2, kind:3, compact:1, ascii:1. */
void
isan__copy_str(char *to, size_t size, const char *str, bool stable)
{
    uint32_t state;
    int64_t length;
    to[0] = 0;
    if (!isan__read(&state, str + isan__py.unicode_state, sizeof state, stable)
        || !isan__read(&length, str + isan__py.unicode_length, sizeof length, stable)
        || !(state >> 5 & 1)) {
        return;                             /* not compact: a subclass's; no name of code is one */
    }
    unsigned kind = state >> 2 & 7;
    const char *data = str + isan__py.unicode_ascii + (state >> 6 & 1 ? 0 : isan__py.unicode_header);
    size_t n = 0;
    for (int64_t i = 0; i < length && n + 5 < size; i++) {
        uint32_t c = 0;
        if (kind > sizeof c || !isan__read(&c, data + (size_t)i * kind, kind, stable)) {
            break;
        }
        if (c < 0x80) {
            to[n++] = (char)c;
        }
        else {
            int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
            static const unsigned char lead[] = { 0, 0xc0, 0xe0, 0xf0 };
            to[n++] = (char)(lead[more] | c >> (6 * more));
            while (more-- > 0) {
                to[n++] = (char)(0x80 | (c >> (6 * more) & 0x3f));
            }
        }
    }
    to[n] = 0;
}

bool
isan__keys_at(struct isan__keys *keys, const char *table, bool stable)
{
    enum { DK_MOST = 48 };                  /* log2 of more bytes than there are addresses for */
    struct {
        int64_t refcnt;
        uint8_t log2_size, log2_index_bytes, kind;
        int64_t usable, nentries;
    } head;
    if (table == NULL || !isan__read(&head, table, sizeof head, stable) || head.kind > ISAN__DK_SPLIT
        || head.log2_index_bytes >= DK_MOST || head.nentries < 0
        || (uint64_t)head.nentries > 1ull << head.log2_index_bytes) {
        return false;
    }
    keys->key = head.kind == ISAN__DK_GENERAL ? 8 : 0;      /* after the hash */
    keys->entry_size = keys->key + 16;
    keys->entries = table + ISAN__DK_INDICES + (1ull << head.log2_index_bytes);
    keys->n = (uint64_t)head.nentries;
    keys->users = head.refcnt;
    keys->split = head.kind == ISAN__DK_SPLIT;
    return true;
}

/* In the dictionary of interned strings every key is its own value, and it is the only such
 * dictionary that is long.  The strings may be freed by now. */
bool
isan__is_interned_table(const char *block, size_t size)
{
    enum { FEW = 512 };
    struct isan__keys keys;
    const void *entry[2];
    if (size < FEW * sizeof entry || !isan__keys_at(&keys, block, true) || keys.key != 0 || keys.n < FEW
        || keys.entries > block + size || keys.n > (size_t)(block + size - keys.entries) / sizeof entry) {
        return false;
    }
    for (uint64_t i = 0; i < keys.n; i++) {
        memcpy(entry, keys.entries + i * sizeof entry, sizeof entry);
        if (entry[0] != entry[1]) {
            return false;
        }
    }
    return true;
}

/* The hash of an int is the int itself, which may be the address of an object. */
bool
isan__is_dict_hash(const char *table, size_t size, size_t at, bool stable)
{
    struct isan__keys keys;
    if (size < ISAN__DK_SMALLEST || !isan__keys_at(&keys, table, stable)) {
        return false;
    }
    size_t entries = (size_t)(keys.entries - table);
    return keys.key != 0 && keys.n <= size / keys.entry_size && entries + keys.n * keys.entry_size <= size
        && at >= entries && (at - entries) % keys.entry_size == 0;
}

bool
isan__is_word_in_use(const char *op, const char *memory, size_t at)
{
    struct { uint64_t count; const void *type; uint64_t size; const char *items; } list;
    _Static_assert(offsetof(__typeof__(list), items) == ISAN__LIST_ITEMS, "PyListObject");
    struct isan__keys keys;
    if (!isan__peek(&list, op, sizeof list)) {
        return false;
    }
    unsigned long flags = isan__type_flags(list.type);
    if (flags & ISAN__TYPE_LIST && list.items == memory) {
        return at / sizeof(void *) < list.size;
    }
    if (flags & ISAN__TYPE_DICT && isan__keys_at(&keys, memory, false)) {
        return memory + at >= keys.entries && at < (size_t)(keys.entries - memory) + keys.n * keys.entry_size;
    }
    return true;
}

/* The last byte of the prefix is its length; in 3.12 the pointer is 1 less, as a mark
 * (Objects/dictobject.c, new_values). */
const char *
isan__prefixed_values_block(uint64_t word)
{
    uint64_t values = (word + 1) & ~(uint64_t)1;
    uint8_t prefix;
    return values % 8 == 0
        && isan__peek(&prefix, (const char *)values - 1, 1) && prefix % 8 == 0 ? (const char *)values - prefix : NULL;
}

bool
isan__is_in_gc_list(const char *op)
{
    const uint64_t marks = ISAN__GC_LINK_MARKS;
    uint64_t next = isan__gc_next(op), prev;
    return isan__peek(&prev, (const char *)(next & ~marks) + (ISAN__GC_PREV - ISAN__GC_NEXT), sizeof prev)
        && (prev & ~marks) == (uint64_t)(op + ISAN__GC_NEXT);
}

/* Is there a type at `type`?  Its own type says so. */
static bool
is_type(const char *type)
{
    const char *meta;
    return isan__is_user_address((uintptr_t)type) && (uintptr_t)type % sizeof(void *) == 0
        && isan__peek(&meta, type + ISAN__OB_TYPE, sizeof meta)
        && isan__is_user_address((uintptr_t)meta) && (uintptr_t)meta % sizeof(void *) == 0
        && (isan__type_flags(meta) & ISAN__TYPE_TYPE) != 0;
}

/* The second word must be the address of a type, and the type's size must fit.  The first word
 * must not be the address of a type.  In a table of types, such as datetime's C API
 * (Modules/_datetimemodule.c, get_datetime_capi), an address in an executable at a low address
 * would pass for a count. */
bool
isan__is_object(const char *op, size_t size, bool dead, bool stable)
{
    struct { uint64_t count; const char *type; } head;
    const char *name;
    int64_t basicsize;
    char first;
    /* Unless it is stable, its owner may be freeing the memory now. */
    if (size < sizeof head || !isan__read(&head, op, sizeof head, stable)) {
        return false;
    }
    if (!isan__is_count(dead ? head.count | 1 : head.count)) {
        return false;
    }
    return is_type(head.type) && !is_type((const char *)head.count)
        && isan__peek(&basicsize, head.type + ISAN__TP(basicsize), sizeof basicsize)
        && basicsize >= ISAN__OB_HEAD
        /* That of str is of the longest kind (PyUnicodeObject), which is rare. */
        && (uint64_t)(head.type == isan__py.unicode_type ? isan__py.unicode_ascii : basicsize) <= size
        && (isan__runtime_has((uintptr_t)head.type)
            || (isan__peek(&name, head.type + isan__py.type_name, sizeof name)
                && isan__peek(&first, name, 1) && first != 0));
}

/* Is the word the member at this offset of an object of this type, in the data of a module? */
static bool
is_member_of(uint64_t where, size_t offset, const void *type)
{
    const void *is;
    return isan__peek(&is, (const char *)where - offset + ISAN__OB_TYPE, sizeof is) && is == type;
}

bool
isan__is_module_copy(uint64_t where)
{
    return is_member_of(where, ISAN__M_COPY, isan__py.module_def_type);
}

bool
isan__is_type_slot(uint64_t where)
{
    static const size_t members[] = {
        ISAN__TP(base), ISAN__TP(dict), ISAN__TP(bases), ISAN__TP(mro), ISAN__TP(cache),
        ISAN__TP(subclasses), ISAN__TP(weaklist),
    };
    bool found = false;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        found |= is_member_of(where, members[i], isan__py.type_type);
    }
    return found;
}

/* _PyArg_Parser.kwtuple is a tuple of the names in .keywords that are not empty. */
bool
isan__is_arg_parser_cache(uint64_t where, const void *op)
{
    const char *parser = (const char *)where - isan__py.arg_parser_kwtuple, *const *keywords, *name, *first;
    char wanted[64], is[64];
    if (!isan__peek(&keywords, parser + ISAN__ARG_PARSER_KEYWORDS, sizeof keywords)) {
        return false;
    }
    do {                                    /* empty ones are positional only */
        if (!isan__peek(&name, keywords++, sizeof name)
            || !isan__peek_string(wanted, name, sizeof wanted)) {
            return false;
        }
    } while (wanted[0] == 0);
    return isan__peek(&first, (const char *)op + isan__py.tuple_items, sizeof first)
        && isan__peek_string(is, first + isan__py.unicode_ascii, sizeof is)
        && strcmp(is, wanted) == 0;
}
