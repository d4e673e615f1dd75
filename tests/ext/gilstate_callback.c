/* Bug: a callback in a thread of a C library enters Python with PyGILState_Ensure,
 * and so always the main interpreter, even if another one has registered it. */
#include <Python.h>

void callback_register(void (*function)(void *arg), void *arg);
void callback_wait(void);

static void
called(void *arg)
{
    PyGILState_STATE state = PyGILState_Ensure();
    if (arg != NULL) {
        Py_XDECREF(PyObject_CallNoArgs(arg));
        PyErr_Clear();
    }
    PyGILState_Release(state);
}

static PyObject *
watch(PyObject *Py_UNUSED(module), PyObject *function)
{
    callback_register(called, function == Py_None ? NULL : function);
    Py_BEGIN_ALLOW_THREADS
    callback_wait();
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"watch", watch, METH_O, "watch(function): have the library call it in a thread; None: nothing."},
    {NULL, NULL, 0, NULL},
};

#define NAME "gilstate_callback"
#define INIT PyInit_gilstate_callback
#include "module.h"
