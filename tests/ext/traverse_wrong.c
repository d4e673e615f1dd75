/* Bugs: types that hide objects of their instances from the garbage collector,
 * each with another error, so that it never frees a cycle through them.
 * traverse_right.c is the healthy twin. */
#include <Python.h>
#include <structmember.h>

#ifndef NAME
#define RIGHT 0
#define NAME "traverse_wrong"
#define INIT PyInit_traverse_wrong
#endif

struct node {
    PyObject_HEAD
    PyObject *weak;                         /* weak references to it */
    PyObject *child;
    PyObject *parent;                       /* borrowed: the node with this one as its child */
    PyObject **items;                       /* one */
    struct state *state;                    /* the module's */
};

struct state {
    PyObject *shared;
};

#if PY_VERSION_HEX >= 0x030d0000
static int
has_dict(PyObject *op)
{
    return (Py_TYPE(op)->tp_flags & Py_TPFLAGS_MANAGED_DICT) != 0;
}
#endif

/* Errors of a type. */
enum { MEMBER = 1, MEMORY = 2, TYPE = 4, DICT = 8 };

static int
traverse(PyObject *op, visitproc visit, void *arg, int missing)
{
    struct node *self = (struct node *)op;
    if (RIGHT || !(missing & TYPE)) {
        Py_VISIT(Py_TYPE(op));
    }
    if (RIGHT || !(missing & MEMBER)) {
        Py_VISIT(self->child);
    }
    if ((RIGHT || !(missing & MEMORY)) && self->items != NULL) {
        Py_VISIT(self->items[0]);
    }
#if PY_VERSION_HEX >= 0x030d0000
    if (has_dict(op) && (RIGHT || !(missing & DICT))) {
        return PyObject_VisitManagedDict(op, visit, arg);
    }
#endif
    return 0;
}

#define TRAVERSE(name, missing) \
    static int name(PyObject *op, visitproc visit, void *arg) { return traverse(op, visit, arg, missing); }
TRAVERSE(node_traverse, 0)
TRAVERSE(member_traverse, MEMBER)
TRAVERSE(memory_traverse, MEMORY)
TRAVERSE(type_traverse, TYPE)
#if PY_VERSION_HEX >= 0x030d0000
TRAVERSE(dict_traverse, DICT)
#endif

static int
node_clear(PyObject *op)
{
    struct node *self = (struct node *)op;
    Py_CLEAR(self->child);
    if (self->items != NULL) {
        Py_CLEAR(self->items[0]);
    }
#if PY_VERSION_HEX >= 0x030d0000
    if (has_dict(op)) {
        PyObject_ClearManagedDict(op);
    }
#endif
    return 0;
}

static void
node_dealloc(PyObject *op)
{
    struct node *self = (struct node *)op;
    PyTypeObject *type = Py_TYPE(op);
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    if (type->tp_flags & Py_TPFLAGS_HAVE_GC) {
        PyObject_GC_UnTrack(op);
    }
    if (self->weak != NULL) {
        PyObject_ClearWeakRefs(op);
    }
    node_clear(op);
    PyMem_Free(self->items);
    type->tp_free(op);
    Py_DECREF(type);
}

static void
node_finalize(PyObject *op)
{
    PyObject *self = RIGHT ? NULL : PyTuple_Pack(1, op);
    if (self != NULL) {
        Py_XSETREF(((struct node *)op)->child, self);
    }
}

static PyObject *
untracked_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    PyObject *self = type->tp_alloc(type, 0);
    if (self != NULL && !RIGHT) {
        PyObject_GC_UnTrack(self);
    }
    return self;
}

/* It may look at the module's state, which is not its own. */
static PyObject *
node_join(PyObject *self, PyObject *module)
{
    struct state *state = ((struct node *)self)->state = PyModule_GetState(module);
    Py_XSETREF(state->shared, PyList_New(0));
    Py_RETURN_NONE;
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    Py_VISIT(((struct state *)PyModule_GetState(module))->shared);
    return 0;
}

static int
module_clear(PyObject *module)
{
    Py_CLEAR(((struct state *)PyModule_GetState(module))->shared);
    return 0;
}

static void
module_free(void *module)
{
    module_clear(module);
}

