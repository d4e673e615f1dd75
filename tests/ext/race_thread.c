/* The healthy twin of race_counter.c and race_buffer.c: each thread has its own. */
#include <Python.h>

static _Thread_local long counter;
static _Thread_local char buffer[32];

static void
step(PyObject *Py_UNUSED(module))
{
    counter++;
    for (size_t i = 0; i < sizeof buffer - 1; i++) {
        buffer[i] = (char)('a' + i % 26);
    }
}

#define NAME race_thread
#include "races.h"
