/* Bug: one interpreter uses objects that another has put into these statics,
 * through calls of the C API only.  boundary_state.c is the healthy twin. */
#define KEPT(name) kept_##name
#include <Python.h>

static PyObject *kept_called;
static PyObject *kept_appended;
static PyObject *kept_passed;
static PyObject *kept_built;
static PyObject *kept_got;
static PyObject *kept_iterated;
static PyObject *kept_asked;
static PyObject *kept_increfed;
static PyObject *kept_decrefed;
static PyObject *kept_dropped;

#include "boundary_uses.h"

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "boundary_static",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_boundary_static(void)
{
    return PyModuleDef_Init(&definition);
}
