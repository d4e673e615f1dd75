/* Bug: through a borrowed pointer in a static, one interpreter uses an object of
 * another, with every attribute function of the C API.  The owner keeps the
 * object alive.  No function takes a reference to it, and each drops the value
 * at once: with an immortal value (None, a small int) no reference count of the
 * owner changes.
 *
 * Healthy if the interpreter that called store() calls the other functions, and
 * forget() before another interpreter imports the module.
 *
 * Thing is a type with members, a getset and methods; its instances have an
 * attribute for each kind of descriptor. */
#include <Python.h>
#include <stddef.h>

static PyObject *stored;                /* borrowed */

/* The functions on the stored object */

static int
have_stored(void)
{
    if (stored == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "nothing is stored: call store() first");
    }
    return stored != NULL;
}

/* What these functions return: None, or the error. */
static PyObject *
drop_value(PyObject *value)
{
    if (value == NULL) {
        return NULL;
    }
    Py_DECREF(value);
    Py_RETURN_NONE;
}

static PyObject *
none_or_error(int status)
{
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
bool_or_error(int status)
{
    return status < 0 ? NULL : PyBool_FromLong(status);
}

static PyObject *
store(PyObject *Py_UNUSED(module), PyObject *object)
{
    stored = object;
    Py_RETURN_NONE;
}

static PyObject *
forget(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    stored = NULL;
    Py_RETURN_NONE;
}

/* NAME(name): EXPRESSION, with the attribute's name as `name`, and as a C
 * string as `string`. */
#define BY_NAME(NAME, EXPRESSION)                                               \
    static PyObject *                                                           \
    NAME(PyObject *Py_UNUSED(module), PyObject *name)                           \
    {                                                                           \
        const char *string = PyUnicode_AsUTF8(name);                            \
        return string && have_stored() ? EXPRESSION : NULL;                     \
    }

/* NAME(name, value) */
#define BY_NAME_AND_VALUE(NAME, EXPRESSION)                                     \
    static PyObject *                                                           \
    NAME(PyObject *Py_UNUSED(module), PyObject *args)                           \
    {                                                                           \
        PyObject *name, *value;                                                 \
        if (!PyArg_ParseTuple(args, "UO", &name, &value) || !have_stored()) {   \
            return NULL;                                                        \
        }                                                                       \
        const char *string = PyUnicode_AsUTF8(name);                            \
        return string ? EXPRESSION : NULL;                                      \
    }

static PyObject *
get_optional(PyObject *name)
{
    PyObject *value;
    int found = PyObject_GetOptionalAttr(stored, name, &value);
    Py_XDECREF(value);
    return bool_or_error(found);
}

static PyObject *
get_optional_string(const char *name)
{
    PyObject *value;
    int found = PyObject_GetOptionalAttrString(stored, name, &value);
    Py_XDECREF(value);
    return bool_or_error(found);
}

BY_NAME(getattr, drop_value(PyObject_GetAttr(stored, name)))
BY_NAME(getattr_string, drop_value(PyObject_GetAttrString(stored, string)))
BY_NAME(getattr_optional, get_optional(name))
BY_NAME(getattr_optional_string, get_optional_string(string))
BY_NAME(getattr_generic, drop_value(PyObject_GenericGetAttr(stored, name)))
BY_NAME(getattr_type, drop_value(PyObject_GetAttr((PyObject *)Py_TYPE(stored), name)))
BY_NAME(delattr, none_or_error(PyObject_DelAttr(stored, name)))
BY_NAME(delattr_string, none_or_error(PyObject_DelAttrString(stored, string)))
BY_NAME(hasattr, bool_or_error(PyObject_HasAttr(stored, name)))
BY_NAME(hasattr_string, bool_or_error(PyObject_HasAttrString(stored, string)))
BY_NAME(hasattr_error, bool_or_error(PyObject_HasAttrWithError(stored, name)))
BY_NAME(hasattr_error_string, bool_or_error(PyObject_HasAttrStringWithError(stored, string)))
BY_NAME(call_method, drop_value(PyObject_CallMethod(stored, string, NULL)))
BY_NAME(call_method_no_args, drop_value(PyObject_CallMethodNoArgs(stored, name)))
BY_NAME(call_method_object_args, drop_value(PyObject_CallMethodObjArgs(stored, name, NULL)))

BY_NAME_AND_VALUE(setattr, none_or_error(PyObject_SetAttr(stored, name, value)))
BY_NAME_AND_VALUE(setattr_string, none_or_error(PyObject_SetAttrString(stored, string, value)))
BY_NAME_AND_VALUE(setattr_generic, none_or_error(PyObject_GenericSetAttr(stored, name, value)))
BY_NAME_AND_VALUE(call_method_one_arg, drop_value(PyObject_CallMethodOneArg(stored, name, value)))

static PyObject *
is_instance(PyObject *Py_UNUSED(module), PyObject *class)
{
    return have_stored() ? bool_or_error(PyObject_IsInstance(stored, class)) : NULL;
}

static PyObject *
get_dict(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return have_stored() ? drop_value(PyObject_GenericGetDict(stored, NULL)) : NULL;
}

/* Passes the object to Python code, with a reference, as for any argument. */
static PyObject *
pass_to(PyObject *Py_UNUSED(module), PyObject *function)
{
    return have_stored() ? PyObject_CallOneArg(function, stored) : NULL;
}

/* Thing */

struct thing {
    PyObject_HEAD
    int number;
    PyObject *object;
    int hidden;                         /* behind `computed` */
};

static int
thing_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((struct thing *)self)->object);
    return 0;
}

