/* The healthy twin of cache_static.c: the dictionary is in the module state,
 * so each interpreter has its own, and frees it when it ends. */
#include <Python.h>

struct state {
    PyObject *cache;
};

static int
cache_exec(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    state->cache = PyDict_New();
    if (state->cache == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "cache", state->cache);
}

static int
cache_traverse(PyObject *module, visitproc visit, void *arg)
{
    struct state *state = PyModule_GetState(module);
    Py_VISIT(state->cache);
    return 0;
}

static int
cache_clear(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    Py_CLEAR(state->cache);
    return 0;
}

static void
cache_free(void *module)
{
    cache_clear(module);
}

static PyObject *
cache_get(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    struct state *state = PyModule_GetState(module);
    return Py_NewRef(state->cache);
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
    .m_name = "cache_state",
    .m_size = sizeof(struct state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = cache_traverse,
    .m_clear = cache_clear,
    .m_free = cache_free,
};

PyMODINIT_FUNC
PyInit_cache_state(void)
{
    return PyModuleDef_Init(&definition);
}
