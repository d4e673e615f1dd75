/* Bug: one dictionary for the whole process.  The first import makes it, and
 * every later import, in any interpreter, puts the same one into its own
 * module.  cache_state.c is the healthy twin. */
#include <Python.h>

static PyObject *cache;

static int
cache_exec(PyObject *module)
{
    if (cache == NULL) {
        cache = PyDict_New();
        if (cache == NULL) {
            return -1;
        }
    }
    return PyModule_AddObjectRef(module, "cache", cache);
}

static PyObject *
cache_get(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(cache);
}

static PyMethodDef methods[] = {
    {"get", cache_get, METH_NOARGS, "The dictionary."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, cache_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "cache_static",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_cache_static(void)
{
    return PyModuleDef_Init(&definition);
}
