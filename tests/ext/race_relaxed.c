/* Healthy: atomic relaxed stores, which are ordinary instructions, and now and then
 * an atomic exchange. */
#include <Python.h>
#include <stdatomic.h>

static atomic_uintptr_t last;

__attribute__((noinline)) static void
step(PyObject *module)
{
    atomic_store_explicit(&last, (uintptr_t)&module, memory_order_relaxed);
    if (((uintptr_t)&module >> 4) % 7 == 0) {
        atomic_exchange(&last, 0);
    }
}

#define NAME race_relaxed
#include "races.h"
