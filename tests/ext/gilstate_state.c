/* Healthy: keeps the interpreter of each registration, and enters it in the thread
 * of the C library's callback; PyGILState_Ensure then stays in that interpreter. */
#include <Python.h>

void callback_register(void (*function)(void *arg), void *arg);
void callback_wait(void);

struct registration {
    PyInterpreterState *interpreter;
    PyObject *function;
};

static void
called(void *arg)
{
    struct registration *registration = arg;
    PyThreadState *state = PyThreadState_New(registration->interpreter);
    PyEval_RestoreThread(state);
    PyGILState_STATE nested = PyGILState_Ensure();
    if (registration->function != Py_None) {
        Py_XDECREF(PyObject_CallNoArgs(registration->function));
        PyErr_Clear();
    }
    PyGILState_Release(nested);
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
}

static PyObject *
watch(PyObject *Py_UNUSED(module), PyObject *function)
{
    struct registration registration = { PyInterpreterState_Get(), function };
    callback_register(called, &registration);
    Py_BEGIN_ALLOW_THREADS
    callback_wait();
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"watch", watch, METH_O, "watch(function): have the library call it in a thread; None: nothing."},
    {NULL, NULL, 0, NULL},
};

#define NAME "gilstate_state"
#define INIT PyInit_gilstate_state
#include "module.h"
