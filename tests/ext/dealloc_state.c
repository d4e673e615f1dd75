/* The healthy twin of dealloc_wrong.c: the object is in the module state. */
#include <Python.h>

struct state {
    PyObject *kept;
};

static PyObject *
make(PyObject *module, PyObject *factory)
{
    struct state *state = PyModule_GetState(module);
    PyObject *made = PyObject_CallNoArgs(factory);
    if (made == NULL) {
        return NULL;
    }
    Py_XSETREF(state->kept, made);
    Py_RETURN_NONE;
}

static PyObject *
drop(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct state *state = PyModule_GetState(module);
    Py_CLEAR(state->kept);
    Py_RETURN_NONE;
}

static int
dealloc_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *state = PyModule_GetState(module);
    Py_VISIT(state->kept);
    return 0;
}

static int
dealloc_clear(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    Py_CLEAR(state->kept);
    return 0;
}

static void
dealloc_free(void *module)
{
    dealloc_clear(module);
}

static PyMethodDef methods[] = {
    {"make", make, METH_O, "make(factory): keep what factory() returns."},
    {"drop", drop, METH_NOARGS, "Give up the reference to what was kept."},
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
    .m_name = "dealloc_state",
    .m_size = sizeof(struct state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = dealloc_traverse,
    .m_clear = dealloc_clear,
    .m_free = dealloc_free,
};

PyMODINIT_FUNC
PyInit_dealloc_state(void)
{
    return PyModuleDef_Init(&definition);
}
