/* runtime/detect/refgraph.c: the blocks that an interpreter left, and the references between them. */
#include "runtime/detect/refgraph.h"

#include "python.h"
#include "runtime/core/interp.h"
#include "runtime/core/shadow.h"
#include "runtime/detect/gc_visibility.h"
#include "shadow.h"

enum { SLOT = 3, ARENA_SIZE = 1 << 20, ROOM = 64 };

static struct isan__graph graph;
static char *arena;

/* runtime/detect/gc_visibility.c. */
uint32_t
isan__reference_count(const char *op)
{
    return (uint32_t)*(const uint64_t *)op;
}

/* runtime/core/interp.c.  The objects of this interpreter have no marks. */
static struct isan__interp interp;
struct isan__interp *
isan__interp_of(isan__slot_t slot)
{
    (void)slot;
    return &interp;
}

static void
begin(bool living)
{
    unit_reserve_tags();
    unit_make_types();
    arena = unit_map_arena(ARENA_SIZE);
    EXPECT(isan__graph_begin(&graph, SLOT, living, ROOM));
}

static void
tag_block(size_t at, size_t size, uint32_t flags)
{
    isan__tag_block(arena + at, size, SLOT, 0, flags);
}

/* An object of unit_type in a block. */
static void
add_object(size_t at, size_t size)
{
    tag_block(at, size, ISAN__OBJECT);
    memcpy(arena + at, &(struct unit_object){ 1, &unit_type }, 16);
    EXPECT(isan__graph_add(&graph, arena + at, arena + at));
}

static void
add_memory(size_t at, size_t size)
{
    tag_block(at, size, 0);
    isan__stock = true; /* blocks without a mark may have objects, too */
    EXPECT(isan__graph_add(&graph, arena + at, NULL));
}

/* The word at this offset in the arena. */
static void
put(size_t at, const void *word)
{
    memcpy(arena + at, &word, sizeof word);
}

static struct isan__node *
node(size_t at)
{
    return isan__graph_node(&graph, arena + at);
}

TEST(nodes_are_found_by_their_blocks_and_objects)
{
    begin(false);
    enum { BIG = 1 << 17 }; /* more than a region of the index */
    add_object(0, 64);
    add_object(64, 32);
    add_object(BIG, 48);
    tag_block(96, 32, 0);
    EXPECT(node(0) == &graph.nodes[0] && node(64) == &graph.nodes[1]
           && node(BIG) == &graph.nodes[2]);
    EXPECT(node(16) == &graph.nodes[0]); /* an object begins in one of the first granules */
    EXPECT(node(96) == NULL);
    EXPECT(node(BIG / 2) == NULL);
    EXPECT(isan__graph_is_consistent(&graph));
    isan__graph_end(&graph);
}

static struct isan__node *
add_object_without_a_mark(uint64_t count)
{
    begin(true);
    isan__stock = true;
    tag_block(0, 64, 0);
    memcpy(arena, &(struct unit_object){ count, &unit_type }, 16);
    EXPECT(isan__graph_add(&graph, arena, NULL));
    return node(0);
}

TEST(an_object_without_a_mark_in_a_free_list_refers_to_nothing)
{
    EXPECT(add_object_without_a_mark(0)->no_outgoing);
}

TEST(memory_that_is_no_object_in_a_free_list_may_refer_to_blocks)
{
    EXPECT(!add_object_without_a_mark(1)->no_outgoing);
}

/* The state of an interpreter has pointers to living objects, too. */
TEST(only_the_free_lists_of_an_interpreter_refer_to_nothing)
{
    begin(true);
    interp.interp = arena;
    isan__py.free_lists = 32;
    isan__py.free_lists_end = 48;
    add_memory(0, 64);
    for (size_t i = 0; i < 4; i++) {
        add_object(64 + 32 * i, 32);
        put(24 + 8 * i, arena + 64 + 32 * i);
    }
    isan__graph_count_refs(&graph);
    EXPECT_EQ(node(64)->n_refs, 1);
    EXPECT_EQ(node(96)->n_refs + node(128)->n_refs, 0);
    EXPECT_EQ(node(160)->n_refs, 1);
}

TEST(a_graph_has_no_more_nodes_than_there_is_room)
{
    begin(false);
    for (size_t i = 0; i < ROOM; i++) {
        add_object(i * 32, 32);
    }
    tag_block(ROOM * 32, 32, 0);
    EXPECT(!isan__graph_add(&graph, arena + ROOM * 32, NULL));
    EXPECT_EQ(graph.n, ROOM);
}

static void
add_out_of_order(void)
{
    add_object(64, 32);
    add_object(0, 32);
}

TEST(nodes_are_added_in_the_order_of_their_addresses)
{
    begin(false);
    EXPECT_DEATH(add_out_of_order(), "is_in_order");
    add_object(0, 64);
    add_object(64, 64);
    EXPECT(isan__graph_is_consistent(&graph));
    graph.nodes[1].start = arena + 32;
    EXPECT(!isan__graph_is_consistent(&graph)); /* within the one before it */
    graph.nodes[1].start = arena + 64;
    graph.nodes[1].external_ref = 1;
    EXPECT(!isan__graph_is_consistent(&graph)); /* there is none of that number */
}

