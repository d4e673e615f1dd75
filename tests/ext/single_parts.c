/* Single-phase initialisation, as most old extensions have it: the runtime
 * copies the dictionary of the first module into those of the interpreters that
 * share its GIL, which then use its functions, strings and numbers.  That is
 * healthy; single_class.c is the twin with a class among them. */
#include <Python.h>
#ifndef INIT
#define NAME "single_parts"
#define INIT PyInit_single_parts
#endif

static PyObject *
use(PyObject *module, PyObject *object)
{
    (void)module;
    return PyLong_FromLong(PyObject_IsTrue(object));
}

static PyMethodDef methods[] = {
    {"use", use, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = NAME,
    .m_doc = "Parts of a module.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC
INIT(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL || PyModule_AddStringConstant(module, "text", "a text, not a name") < 0
        || PyModule_AddIntConstant(module, "number", 1 << 20) < 0) {
        return NULL;
    }
#ifdef CLASS
    PyObject *class = PyErr_NewException(CLASS, NULL, NULL);
    if (PyModule_AddObjectRef(module, "error", class) < 0) {
        return NULL;
    }
    Py_DECREF(class);
#endif
    return module;
}
