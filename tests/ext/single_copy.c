/* Single-phase initialisation: the runtime copies the dictionary of the first
 * module into those of all other interpreters that share its GIL, and so the
 * list in it.
 *
 * Bug: another interpreter uses the list.  Healthy: the import alone, in which
 * only the runtime uses it. */
#include <Python.h>

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "single_copy",
    .m_size = -1,
};

PyMODINIT_FUNC
PyInit_single_copy(void)
{
    PyObject *module = PyModule_Create(&definition);
    PyObject *shared = PyList_New(0);
    if (module != NULL && PyModule_AddObjectRef(module, "shared", shared) < 0) {
        Py_CLEAR(module);
    }
    Py_XDECREF(shared);
    return module;
}
