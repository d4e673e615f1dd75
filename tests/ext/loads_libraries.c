/* Healthy: loads and unloads a library all the time, in a thread without a GIL. */
#include <Python.h>
#include <dlfcn.h>
#include <stdatomic.h>

static atomic_int stopped;

static PyObject *
loads_libraries_go_on(PyObject *Py_UNUSED(module), PyObject *path)
{
    const char *name = PyUnicode_AsUTF8(path);
    long n = 0;
    if (name == NULL) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    for (void *library; !stopped && (library = dlopen(name, RTLD_NOW)) != NULL; n++) {
        dlclose(library);
    }
    Py_END_ALLOW_THREADS
    return PyLong_FromLong(n);
}

static PyObject *
loads_libraries_stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    stopped = 1;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"go_on", loads_libraries_go_on, METH_O, "Load a library and unload it, until told to stop; how often."},
    {"stop", loads_libraries_stop, METH_NOARGS, "Stop that."},
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
    .m_name = "loads_libraries",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_loads_libraries(void)
{
    return PyModuleDef_Init(&definition);
}
