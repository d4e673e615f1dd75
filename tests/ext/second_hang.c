/* Bug: hangs in any interpreter but the first one that imports it. */
#include <Python.h>
#include <unistd.h>

static PyInterpreterState *first;

static int
module_exec(PyObject *Py_UNUSED(module))
{
    if (first == NULL) {
        first = PyInterpreterState_Get();
    }
    while (first != PyInterpreterState_Get()) {
        pause();
    }
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "second_hang",
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_second_hang(void)
{
    return PyModuleDef_Init(&definition);
}
