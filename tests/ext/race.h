/* The module of an extension whose bump(n) does something n times: NAME is what
 * it is called, once(module) does it and returns what there is then, as a number. */
#include <Python.h>

#define QUOTED_(name) #name
#define QUOTED(name) QUOTED_(name)
#define JOINED_(a, b) a##b
#define JOINED(a, b) JOINED_(a, b)
#ifndef STATE_SIZE
#define STATE_SIZE 0
#endif

static PyObject *
bump(PyObject *module, PyObject *arg)
{
    long n = PyLong_AsLong(arg), result = 0;
    if (n == -1 && PyErr_Occurred()) {
        return NULL;
    }
    for (long i = 0; i < n; i++) {
        result = once(module);
    }
    return PyLong_FromLong(result);
}

static PyMethodDef methods[] = {
    {"bump", bump, METH_O, "Do it so many times."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    QUOTED(NAME), NULL, STATE_SIZE, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC
JOINED(PyInit_, NAME)(void)
{
    return PyModuleDef_Init(&definition);
}
