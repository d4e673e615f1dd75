/* Bug: single-phase initialisation that every interpreter runs itself, and
 * that puts the list of the first into the modules of all.
 * single_init_clean.c is the healthy twin. */
#include <Python.h>

static PyObject *list;

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "single_init",
    .m_size = 0,
};

PyMODINIT_FUNC
PyInit_single_init(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (list == NULL) {
        list = PyList_New(0);
    }
    if (module != NULL && PyModule_AddObjectRef(module, "shared", list) < 0) {
        Py_CLEAR(module);
    }
    return module;
}
