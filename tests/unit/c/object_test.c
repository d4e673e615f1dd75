/* runtime/cpython/object.c: objects, recognised and read. */
#include "runtime/cpython/object.h"

#include "python.h"

static bool
is_object(const void *op, size_t size, bool dead)
{
    bool is = isan__is_object(op, size, dead, true);
    EXPECT_EQ(isan__is_object(op, size, dead, false), is);
    return is;
}

/* The end of a mapped page, behind which nothing is. */
static char *
map_end(void)
{
    char *page =
        mmap(NULL, 2 * ISAN__PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(page != MAP_FAILED);
    EXPECT_EQ(munmap(page + ISAN__PAGE, ISAN__PAGE), 0);
    return page + ISAN__PAGE;
}

TEST(an_object_has_a_count_and_a_type)
{
    unit_make_types();
    struct unit_object o = { 1, &unit_type };
    EXPECT(is_object(&o, 16, false));
    o.count = 0xffffffff; /* immortal */
    EXPECT(is_object(&o, 16, false));
    o.count = (uint64_t)0x40 << 48 | 1; /* flags of 3.14 */
    EXPECT(is_object(&o, 16, false));
    o.count = (uint64_t)1 << 32;
    EXPECT(!is_object(&o, 16, false));
    o.count = 0;
    EXPECT(!is_object(&o, 16, false));
    EXPECT(is_object(&o, 16, true)); /* dead */
}

TEST(an_object_fits_into_its_memory)
{
    unit_make_types();
    struct unit_object o[3] = { { 1, &unit_type } };
    unit_type.basicsize = 48;
    EXPECT(is_object(o, 48, false));
    EXPECT(!is_object(o, 47, false));
    unit_type.basicsize = 8;
    EXPECT(!is_object(o, 48, false));
    /* A str may be shorter than PyUnicodeObject. */
    unit_type.basicsize = 64;
    isan__py.unicode_type = &unit_type;
    isan__py.unicode_ascii = 40;
    EXPECT(is_object(o, 40, false));
    EXPECT(!is_object(o, 39, false));
}

TEST(a_type_is_an_instance_of_a_metatype)
{
    unit_make_types();
    struct unit_object o = { 1, (char *)&unit_type + 4 };
    EXPECT(!is_object(&o, 16, false));
    o.type = NULL;
    EXPECT(!is_object(&o, 16, false));
    o.type = map_end();
    EXPECT(!is_object(&o, 16, false));
    o.type = &unit_type;
    unit_type.type = &unit_type; /* its flags do not say that its instances are types */
    EXPECT(!is_object(&o, 16, false));
    unit_type.type = &unit_metatype;
    EXPECT(is_object(&o, 16, false));
}

TEST(a_type_has_a_name_or_is_one_of_cpythons_own)
{
    unit_make_types();
    struct unit_object o = { 1, &unit_type };
    unit_type.name = "";
    EXPECT(!is_object(&o, 16, false));
    unit_type.name = NULL;
    EXPECT(!is_object(&o, 16, false));
    isan__py.data = (const char *)&unit_type;
    isan__py.data_size = sizeof unit_type;
    EXPECT(is_object(&o, 16, false));
}

TEST(a_table_of_types_is_no_object)
{
    unit_make_types();
    char *low = mmap((void *)0x10000000, ISAN__PAGE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    EXPECT(low == (char *)0x10000000);
    const void *table[2] = { low, &unit_type };
    EXPECT(is_object(table, 16, false));
    memcpy(low, &unit_type, sizeof unit_type); /* now the count is the address of a type */
    EXPECT(!is_object(table, 16, false));
}

TEST(memory_that_is_gone_is_no_object)
{
    unit_make_types();
    char *end = map_end();
    EXPECT(!isan__is_object(end, 64, false, false));
    EXPECT(!isan__is_object(end - 8, 64, false, false));
    memcpy(end - 16, &(struct unit_object){ 1, &unit_type }, 16);
    EXPECT(isan__is_object(end - 16, 16, false, false));
}

TEST(the_name_of_a_damaged_type_is_none)
{
    unit_make_types();
    char name[8];
    struct unit_object o = { 1, &unit_type };
    EXPECT(isan__type_name(&o, name, sizeof name));
    EXPECT_STR(name, "spam");
    unit_type.name = "a_long_name";
    EXPECT(isan__type_name(&o, name, sizeof name));
    EXPECT_STR(name, "a_long_");
    unit_type.name = map_end();
    EXPECT(!isan__type_name(&o, name, sizeof name));
    isan__type_name_or_unknown(&o, name, sizeof name);
    EXPECT_STR(name, "?");
    o.type = map_end();
    EXPECT(!isan__type_name(&o, name, sizeof name));
    EXPECT(!isan__type_name(map_end(), name, sizeof name));
}

/* --- str --- */

enum { COMPACT = 1 << 5, ASCII = 1 << 6 };

struct str {
    uint64_t count;
    const void *type;
    int64_t length;
    uint64_t hash;
    uint32_t state, pad;
    char data[64];
};

static void
set_str_layout(void)
{
    isan__py.unicode_length = offsetof(struct str, length);
    isan__py.unicode_state = offsetof(struct str, state);
    isan__py.unicode_ascii = offsetof(struct str, data);
    isan__py.unicode_header = 16;
}

/* The text of a str, read as memory that is stable and as memory that is not. */
static const char *
copy(const struct str *s, size_t size)
{
    static char to[64], also[64];
    isan__copy_str(to, size, (const char *)s, true);
    isan__copy_str(also, size, (const char *)s, false);
    EXPECT_STR(also, to);
    return to;
}

static struct str
make_str(unsigned kind, bool ascii, const void *data, int64_t length)
{
    struct str s = { .count = 1,
                     .length = length,
                     .state = COMPACT | (ascii ? ASCII : 0) | kind << 2 };
    memcpy(s.data + (ascii ? 0 : 16), data, kind * (size_t)length);
    return s;
}

TEST(each_kind_of_str_is_copied_as_utf8)
{
    set_str_layout();
    struct str ascii = make_str(1, true, "spam", 4);
    struct str latin = make_str(1, false, "caf\xe9", 4);
    struct str two = make_str(2, false, (uint16_t[]){ 'a', 0x7ff, 0x800, 0x20ac }, 4);
    struct str four = make_str(4, false, (uint32_t[]){ 'a', 0xffff, 0x10000, 0x1f40d }, 4);
    EXPECT_STR(copy(&ascii, 64), "spam");
    EXPECT_STR(copy(&latin, 64), "caf\xc3\xa9");
    EXPECT_STR(copy(&two, 64), "a\xdf\xbf\xe0\xa0\x80\xe2\x82\xac");
    EXPECT_STR(copy(&four, 64), "a\xef\xbf\xbf\xf0\x90\x80\x80\xf0\x9f\x90\x8d");
}

TEST(no_half_character_is_copied_and_nothing_behind_the_room)
{
    set_str_layout();
    struct str four = make_str(4, false, (uint32_t[]){ 0x1f40d, 0x1f40d, 0x1f40d, 0x1f40d }, 4);
    static const char all[] = "\xf0\x9f\x90\x8d\xf0\x9f\x90\x8d\xf0\x9f\x90\x8d\xf0\x9f\x90\x8d";
    for (size_t size = 1; size < 20; size++) {
        char *to = malloc(size); /* AddressSanitizer sees a write behind it */
        isan__copy_str(to, size, (const char *)&four, true);
        EXPECT(strlen(to) < size);
        EXPECT_EQ(strlen(to) % 4, 0);
        EXPECT_EQ(memcmp(to, all, strlen(to)), 0);
        free(to);
    }
    EXPECT_STR(copy(&four, 20), all);
}

TEST(a_length_that_is_a_lie_ends_at_the_room_or_where_memory_does)
{
    set_str_layout();
    static const int64_t lengths[] = { INT64_MAX, (int64_t)1 << 40, 100 };
    char to[4096], *end = map_end();
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct str s = make_str(1, true, "spam", 4);
        s.length = lengths[i];
        size_t size = offsetof(struct str, data) + 4;
        memcpy(end - size, &s, size);
        isan__copy_str(to, sizeof to, end - size, false);
        EXPECT_STR(to, "spam");
        isan__copy_str(to, 8, end - size, false);
        EXPECT_STR(to, "spa");
    }
    struct str negative = make_str(1, true, "spam", 4);
    negative.length = -1;
    EXPECT_STR(copy(&negative, 64), "");
}

TEST(a_str_that_makes_no_sense_is_empty)
{
    set_str_layout();
    struct str s = make_str(1, true, "spam", 4);
    char to[8];
    s.state = ASCII | 1 << 2; /* not compact */
    EXPECT_STR(copy(&s, 64), "");
    s.state = COMPACT | ASCII | 7 << 2; /* no such kind */
    EXPECT_STR(copy(&s, 64), "");
    isan__copy_str(to, sizeof to, map_end(), false);
    EXPECT_STR(to, "");
    struct str hostile = make_str(4, false, (uint32_t[]){ UINT32_MAX, UINT32_MAX }, 2);
    EXPECT_EQ(strlen(copy(&hostile, 64)), 8); /* as long as a character can be */
}

TEST(the_head_of_an_object_has_the_state_of_a_str_only)
{
    set_str_layout();
    unit_make_types();
    struct str s = make_str(1, true, "spam", 4);
    s.type = &unit_type;
    s.state |= ISAN__STR_INTERNED_IMMORTAL;
    struct isan__object_head head = isan__object_head((const char *)&s, true);
    EXPECT(head.type == &unit_type && head.count == 1 && head.state == 0);
    EXPECT(!isan__is_interned(&head) && !isan__is_str(&s));
    isan__py.unicode_type = &unit_type;
    head = isan__object_head((const char *)&s, false);
    EXPECT(isan__is_interned(&head) && isan__is_str(&s));
    EXPECT(isan__object_head(map_end(), false).type == NULL);
}

/* --- dictionaries and lists --- */

struct keys {
    int64_t refcnt;
    uint8_t log2_size, log2_index_bytes, kind, pad[5];
    int64_t usable, nentries;
    uint64_t words[3 * 1024];
};

static struct keys keys;

/* A table with so many entries that its indices take `1 << log2_index_bytes` bytes. */
static void
make_keys(uint8_t kind, uint8_t log2_index_bytes, int64_t n)
{
    memset(&keys, 0, sizeof keys);
    keys.refcnt = 3;
    keys.log2_index_bytes = log2_index_bytes;
    keys.kind = kind;
    keys.nentries = n;
}

static bool
find_keys(struct isan__keys *to)
{
    struct isan__keys also;
    bool found = isan__keys_at(to, (const char *)&keys, true);
    EXPECT_EQ(isan__keys_at(&also, (const char *)&keys, false), found);
    return found;
}

TEST(the_table_of_a_dictionary)
{
    enum { UNICODE = 1 };
    struct isan__keys k;
    make_keys(ISAN__DK_GENERAL, 3, 5);
    EXPECT(find_keys(&k));
    EXPECT(k.entries == (char *)keys.words + 8 && k.entry_size == 24 && k.key == 8 && k.n == 5
           && k.users == 3);
    EXPECT(!k.split);
    make_keys(UNICODE, 4, 10);
    EXPECT(find_keys(&k));
    EXPECT(k.entries == (char *)keys.words + 16 && k.entry_size == 16 && k.key == 0 && k.n == 10
           && !k.split);
    make_keys(ISAN__DK_SPLIT, 3, 0);
    EXPECT(find_keys(&k));
    EXPECT(k.split && k.n == 0);
}

TEST(a_table_that_makes_no_sense_is_none)
{
    struct isan__keys k;
    make_keys(3, 3, 5);
    EXPECT(!find_keys(&k));
    make_keys(0, 3, 9);
    EXPECT(!find_keys(&k));
    make_keys(0, 3, 8);
    EXPECT(find_keys(&k));
    make_keys(0, 3, -1);
    EXPECT(!find_keys(&k));
    make_keys(0, 48, 5);
    EXPECT(!find_keys(&k));
    make_keys(0, 255, 5);
    EXPECT(!find_keys(&k));
    EXPECT(!isan__keys_at(&k, NULL, true));
    EXPECT(!isan__keys_at(&k, map_end() - 8, false));
}

TEST(the_table_of_interned_strings_has_many_keys_that_are_their_own_values)
{
    enum { UNICODE = 1, N = 512, LOG2 = 10, ENTRIES = 1024 / 8 };
    const char *block = (const char *)&keys;
    make_keys(UNICODE, LOG2, N);
    for (size_t i = 0; i < N; i++) {
        keys.words[ENTRIES + 2 * i] = keys.words[ENTRIES + 2 * i + 1] = 0x1000 + i;
    }
    size_t size = ISAN__DK_INDICES + 1024 + N * 16;
    EXPECT(isan__is_interned_table(block, size));
    EXPECT(!isan__is_interned_table(block, size - 1)); /* its entries are not all in the block */
    EXPECT(!isan__is_interned_table(block, 64));
    keys.nentries = N - 1;
    EXPECT(!isan__is_interned_table(block, size)); /* some other short dictionary */
    keys.nentries = N;
    keys.kind = ISAN__DK_GENERAL;
    EXPECT(!isan__is_interned_table(block, sizeof keys));
    keys.kind = UNICODE;
    keys.words[ENTRIES + 2 * (N - 1)]++;
    EXPECT(!isan__is_interned_table(block, size));
    keys.log2_index_bytes = 40; /* its entries would be far behind the block */
    EXPECT(!isan__is_interned_table(block, size));
}

TEST(the_hash_of_a_key_is_no_pointer)
{
    const char *table = (const char *)&keys;
    make_keys(ISAN__DK_GENERAL, 3, 3);
    size_t entries = ISAN__DK_INDICES + 8, size = entries + 5 * 24;
    EXPECT(isan__is_dict_hash(table, size, entries, true));
    EXPECT(isan__is_dict_hash(table, size, entries + 24, false));
    EXPECT(!isan__is_dict_hash(table, size, entries + 8, true));
    EXPECT(!isan__is_dict_hash(table, size, entries + 16, true));
    EXPECT(!isan__is_dict_hash(table, size, entries - 24, true));
    EXPECT(!isan__is_dict_hash(table, entries + 2 * 24, entries,
                               true)); /* the entries are not all there */
    make_keys(1, 3, 3);                /* these entries have no hash */
    EXPECT(!isan__is_dict_hash(table, size, entries, true));
}

TEST(what_is_behind_the_end_of_a_list_is_not_in_use)
{
    unit_make_types();
    struct {
        uint64_t count;
        const void *type;
        int64_t size;
        void *items;
    } list;
    void *items[8];
    const char *memory = (const char *)items;
    list.count = 1, list.type = &unit_type, list.size = 2, list.items = items;
    EXPECT(isan__is_word_in_use((char *)&list, memory, 5 * 8)); /* no list */
    unit_type.flags |= ISAN__TYPE_LIST;
    EXPECT(isan__is_word_in_use((char *)&list, memory, 0));
    EXPECT(isan__is_word_in_use((char *)&list, memory, 8));
    EXPECT(!isan__is_word_in_use((char *)&list, memory, 16));
    EXPECT(
        isan__is_word_in_use((char *)&list, (char *)&list, 16)); /* memory that is not its items */
    EXPECT(!isan__is_word_in_use(map_end(), memory, 0));
}

TEST(what_is_not_in_the_entries_of_a_dictionary_is_not_in_use)
{
    unit_make_types();
    unit_type.flags |= ISAN__TYPE_DICT;
    struct {
        uint64_t words[6];
    } dict = { { 1, (uintptr_t)&unit_type } };
    make_keys(ISAN__DK_GENERAL, 3, 3);
    size_t entries = ISAN__DK_INDICES + 8;
    EXPECT(isan__is_word_in_use((char *)&dict, (char *)&keys, entries));
    EXPECT(isan__is_word_in_use((char *)&dict, (char *)&keys, entries + 3 * 24 - 8));
    EXPECT(!isan__is_word_in_use((char *)&dict, (char *)&keys, entries + 3 * 24));
    EXPECT(!isan__is_word_in_use((char *)&dict, (char *)&keys, entries - 8));
}

TEST(the_values_of_an_instance_have_their_prefix_before_them)
{
    _Alignas(16) unsigned char block[64] = { [15] = 16, [31] = 3 };
    uint64_t values = (uint64_t)block + 16;
    EXPECT(isan__prefixed_values_block(values) == (char *)block);
    EXPECT(isan__prefixed_values_block(values - 1) == (char *)block); /* with the mark of 3.12 */
    EXPECT(isan__prefixed_values_block(values + 16) == NULL);
    EXPECT(isan__prefixed_values_block(values + 4) == NULL);
    EXPECT(isan__prefixed_values_block((uint64_t)map_end() + 16) == NULL);
}

TEST(an_object_in_the_collectors_list_has_a_link_back)
{
    struct gc {
        uint64_t next, prev;
    } list[3]; /* heads, each before its object */
    char *op = (char *)&list[1];
    list[0].next = (uint64_t)&list[2];
    list[2].prev = (uint64_t)&list[0] | 2; /* with a mark */
    EXPECT(isan__is_in_gc_list(op));
    list[2].prev = (uint64_t)&list[1];
    EXPECT(!isan__is_in_gc_list(op));
    list[0].next = 0;
    EXPECT(!isan__is_in_gc_list(op));
}

TEST(the_data_of_a_module_has_members_of_known_structs)
{
    unit_make_types();
    EXPECT(isan__is_type_slot((uint64_t)&unit_type.dict));
    EXPECT(isan__is_type_slot((uint64_t)&unit_type.mro));
    EXPECT(!isan__is_type_slot((uint64_t)&unit_type.doc));
    EXPECT(!isan__is_type_slot((uint64_t)map_end() + ISAN__PAGE));
    struct {
        uint64_t count;
        const void *type;
        uint64_t more[7];
    } def = { 1, &unit_type, { 0 } };
    isan__py.module_def_type = &unit_type;
    EXPECT(isan__is_module_copy((uint64_t)&def + ISAN__M_COPY));
    EXPECT(!isan__is_module_copy((uint64_t)&def + ISAN__M_COPY + 8));
}

TEST(the_cache_of_argument_names_has_the_first_name)
{
    set_str_layout();
    isan__py.arg_parser_kwtuple = 56;
    isan__py.tuple_items = 24;
    static const char *const names[] = { "", "spam", "eggs", NULL };
    struct {
        const char *format;
        const char *const *keywords;
        const void *more[5];
        void *kwtuple;
    } parser = { "OO", names, { 0 }, NULL };
    struct str spam = make_str(1, true, "spam", 4), eggs = make_str(1, true, "eggs", 4);
    struct {
        uint64_t head[3];
        void *items[2];
    } tuple = { { 1, 0, 2 }, { &spam, &eggs } };
    EXPECT(isan__is_arg_parser_cache((uint64_t)&parser.kwtuple, &tuple));
    tuple.items[0] = &eggs;
    EXPECT(!isan__is_arg_parser_cache((uint64_t)&parser.kwtuple, &tuple));
    parser.keywords = (const char *const *)map_end();
    EXPECT(!isan__is_arg_parser_cache((uint64_t)&parser.kwtuple, &tuple));
}
