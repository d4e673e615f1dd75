/* runtime/base/table.c: hash tables and their keys. */
#include "runtime/base/table.h"

#include "unit.h"

/* Of the same place in a table of `size` entries, for finding `n` keys that collide. */
static uint64_t
get_home(uint64_t key, size_t size)
{
    return (key * 0x9e3779b97f4a7c15u >> 20) & (size - 1);
}

TEST(an_empty_table_has_nothing)
{
    struct isan__table table = ISAN__TABLE;
    EXPECT_EQ(isan__table_get(&table, 1), 0);
    EXPECT_EQ(isan__table_take(&table, 1), 0);
    isan__table_clear(&table);
    EXPECT_EQ(table.used, 0);
}

TEST(put_adds_and_replaces)
{
    struct isan__table table = ISAN__TABLE;
    EXPECT(isan__table_put(&table, 7, 70));
    EXPECT(isan__table_put(&table, UINT64_MAX, 1));
    EXPECT(isan__table_put(&table, 7, 71));
    EXPECT_EQ(isan__table_get(&table, 7), 71);
    EXPECT_EQ(isan__table_get(&table, UINT64_MAX), 1);
    EXPECT_EQ(isan__table_get(&table, 8), 0);
    EXPECT_EQ(table.used, 2);
}

TEST(a_table_grows_and_keeps_all)
{
    enum { N = 20000 };
    struct isan__table table = ISAN__TABLE_UNLOCKED;
    for (uint64_t key = 1; key <= N; key++) {
        EXPECT(isan__table_put(&table, key << 32, key));
        EXPECT(table.used * 4 <= table.size * 3);
    }
    for (uint64_t key = 1; key <= N; key++) {
        EXPECT_EQ(isan__table_get(&table, key << 32), key);
    }
    EXPECT_EQ(table.used, N);
}

/* Removal moves the rest of a run back.  The run wraps around the end of the table, which is where the
 * arithmetic of Knuth's algorithm can go wrong. */
TEST(take_keeps_the_rest_of_a_run)
{
    enum { RUN = 24 };
    struct isan__table table = ISAN__TABLE_UNLOCKED;
    uint64_t keys[RUN];
    EXPECT(isan__table_put(&table, 1, 1));
    size_t size = table.size;
    EXPECT_EQ(isan__table_take(&table, 1), 1);
    int n = 0;
    for (uint64_t key = 2; n < RUN; key++) {
        /* Half of them belong to the last two places, the others to the first two. */
        uint64_t home = get_home(key, size);
        if ((n < RUN / 2 && home >= size - 2) || (n >= RUN / 2 && home < 2)) {
            keys[n++] = key;
        }
    }
    for (int taken = 0; taken < RUN; taken++) {
        for (int i = 0; i < RUN; i++) {
            EXPECT(isan__table_put(&table, keys[i], keys[i] + 1));
        }
        EXPECT_EQ(isan__table_take(&table, keys[taken]), keys[taken] + 1);
        for (int i = 0; i < RUN; i++) {
            EXPECT_EQ(isan__table_get(&table, keys[i]), i == taken ? 0 : keys[i] + 1);
        }
        EXPECT_EQ(table.used, RUN - 1);
    }
    EXPECT_EQ(table.size, size);
}

/* A table does what an array indexed by the key does. */
TEST(random_operations_match_an_array)
{
    enum { KEYS = 4000, OPERATIONS = 50000 };
    static uint64_t model[KEYS + 1];
    struct isan__table table = ISAN__TABLE;
    uint64_t random = 88172645463325252u, used = 0;
    for (int i = 1; i <= OPERATIONS; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        uint64_t key = 1 + random % KEYS, value = (uint64_t)i;
        switch (random >> 60 & 3) {
        case 0:
            EXPECT_EQ(isan__table_take(&table, key), model[key]);
            used -= model[key] != 0;
            model[key] = 0;
            break;
        case 1:
            EXPECT_EQ(isan__table_get(&table, key), model[key]);
            break;
        default:
            EXPECT(isan__table_put(&table, key, value));
            used += model[key] == 0;
            model[key] = value;
        }
        EXPECT_EQ(table.used, used);
    }
}

TEST(clear_gives_memory_back_and_the_table_can_be_used_again)
{
    struct isan__table table = ISAN__TABLE;
    EXPECT(isan__table_put(&table, 3, 4));
    isan__table_clear(&table);
    EXPECT_EQ(table.used, 0);
    EXPECT(table.slot == NULL);
    EXPECT_EQ(isan__table_get(&table, 3), 0);
    EXPECT(isan__table_put(&table, 3, 5));
    EXPECT_EQ(isan__table_get(&table, 3), 5);
}

static bool
is_value(uint64_t key, uint64_t value, void *arg)
{
    (void)key;
    return value == *(uint64_t *)arg;
}

TEST(find_gives_a_key_by_its_entry)
{
    struct isan__table table = ISAN__TABLE;
    uint64_t value = 20;
    EXPECT_EQ(isan__table_find(&table, is_value, &value), 0);
    EXPECT(isan__table_put(&table, 1, 10));
    EXPECT(isan__table_put(&table, 2, 20));
    EXPECT_EQ(isan__table_find(&table, is_value, &value), 2);
    value = 30;
    EXPECT_EQ(isan__table_find(&table, is_value, &value), 0);
}

/* 2^40 entries are more than can be mapped. */
TEST(an_entry_that_has_no_room_is_refused_or_counted)
{
    struct isan__table full = { .unlocked = true,
                                .size = (size_t)1 << 43,
                                .used = (size_t)1 << 43 };
    EXPECT(!isan__table_put(&full, 1, 1));
    EXPECT_EQ(isan__tables_dropped(), 0);
    isan__table_put_or_drop(&full, 1, 1);
    EXPECT_EQ(isan__tables_dropped(), 1);
    struct isan__table table = ISAN__TABLE;
    isan__table_put_or_drop(&table, 1, 1);
    EXPECT_EQ(isan__tables_dropped(), 1);
    EXPECT_EQ(isan__table_get(&table, 1), 1);
}

TEST(the_key_0_is_refused_in_checked_builds)
{
    struct isan__table table = ISAN__TABLE;
    EXPECT_DEATH((void)!isan__table_put(&table, 0, 1), "not true: key != 0");
}

TEST(keys_of_different_types_differ)
{
    uint64_t values[] = { 1, 2 };
    EXPECT(isan__table_key(ISAN__KEY_USE, values, sizeof values)
           != isan__table_key(ISAN__KEY_STATIC, values, sizeof values));
    EXPECT(isan__table_key(ISAN__KEY_USE, values, sizeof values)
           == isan__table_key(ISAN__KEY_USE, values, sizeof values));
    for (uint64_t i = 0; i < 1000; i++) {
        EXPECT(isan__table_key(ISAN__KEY_USE, &i, sizeof i) != 0);
    }
}

TEST(each_byte_changes_a_hash)
{
    unsigned char data[19] = { 0 };
    uint64_t before = isan__hash(data, sizeof data, 0);
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = 1;
        EXPECT(isan__hash(data, sizeof data, 0) != before);
        data[i] = 0;
    }
    EXPECT(isan__hash(data, sizeof data - 1, 0) != before);
    EXPECT(isan__hash(data, sizeof data, 1) != before);
    EXPECT_EQ(isan__hash(data, sizeof data, 0), before);
}
