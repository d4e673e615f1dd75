/* The module of boundary_static.c and boundary_state.c, which define KEPT().  Each
 * method keeps the object of its first call there, and uses it in one way in later
 * calls. */
#include <Python.h>

#define METHOD(name, use)                                                       \
    static PyObject *                                                           \
    name(PyObject *module, PyObject *given)                                     \
    {                                                                           \
        (void)module;                                                           \
        if (KEPT(name) == NULL) {                                               \
            KEPT(name) = Py_NewRef(given);                                      \
            Py_RETURN_NONE;                                                     \
        }                                                                       \
        return use(&KEPT(name));                                                \
    }

static PyObject *
none_if(int status)
{
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
call_it(PyObject **kept)
{
    PyObject *nothing = PyTuple_New(0), *result = PyObject_Call(*kept, nothing, NULL);
    Py_DECREF(nothing);
    return result;
}

static PyObject *
append_to_it(PyObject **kept)
{
    PyObject *list = PyList_New(0);
    int status = PyList_Append(list, *kept);
    (void)PyList_SetSlice(list, 0, PyList_Size(list), NULL);
    Py_DECREF(list);
    return none_if(status);
}

static PyObject *
call_with_it(PyObject **kept)
{
    PyObject *pair = PyTuple_Pack(2, Py_None, *kept);
    PyObject *result = PyObject_CallFunctionObjArgs((PyObject *)&PyTuple_Type, pair, NULL);
    Py_XDECREF(pair);
    return result;
}

static PyObject *
build_with_it(PyObject **kept)
{
    return Py_BuildValue("{s:(dO)}", "key", 1.5, *kept);
}

static PyObject *
get_it(PyObject **kept)
{
    PyObject *dict = PyDict_New(), *key = PyUnicode_FromString("key");
    (void)PyDict_SetItem(dict, key, *kept);
    PyObject *got = PyDict_GetItem(dict, key);
    got = got != NULL ? Py_NewRef(Py_None) : NULL;
    Py_DECREF(key);
    Py_DECREF(dict);
    return got;
}

static PyObject *
iterate_it(PyObject **kept)
{
    PyObject *dict = PyDict_New(), *key = NULL, *value = NULL;
    (void)PyDict_SetItemString(dict, "key", *kept);
    Py_ssize_t at = 0;
    int n = 0;
    while (PyDict_Next(dict, &at, &key, &value)) {
        n++;
    }
    Py_DECREF(dict);
    return none_if(n == 1 ? 0 : -1);
}

static PyObject *
ask_it(PyObject **kept)
{
    PyObject *attribute = PyObject_GetAttrString(*kept, "__class__");
    Py_XDECREF(attribute);
    return none_if(attribute == NULL ? -1 : 0);
}

static PyObject *
incref_it(PyObject **kept)
{
    Py_IncRef(*kept);
    (*kept)->ob_refcnt--;
    Py_RETURN_NONE;
}

static PyObject *
decref_it(PyObject **kept)
{
    (*kept)->ob_refcnt++;
    Py_DecRef(*kept);
    Py_RETURN_NONE;
}

static PyObject *
drop_it(PyObject **kept)
{
    Py_DECREF(*kept);                       /* inlined, up to _Py_Dealloc() */
    *kept = NULL;
    Py_RETURN_NONE;
}

METHOD(called, call_it)
METHOD(appended, append_to_it)
METHOD(passed, call_with_it)
METHOD(built, build_with_it)
METHOD(got, get_it)
METHOD(iterated, iterate_it)
METHOD(asked, ask_it)
METHOD(increfed, incref_it)
METHOD(decrefed, decref_it)
METHOD(dropped, drop_it)

#define ENTRY(name) {#name, name, METH_O, "Keep the object, or use the one that is kept."}
static PyMethodDef methods[] = {
    ENTRY(called),
    ENTRY(appended),
    ENTRY(passed),
    ENTRY(built),
    ENTRY(got),
    ENTRY(iterated),
    ENTRY(asked),
    ENTRY(increfed),
    ENTRY(decrefed),
    ENTRY(dropped),
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};
