/* Interpreters write a text into one static buffer, as functions that return one do. */
#include <Python.h>

static char buffer[32];

static void
step(PyObject *Py_UNUSED(module))
{
    for (size_t i = 0; i < sizeof buffer - 1; i++) {
        buffer[i] = (char)('a' + i % 26);
    }
    if (strlen(buffer) != sizeof buffer - 1) {
        abort();
    }
}

#define NAME race_buffer
#include "races.h"
