/* runtime/base/lock.c: locks with ranks. */
#include "runtime/base/lock.h"

#include <pthread.h>

#include "unit.h"

static struct isan__lock low = { .rank = ISAN__RANK_INTERPS };
static struct isan__lock high = { .rank = ISAN__RANK_TABLE };

TEST(locks_are_taken_in_the_order_of_their_ranks)
{
    isan__lock(&low);
    isan__lock(&high);
    EXPECT_EQ(isan__lock_state.held, 2);
    isan__unlock(&high);
    isan__unlock(&low);
    EXPECT_EQ(isan__lock_state.held, 0);
    EXPECT_EQ(isan__lock_state.ranks, 0);
}

static void
take_in_the_wrong_order(void)
{
    isan__lock(&high);
    isan__lock(&low);
}

static void
take_twice(void)
{
    isan__lock(&low);
    isan__lock(&low);
}

static void
unlock_in_the_wrong_order(void)
{
    isan__lock(&low);
    isan__lock(&high);
    isan__unlock(&low);
}

TEST(the_wrong_order_is_an_error_in_checked_builds)
{
    EXPECT_DEATH(take_in_the_wrong_order(), "runtime/base/lock.c");
    EXPECT_DEATH(take_twice(), "runtime/base/lock.c");
    EXPECT_DEATH(unlock_in_the_wrong_order(), "runtime/base/lock.c");
}

TEST(a_lock_without_a_rank_is_an_error_in_checked_builds)
{
    static struct isan__lock none;
    EXPECT_DEATH(isan__lock(&none), "runtime/base/lock.c");
}

enum { THREADS = 4, ROUNDS = 20000 };
static long counter;

static void *
count_under_the_lock(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        isan__lock(&low);
        counter++;
        isan__unlock(&low);
    }
    return arg;
}

TEST(one_thread_at_a_time_holds_a_lock)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, count_under_the_lock, NULL);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    EXPECT_EQ(counter, (long)THREADS * ROUNDS);
}

/* A crash handler may run on a thread that holds the lock: it goes on after a second. */
TEST(a_crashing_thread_does_not_wait_for_ever)
{
    low.word = 1;
    isan__lock_state.crashing = 1;
    isan__lock(&low);
    EXPECT_EQ(isan__lock_state.held, 1);
}

TEST(the_child_of_a_fork_finds_all_locks_free)
{
    isan__locks_fork(ISAN__FORK_BEFORE);
    pid_t child = fork();
    if (child == 0) {
        isan__locks_fork(ISAN__FORK_CHILD);
        isan__lock(&low);
        isan__unlock(&low);
        _exit(isan__lock_state.held);
    }
    isan__locks_fork(ISAN__FORK_PARENT);
    int status;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
    isan__lock(&low);
    isan__unlock(&low);
}
