/* A static in a function. */
#include <Python.h>

static PyObject **
place(Py_ssize_t which)
{
    static PyObject *once;
    return which == 0 ? &once : NULL;
}

#define NAME static_local
#include "holds.h"
