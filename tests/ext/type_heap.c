/* The healthy twin of type_static.c: each interpreter creates its own type. */
#include <Python.h>

static PyObject *
thing_method(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_NONE;
}

static PyMethodDef thing_methods[] = {
    {"method", thing_method, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot thing_slots[] = {
    {Py_tp_methods, thing_methods},
    {0, NULL},
};

static PyType_Spec thing_spec = {
    .name = "type_heap.Thing",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = thing_slots,
};

static int
type_exec(PyObject *module)
{
    PyObject *thing = PyType_FromModuleAndSpec(module, &thing_spec, NULL);
    int status = thing != NULL ? PyModule_AddObjectRef(module, "Thing", thing) : -1;
    Py_XDECREF(thing);
    return status;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, type_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "type_heap",
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_type_heap(void)
{
    return PyModuleDef_Init(&definition);
}
