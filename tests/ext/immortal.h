/* The rest of immortal_*.c: add(object, n) changes an object's count by n, in that
 * file's way. */
static void change(PyObject *object, long by);

static PyObject *
add(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *object;
    long by;
    if (!PyArg_ParseTuple(args, "Ol:add", &object, &by)) {
        return NULL;
    }
    change(object, by);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"add", add, METH_VARARGS, "Change an object's reference count."},
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
    .m_name = NAME,
    .m_methods = methods,
    .m_slots = slots,
};
