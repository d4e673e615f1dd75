/* Healthy: compares addresses of C API functions with slots of CPython's types,
 * as Cython does, and passes the address of a function on. */
#include <Python.h>

static PyObject *
same(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return Py_BuildValue("(iiii)", PyBaseObject_Type.tp_getattro == PyObject_GenericGetAttr,
                         PyBaseObject_Type.tp_alloc == PyType_GenericAlloc,
                         PyListIter_Type.tp_iter == PyObject_SelfIter,
                         PyList_Type.tp_hash == PyObject_HashNotImplemented);
}

static PyObject *
path(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *bytes;
    return PyArg_ParseTuple(args, "O&", PyUnicode_FSConverter, &bytes) ? bytes : NULL;
}

static PyMethodDef methods[] = {
    {"same", same, METH_NOARGS, "Are they the ones that CPython has?"},
    {"path", path, METH_VARARGS, "path(name): its bytes."},
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
    .m_name = "boundary_address",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_boundary_address(void)
{
    return PyModuleDef_Init(&definition);
}
