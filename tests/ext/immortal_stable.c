/* Bug: built for the stable ABI with headers that know no immortal objects.  These
 * are the 64-bit Py_INCREF and Py_DECREF of the headers up to 3.11. */
#define Py_LIMITED_API 0x03060000
#include <Python.h>

#define NAME "immortal_stable"
#define INIT PyInit_immortal_stable
#include "immortal.h"

struct object {
    volatile Py_ssize_t ob_refcnt;          /* volatile: keeps the steps of one */
    PyTypeObject *ob_type;
};

static void
change(PyObject *object, long by)
{
    struct object *op = (struct object *)object;
    for (; by > 0; by--) {
        op->ob_refcnt++;
    }
    for (; by < 0; by++) {
        if (--op->ob_refcnt == 0) {
            _Py_Dealloc(object);
        }
    }
}
