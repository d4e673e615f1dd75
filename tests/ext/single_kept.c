/* Single-phase initialisation, as in single_copy.c: the runtime keeps a copy of
 * the first module's dictionary in the definition.
 *
 * Bug: keep(), which puts that copy into a static of the extension, too.
 * Healthy: the import alone. */
#include <Python.h>

static PyObject *kept;                  /* borrowed */
static struct PyModuleDef definition;

static PyObject *
keep(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    kept = definition.m_base.m_copy;
    Py_RETURN_NONE;
}

static PyObject *
keeps(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(kept != NULL);
}

static PyMethodDef methods[] = {
    {"keep", keep, METH_NOARGS, "Keep the runtime's copy of the dictionary."},
    {"keeps", keeps, METH_NOARGS, "Whether it does."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "single_kept",
    .m_methods = methods,
    .m_size = -1,
};

PyMODINIT_FUNC
PyInit_single_kept(void)
{
    return PyModule_Create(&definition);
}
