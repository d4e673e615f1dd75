/* The module of immortal_*.c: add(object, n) changes an object's count by n, with
 * the change() of that file. */
static void change(PyObject *object, long by);

static PyObject *
add(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *object;
    long by;
    if (!PyArg_ParseTuple(args, "Ol:add", &object, &by)) {
        return NULL;
    }
    change(object, by);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"add", add, METH_VARARGS, "Change an object's reference count."},
    {NULL, NULL, 0, NULL},
};

#include "module.h"
