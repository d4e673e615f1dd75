/* Bug: all interpreters count in one variable. */
static long counter;

static __attribute__((noinline)) long
once(void *module)
{
    (void)module;
    return ++counter;
}

#define NAME race_counter
#include "race.h"
