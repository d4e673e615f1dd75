/* The healthy twin of exc_static.c: each interpreter's module creates, owns and
 * raises its own class. */
#include <Python.h>

struct state {
    PyObject *error;
};

static PyObject *
fail(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct state *state = PyModule_GetState(module);
    PyErr_SetString(state->error, "failed as asked");
    return NULL;
}

static int
exc_exec(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    state->error = PyErr_NewException("exc_state.Error", NULL, NULL);
    if (state->error == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "Error", state->error);
}

static int
exc_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *state = PyModule_GetState(module);
    Py_VISIT(state->error);
    return 0;
}

static int
exc_clear(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    Py_CLEAR(state->error);
    return 0;
}

static void
exc_free(void *module)
{
    exc_clear(module);
}

static PyMethodDef methods[] = {
    {"fail", fail, METH_NOARGS, "Raise Error."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, exc_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "exc_state",
    .m_size = sizeof(struct state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = exc_traverse,
    .m_clear = exc_clear,
    .m_free = exc_free,
};

PyMODINIT_FUNC
PyInit_exc_state(void)
{
    return PyModuleDef_Init(&definition);
}
