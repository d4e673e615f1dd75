/* Interpreters store the same constant into a flag; with OTHER defined, they store
 * one of two constants. */
#include <Python.h>

static int there;

__attribute__((noinline)) static void
step(PyObject *Py_UNUSED(module))
{
#ifdef OTHER
    if (there == 1) {
        there = 2;
        return;
    }
#endif
    there = 1;
}

#define NAME race_flag
#include "races.h"
