/* The healthy twin of single_init.c: each interpreter's module has a list of
 * its own. */
#include <Python.h>

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "single_init_clean",
    .m_size = 0,
};

PyMODINIT_FUNC
PyInit_single_init_clean(void)
{
    PyObject *module = PyModule_Create(&definition);
    PyObject *shared = PyList_New(0);
    if (module != NULL && PyModule_AddObjectRef(module, "shared", shared) < 0) {
        Py_CLEAR(module);
    }
    Py_XDECREF(shared);
    return module;
}
