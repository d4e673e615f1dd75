/* Threads release the GIL that they share, and then count in one variable. */
#include <Python.h>

static long counter;

static void
step(PyObject *Py_UNUSED(module))
{
    Py_BEGIN_ALLOW_THREADS
    counter++;
    Py_END_ALLOW_THREADS
}

#define NAME race_released
#include "races.h"
