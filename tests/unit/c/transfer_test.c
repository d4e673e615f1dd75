/* runtime/core/transfer.c: blocks that the program has transferred to another interpreter. */
#include "runtime/core/transfer.h"

#include "interps.h"
#include "runtime/core/block_notes.h"

enum { MAIN = 1, OWN, LEGACY, OTHER, ARENA_SIZE = 1 << 16 };

static struct unit_interp interps[OTHER + 1];

static void
begin(void)
{
    unit_begin_python(16);
    EXPECT_EQ(unit_begin_interp(&interps[OWN], 1, false), OWN);
    EXPECT_EQ(unit_begin_interp(&interps[LEGACY], 2, true), LEGACY);
    EXPECT_EQ(unit_begin_interp(&interps[OTHER], 3, false), OTHER);
    unit_map_arena(ARENA_SIZE);
    isan__subscribe_noted_block_freed(isan__transfer_block_freed);
    isan__subscribe_noted_block_moved(isan__transfer_block_moved);
}

static char *
tag_block(size_t at, isan__slot_t slot, uint32_t flags)
{
    char *block = (char *)UNIT_ARENA + at;
    isan__tag_block(block, 64, slot, 5, flags);
    return block;
}

static isan__slot_t
owner_of(const char *block)
{
    return (isan__slot_t)isan__load_tag(block);
}

TEST(a_transfer_gives_away_the_use_and_not_the_memory)
{
    begin();
    char *block = tag_block(0, OWN, 0);
    EXPECT_EQ(isan__creator_of(block), 0);
    EXPECT_EQ(isan__heap_of(block), OWN);
    isan__transfer_block(block, OTHER);
    EXPECT_EQ(owner_of(block), OTHER);
    EXPECT_EQ(isan__heap_of(block), OWN);
    EXPECT_EQ(isan__creator_of(block), isan__interp_of(OWN)->serial);
    isan__transfer_block(block, MAIN);
    EXPECT_EQ(owner_of(block), MAIN);
    EXPECT_EQ(isan__heap_of(block), OWN);
    EXPECT_EQ(isan__creator_of(block), isan__interp_of(OWN)->serial);
}

TEST(raw_memory_is_of_the_process)
{
    begin();
    char *block = tag_block(0, OWN, ISAN__RAW);
    EXPECT_EQ(isan__heap_of(block), 0);
    isan__transfer_block(block, OTHER);
    EXPECT_EQ(isan__heap_of(block), 0);
    EXPECT_EQ(isan__transfer_end(block, OTHER), OTHER);
    EXPECT_EQ(isan__creator_of(block), isan__interp_of(OWN)->serial);
}

TEST(a_transfer_to_the_owner_or_of_freed_memory_is_none)
{
    begin();
    char *block = tag_block(0, OWN, 0), *gone = tag_block(64, OWN, ISAN__FREED);
    isan__transfer_block(block, OWN);
    EXPECT_EQ(isan__creator_of(block), 0);
    EXPECT(!(isan__load_tag(block) & ISAN__NOTED));
    isan__transfer_block(gone, OTHER);
    EXPECT_EQ(owner_of(gone), OWN);
}

TEST(a_transfer_back_ends_it)
{
    begin();
    char *block = tag_block(0, OWN, 0);
    isan__transfer_block(block, OTHER);
    isan__transfer_block(block, OWN);
    EXPECT_EQ(owner_of(block), OWN);
    EXPECT_EQ(isan__creator_of(block), 0);
    EXPECT_EQ(isan__heap_of(block), OWN);
}

TEST(a_transfer_is_over_when_an_owner_with_another_obmalloc_frees_the_block)
{
    begin();
    char *block = tag_block(0, OWN, 0);
    isan__transfer_block(block, OTHER);
    EXPECT_EQ(isan__transfer_end(block, MAIN), OTHER); /* who is not its owner ends nothing */
    EXPECT_EQ(owner_of(block), OTHER);
    EXPECT_EQ(isan__transfer_end(block, OTHER), OWN);
    EXPECT_EQ(owner_of(block), OWN);
    EXPECT_EQ(isan__creator_of(block), 0);
}

TEST(an_owner_of_the_same_obmalloc_may_free_the_block)
{
    begin();
    char *block = tag_block(0, MAIN, 0);
    isan__transfer_block(block, LEGACY);
    EXPECT_EQ(isan__transfer_end(block, LEGACY), LEGACY);
    EXPECT_EQ(owner_of(block), LEGACY);
    EXPECT(isan__shares_heap(MAIN, LEGACY) && isan__shares_heap(0, OWN)
           && isan__shares_heap(OWN, OWN));
    EXPECT(!isan__shares_heap(MAIN, OWN) && !isan__shares_heap(OWN, OTHER));
}

TEST(a_block_that_was_not_transferred_keeps_its_owner)
{
    begin();
    char *block = tag_block(0, OWN, 0);
    EXPECT_EQ(isan__transfer_end(block, OWN), OWN);
    isan__note_block(block, ISAN__NOTE_OBJECT, 7);
    EXPECT_EQ(isan__transfer_end(block, OWN), OWN);
    EXPECT_EQ(isan__transfer_end(block, OTHER), OWN);
}

TEST(the_end_of_an_interpreter_takes_back_what_its_own_obmalloc_gave)
{
    begin();
    char *own[3], *legacy = tag_block(512, LEGACY, 0), *other = tag_block(640, OTHER, 0);
    for (size_t i = 0; i < 3; i++) {
        own[i] = tag_block(i * 64, OWN, 0);
        isan__transfer_block(own[i], MAIN);
    }
    isan__transfer_block(legacy, MAIN);
    isan__transfer_block(other, MAIN);
    isan__transfers_end_of(OWN);
    isan__transfers_end_of(LEGACY);
    for (size_t i = 0; i < 3; i++) {
        EXPECT_EQ(owner_of(own[i]), OWN);
        EXPECT_EQ(isan__creator_of(own[i]), 0);
    }
    EXPECT_EQ(owner_of(legacy), MAIN);
    EXPECT_EQ(owner_of(other), MAIN);
}

TEST(a_freed_block_is_forgotten)
{
    begin();
    char *block = tag_block(0, OWN, 0);
    isan__transfer_block(block, OTHER);
    EXPECT_EQ(isan__noted_block_freed(block), 0);
    tag_block(0, MAIN, ISAN__NOTED); /* the next block at this place */
    EXPECT_EQ(isan__creator_of(block), 0);
}

TEST(a_block_that_moves_stays_transferred)
{
    begin();
    char *from = tag_block(0, OWN, 0), *to = tag_block(1024, OTHER, 0);
    isan__transfer_block(from, OTHER);
    isan__noted_block_moved(from, to);
    EXPECT_EQ(isan__heap_of(to), OWN);
    EXPECT_EQ(isan__creator_of(to), isan__interp_of(OWN)->serial);
    tag_block(0, MAIN, ISAN__NOTED);
    EXPECT_EQ(isan__creator_of(from), 0);
}
