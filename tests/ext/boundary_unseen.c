/* Functions that neither count references to an object nor access its attributes:
 * its length, its truth, its value as a double.
 *
 * Bug: on the object of the first call.  Healthy: with OWN defined, on the argument. */
#include <Python.h>

#ifndef OWN
static PyObject *kept;
#endif

static PyObject *
measure(PyObject *Py_UNUSED(module), PyObject *given)
{
#ifdef OWN
    PyObject *object = given;
#else
    if (kept == NULL) {
        kept = Py_NewRef(given);
    }
    PyObject *object = kept;
#endif
    Py_ssize_t length = PyObject_Length(object);
    int truth = PyObject_IsTrue(object);
    double value = PyFloat_AsDouble(object);        /* fails; -1.0 all the same */
    PyErr_Clear();
    return Py_BuildValue("nid", length, truth, value);
}

static PyMethodDef methods[] = {
    {"measure", measure, METH_O, "Length, truth and value of the object that was given first."},
    {NULL, NULL, 0, NULL},
};

#define NAME "boundary_unseen"
#define INIT PyInit_boundary_unseen
#include "module.h"
