/* A static that keeps an object; static_variable.c has one of the same name. */
#include <Python.h>

static int others;
static PyObject *cache;

static PyObject **
place(Py_ssize_t which)
{
    others++;
    return which == 0 ? &cache : NULL;
}

#define NAME static_namesake
#include "holds.h"
