/* Bug: arithmetic on ob_refcnt, which changes the count of immortal objects, too. */
#include <Python.h>

#define NAME "immortal_arithmetic"
#define INIT PyInit_immortal_arithmetic
#include "immortal.h"

static void
change(PyObject *object, long by)
{
    object->ob_refcnt += by;
}
