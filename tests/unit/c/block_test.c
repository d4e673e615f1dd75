/* runtime/core/block.c: blocks and the objects in them. */
#include "runtime/core/block.h"

#include "interps.h"
#include "runtime/core/block_notes.h"

enum { MAIN = 1, OTHER, ARENA_SIZE = 1 << 16 };

static struct unit_interp other;

static char *
begin(void)
{
    unit_begin_python(16);
    EXPECT_EQ(unit_begin_interp(&other, 1, false), OTHER);
    isan__slot = MAIN;
    return unit_map_arena(ARENA_SIZE);
}

static void
put_object(char *at, uint64_t count)
{
    memcpy(at, &(struct unit_object){ count, &unit_type }, sizeof(struct unit_object));
}

TEST(an_object_is_where_it_is_marked)
{
    char *block = begin();
    for (int i = 0; i < 3; i++) {
        isan__tag_block(block, 64, MAIN, 0, 0);
        EXPECT(isan__marked_object_in(block) == NULL);
        *isan__tag_word(block + i * ISAN__GRANULE) |= ISAN__OBJECT;
        EXPECT(isan__marked_object_in(block) == block + i * ISAN__GRANULE);
        EXPECT(isan__object_in(block) == block + i * ISAN__GRANULE);
    }
}

/* The second granule after a block of two is another block's. */
TEST(the_mark_of_the_next_block_is_not_taken)
{
    char *block = begin();
    isan__tag_block(block, 32, MAIN, 0, 0);
    isan__tag_block(block + 32, 32, MAIN, 0, ISAN__OBJECT);
    EXPECT(isan__marked_object_in(block) == NULL);
}

TEST(an_object_of_a_stock_python_is_recognised)
{
    char *block = begin();
    isan__stock = true;
    for (int i = 0; i < 3; i++) {
        memset(block, 0, 64);
        isan__tag_block(block, 64, MAIN, 0, 0);
        EXPECT(isan__object_in(block) == NULL);
        put_object(block + i * ISAN__GRANULE, 1);
        EXPECT(isan__object_in(block) == block + i * ISAN__GRANULE);
    }
    isan__stock = false;
    EXPECT(isan__object_in(block) == NULL); /* it would be marked */
    isan__stock = true;
    isan__interp_of(MAIN)->marked = 1;
    EXPECT(isan__object_in(block) == NULL);
}

TEST(raw_memory_has_no_object)
{
    char *block = begin();
    isan__stock = true;
    put_object(block, 1);
    isan__tag_block(block, 64, MAIN, 0, ISAN__RAW);
    EXPECT(isan__object_in(block) == NULL);
}

TEST(a_dead_object_is_marked_once_it_is_recognised)
{
    char *block = begin();
    isan__stock = true;
    put_object(block, 0);
    isan__tag_block(block, 64, MAIN, 0, 0);
    EXPECT(isan__object_in(block) == NULL);
    EXPECT(isan__find_object_in(block, true) == block);
    EXPECT(isan__load_tag(block) & ISAN__OBJECT);
    memset(block, 0, 64);
    EXPECT(isan__object_in(block) == block);
}

TEST(a_view_has_all_of_an_object)
{
    char *block = begin();
    struct isan__object_view view;
    isan__tag_block(block, 64, OTHER, 0x1234, ISAN__FREED);
    *isan__tag_word(block + 16) |= ISAN__OBJECT;
    put_object(block + 16, 3);
    isan__view_object(&view, block + 16, block, true);
    EXPECT(view.block == block && view.start == block + 16 && view.owner == OTHER && view.object
           && view.freed);
    EXPECT(view.size == 64 && view.origin == 0x1234 && view.head.type == &unit_type
           && view.head.count == 3);
    isan__view_object(&view, block, block, true);
    EXPECT(!view.object && view.start == block && view.head.type == NULL);
}

TEST(any_pointer_can_be_asked_for_its_block)
{
    char *block = begin();
    isan__tag_block(block, 64, MAIN, 0, 0);
    EXPECT(isan__block_of_checked(block) == block);
    EXPECT(isan__block_of_checked(NULL) == NULL);
    EXPECT(isan__block_of_checked((char *)4095) == NULL);
    EXPECT(isan__block_of_checked((char *)UINTPTR_MAX) == NULL);
    isan__main_slot = 0; /* there are no tags before the main interpreter */
    EXPECT(isan__block_of_checked(block) == NULL);
}

TEST(blocks_of_this_interpreter_are_read_without_a_system_call)
{
    char *block = begin();
    char data[16];
    isan__block_init();
    isan__tag_block(block, 64, MAIN, 0, 0);
    isan__tag_block(block + 64, 64, OTHER, 0, 0);
    isan__tag_block(block + 128, 64, MAIN, 0, ISAN__RAW);
    EXPECT(isan__is_known_memory(block, 64));
    EXPECT(!isan__is_known_memory(block, 65));
    EXPECT(!isan__is_known_memory(block + 64, 8));  /* its owner may free it just now */
    EXPECT(!isan__is_known_memory(block + 128, 8)); /* any thread may */
    unit_end_interp(OTHER, 1);
    EXPECT(isan__is_known_memory(block + 64, 8));
    isan__py.data = data;
    isan__py.data_size = sizeof data;
    EXPECT(isan__is_known_memory(data, 16));
    EXPECT(!isan__is_known_memory(data + 8, 16));
    EXPECT(!isan__is_known_memory(data, SIZE_MAX));
}

TEST(free_lists_recycle_some_types_without_notice)
{
    begin();
    struct isan__object_head head = { 1, &unit_type, 0 };
    isan__py.list_type = &unit_type;
    isan__stock = true;
    EXPECT(isan__may_be_recycled(&head));
    isan__reftrace_active = true;
    EXPECT(!isan__may_be_recycled(&head));
    isan__reftrace_active = false;
    isan__stock = false;
    EXPECT(!isan__may_be_recycled(&head));
    isan__stock = true;
    isan__py.list_type = NULL;
    EXPECT(!isan__may_be_recycled(&head));
}

TEST(methods_of_static_types_are_known_by_their_type)
{
    char *block = begin();
    struct isan__object_head head = { 1, &unit_type, 0 };
    const void *method[4] = { NULL, &unit_type, &unit_type, NULL };
    EXPECT(!isan__is_of_static_type(&head, method));
    isan__py.method_type = &unit_type;
    EXPECT(isan__is_of_static_type(&head, method));
    /* A heap type has an owner. */
    memcpy(block, &unit_type, sizeof unit_type);
    isan__tag_block(block, sizeof unit_type, MAIN, 0, ISAN__OBJECT);
    method[2] = block;
    EXPECT(!isan__is_of_static_type(&head, method));
}
