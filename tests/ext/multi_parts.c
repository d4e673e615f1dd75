/* The healthy twin of single_parts.c: multi-phase initialisation makes the
 * functions, strings, numbers and types anew for each interpreter.  What stays
 * shared is CPython's own and never changes: None, small numbers, static types,
 * interned names.  The sentinel is immortal and has nothing that could change.
 *
 * With KEPT one list in a C static is in the modules of all interpreters. */
#include <Python.h>
#ifndef INIT
#define NAME "multi_parts"
#define INIT PyInit_multi_parts
#endif

static PyObject *
use(PyObject *module, PyObject *object)
{
    (void)module;
    return PyLong_FromLong(PyObject_IsTrue(object));
}

static PyMethodDef methods[] = {
    {"use", use, METH_O, "Whether an object is true."},
    {"unused", use, METH_O, NULL},
    {"unused_too", use, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot thing_slots[] = {{Py_tp_doc, "An object of nothing."}, {0, NULL}};

static PyType_Spec thing = {
    .name = NAME ".Thing",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = thing_slots,
};

static PyObject sentinel[] = {PyObject_HEAD_INIT(&PyBaseObject_Type)};

static int
add(PyObject *module, const char *name, PyObject *object)
{
    int result = PyModule_AddObjectRef(module, name, object);
    Py_XDECREF(object);
    return result;
}

static int
module_exec(PyObject *module)
{
    if (add(module, "Thing", PyType_FromModuleAndSpec(module, &thing, NULL)) < 0
        || add(module, "error", PyErr_NewException(NAME ".error", NULL, NULL)) < 0
        || add(module, "text", PyUnicode_FromString("a text, not a name")) < 0
        || add(module, "name", PyUnicode_InternFromString("__name__")) < 0
        || add(module, "number", PyLong_FromLong(1 << 20)) < 0
        || add(module, "small", PyLong_FromLong(1)) < 0
        || add(module, "empty", PyTuple_New(0)) < 0
        || PyModule_AddObjectRef(module, "none", Py_None) < 0
        || PyModule_AddObjectRef(module, "sentinel", sentinel) < 0
        || PyModule_AddObjectRef(module, "text_type", (PyObject *)&PyUnicode_Type) < 0) {
        return -1;
    }
#ifdef KEPT
    static PyObject *kept;
    if (kept == NULL) {
        kept = PyList_New(0);
    }
    return PyModule_AddObjectRef(module, "kept", kept);
#else
    return 0;
#endif
}

#define EXEC module_exec
#include "module.h"
