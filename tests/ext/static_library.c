/* A static in a shared library (lib/static_library.c) that the extension is
 * linked to. */
#include <Python.h>

PyObject **library_place(void);

static PyObject **
place(Py_ssize_t which)
{
    return which == 0 ? library_place() : NULL;
}

#define NAME static_library
#include "holds.h"
