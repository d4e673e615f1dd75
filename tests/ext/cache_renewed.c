/* Bug: every import puts a new dictionary into a static, and does not drop the
 * reference to the previous interpreter's dictionary.  A host that loads and
 * unloads a plug-in leaks one dictionary in each round.  cache_state.c is the
 * healthy twin. */
#include <Python.h>

static struct {
    int rounds;
    PyObject *newest;
} caches;

static int
renewed_exec(PyObject *module)
{
    PyObject *cache = PyDict_New();
    if (cache == NULL) {
        return -1;
    }
    caches.rounds++;
    caches.newest = cache;
    return PyModule_AddObjectRef(module, "cache", cache);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, renewed_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "cache_renewed",
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_cache_renewed(void)
{
    return PyModuleDef_Init(&definition);
}
