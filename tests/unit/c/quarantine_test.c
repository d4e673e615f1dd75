/* runtime/core/quarantine.c: memory that ending interpreters free. */
#include "runtime/core/quarantine.h"

#include "interps.h"
#include "runtime/core/block_notes.h"

enum {
    MAIN = 1,
    OWN,
    OTHER,
    BUDGET = 1 << 19, /* of each ring, with quarantine=1 */
    PIECE = BUDGET / 4,
    ARENA_SIZE = 16 << 20
};

static struct unit_interp interps[OTHER + 1];
static char *given_back[64];
static int domains[64], n_given_back;

static void
note_free(int domain, void *block)
{
    EXPECT(n_given_back < 64);
    EXPECT_EQ(isan__load_tag(block), 0);
    domains[n_given_back] = domain;
    given_back[n_given_back++] = block;
}

static void
begin(void)
{
    unit_begin_python(16);
    unit_map_arena(ARENA_SIZE);
    EXPECT_EQ(unit_begin_interp(&interps[OWN], 1, false), OWN);
    EXPECT_EQ(unit_begin_interp(&interps[OTHER], 2, false), OTHER);
    isan__real_free = note_free;
    isan__slot = MAIN;
}

/* The nth block of its size, which its owner frees. */
static char *
free_block(size_t n, size_t size, isan__slot_t slot)
{
    char *block = (char *)UNIT_ARENA + n * size;
    isan__tag_block(block, size, slot, 5, 0);
    EXPECT(isan__quarantine(block, 'm'));
    return block;
}

TEST(a_block_is_held_back_with_its_owner)
{
    begin();
    char *block = free_block(0, 64, OWN);
    EXPECT_EQ(n_given_back, 0);
    EXPECT_EQ(isan__load_tag(block) & (0xffff | ISAN__FREED), OWN | ISAN__FREED);
    EXPECT_EQ(isan__block_size(block), 64);
    EXPECT_EQ(isan__quarantine_holds(isan__interp_of(OWN)->serial), 1);
    EXPECT_EQ(isan__quarantine_holds(isan__interp_of(OTHER)->serial), 0);
}

TEST(the_oldest_are_given_back_first_once_the_budget_is_spent)
{
    begin();
    char *blocks[7];
    for (size_t i = 0; i < 4; i++) {
        blocks[i] = free_block(i, PIECE, MAIN);
    }
    EXPECT_EQ(n_given_back, 0);
    for (size_t i = 4; i < 7; i++) {
        blocks[i] = free_block(i, PIECE, MAIN);
        EXPECT_EQ(n_given_back, i - 3);
        EXPECT(given_back[i - 4] == blocks[i - 4]);
        EXPECT_EQ(domains[i - 4], 'm');
    }
    EXPECT_EQ(isan__quarantine_holds(isan__interp_of(MAIN)->serial), 4);
}

TEST(one_large_block_displaces_several)
{
    begin();
    for (size_t i = 0; i < 4; i++) {
        free_block(i, PIECE, MAIN);
    }
    free_block(2, 3 * PIECE, MAIN);
    EXPECT_EQ(n_given_back, 3);
}

TEST(a_block_larger_than_the_budget_is_freed_now)
{
    begin();
    char *block = (char *)UNIT_ARENA;
    isan__tag_block(block, BUDGET, MAIN, 0, 0);
    EXPECT(isan__quarantine(block, 'm'));
    isan__tag_block(block + BUDGET, BUDGET + 16, MAIN, 0, 0);
    EXPECT(!isan__quarantine(block + BUDGET, 'm'));
    EXPECT(!(isan__load_tag(block + BUDGET) & ISAN__FREED));
    isan__options.quarantine = 0;
    isan__tag_block(block, 32, MAIN, 0, 0);
    EXPECT(!isan__quarantine(block, 'm'));
}

TEST(each_kind_of_obmalloc_has_its_own_budget)
{
    begin();
    for (size_t i = 0; i < 4; i++) {
        free_block(i, PIECE, MAIN);
        free_block(8 + i, PIECE, OWN);
    }
    EXPECT_EQ(n_given_back, 0);
    isan__slot = OTHER;
    free_block(16, PIECE, OTHER);
    EXPECT_EQ(n_given_back, 1);
    EXPECT(given_back[0] == (char *)UNIT_ARENA + 8 * PIECE);
}

