/* runtime/core/events.c: what a lower layer tells a higher one. */
#include "runtime/core/events.h"

#include "unit.h"

static char calls[16];
static size_t n_calls;
static isan__slot_t last_slot;

static void
first(isan__slot_t slot)
{
    calls[n_calls++] = '1';
    last_slot = slot;
}

static void
second(isan__slot_t slot)
{
    (void)slot;
    calls[n_calls++] = '2';
}

static void
of_another_event(isan__slot_t slot)
{
    (void)slot;
    calls[n_calls++] = 'x';
}

TEST(subscribers_are_called_in_the_order_in_which_they_subscribed)
{
    isan__subscribe_interp_begins(second);
    isan__subscribe_interp_begins(first);
    isan__subscribe_interp_begins(first);
    isan__subscribe_interp_finalizes(of_another_event);
    isan__publish_interp_begins(7);
    EXPECT_STR(calls, "211");
    EXPECT_EQ(last_slot, 7);
    isan__publish_interp_finalizes(7);
    EXPECT_STR(calls, "211x");
}

TEST(an_event_without_subscribers_calls_nothing)
{
    isan__subscribe_interp_begins(first);
    isan__publish_interp_finalizes(1);
    isan__publish_forked(0);
    EXPECT_EQ(n_calls, 0);
}

static void
count_blocks(struct isan__interp_end *end)
{
    end->left += 2;
}

TEST(subscribers_can_answer)
{
    struct isan__interp_end end = { .slot = 3 };
    isan__subscribe_interp_ends(count_blocks);
    isan__subscribe_interp_ends(count_blocks);
    isan__publish_interp_ends(&end);
    EXPECT_EQ(end.left, 4);
}

static void
subscribe_often(int n)
{
    for (int i = 0; i < n; i++) {
        isan__subscribe_interp_begins(first);
    }
}

TEST(too_many_subscribers_are_an_error)
{
    EXPECT_DEATH(subscribe_often(13), "interp_begins_count < MAX_SUBSCRIBERS");
    subscribe_often(12);
    isan__publish_interp_begins(1);
    EXPECT_EQ(n_calls, 12);
}
