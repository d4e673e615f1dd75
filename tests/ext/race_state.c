/* Healthy: each interpreter has a counter. */
#include <Python.h>

static __attribute__((noinline)) long
once(void *module)
{
    return ++*(long *)PyModule_GetState(module);
}

#define NAME race_state
#define STATE_SIZE sizeof(long)
#include "race.h"
