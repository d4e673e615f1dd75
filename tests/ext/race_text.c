/* Interpreters write a text into one buffer, with functions of the C library. */
#include <Python.h>

static struct {
    int uses;
    char text[64];
} state;

__attribute__((noinline)) static void
step(PyObject *module)
{
    snprintf(state.text, sizeof state.text, "%p", (void *)module);
}

#define NAME race_text
#include "races.h"
