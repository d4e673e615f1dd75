/* Bug: a constructor of the shared library (dlopen(3)) makes an object for a static. */
#include <Python.h>

static PyObject *kept;

__attribute__((noinline)) static PyObject *
make(void)
{
    return PyBytes_FromStringAndSize(NULL, 100);
}

__attribute__((constructor)) static void
begin(void)
{
    kept = make();
    Py_XINCREF(kept);
}

static PyObject *
get(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return Py_XNewRef(kept);
}

static PyMethodDef methods[] = {
    {"get", get, METH_NOARGS, "The object of the static."},
    {NULL, NULL, 0, NULL},
};

#define NAME "static_constructor"
#define INIT PyInit_static_constructor
#include "module.h"
