/* A static that keeps an object; static_namesake.c has one of the same name. */
#include <Python.h>

static PyObject *cache;

static PyObject **
place(Py_ssize_t which)
{
    return which == 0 ? &cache : NULL;
}

#define NAME static_variable
#include "holds.h"
