/* Locks: see lock.h. */
#define _GNU_SOURCE
#include "runtime/base/lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/check.h"

__thread struct isan__lock_state isan__lock_state;

/* A fork waits until no thread holds a lock, so that the child finds the guarded data
 * consistent.  Meanwhile a thread that holds a lock may take another one. */
static int n_inside, forking;

static void
enter(void)
{
    while (isan__lock_state.held == 0) {
        __atomic_add_fetch(&n_inside, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&forking, __ATOMIC_SEQ_CST) == 0) {
            break;
        }
        __atomic_sub_fetch(&n_inside, 1, __ATOMIC_SEQ_CST);
        sched_yield();
    }
    isan__lock_state.held++;
}

void
isan__locks_fork(enum isan__fork when)
{
    switch (when) {
    case ISAN__FORK_BEFORE:
        __atomic_add_fetch(&forking, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&n_inside, __ATOMIC_SEQ_CST) != 0) {
            sched_yield();
        }
        break;
    case ISAN__FORK_PARENT:
        __atomic_sub_fetch(&forking, 1, __ATOMIC_SEQ_CST);
        break;
    case ISAN__FORK_CHILD:
        n_inside = forking = 0;
    }
}

void
isan__lock(struct isan__lock *lock)
{
    /* No lock of this rank or a higher one is held. */
    ISAN__ASSERT(lock->rank != 0 && isan__lock_state.ranks >> lock->rank == 0);
    enter();
#ifdef ISAN_CHECKED
    isan__lock_state.ranks |= 1u << lock->rank;
#endif
    int expected = 0;
    if (__atomic_compare_exchange_n(&lock->word, &expected, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        return;
    }
    while (__atomic_exchange_n(&lock->word, 2, __ATOMIC_ACQUIRE) != 0) {
        /* The lock may be held by this thread, which has crashed. */
        struct timespec second = { .tv_sec = 1 };
        if (syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, 2,
                    isan__lock_state.crashing ? &second : NULL, NULL, 0) < 0
            && errno == ETIMEDOUT) {
            return;
        }
    }
}

void
isan__unlock(struct isan__lock *lock)
{
    ISAN__ASSERT(isan__lock_state.held != 0 && isan__lock_state.ranks >> lock->rank == 1);
#ifdef ISAN_CHECKED
    isan__lock_state.ranks &= ~(1u << lock->rank);
#endif
    if (__atomic_exchange_n(&lock->word, 0, __ATOMIC_RELEASE) == 2) {
        syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    if (--isan__lock_state.held == 0) {
        __atomic_sub_fetch(&n_inside, 1, __ATOMIC_SEQ_CST);
    }
}
