/* Bug: built for the stable ABI with headers that know no immortal objects: up to
 * 3.11, and for 64 bits, their Py_INCREF and Py_DECREF came to what is here. */
#define Py_LIMITED_API 0x03060000
#include <Python.h>

#define NAME "immortal_stable"
#define INIT PyInit_immortal_stable
#include "immortal.h"

struct object {
    volatile Py_ssize_t ob_refcnt;          /* one at a time, as in code that does something between */
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
