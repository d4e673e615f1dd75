/* Bug: a type that refers to an object but takes no part in garbage
 * collection, so that the collector finds no cycle through it.
 * cycle_seen.c is the healthy twin. */
#include <Python.h>

struct keeper {
    PyObject_HEAD
    PyObject *object;
};

static PyObject *
keeper_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs))
{
    PyObject *object;
    if (!PyArg_ParseTuple(args, "O", &object)) {
        return NULL;
    }
    struct keeper *self = (struct keeper *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->object = Py_NewRef(object);
    }
    return (PyObject *)self;
}

static void
keeper_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
#ifdef SEEN
    PyObject_GC_UnTrack(self);
#endif
    Py_CLEAR(((struct keeper *)self)->object);
    type->tp_free(self);
    Py_DECREF(type);
}

#ifdef SEEN
static int
keeper_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((struct keeper *)self)->object);
    return 0;
}

static int
keeper_clear(PyObject *self)
{
    Py_CLEAR(((struct keeper *)self)->object);
    return 0;
}
#endif

static PyType_Slot type_slots[] = {
    {Py_tp_new, keeper_new},
    {Py_tp_dealloc, keeper_dealloc},
#ifdef SEEN
    {Py_tp_traverse, keeper_traverse},
    {Py_tp_clear, keeper_clear},
#endif
    {0, NULL},
};

#ifndef NAME
#define NAME "cycle_unseen"
#define INIT PyInit_cycle_unseen
#define FLAGS Py_TPFLAGS_DEFAULT
#endif

static PyType_Spec spec = {
    .name = NAME ".Keeper",
    .basicsize = sizeof(struct keeper),
    .flags = FLAGS,
    .slots = type_slots,
};

static int
keeper_exec(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int result = type == NULL ? -1 : PyModule_AddObjectRef(module, "Keeper", type);
    Py_XDECREF(type);
    return result;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, keeper_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = NAME,
    .m_slots = slots,
};

PyMODINIT_FUNC
INIT(void)
{
    return PyModuleDef_Init(&definition);
}