static PyObject *
node_adopt(PyObject *self, PyObject *child)
{
    ((struct node *)child)->parent = self;
    Py_XSETREF(((struct node *)self)->child, Py_NewRef(child));
    Py_RETURN_NONE;
}

static PyObject *
node_hold(PyObject *self, PyObject *object)
{
    struct node *node = (struct node *)self;
    if (node->items == NULL && (node->items = PyMem_Calloc(4, sizeof *node->items)) == NULL) {
        return PyErr_NoMemory();
    }
    Py_XSETREF(node->items[0], Py_NewRef(object));
    Py_RETURN_NONE;
}

static int
derived_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    return PyDict_Type.tp_traverse(op, visit, arg);
}

static void
derived_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    PyDict_Type.tp_dealloc(op);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"adopt", node_adopt, METH_O, NULL},
    {"hold", node_hold, METH_O, NULL},
    {"join", node_join, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef members[] = {
    {"child", T_OBJECT, offsetof(struct node, child), 0, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct node, weak), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

#define GC Py_TPFLAGS_HAVE_GC
#define COMMON {Py_tp_dealloc, node_dealloc}, {Py_tp_methods, methods}, {Py_tp_members, members}
#define SPEC(name, more, ...) \
    static PyType_Slot name##_slots[] = { COMMON, __VA_ARGS__, {0, NULL} }; \
    static PyType_Spec name##_spec = { \
        NAME "." #name, sizeof(struct node), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | (more), name##_slots }

SPEC(Node, GC, {Py_tp_traverse, node_traverse}, {Py_tp_clear, node_clear});
SPEC(Member, GC, {Py_tp_traverse, member_traverse}, {Py_tp_clear, node_clear});
SPEC(Memory, GC, {Py_tp_traverse, memory_traverse}, {Py_tp_clear, node_clear});
SPEC(Type, GC, {Py_tp_traverse, type_traverse}, {Py_tp_clear, node_clear});
SPEC(Untracked, GC, {Py_tp_traverse, node_traverse}, {Py_tp_clear, node_clear}, {Py_tp_new, untracked_new});
SPEC(Finalize, GC, {Py_tp_traverse, node_traverse}, {Py_tp_clear, node_clear}, {Py_tp_finalize, node_finalize});
#if PY_VERSION_HEX >= 0x030d0000
SPEC(Managed, GC | Py_TPFLAGS_MANAGED_DICT, {Py_tp_traverse, dict_traverse}, {Py_tp_clear, node_clear});
#endif
#if RIGHT
SPEC(Clear, GC, {Py_tp_traverse, node_traverse}, {Py_tp_clear, node_clear});
SPEC(Plain, GC, {Py_tp_traverse, node_traverse}, {Py_tp_clear, node_clear});
SPEC(Bare, GC, {Py_tp_traverse, node_traverse}, {Py_tp_clear, node_clear});
#else
SPEC(Clear, GC, {Py_tp_traverse, node_traverse});
SPEC(Plain, 0, {Py_tp_new, PyType_GenericNew});
SPEC(Bare, 0, {Py_tp_new, PyType_GenericNew});
#endif

static PyType_Slot Derived_slots[] = {
    {Py_tp_base, &PyDict_Type},
    {Py_tp_dealloc, derived_dealloc},
    {RIGHT ? Py_tp_traverse : 0, derived_traverse},
    {0, NULL},
};
static PyType_Spec Derived_spec = {
    NAME ".Derived", 0, 0, Py_TPFLAGS_DEFAULT | (RIGHT ? GC : 0), Derived_slots };

static int
traverse_exec(PyObject *module)
{
    static PyType_Spec *const specs[] = {
        &Node_spec, &Member_spec, &Memory_spec, &Type_spec, &Untracked_spec, &Finalize_spec,
#if PY_VERSION_HEX >= 0x030d0000
        &Managed_spec,
#endif
        &Clear_spec, &Plain_spec, &Bare_spec, &Derived_spec,
    };
    (void)derived_traverse;
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        PyObject *type = PyType_FromModuleAndSpec(module, specs[i], NULL);
        int result = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
        Py_XDECREF(type);
        if (result < 0) {
            return -1;
        }
    }
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, traverse_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = NAME,
    .m_size = sizeof(struct state),
    .m_slots = slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
INIT(void)
{
    return PyModuleDef_Init(&definition);
}
