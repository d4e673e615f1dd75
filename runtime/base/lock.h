/* Locks with ranks.
 *
 * A lock is held for a few instructions: never over a walk of memory, a system call
 * that can block, a call of the program's, malloc or the dynamic linker.  isan never
 * waits for a lock that the code under test can hold.
 *
 * A thread that holds a lock takes only locks of a higher rank (checked builds check
 * that).  This is the order: */
#ifndef ISAN_BASE_LOCK_H
#define ISAN_BASE_LOCK_H

#include "runtime/base/compiler.h"

enum isan__lock_rank {
    ISAN__RANK_CALLBACKS = 1,               /* api/callbacks.c: the registered callbacks */
    ISAN__RANK_INTERPS,                     /* core/interp.c: the slots */
    ISAN__RANK_QUARANTINE,                  /* core/quarantine.c: the rings */
    ISAN__RANK_ARENAS,                      /* hooks/arena.c: the list of arenas */
    ISAN__RANK_RACE_STORES,                 /* detect/race_stores.c: threads that pause */
    ISAN__RANK_IMMORTAL,                    /* detect/immortal.c: the suspects */
    ISAN__RANK_MODULES,                     /* elf/modules.c: the current snapshot */
    ISAN__RANK_TABLE,                       /* base/table.c: each table; nothing is taken within */
};

struct isan__lock {
    int word;                               /* 0: free, 1: held, 2: held, and threads wait */
    uint8_t rank;                           /* enum isan__lock_rank */
};

void isan__lock(struct isan__lock *lock);
void isan__unlock(struct isan__lock *lock);

/* The locks that a thread holds. */
struct isan__lock_state {
    uint8_t held;                           /* how many */
    uint8_t crashing;                       /* the thread waits at most a second for a lock */
    uint32_t ranks;                         /* one bit for each rank held (checked builds) */
};
extern __thread struct isan__lock_state isan__lock_state __attribute__((tls_model("initial-exec")));
/* True at each return to the program.  A thread that has crashed may hold locks for good. */
static inline bool
isan__holds_no_lock(void)
{
    return isan__lock_state.held == 0 || isan__lock_state.crashing;
}

/* A fork waits until no lock is held, and no lock is taken until it is done. */
enum isan__fork { ISAN__FORK_BEFORE, ISAN__FORK_PARENT, ISAN__FORK_CHILD };
void isan__locks_fork(enum isan__fork when);

#endif
