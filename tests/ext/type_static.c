/* A static type, into which PyType_Ready() puts objects of the first interpreter.
 * Interpreters that do not share that interpreter's GIL refuse the module.
 *
 * Bug: keep(), which puts one of these objects into a variable, too, next to the
 * type.  Healthy: the import alone. */
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

static struct {
    PyTypeObject type;
    PyObject *mro;                      /* borrowed */
} thing = {
    .type = {
        PyVarObject_HEAD_INIT(NULL, 0)
        .tp_name = "type_static.Thing",
        .tp_basicsize = sizeof(PyObject),
        .tp_flags = Py_TPFLAGS_DEFAULT,
        .tp_methods = thing_methods,
    },
};

static PyObject *
keep(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    thing.mro = thing.type.tp_mro;
    return PyBool_FromLong(thing.mro != NULL);
}

static int
type_exec(PyObject *module)
{
    return PyModule_AddType(module, &thing.type);
}

static PyMethodDef methods[] = {
    {"keep", keep, METH_NOARGS, "Keep the type's __mro__; whether there is one."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, type_exec},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "type_static",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_type_static(void)
{
    return PyModuleDef_Init(&definition);
}