static int
thing_clear(PyObject *self)
{
    Py_CLEAR(((struct thing *)self)->object);
    return 0;
}

static void
thing_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    thing_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
thing_get_computed(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(((struct thing *)self)->hidden);
}

static int
thing_set_computed(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    int hidden = value == NULL ? 0 : PyLong_AsInt(value);
    if (hidden == -1 && PyErr_Occurred()) {
        return -1;
    }
    ((struct thing *)self)->hidden = hidden;
    return 0;
}

static PyObject *
thing_method(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_NONE;
}

static PyObject *
thing_method_one(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(argument))
{
    Py_RETURN_NONE;
}

static PyMemberDef thing_members[] = {
    {"number", Py_T_INT, offsetof(struct thing, number), 0, NULL},
    {"object", Py_T_OBJECT_EX, offsetof(struct thing, object), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef thing_getset[] = {
    {"computed", thing_get_computed, thing_set_computed, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef thing_methods[] = {
    {"method", thing_method, METH_NOARGS, NULL},
    {"method_one", thing_method_one, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot thing_slots[] = {
    {Py_tp_traverse, thing_traverse},
    {Py_tp_clear, thing_clear},
    {Py_tp_dealloc, thing_dealloc},
    {Py_tp_members, thing_members},
    {Py_tp_getset, thing_getset},
    {Py_tp_methods, thing_methods},
    {0, NULL},
};

static PyType_Spec thing_spec = {
    .name = "attr_borrowed.Thing",
    .basicsize = sizeof(struct thing),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = thing_slots,
};

/* The module */

static int
attr_exec(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &thing_spec, NULL);
    if (type == NULL) {
        return -1;
    }
    int status = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return status;
}

static PyMethodDef methods[] = {
    {"store", store, METH_O, "store(object): remember it without a reference."},
    {"forget", forget, METH_NOARGS, "Remember nothing any more."},
    {"getattr", getattr, METH_O, "PyObject_GetAttr"},
    {"getattr_string", getattr_string, METH_O, "PyObject_GetAttrString"},
    {"getattr_optional", getattr_optional, METH_O, "PyObject_GetOptionalAttr"},
    {"getattr_optional_string", getattr_optional_string, METH_O, "PyObject_GetOptionalAttrString"},
    {"getattr_generic", getattr_generic, METH_O, "PyObject_GenericGetAttr"},
    {"getattr_type", getattr_type, METH_O, "PyObject_GetAttr of the object's type"},
    {"setattr", setattr, METH_VARARGS, "PyObject_SetAttr"},
    {"setattr_string", setattr_string, METH_VARARGS, "PyObject_SetAttrString"},
    {"setattr_generic", setattr_generic, METH_VARARGS, "PyObject_GenericSetAttr"},
    {"delattr", delattr, METH_O, "PyObject_DelAttr"},
    {"delattr_string", delattr_string, METH_O, "PyObject_DelAttrString"},
    {"hasattr", hasattr, METH_O, "PyObject_HasAttr"},
    {"hasattr_string", hasattr_string, METH_O, "PyObject_HasAttrString"},
    {"hasattr_error", hasattr_error, METH_O, "PyObject_HasAttrWithError"},
    {"hasattr_error_string", hasattr_error_string, METH_O, "PyObject_HasAttrStringWithError"},
    {"call_method", call_method, METH_O, "PyObject_CallMethod"},
    {"call_method_no_args", call_method_no_args, METH_O, "PyObject_CallMethodNoArgs"},
    {"call_method_one_arg", call_method_one_arg, METH_VARARGS, "PyObject_CallMethodOneArg"},
    {"call_method_object_args", call_method_object_args, METH_O, "PyObject_CallMethodObjArgs"},
    {"is_instance", is_instance, METH_O, "PyObject_IsInstance"},
    {"get_dict", get_dict, METH_NOARGS, "PyObject_GenericGetDict"},
    {"pass_to", pass_to, METH_O, "pass_to(function): call it with the object"},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, attr_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "attr_borrowed",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_attr_borrowed(void)
{
    return PyModuleDef_Init(&definition);
}
