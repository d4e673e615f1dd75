/* Bug: counts references itself, which changes the count of immortal objects. */
#include <Python.h>

#define NAME "immortal_arithmetic"
#include "immortal.h"

static void
change(PyObject *object, long by)
{
    object->ob_refcnt += by;
}

PyMODINIT_FUNC
PyInit_immortal_arithmetic(void)
{
    return PyModuleDef_Init(&definition);
}
