/* Healthy: each thread has a counter. */
static __thread long counter;

static __attribute__((noinline)) long
once(void *module)
{
    (void)module;
    return ++counter;
}

#define NAME race_thread
#include "race.h"