/* The ring grows several times, and goes around its end before and after that. */
TEST(many_blocks_are_given_back_in_their_order)
{
    enum { SIZE = 32, ROOM = BUDGET / SIZE, N = 5 * ROOM };
    static char *order[4 + N];
    size_t n = 0, next = 0;
    begin();
    while (n < 4) {
        order[n] = free_block(n, PIECE, MAIN);
        n++;
    }
    for (size_t i = 0; i < N; i++) {
        n_given_back = 0;
        order[n++] = free_block(ROOM + i, SIZE, MAIN);
        EXPECT(n_given_back <= 1);
        if (n_given_back == 1) {
            EXPECT(given_back[0] == order[next]);
            next++;
        }
    }
    EXPECT_EQ(next, n - ROOM);
    EXPECT_EQ(isan__quarantine_holds(isan__interp_of(MAIN)->serial), ROOM);
}

static void
fill(size_t from)
{
    for (size_t i = 0; i < 4; i++) {
        free_block(from + i, PIECE, OTHER);
    }
}

TEST(a_small_block_of_another_obmalloc_is_forgotten_with_its_arena)
{
    enum { SMALL = 512 };
    begin();
    char *small = free_block(0, SMALL, OWN), *large = free_block(1, SMALL + 16, OWN);
    isan__slot = OTHER;
    fill(8);
    EXPECT_EQ(isan__load_tag(small), 0);
    EXPECT_EQ(isan__load_tag(large), 0);
    EXPECT_EQ(n_given_back, 1); /* large ones come from malloc */
    EXPECT(given_back[0] == large);
}

static uint32_t unused;

static void
note_unused(uint32_t serial)
{
    unused = serial;
}

TEST(an_ended_interpreter_is_unused_once_nothing_of_it_is_held_back)
{
    begin();
    uint32_t serial = isan__interp_of(OWN)->serial;
    isan__subscribe_interp_unused(note_unused);
    free_block(0, 64, OWN);
    free_block(1, 64, OWN);
    unit_end_interp(OWN, 2);
    isan__slot = OTHER;
    fill(8);
    EXPECT_EQ(unused, serial);
    EXPECT_EQ(isan__quarantine_holds(serial), 0);
    EXPECT_EQ(isan__interp_of(OWN)->serial, 0); /* these were the blocks that it left */
}

TEST(a_living_interpreter_stays_in_use)
{
    begin();
    isan__subscribe_interp_unused(note_unused);
    free_block(0, 64, OWN);
    fill(8);
    EXPECT_EQ(isan__quarantine_holds(isan__interp_of(OWN)->serial), 0);
    EXPECT_EQ(unused, 0);
}

static int n_notes;

static void
note_noted(const struct isan__noted_block *noted)
{
    n_notes += noted->value == 7;
}

TEST(notes_end_when_the_block_is_given_back)
{
    begin();
    isan__subscribe_noted_block_freed(note_noted);
    isan__note_block(free_block(0, 64, OTHER), ISAN__NOTE_OBJECT, 7);
    EXPECT_EQ(n_notes, 0);
    fill(8);
    EXPECT_EQ(n_notes, 1);
}

/* Python 3.12 forgets the main interpreter's obmalloc when it is initialised again. */
TEST(a_small_block_of_an_earlier_python_is_forgotten)
{
    begin();
    isan__py.new_obmalloc = true;
    free_block(0, 64, MAIN);
    unit_end_interp(MAIN, 1);
    isan__slot_t again = isan__interp_take_slot(&unit_main);
    EXPECT(again != 0 && again == isan__main_slot);
    isan__slot = again;
    for (size_t i = 0; i < 5; i++) {
        free_block(8 + i, PIECE, again);
    }
    EXPECT_EQ(n_given_back, 1);
    EXPECT(given_back[0] == (char *)UNIT_ARENA + 8 * PIECE);
}
