/* runtime/core/shadow.c: owner tags. */
#include "runtime/core/shadow.h"

#include "shadow.h"

/* runtime/core/log.c: nothing here is logged. */
void
isan__log_note(const char *format, ...)
{
    unit_fail(__FILE__, __LINE__, "a note: %s", format);
}

enum { SLOT = 3, OTHER_SLOT = 4, ARENA_SIZE = 1 << 20 };

TEST(a_tag_has_owner_size_and_origin)
{
    /* The smallest block, one that has a granule for its size, and the largest that needs no word more. */
    static const size_t sizes[] = {
        32,        48, 4096, (ISAN__SIZE_BIG - 1) * ISAN__GRANULE, ISAN__SIZE_BIG * ISAN__GRANULE,
        ARENA_SIZE
    };
    unit_reserve_tags();
    char *block = unit_map_arena(ARENA_SIZE);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        isan__tag_block(block, sizes[i], SLOT, 0xabcdef, ISAN__OBJECT);
        uint32_t tag = isan__load_tag(block);
        EXPECT_EQ(tag & 0xffff, SLOT);
        EXPECT(tag & ISAN__OBJECT);
        EXPECT_EQ(isan__block_size(block), sizes[i]);
        EXPECT_EQ(isan__block_origin(block), 0xabcdef);
        isan__untag_block(block, tag);
        for (int granule = 0; granule < 4; granule++) {
            EXPECT_EQ(isan__load_tag(block + granule * ISAN__GRANULE), 0);
        }
    }
}

TEST(a_new_origin_leaves_the_rest_of_a_tag)
{
    unit_reserve_tags();
    char *block = unit_map_arena(ARENA_SIZE);
    isan__tag_block(block, 64, SLOT, 0xffffff, ISAN__OBJECT | ISAN__NOTED);
    isan__set_origin(block, 0x123456);
    EXPECT_EQ(isan__block_origin(block), 0x123456);
    EXPECT_EQ(isan__block_size(block), 64);
    EXPECT_EQ(isan__load_tag(block) & 0xffff, SLOT);
    EXPECT((isan__load_tag(block) & (ISAN__OBJECT | ISAN__NOTED)) == (ISAN__OBJECT | ISAN__NOTED));
}

TEST(an_object_is_in_one_of_the_first_granules_of_its_block)
{
    unit_reserve_tags();
    char *block = unit_map_arena(ARENA_SIZE) + 4096;
    EXPECT(isan__block_of(block) == NULL);
    isan__tag_block(block, 64, SLOT, 1, 0);
    for (int at = 0; at < 3 * ISAN__GRANULE; at++) {
        EXPECT(isan__block_of(block + at) == block);
    }
    EXPECT(isan__block_of(block + 3 * ISAN__GRANULE) == NULL);
    EXPECT(isan__block_of(block - 1) == NULL);
    isan__tag_block(block + 4096, 32, SLOT, 1, 0);
    EXPECT(isan__block_of(block + 4096 + ISAN__GRANULE) == block + 4096);
    EXPECT(isan__block_of(block + 4096 + 2 * ISAN__GRANULE) == NULL);
}

struct seen {
    int n;
    char *blocks[8];
};

static void
note_block(char *block, void *arg)
{
    struct seen *seen = arg;
    EXPECT(seen->n < 8);
    seen->blocks[seen->n++] = block;
}

TEST(blocks_of_one_owner_are_visited_in_order)
{
    unit_reserve_tags();
    char *arena = unit_map_arena(ARENA_SIZE);
    struct seen seen = { 0 };
    isan__visit_blocks(0, note_block, &seen);
    EXPECT_EQ(seen.n, 0);
    isan__tag_block(arena + ARENA_SIZE - 32, 32, SLOT, 1, 0);
    isan__tag_block(arena, 64, SLOT, 1, 0);
    isan__tag_block(arena + 64, 32, OTHER_SLOT, 1, 0);
    isan__visit_blocks(SLOT, note_block, &seen);
    EXPECT_EQ(seen.n, 2);
    EXPECT(seen.blocks[0] == arena && seen.blocks[1] == arena + ARENA_SIZE - 32);
    seen.n = 0;
    isan__visit_blocks(0, note_block, &seen);
    EXPECT_EQ(seen.n, 3);
}

TEST(tags_of_memory_that_is_gone_are_cleared)
{
    unit_reserve_tags();
    char *arena = unit_map_arena(ARENA_SIZE);
    /* A range that neither begins nor ends with a page of tags. */
    char *start = arena + 1024, *end = arena + ARENA_SIZE - 1024;
    for (char *block = arena; block < arena + ARENA_SIZE; block += 1024) {
        isan__tag_block(block, 1024, SLOT, 1, 0);
    }
    isan__shadow_release(start, (size_t)(end - start));
    for (char *block = arena; block < arena + ARENA_SIZE; block += 1024) {
        EXPECT_EQ(isan__load_tag(block) & 0xffff, block < start || block >= end ? SLOT : 0);
    }
}

TEST(trimming_keeps_tags_and_says_whether_there_are_any)
{
    unit_reserve_tags();
    char *arena = unit_map_arena(ARENA_SIZE);
    EXPECT(isan__shadow_trim(arena, ARENA_SIZE));
    isan__tag_block(arena + ARENA_SIZE / 2, 32, SLOT, 1, 0);
    EXPECT(!isan__shadow_trim(arena, ARENA_SIZE));
    EXPECT_EQ(isan__load_tag(arena + ARENA_SIZE / 2) & 0xffff, SLOT);
    EXPECT(isan__shadow_trim(arena, ARENA_SIZE / 2));
}
