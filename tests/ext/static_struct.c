/* Members of a structure, of one within it, and of one in an array of them. */
#include <Python.h>

static struct {
    int ready;
    PyObject *error;
    struct {
        const char *label;
        PyObject *name;
    } inner;
    struct {
        int number;
        PyObject *value;
    } row[4];
} state = { .ready = 1 };

static PyObject **
place(Py_ssize_t which)
{
    return which == 0 ? &state.error : which == 1 ? &state.inner.name
        : which == 2 ? &state.row[3].value : NULL;
}

#define NAME static_struct
#include "holds.h"
