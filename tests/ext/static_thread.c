/* A thread-local variable. */
#include <Python.h>

static __thread int ready;
static __thread PyObject *cache;

static PyObject **
place(Py_ssize_t which)
{
    ready++;
    return which == 0 ? &cache : NULL;
}

#define NAME static_thread
#include "holds.h"
