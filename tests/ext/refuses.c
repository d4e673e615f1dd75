/* Declares that it is for the main interpreter only, but would be safe in all. */
#include <Python.h>

static int
module_exec(PyObject *Py_UNUSED(module))
{
    /* Does nothing. */
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "refuses",
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_refuses(void)
{
    return PyModuleDef_Init(&definition);
}
