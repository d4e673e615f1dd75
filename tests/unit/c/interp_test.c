/* runtime/core/interp.c: interpreters and their slots. */
#include "interps.h"

enum { SLOTS = 8, ALL = SLOTS - 1, ARENA_SIZE = 1 << 16 };

static struct unit_interp interps[2 * SLOTS];

static isan__slot_t
owner_of(const char *block)
{
    return (isan__slot_t)isan__load_tag(block);
}

TEST(the_main_interpreter_is_part_of_the_runtime)
{
    unit_begin_python(SLOTS);
    const struct isan__interp *i = isan__interp_of(1);
    EXPECT_EQ(isan__main_slot, 1);
    EXPECT_EQ(i->kind, ISAN_INTERP_MAIN);
    EXPECT(i->shares_main && i->serial == 1 && i->interp == &unit_main);
    EXPECT(i->ends == &unit_main.finalizing);
}

TEST(an_interpreter_has_a_gil_of_its_own_or_not)
{
    unit_begin_python(SLOTS);
    isan__slot_t own = unit_begin_interp(&interps[0], 1, false),
                 other = unit_begin_interp(&interps[1], 2, false);
    isan__slot_t legacy = unit_begin_interp(&interps[2], 3, true);
    EXPECT_EQ(isan__interp_of(own)->kind, ISAN_INTERP_OWN_GIL);
    EXPECT_EQ(isan__interp_of(legacy)->kind, ISAN_INTERP_LEGACY);
    EXPECT_EQ(isan__interp_of(legacy)->id, 3);
    EXPECT(isan__share_gil(1, legacy) && isan__share_gil(own, own));
    EXPECT(!isan__share_gil(1, own) && !isan__share_gil(own, other));
    EXPECT(isan__share_obmalloc(1, legacy));
    EXPECT(!isan__share_obmalloc(1, own) && !isan__share_obmalloc(own, other));
}

TEST(an_interpreter_without_a_gil_is_not_ready)
{
    unit_begin_python(SLOTS);
    EXPECT_EQ(isan__interp_take_slot(&interps[0]), 0);
    interps[0].gil = &interps[0];
    EXPECT_EQ(isan__interp_take_slot(&interps[0]), 2);
}

TEST(an_interpreter_is_found_until_it_has_ended)
{
    unit_begin_python(SLOTS);
    isan__slot_t slot = unit_begin_interp(&interps[0], 1, false);
    EXPECT_EQ(isan__slot_of_interp(&interps[0]), slot);
    EXPECT_EQ(isan__slot_of_interp(&interps[1]), 0);
    EXPECT_EQ(isan__slot_of_interp(NULL), 0);
    isan__interp_forget(isan__interp_of(slot));
    EXPECT_EQ(isan__slot_of_interp(&interps[0]), 0);
    EXPECT(isan__interp_of(slot)->interp == NULL);
}

TEST(slots_are_taken_in_a_circle)
{
    unit_begin_python(SLOTS);
    for (isan__slot_t slot = 2; slot <= 4; slot++) {
        EXPECT_EQ(unit_begin_interp(&interps[slot], slot, false), slot);
    }
    unit_end_interp(2, 0);
    for (isan__slot_t slot = 5; slot <= ALL; slot++) {
        EXPECT_EQ(unit_begin_interp(&interps[slot], slot, false), slot);
    }
    EXPECT_EQ(unit_begin_interp(&interps[0], 9, false), 2);
    EXPECT_EQ(isan__interp_of(2)->serial, ALL + 1); /* serials are never reused */
}

TEST(a_slot_is_given_back_when_its_blocks_are_counted_and_gone)
{
    unit_begin_python(SLOTS);
    isan__slot_t slot = unit_begin_interp(&interps[0], 1, false);
    isan__interp_block_freed(slot); /* while it lives: this counts for nothing */
    unit_end_interp(slot, 2);
    EXPECT(isan__interp_of(slot)->serial != 0);
    isan__interp_block_freed(slot);
    EXPECT(isan__interp_of(slot)->serial != 0);
    isan__interp_block_freed(slot);
    EXPECT_EQ(isan__interp_of(slot)->serial, 0);
    slot = unit_begin_interp(&interps[0], 2, false);
    unit_end_interp(slot, 0);
    EXPECT_EQ(isan__interp_of(slot)->serial, 0);
}

static void
count_a_living_interpreter(void)
{
    isan__interp_counted(1, 0);
}

TEST(only_the_blocks_of_an_ended_interpreter_are_counted)
{
    unit_begin_python(SLOTS);
    EXPECT_DEATH(count_a_living_interpreter(), "not true: i->ended");
}

TEST(a_slot_that_does_not_exist_is_free)
{
    unit_begin_python(SLOTS);
    EXPECT_EQ(isan__interp_of(0)->serial, 0);
    EXPECT_EQ(isan__interp_of(5)->serial, 0);
    EXPECT_EQ(isan__interp_of(SLOTS + 2)->serial, 0);
    EXPECT_EQ(isan__interp_of(ISAN__NO_INTERP)->serial, 0);
}

