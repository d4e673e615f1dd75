/* Objects of CPython, recognised and read: see object.h.
 *
 * Recognition by content can be wrong.  This is all of it:
 *
 *   what                          since  how it can be wrong
 *   isan__is_object               3.11   memory that has the address of a type where an object has it,
 *                                        and a small number before it
 *   isan__is_interned_table       3.11   a dictionary of 512 strings and more, each key its own value
 *   isan__is_module_copy          3.11   no case known: the type of the definition is compared
 *   isan__is_type_slot            3.11   a struct whose second word is &PyType_Type
 *   isan__is_arg_parser_cache     3.11   a struct like _PyArg_Parser with the same first string
 *   isan__keys_at                 3.11   memory that begins with four plausible numbers
 */
#include "runtime/cpython/object.h"

struct isan__object_head
isan__object_head(const char *op, bool stable)
{
    struct isan__object_head h = { 0, NULL, 0 };
    if (!isan__read(&h.count, op, sizeof h.count, stable)
        || !isan__read(&h.type, op + 8, sizeof h.type, stable)
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

/* Include/object.h: ob_refcnt is 8 bytes, then ob_type. */
bool
isan__type_name(const void *op, char *name, size_t size)
{
    const char *type, *tp_name;
    name[0] = 0;
    return isan__peek(&type, (const char *)op + 8, sizeof type)
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

/* Include/internal/pycore_dict.h, struct _dictkeysobject: the same in all
 * releases.  DK_INDICES: the size of what is before the indices, which are
 * before the entries. */
bool
isan__keys_at(struct isan__keys *keys, const char *table, bool stable)
{
    enum { DK_INDICES = 32, DK_GENERAL = 0, DK_MOST = 48 };
    struct {
        int64_t refcnt;
        uint8_t log2_size, log2_index_bytes, kind;
        int64_t usable, nentries;
    } head;
    if (table == NULL || !isan__read(&head, table, sizeof head, stable) || head.kind > 2
        || head.log2_index_bytes >= DK_MOST || head.nentries < 0
        || (uint64_t)head.nentries > 1ull << head.log2_index_bytes) {
        return false;
    }
    keys->key = head.kind == DK_GENERAL ? 8 : 0;    /* after the hash */
    keys->entry_size = keys->key + 16;
    keys->entries = table + DK_INDICES + (1ull << head.log2_index_bytes);
    keys->n = (uint64_t)head.nentries;
    return true;
}

/* The table of a dictionary (Include/internal/pycore_dict.h, struct
 * _dictkeysobject) in which every key is its own value, and which is as long as
 * only that of interned strings is then.  The strings may be freed by now. */
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

/* Is there a type at `type`?  The type of that says so. */
static bool
is_type(const char *type)
{
    const char *meta;
    unsigned long flags;
    return (uintptr_t)type >= 4096 && (uintptr_t)type % 8 == 0
        && isan__peek(&meta, type + 8, sizeof meta)
        && (uintptr_t)meta >= 4096 && (uintptr_t)meta % 8 == 0
        && isan__peek(&flags, meta + isan__py.type_flags, sizeof flags)
        && (flags & ISAN__TYPE_TYPE) != 0;
}

/* Is there a PyObject at op?  Its type must be one, and its size must fit.  In a
 * table of types, such as that of datetime's C API (Modules/_datetimemodule.c,
 * get_datetime_capi), the one before would be the count, which the address of a
 * type in an executable at a low address could be. */
bool
isan__is_object(const char *op, size_t size, bool dead, bool stable)
{
    struct { uint64_t count; const char *type; } head;
    const char *name;
    int64_t basicsize;
    char first;
    /* Unless it is stable, its owner may be giving the memory back just now. */
    if (size < sizeof head || !isan__read(&head, op, sizeof head, stable)) {
        return false;
    }
    if (!isan__is_count(dead ? head.count | 1 : head.count)) {
        return false;
    }
    return is_type(head.type) && !is_type((const char *)head.count)
        && isan__peek(&basicsize, head.type + offsetof(struct isan__type_object, basicsize), sizeof basicsize)
        && basicsize >= 16
        /* That of str is of the longest kind (PyUnicodeObject), which is rare. */
        && (uint64_t)(head.type == isan__py.unicode_type ? isan__py.unicode_ascii : basicsize) <= size
        && (isan__runtime_has((uintptr_t)head.type)
            || (isan__peek(&name, head.type + isan__py.type_name, sizeof name)
                && isan__peek(&first, name, 1) && first != 0));
}

/* Is the word the field at this offset of an object of this type, which is in
 * the module's data? */
static bool
is_field(uint64_t where, size_t offset, const void *type)
{
    const void *is;
    return isan__peek(&is, (const char *)where - offset + 8, sizeof is) && is == type;
}

bool
isan__is_module_copy(uint64_t where)
{
    enum { M_COPY = 32 };                   /* Include/moduleobject.h: PyModuleDef_Base */
    return is_field(where, M_COPY, isan__py.module_def_type);
}

bool
isan__is_type_slot(uint64_t where)
{
    /* Include/cpython/object.h: tp_base, tp_dict; tp_bases, tp_mro, tp_cache,
     * tp_subclasses, tp_weaklist; the same in all releases. */
    static const size_t fields[] = { 256, 264, 336, 344, 352, 360, 368 };
    bool found = false;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        found |= is_field(where, fields[i], isan__py.type_type);
    }
    return found;
}

/* Is the word _PyArg_Parser.kwtuple (Include/cpython/modsupport.h), which holds
 * the tuple at op?  Its first string is then the first name of .keywords. */
bool
isan__is_arg_parser_cache(uint64_t where, const void *op)
{
    enum { KEYWORDS = 8 };
    size_t kwtuple = isan__py.one_gil ? 48 : 56;
    const char *parser = (const char *)where - kwtuple, *const *keywords, *name, *first;
    char wanted[64], is[64];
    if (!isan__peek(&keywords, parser + KEYWORDS, sizeof keywords)) {
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
