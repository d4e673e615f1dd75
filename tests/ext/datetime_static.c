/* The C API of datetime: datetime.h has a static, PyDateTimeAPI, that points to
 * a table of types and functions.  Before 3.13 that is in memory of the first
 * interpreter, which the runtime keeps for all (Modules/_datetimemodule.c,
 * get_datetime_capi): healthy, and no object.
 *
 * Bug: an object beside it. */
#include <Python.h>
#include <datetime.h>

static PyObject *now;

static int
module_exec(PyObject *module)
{
    (void)module;
    PyDateTime_IMPORT;
    return PyDateTimeAPI == NULL ? -1 : 0;
}

static PyObject *
keep(PyObject *module, PyObject *object)
{
    (void)module;
    Py_XSETREF(now, Py_NewRef(object));
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"keep", keep, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

#define NAME "datetime_static"
#define INIT PyInit_datetime_static
#define EXEC module_exec
#include "module.h"
