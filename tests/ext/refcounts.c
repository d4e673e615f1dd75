/* No bug: every way to count a reference that CPython's headers inline, in C
 * and in C++, to see what checks make of it (tests/cli/test_env.py). */
#include <Python.h>

/* The arguments of the functions below: an object and a number. */
static int
parse(PyObject *arguments, PyObject **op, Py_ssize_t *n)
{
    return PyArg_ParseTuple(arguments, "On", op, n);
}

static PyObject *
spin(PyObject *module, PyObject *arguments)
{
    PyObject *op;
    Py_ssize_t n;
    (void)module;
    if (!parse(arguments, &op, &n)) {
        return NULL;
    }
    while (n-- > 0) {
        Py_INCREF(op);
        __asm__ volatile("" ::: "memory");      /* or the compiler would remove both */
        Py_DECREF(op);
        __asm__ volatile("" ::: "memory");
    }
    Py_RETURN_NONE;
}

static PyObject *
all(PyObject *module, PyObject *arguments)
{
    PyObject *op, *kept = NULL;
    Py_ssize_t n;
    (void)module;
    if (!parse(arguments, &op, &n)) {
        return NULL;
    }
    while (n-- > 0) {
        kept = Py_NewRef(op);
        Py_XINCREF(kept);
        Py_XDECREF(kept);
        Py_CLEAR(kept);
        Py_XINCREF(kept);
        Py_XDECREF(kept);
        Py_CLEAR(kept);
        kept = Py_XNewRef(kept);
#ifndef Py_LIMITED_API
        Py_XSETREF(kept, Py_XNewRef(op));
        Py_SETREF(kept, Py_NewRef(op));
        Py_INCREF(Py_TYPE(kept));               /* no PyObject * */
        Py_DECREF(Py_TYPE(kept));
#endif
        Py_XDECREF(kept);
    }
    Py_RETURN_TRUE;
}

static PyMethodDef functions[] = {
    {"spin", spin, METH_VARARGS, NULL},
    {"all", all, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "refcounts", NULL, 0, functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit_refcounts(void)
{
    return PyModuleDef_Init(&definition);
}
