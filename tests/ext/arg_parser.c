/* A static laid out as CPython's _PyArg_Parser (Include/cpython/modsupport.h):
 * keep("name") puts a tuple into its kwtuple as Python/getargs.c does.
 *
 * Bug: any other tuple, keep("other"), is just an object in a static. */
#include <Python.h>

static const char *const keywords[] = { "", "name", NULL };
static struct {
    const char *format;
    const char *const *keywords;
#if PY_VERSION_HEX >= 0x030c0000
    long initialized;
#endif
    const char *fname, *custom_msg;
    int pos, min, max;
    PyObject *kwtuple;
    void *next;
} parser = { .keywords = keywords };

static PyObject *
keep(PyObject *module, PyObject *name)
{
    (void)module;
    Py_XSETREF(parser.kwtuple, PyTuple_Pack(1, name));
    if (parser.kwtuple == NULL) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"keep", keep, METH_O, "Keep a tuple of the name in a static."},
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
    .m_name = "arg_parser",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_arg_parser(void)
{
    return PyModuleDef_Init(&definition);
}
