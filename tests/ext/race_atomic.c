/* Healthy: the counter is atomic, and so is what says which was the last. */
#include <stdatomic.h>

static atomic_long counter, last;

static __attribute__((noinline)) long
once(void *module)
{
    (void)module;
    long result = atomic_fetch_add(&counter, 1) + 1;
    atomic_store(&last, result);
    return result;
}

#define NAME race_atomic
#include "race.h"
