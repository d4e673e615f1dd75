/* Bug: uses(), makes(), thread() and now() call the C API without a thread state.
 * Healthy: may() calls functions that need none, at_end() calls when Python has ended. */
#include <Python.h>
#include <pthread.h>

static PyObject *
uses(PyObject *Py_UNUSED(module), PyObject *number)
{
    long value;
    Py_BEGIN_ALLOW_THREADS          /* uses */
    value = PyLong_AsLong(number);
    Py_END_ALLOW_THREADS
    return PyLong_FromLong(value);
}

static PyObject *
makes(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    PyObject *made;
    Py_BEGIN_ALLOW_THREADS          /* makes */
    made = PyList_New(1000);
    Py_END_ALLOW_THREADS
    return made;
}

static void *
call(void *number)
{
    PyNumber_Check(number);
    return NULL;
}

static PyObject *
thread(PyObject *Py_UNUSED(module), PyObject *number)
{
    pthread_t other;
    pthread_create(&other, NULL, call, number);
    pthread_join(other, NULL);
    Py_RETURN_NONE;
}

static void
check(void)
{
    PyNumber_Check(Py_None);        /* check */
}

static PyObject *
at_end(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    return PyBool_FromLong(Py_AtExit(check) == 0);
}

static PyObject *
now(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    Py_BEGIN_ALLOW_THREADS
    check();
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *
may(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    PyObject *dict;
    Py_BEGIN_ALLOW_THREADS
    PyMem_RawFree(PyMem_RawMalloc(100));
    dict = PyThreadState_GetDict();
    PyGILState_STATE state = PyGILState_Ensure();
    PyGILState_Release(state);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(dict == NULL);
}

static PyMethodDef methods[] = {
    {"uses", uses, METH_O, "Use a number."},
    {"makes", makes, METH_NOARGS, "Make a list."},
    {"thread", thread, METH_O, "Use a number in another thread."},
    {"now", now, METH_NOARGS, "Ask what an object can do."},
    {"at_end", at_end, METH_NOARGS, "Ask that at the end of the process."},
    {"may", may, METH_NOARGS, "Call what may be called."},
    {NULL, NULL, 0, NULL},
};

#define NAME "gilstate_none"
#define INIT PyInit_gilstate_none
#include "module.h"
