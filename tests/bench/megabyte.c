/* A module with a megabyte of writable data, most of it pointers, like the tables
 * of a large extension.  It is built once, copied and imported many times. */
#include <Python.h>

#define WORDS (1024 * 1024 / sizeof(void *))

static void *table[WORDS];

static int
megabyte_exec(PyObject *module)
{
    (void)module;
    for (size_t i = 0; i < WORDS; i++) {
        table[i] = i % 4 == 0 ? NULL : i % 64 == 1 ? (void *)Py_None : (void *)&table[i];
    }
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, megabyte_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "megabyte",
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_megabyte(void)
{
    return PyModuleDef_Init(&definition);
}
