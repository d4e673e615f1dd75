// A C++ exception that passes through a function of glibc: std::call_once() calls pthread_once().
#include <Python.h>

#include <mutex>
#include <stdexcept>

static PyObject *
try_once(PyObject *, PyObject *)
{
    std::once_flag flag;
    try {
        std::call_once(flag, [] { throw std::runtime_error("thrown"); });
    }
    catch (const std::exception &e) {
        return PyUnicode_FromString(e.what());
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"try_once", try_once, METH_NOARGS, "What is caught of a call that throws."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "cxx_once", NULL, 0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC
PyInit_cxx_once()
{
    return PyModuleDef_Init(&definition);
}
