/* The library that static_library.c is linked to. */
#include <Python.h>

static PyObject *cache;

PyObject **library_place(void);
void library_store(PyObject **to, PyObject *object);

PyObject **
library_place(void)
{
    return &cache;
}

/* The library itself uses the C API. */
void
library_store(PyObject **to, PyObject *object)
{
    PyObject *before = *to;
    *to = Py_NewRef(object);
    Py_DecRef(before);
}
