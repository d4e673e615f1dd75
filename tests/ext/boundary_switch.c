/* Bug: cross() creates an interpreter, and adds an object to a set of its caller
 * while the thread is in the new one.  Healthy: stay() switches back first. */
#include <Python.h>

static PyObject *
use(PyObject *args, int back)
{
    PyObject *set, *object;
    if (!PyArg_ParseTuple(args, "OO", &set, &object)) {
        return NULL;
    }
    PyThreadState *here = PyThreadState_Get(), *there = Py_NewInterpreter();
    PyThreadState_Swap(here);
    PyThreadState_Swap(there);
    if (back) {
        PyThreadState_Swap(here);
    }
    int status = PySet_Add(set, object);
    if (back) {
        PyThreadState_Swap(there);
    }
    Py_EndInterpreter(there);
    PyThreadState_Swap(here);
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *
cross(PyObject *Py_UNUSED(module), PyObject *args)
{
    return use(args, 0);
}

static PyObject *
stay(PyObject *Py_UNUSED(module), PyObject *args)
{
    return use(args, 1);
}

static PyMethodDef methods[] = {
    {"cross", cross, METH_VARARGS, "cross(set, object): add it in another interpreter."},
    {"stay", stay, METH_VARARGS, "stay(set, object): add it in this interpreter."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "boundary_switch",
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit_boundary_switch(void)
{
    return PyModule_Create(&definition);
}
