/* Bug: the only reference to an object is in a static, and another interpreter
 * than the one that made the object may drop it.  Healthy if one interpreter
 * does both; dealloc_state.c ensures that. */
#include <Python.h>

static PyObject *kept;

static PyObject *
make(PyObject *Py_UNUSED(module), PyObject *factory)
{
    PyObject *made = PyObject_CallNoArgs(factory);
    if (made == NULL) {
        return NULL;
    }
    kept = made;                        /* forgets an earlier object: its owner is unknown */
    Py_RETURN_NONE;
}

static PyObject *
drop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    Py_CLEAR(kept);
    Py_RETURN_NONE;
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
    .m_name = "dealloc_wrong",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_dealloc_wrong(void)
{
    return PyModuleDef_Init(&definition);
}