TEST(living_interpreters_follow_each_other)
{
    unit_begin_python(SLOTS);
    for (isan__slot_t slot = 2; slot <= 4; slot++) {
        unit_begin_interp(&interps[slot], slot, false);
    }
    unit_end_interp(3, 1);
    EXPECT_EQ(isan__next_live_slot(0), 1);
    EXPECT_EQ(isan__next_live_slot(1), 2);
    EXPECT_EQ(isan__next_live_slot(2), 4);
    EXPECT_EQ(isan__next_live_slot(4), 0);
}

TEST(memory_is_stable_in_this_interpreter_and_in_ended_ones)
{
    unit_begin_python(SLOTS);
    isan__slot_t slot = unit_begin_interp(&interps[0], 1, false);
    isan__slot = 1;
    EXPECT(isan__memory_is_stable(1));
    EXPECT(!isan__memory_is_stable(slot));
    unit_end_interp(slot, 1);
    EXPECT(isan__memory_is_stable(slot));
}

TEST(marks_are_for_interpreters_that_began_under_the_tracer)
{
    unit_begin_python(SLOTS);
    isan__reftrace_active = true;
    isan__slot_t slot = unit_begin_interp(&interps[0], 1, false);
    EXPECT(!isan__interp_of(1)->marked && isan__interp_of(slot)->marked);
    isan__interps_clear_marked();
    EXPECT(!isan__interp_of(slot)->marked);
}

TEST(another_owner_leaves_the_rest_of_a_tag)
{
    static const size_t sizes[] = { 32, 48, 4096 };
    unit_begin_python(SLOTS);
    char *block = unit_map_arena(ARENA_SIZE);
    for (size_t i = 0; i < 3; i++) {
        isan__tag_block(block, sizes[i], 1, 0xabcdef, ISAN__OBJECT | ISAN__FREED | ISAN__RAW);
        isan__retag(block, 2);
        for (size_t granule = 0; granule < (sizes[i] == 32 ? 2 : 3); granule++) {
            EXPECT_EQ(owner_of(block + granule * ISAN__GRANULE), 2);
        }
        EXPECT_EQ(isan__load_tag(block + 3 * ISAN__GRANULE), 0);
        EXPECT_EQ(isan__block_size(block), sizes[i]);
        EXPECT_EQ(isan__block_origin(block), 0xabcdef);
        EXPECT_EQ(isan__load_tag(block) & (ISAN__OBJECT | ISAN__FREED | ISAN__RAW | ISAN__NOTED),
                  ISAN__OBJECT | ISAN__FREED | ISAN__RAW);
        isan__untag_block(block, isan__load_tag(block));
    }
}

TEST(a_block_that_gets_another_owner_is_one_less_of_those_left)
{
    unit_begin_python(SLOTS);
    char *block = unit_map_arena(ARENA_SIZE);
    isan__slot_t slot = unit_begin_interp(&interps[0], 1, false);
    isan__tag_block(block, 32, slot, 0, 0);
    unit_end_interp(slot, 2);
    isan__retag(block, 1);
    EXPECT_EQ(isan__interp_of(slot)->left, 1);
}

TEST(all_slots_used_up_gives_back_those_of_ended_interpreters)
{
    enum { FEW = 4 };
    unit_begin_python(FEW);
    char *arena = unit_map_arena(ARENA_SIZE);
    EXPECT_EQ(unit_begin_interp(&interps[0], 1, false), 2);
    EXPECT_EQ(unit_begin_interp(&interps[1], 2, true), 3);
    for (isan__slot_t slot = 1; slot < FEW; slot++) {
        isan__tag_block(arena + slot * 64, 64, slot, 0x1234, ISAN__OBJECT);
    }
    unit_end_interp(2, 1);
    unit_end_interp(3, 1);
    isan__slot_t next = unit_begin_interp(&interps[2], 3, false);
    EXPECT(next == 2 || next == 3);
    EXPECT_EQ(isan__interp_of(5 - next)->serial, 0);
    /* The blocks are known to be of an ended interpreter, and whether it shared the main obmalloc. */
    EXPECT_EQ(owner_of(arena + 64), 1);
    EXPECT_EQ(owner_of(arena + 128), FEW);
    EXPECT_EQ(owner_of(arena + 192), FEW + 1);
    for (isan__slot_t slot = FEW; slot <= FEW + 1; slot++) {
        const struct isan__interp *i = isan__interp_of(slot);
        EXPECT(i->serial != 0 && i->ended && !i->counted && i->id == -1);
        EXPECT_EQ(i->shares_main, slot - FEW);
    }
    EXPECT_EQ(isan__block_origin(arena + 192), 0x1234);
    EXPECT_EQ(unit_records[ISAN_REC_INTERP], 4); /* they begin and end */
    isan__interp_block_freed(FEW);               /* never given back */
    EXPECT(isan__interp_of(FEW)->serial != 0);
    EXPECT_EQ(unit_begin_interp(&interps[3], 4, false), 5 - next);
}

static void
begin_more_than_there_are_slots(void)
{
    unit_begin_python(4);
    for (int i = 0; i < 2; i++) {
        EXPECT(unit_begin_interp(&interps[i], i + 1, false) != 0);
    }
    if (unit_begin_interp(&interps[2], 3, false) == 0) {
        _exit(1);
    }
}

TEST(more_living_interpreters_than_slots_are_not_checked)
{
    EXPECT_DEATH(begin_more_than_there_are_slots(), "isan: more than 3 interpreters at once");
}
