/* The healthy twin of boundary_static.c: the object is in the module state, so
 * each interpreter has its own. */
#define KEPT(name) (((struct state *)PyModule_GetState(module))->name)
#include <Python.h>

struct state {
    PyObject *called, *appended, *passed, *built, *got,
        *iterated, *asked, *increfed, *decrefed, *dropped;
};

#include "boundary_uses.h"

static int
boundary_traverse(PyObject *module, visitproc visit, void *arg)
{
    Py_VISIT(KEPT(called));
    Py_VISIT(KEPT(appended));
    Py_VISIT(KEPT(passed));
    Py_VISIT(KEPT(built));
    Py_VISIT(KEPT(got));
    Py_VISIT(KEPT(iterated));
    Py_VISIT(KEPT(asked));
    Py_VISIT(KEPT(increfed));
    Py_VISIT(KEPT(decrefed));
    Py_VISIT(KEPT(dropped));
    return 0;
}

static int
boundary_clear(PyObject *module)
{
    Py_CLEAR(KEPT(called));
    Py_CLEAR(KEPT(appended));
    Py_CLEAR(KEPT(passed));
    Py_CLEAR(KEPT(built));
    Py_CLEAR(KEPT(got));
    Py_CLEAR(KEPT(iterated));
    Py_CLEAR(KEPT(asked));
    Py_CLEAR(KEPT(increfed));
    Py_CLEAR(KEPT(decrefed));
    Py_CLEAR(KEPT(dropped));
    return 0;
}

static void
boundary_free(void *module)
{
    boundary_clear(module);
}

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "boundary_state",
    .m_size = sizeof(struct state),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = boundary_traverse,
    .m_clear = boundary_clear,
    .m_free = boundary_free,
};

PyMODINIT_FUNC
PyInit_boundary_state(void)
{
    return PyModuleDef_Init(&definition);
}
