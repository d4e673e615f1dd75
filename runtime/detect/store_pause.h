/* Threads pause before a store, so that another interpreter's store can collide with it. */
#ifndef ISAN_DETECT_STORE_PAUSE_H
#define ISAN_DETECT_STORE_PAUSE_H

#include <ucontext.h>

#include "runtime/base/compiler.h"

/* The memory that a store writes, for the rules. */
struct isan__store_target {
    uint64_t address;
    uint32_t size;
    bool atomic;                            /* an instruction of the module changes it atomically */
    bool constant;                          /* the instruction stores the constant `value` */
    uint32_t value;
};

enum {
    ISAN__FIRST_PAUSE_MS = 20,              /* the first store of each interpreter at each place */
    ISAN__LATER_PAUSE_MS = 5,               /* one of its later stores, now and then */
};

/* For functions that run while only the general registers are saved (store_trampoline.c). */
#define ISAN__GENERAL_REGISTERS __attribute__((target("general-regs-only")))

void isan__store_pause_init(void);
void isan__store_pause_forked(void);        /* in the child */

/* Do the rules excuse the two stores?  With the same target twice: do they excuse any store into
 * it? */
bool isan__store_is_excused(const struct isan__store_target *a, const struct isan__store_target *b);

/* This thread is about to store.  If another thread pauses before a store into the same
 * memory, the two collide.  Otherwise this thread pauses for up to `ms` milliseconds.
 * here: its registers; NULL: the stack of the caller.  True: a race has been reported. */
bool isan__store_collide(const struct isan__store_target *to, uint64_t ms, ucontext_t *here);

/* Does a thread pause before a store into this memory? */
ISAN__GENERAL_REGISTERS bool isan__store_has_pause(const struct isan__store_target *to);
/* Is a later pause due?  The clock is the processor's time-stamp counter; its unit is a tick. */
ISAN__GENERAL_REGISTERS bool isan__store_pause_is_due(uint64_t now);
/* Makes the next later pause due an interval after `now`, and returns the interval. */
uint64_t isan__store_pause_next(uint64_t now);

#endif
