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

#define NAME "cxx_once"
#define INIT PyInit_cxx_once
#include "module.h"
