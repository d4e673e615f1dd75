/* Interpreters set an attribute of one static type, whose dictionary is the first one's. */
#include <Python.h>

static PyTypeObject Thing = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "race_type.Thing",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
};

static int
exec(PyObject *Py_UNUSED(module))
{
    if (Thing.tp_dict != NULL) {
        return 0;
    }
    return PyType_Ready(&Thing) < 0 || PyDict_SetItemString(Thing.tp_dict, "hits", Py_None) < 0 ? -1 : 0;
}

static void
step(PyObject *Py_UNUSED(module))
{
    PyDict_SetItemString(Thing.tp_dict, "hits", Py_True);
    PyDict_SetItemString(Thing.tp_dict, "hits", Py_False);
}

#define NAME race_type
#define EXEC
#include "races.h"
