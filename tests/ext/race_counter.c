/* Interpreters count in one variable. */
#include <Python.h>

static long counter;

static void
step(PyObject *Py_UNUSED(module))
{
    counter++;
}

#define NAME race_counter
#include "races.h"
