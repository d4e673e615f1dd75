/* Interpreters set an attribute of a static type, the dictionary of the first interpreter. */
#include <Python.h>
#include <pthread.h>

static PyTypeObject Thing = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "race_type.Thing",
    .tp_basicsize = sizeof(PyObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
};

/* Only one of them calls PyType_Ready: the race is to be in the steps. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int
exec(PyObject *Py_UNUSED(module))
{
    int status = 0;
    pthread_mutex_lock(&lock);
    if (Thing.tp_dict == NULL
        && (PyType_Ready(&Thing) < 0 || PyDict_SetItemString(Thing.tp_dict, "hits", Py_None) < 0)) {
        status = -1;
    }
    pthread_mutex_unlock(&lock);
    return status;
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
