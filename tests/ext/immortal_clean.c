/* The healthy twin of immortal_arithmetic.c: uses Py_INCREF and Py_DECREF, and
 * does arithmetic only on the count of a new object of its own. */
#include <Python.h>

#define NAME "immortal_clean"
#define INIT PyInit_immortal_clean
#include "immortal.h"

static void
change(PyObject *object, long by)
{
    for (; by > 0; by--) {
        Py_INCREF(object);
    }
    for (; by < 0; by++) {
        Py_DECREF(object);
    }
    PyObject *own = PyList_New(0), *text = PyUnicode_FromString("immortal_clean_text");
    if (own != NULL) {
        own->ob_refcnt += 3;
        Py_SET_REFCNT(own, Py_REFCNT(own) - 3);
    }
    Py_XDECREF(own);
    if (text != NULL) {
        PyUnicode_InternInPlace(&text);
    }
    Py_XDECREF(text);
    Py_XDECREF(PyUnicode_InternFromString("immortal_clean_name"));
}