TEST(references_are_counted)
{
    begin(false);
    add_object(0, 64);
    add_object(64, 64);
    add_object(128, 64);
    put(16, arena + 64);
    put(24, arena + 64);
    put(64 + 16, arena + 64);
    put(64 + 24, arena + 128);
    put(128 + 16, arena + 128 + 8); /* into the block: this is no reference */
    put(128 + 24, arena + 192);     /* to no block */
    isan__graph_count_refs(&graph);
    EXPECT_EQ(node(0)->n_refs, 0);
    EXPECT(!node(0)->has_incoming);
    EXPECT_EQ(node(64)->n_refs, 3);
    EXPECT_EQ(node(64)->n_self_refs, 1);
    EXPECT(node(64)->has_incoming);
    EXPECT_EQ(node(128)->n_refs, 1);
}

TEST(blocks_of_others_are_no_targets)
{
    begin(false);
    add_object(0, 64);
    isan__tag_block(arena + 64, 64, SLOT + 1, 0, ISAN__OBJECT);
    EXPECT(isan__graph_target(&graph, (uint64_t)arena) == arena);
    EXPECT(isan__graph_target(&graph, (uint64_t)arena + 64) == NULL);
    EXPECT(isan__graph_target(&graph, (uint64_t)arena + 8) == NULL);
    EXPECT(isan__graph_target(&graph, 1) == NULL);
    EXPECT(isan__graph_referred_node(&graph, (uint64_t)arena - 64) == NULL);
}

TEST(links_of_the_collector_and_weak_references_keep_nothing)
{
    begin(false);
    unit_type.weaklistoffset = 40;
    EXPECT(isan__graph_is_link(&graph, &unit_type, ISAN__GC_NEXT));
    EXPECT(isan__graph_is_link(&graph, &unit_type, ISAN__GC_PREV));
    EXPECT(!isan__graph_is_link(&graph, &unit_type, ISAN__MANAGED_DICT));
    EXPECT(isan__graph_is_link(&graph, &unit_type, 40));
    EXPECT(!isan__graph_is_link(&graph, &unit_type, ISAN__WR_OBJECT));
    static struct isan__type_object weakref, subclass;
    weakref = subclass = unit_type;
    isan__py.weakref_type = &weakref;
    subclass.base = &weakref;
    EXPECT(isan__graph_is_link(&graph, &subclass, ISAN__WR_OBJECT));
    EXPECT(isan__graph_is_link(&graph, &subclass, ISAN__WR_NEXT));
    EXPECT(!isan__graph_is_link(&graph, &subclass, ISAN__WR_OBJECT + 8));
}

static void
note_edge(struct isan__graph *g, size_t from, uint32_t at, size_t to, void *arg)
{
    (void)g, (void)from, (void)at;
    ((int *)arg)[to]++;
}

TEST(weak_references_are_visited_along_their_list)
{
    static struct isan__type_object weakref;
    int visited[4] = { 0 };
    begin(false);
    unit_type.weaklistoffset = 32;
    weakref = unit_type;
    weakref.weaklistoffset = 0;
    isan__py.weakref_type = &weakref;
    for (size_t i = 0; i < 4; i++) {
        add_object(i * 64, 64);
    }
    for (size_t i = 1; i < 3; i++) {
        put(i * 64 + ISAN__OB_TYPE, &weakref);
        put(i * 64 + ISAN__WR_OBJECT, arena);
        put(i * 64 + ISAN__WR_NEXT, i == 1 ? arena + 128 : NULL);
    }
    put(32, arena + 64);
    isan__graph_visit_weakrefs(&graph, 0, note_edge, visited);
    EXPECT(visited[0] == 0 && visited[1] == 1 && visited[2] == 1 && visited[3] == 0);
    EXPECT(isan__graph_is_weakref(&graph, 1) && isan__graph_is_weakref(&graph, 2));
    EXPECT(!isan__graph_is_weakref(&graph, 0));
    isan__graph_count_refs(&graph);
    EXPECT_EQ(node(0)->n_refs, 0);
    EXPECT_EQ(node(64)->n_refs, 0);
}

TEST(numbers_and_text_are_no_references)
{
    begin(false);
    add_object(0, 64);
    add_object(64, 64);
    put(24, arena + 64);
    isan__py.long_type = &unit_type;
    isan__graph_count_refs(&graph);
    EXPECT_EQ(node(64)->n_refs, 0);
}

