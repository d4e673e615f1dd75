/* An array of objects, and one that the dynamic symbol table names, too. */
#include <Python.h>

PyObject *exported_array[2];
static PyObject *cache[3];

static PyObject **
place(Py_ssize_t which)
{
    return which < 3 ? &cache[which] : which < 5 ? &exported_array[which - 3] : NULL;
}

#define NAME static_array
#include "holds.h"
