/* The module of an extension that keeps objects in variables.  The extension
 * defines NAME, and place(which), the address of the variable of that number or
 * NULL.  keep(which, object) stores a new reference there.
 *
 * Bug: the reference is never dropped.  Healthy: with CLEARED defined m_free does. */
#include <Python.h>

#define QUOTED_(name) #name
#define QUOTED(name) QUOTED_(name)
#define JOINED_(a, b) a##b
#define JOINED(a, b) JOINED_(a, b)

static PyObject *
keep(PyObject *module, PyObject *args)
{
    Py_ssize_t which;
    PyObject *object, **to;
    (void)module;
    if (!PyArg_ParseTuple(args, "nO:keep", &which, &object)) {
        return NULL;
    }
    to = place(which);
    if (to == NULL) {
        PyErr_SetString(PyExc_IndexError, "there is no such variable");
        return NULL;
    }
    Py_INCREF(object);
    Py_XDECREF(*to);
    *to = object;
    Py_RETURN_NONE;
}

static void
holds_free(void *module)
{
    (void)module;
#ifdef CLEARED
    for (Py_ssize_t which = 0; place(which) != NULL; which++) {
        Py_CLEAR(*place(which));
    }
#endif
}

static PyMethodDef methods[] = {
    {"keep", keep, METH_VARARGS, "Keep an object in the variable of that number."},
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
    QUOTED(NAME), NULL, 0, methods, slots, NULL, NULL, holds_free,
};

PyMODINIT_FUNC
JOINED(PyInit_, NAME)(void)
{
    return PyModuleDef_Init(&definition);
}
