/* Queries of isan/isan.h.  Bug: keep(object) puts an object into a static after the
 * imports, so that only a requested scan finds it while its interpreter lives. */
#include "../../include/isan/isan.h"
#include <Python.h>

static PyObject *kept;

static PyObject *
ask_keep(PyObject *Py_UNUSED(module), PyObject *object)
{
    Py_XSETREF(kept, Py_NewRef(object));
    Py_RETURN_NONE;
}

static PyObject *
ask_loaded(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(isan_loaded());
}

static PyObject *
ask_look(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(isan_look());
}

static PyObject *
ask_owned(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLongLong(isan_owned());
}

static PyObject *
ask_findings(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(isan_findings());
}

static PyObject *
ask_owner(PyObject *Py_UNUSED(module), PyObject *object)
{
    return PyLong_FromLongLong(isan_owner(object));
}

static PyObject *
ask_owner_of_kept(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLongLong(isan_owner(kept));
}

static PyMethodDef methods[] = {
    {"keep", ask_keep, METH_O, "Keep an object in a static."},
    {"loaded", ask_loaded, METH_NOARGS, "Is isan there?"},
    {"look", ask_look, METH_NOARGS, "Look now; the number of findings."},
    {"owned", ask_owned, METH_NOARGS, "Record what is owned; the number of blocks."},
    {"findings", ask_findings, METH_NOARGS, "The number of findings."},
    {"owner", ask_owner, METH_O, "The id of an object's owner."},
    {"owner_of_kept", ask_owner_of_kept, METH_NOARGS, "The same of what is in the static."},
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
    .m_name = "ask",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_ask(void)
{
    return PyModuleDef_Init(&definition);
}