TEST(what_is_behind_the_end_of_a_list_is_no_reference)
{
    static struct isan__type_object list;
    begin(false);
    list = unit_type;
    list.flags |= ISAN__TYPE_LIST;
    add_object(0, 64);
    add_object(64, 64);
    add_memory(128, 64);
    put(ISAN__OB_TYPE, &list);
    put(ISAN__OB_SIZE, (void *)2);
    put(ISAN__LIST_ITEMS, arena + 128);
    put(128 + 8, arena + 64);  /* the second item */
    put(128 + 16, arena + 64); /* behind it */
    isan__graph_count_refs(&graph);
    EXPECT_EQ(node(128)->n_refs, 1);
    EXPECT_EQ(node(64)->n_refs, 1);
}

TEST(the_hash_of_a_dictionarys_key_is_no_reference)
{
    begin(false);
    add_object(0, 32);
    add_memory(32, 160);
    arena[32 + 9] = 3;       /* log2_index_bytes; a general table */
    put(32 + 24, (void *)1); /* nentries */
    put(32 + 40, arena);     /* the hash */
    put(32 + 48, arena);     /* the key */
    isan__graph_count_refs(&graph);
    EXPECT_EQ(node(0)->n_refs, 1);
}

TEST(raw_memory_may_be_referred_to_behind_its_start)
{
    begin(false);
    add_object(0, 64);
    for (size_t at = 64; at <= 256; at += 64) {
        add_memory(at, 64);
    }
    put(24, arena + 64 + 40); /* an object's pointers into memory */
    put(32, arena + 128 + 63);
    put(40, arena + 256 + 64);     /* and behind the end of it */
    put(64 + 8, arena + 192 + 40); /* memory's pointer into memory */
    isan__graph_count_refs(&graph);
    for (size_t at = 64; at <= 128; at += 64) {
        EXPECT_EQ(node(at)->n_refs, 1);
        EXPECT(node(at)->interior_target);
    }
    EXPECT_EQ(node(192)->n_refs, 0);
    EXPECT_EQ(node(256)->n_refs, 0);
}

TEST(the_pointer_to_the_start_of_memory_is_the_one_that_counts)
{
    begin(false);
    add_object(0, 64);
    add_memory(64, 64);
    put(24, arena + 64);
    put(32, arena + 64 + 40);
    isan__graph_count_refs(&graph);
    EXPECT_EQ(node(64)->n_refs, 1);
    EXPECT(!node(64)->interior_target);
}

TEST(an_object_in_a_free_list_refers_to_nothing)
{
    begin(true);
    tag_block(0, 64, ISAN__OBJECT);
    memcpy(arena, &(struct unit_object){ 0, &unit_type }, 16);
    EXPECT(isan__graph_add(&graph, arena, arena));
    add_object(64, 64);
    put(24, arena + 64);
    isan__graph_count_refs(&graph);
    EXPECT_EQ(node(64)->n_refs, 0);
    EXPECT(node(0)->no_outgoing);
}

TEST(raw_memory_of_a_living_interpreter_may_be_gone)
{
    begin(true);
    add_object(0, 32);
    char *page = mmap(NULL, ISAN__PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    isan__tag_block(page, ISAN__PAGE, SLOT, 0, ISAN__RAW);
    EXPECT(isan__graph_add(&graph, page, NULL));
    memcpy(page + 16, &arena, sizeof arena);
    isan__graph_count_refs(&graph);
    EXPECT_EQ(node(0)->n_refs, 1);
    graph.nodes[0].n_refs = 0;
    graph.window_size = 0;
    EXPECT_EQ(munmap(page, ISAN__PAGE), 0);
    isan__graph_count_refs(&graph);
    EXPECT_EQ(node(0)->n_refs, 0);
}

TEST(copies_are_taken_of_memory_that_is_there)
{
    begin(false);
    char *pages =
        mmap(NULL, 2 * ISAN__PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_EQ(munmap(pages + ISAN__PAGE, ISAN__PAGE), 0);
    strcpy(pages + ISAN__PAGE - 8, "1234567");
    EXPECT_STR(isan__graph_copy(&graph, pages + ISAN__PAGE - 8, 8), "1234567");
    EXPECT(isan__graph_copy(&graph, pages + ISAN__PAGE - 8, 9) == NULL);
    EXPECT(isan__graph_copy(&graph, pages + ISAN__PAGE, 8) == NULL);
    strcpy(arena + 40, "spam");
    const char *copy = isan__graph_copy(&graph, arena, 8);
    EXPECT(isan__graph_copy(&graph, arena + 40, 8)
           == copy + 40); /* there is a copy of it already */
}

TEST(a_copy_that_fails_leaves_no_half_of_another)
{
    begin(false);
    char *pages =
        mmap(NULL, 2 * ISAN__PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_EQ(munmap(pages + ISAN__PAGE, ISAN__PAGE), 0);
    memset(pages, 'x', ISAN__PAGE);
    strcpy(arena, "spam");
    EXPECT_STR(isan__graph_copy(&graph, arena, 8), "spam");
    EXPECT(isan__graph_copy(&graph, pages, ISAN__PAGE + 8) == NULL);
    EXPECT_STR(isan__graph_copy(&graph, arena, 8), "spam");
}
