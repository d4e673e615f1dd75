/* Bug: all interpreters raise the exception class of the first import, through
 * a static without a reference of its own: the only reference is that of the
 * first module.  exc_state.c is the healthy twin. */
#include <Python.h>

static PyObject *error;                 /* borrowed */

static PyObject *
fail(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyErr_SetString(error, "failed as asked");
    return NULL;
}

static int
exc_exec(PyObject *module)
{
    if (error != NULL) {
        return 0;
    }
    PyObject *created = PyErr_NewException("exc_static.Error", NULL, NULL);
    if (created == NULL) {
        return -1;
    }
    if (PyModule_AddObject(module, "Error", created) < 0) {     /* takes our reference */
        Py_DECREF(created);
        return -1;
    }
    error = created;
    return 0;
}

static PyMethodDef methods[] = {
    {"fail", fail, METH_NOARGS, "Raise Error."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, exc_exec},
#if defined(Py_mod_multiple_interpreters) && !defined(UNDECLARED)
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "exc_static",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_exc_static(void)
{
    return PyModuleDef_Init(&definition);
}
