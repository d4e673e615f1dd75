/* runtime/core/block_notes.c: notes on blocks that need work when they are freed or moved. */
#include "runtime/core/block_notes.h"

#include "interps.h"
#include "runtime/core/thread.h"

enum { SLOTS = 8, SLOT = 1, ARENA_SIZE = 1 << 16 };

static char *
tag_block(size_t at)
{
    char *block = (char *)UNIT_ARENA + at;
    isan__tag_block(block, 64, SLOT, 5, 0);
    return block;
}

static void
begin(void)
{
    unit_begin_python(SLOTS);
    unit_map_arena(ARENA_SIZE);
}

static bool
is_noted(const char *block)
{
    return (isan__load_tag(block) & ISAN__NOTED) != 0;
}

TEST(a_note_sets_the_bit_of_its_block)
{
    begin();
    char *block = tag_block(0), *other = tag_block(64);
    EXPECT(!is_noted(block));
    isan__note_block(block, ISAN__NOTE_OBJECT, 7);
    EXPECT(is_noted(block) && !is_noted(other));
    EXPECT_EQ(isan__load_tag(block) & 0xffff, SLOT);
    EXPECT_EQ(isan__block_size(block), 64);
    EXPECT_EQ(isan__block_origin(block), 5);
}

TEST(memory_that_is_no_block_gets_no_bit)
{
    begin();
    isan__note_block((char *)UNIT_ARENA, ISAN__NOTE_OBJECT, 7);
    EXPECT_EQ(isan__load_tag((char *)UNIT_ARENA), 0);
    EXPECT_EQ(isan__noted_serial((char *)UNIT_ARENA), 0);
}

TEST(notes_add_up_and_a_value_replaces_the_one_before)
{
    begin();
    char *block = tag_block(0), *other = tag_block(64);
    isan__note_block(block, ISAN__NOTE_SHARED, 0);
    EXPECT_EQ(isan__noted_serial(block), 0);
    isan__note_block(block, ISAN__NOTE_OBJECT, 7);
    isan__note_block(block, ISAN__NOTE_CODE, 0);
    EXPECT_EQ(isan__noted_serial(block), 7);
    EXPECT(isan__is_declared_shared(block) && !isan__is_declared_shared(other));
    isan__note_block(block, ISAN__NOTE_OBJECT, 8);
    EXPECT_EQ(isan__noted_serial(block), 8);
    EXPECT_EQ(isan__noted_serial(other), 0);
}

TEST(a_quarantined_block_is_not_shared)
{
    begin();
    char *block = tag_block(0);
    isan__note_block(block, ISAN__NOTE_SHARED, 0);
    EXPECT(isan__is_declared_shared(block));
    *isan__tag_word(block) |= ISAN__FREED;
    EXPECT(!isan__is_declared_shared(block));
}

TEST(a_thread_state_has_its_thread_unless_it_is_in_findings)
{
    begin();
    char *block = tag_block(0);
    EXPECT_EQ(isan__noted_thread(block), 0);
    isan__note_block(block, ISAN__NOTE_TSTATE, 1234);
    EXPECT_EQ(isan__noted_thread(block), 1234);
    isan__note_block(block, ISAN__NOTE_OBJECT, 7);
    EXPECT_EQ(isan__noted_thread(block), 0);
}

static struct isan__noted_block freed;
static struct isan__moved_block moved;
static int n_freed, n_moved;

static void
note_freed(const struct isan__noted_block *noted)
{
    freed = *noted;
    n_freed++;
}

static void
note_moved(const struct isan__moved_block *of)
{
    moved = *of;
    n_moved++;
}

TEST(a_noted_block_is_freed_once)
{
    begin();
    char *block = tag_block(0);
    isan__subscribe_noted_block_freed(note_freed);
    isan__note_block(block, ISAN__NOTE_OBJECT | ISAN__NOTE_SHARED, 7);
    EXPECT_EQ(isan__noted_block_freed(block), 0);
    EXPECT_EQ(n_freed, 1);
    EXPECT(freed.block == block && freed.notes == (ISAN__NOTE_OBJECT | ISAN__NOTE_SHARED)
           && freed.value == 7);
    EXPECT_EQ(isan__noted_serial(block), 0); /* what comes to this place next has no notes */
}

TEST(the_end_of_an_interpreter_is_told_by_its_block)
{
    begin();
    char *block = tag_block(0);
    isan__note_block(block, ISAN__NOTE_INTERP, 3);
    isan__note_block(block, ISAN__NOTE_OBJECT, 7); /* its slot is not lost */
    EXPECT_EQ(isan__noted_serial(block), 0);
    EXPECT_EQ(isan__noted_block_freed(block), 3);
}

TEST(a_freed_thread_state_makes_threads_look_again)
{
    begin();
    char *block = tag_block(0), *other = tag_block(64);
    isan__note_block(block, ISAN__NOTE_TSTATE, 1234);
    isan__note_block(other, ISAN__NOTE_OBJECT, 7);
    isan__noted_block_freed(other);
    EXPECT_EQ(isan__epoch, 0);
    isan__noted_block_freed(block);
    EXPECT_EQ(isan__epoch, 1);
}

TEST(a_freed_code_object_loses_its_creation_sites)
{
    begin();
    char *block = (char *)UNIT_ARENA;
    isan__tag_block(block, 512, SLOT, 0, ISAN__OBJECT);
    *isan__tag_word(block + ISAN__CODE_SITE) = 99;
    isan__note_block(block, ISAN__NOTE_OBJECT, 7);
    isan__noted_block_freed(block);
    EXPECT_EQ(*isan__tag_word(block + ISAN__CODE_SITE), 99); /* no code object */
    isan__note_block(block, ISAN__NOTE_CODE, 0);
    isan__noted_block_freed(block);
    EXPECT_EQ(*isan__tag_word(block + ISAN__CODE_SITE), 0);
}

TEST(a_block_that_moves_takes_its_notes_along)
{
    begin();
    char *from = tag_block(0), *to = tag_block(1024);
    isan__subscribe_noted_block_moved(note_moved);
    isan__noted_block_moved(from, to); /* it has no notes */
    EXPECT_EQ(n_moved, 0);
    EXPECT(!is_noted(to));
    isan__note_block(from, ISAN__NOTE_OBJECT, 7);
    isan__noted_block_moved(from, to);
    EXPECT_EQ(n_moved, 1);
    EXPECT(moved.from == from && moved.to == to && moved.notes == ISAN__NOTE_OBJECT);
    EXPECT(is_noted(to));
    EXPECT_EQ(isan__noted_serial(to), 7);
    EXPECT_EQ(isan__noted_serial(from), 0);
}
