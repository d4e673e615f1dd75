/* Healthy: interpreters store different values with release order, and nothing else
 * changes the variable.  Bug: with PLAIN defined it is not atomic. */
#include <Python.h>
#include <stdatomic.h>

#ifdef PLAIN
static volatile uintptr_t last;
#define STORE(value) last = value
#else
static struct { int unused; atomic_uintptr_t last; } box[2];
#define STORE(value) atomic_store_explicit(&box[1].last, value, memory_order_release)
#endif

__attribute__((noinline)) static void
step(PyObject *module)
{
    STORE(~(uintptr_t)module);
}

#define NAME race_release
#include "races.h"
