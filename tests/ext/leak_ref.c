/* Bug: a lost reference, and a block of memory that is never freed.
 * leak_clean.c is the healthy twin. */
#include <Python.h>

static PyObject *
make_object(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyObject *list = PyList_New(0);
    if (list == NULL) {
        return NULL;
    }
    return Py_NewRef(list);             /* and the reference of PyList_New is lost */
}

static PyObject *
use_block(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    char *block = PyMem_Malloc(64);
    if (block == NULL) {
        return PyErr_NoMemory();
    }
    block[0] = 1;
    return PyLong_FromLong(block[0]);   /* and the block is lost */
}

static PyMethodDef methods[] = {
    {"make_object", make_object, METH_NOARGS, "Return a new list."},
    {"use_block", use_block, METH_NOARGS, "Use a block of memory for a moment."},
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
    .m_name = "leak_ref",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_leak_ref(void)
{
    return PyModuleDef_Init(&definition);
}
