/* The healthy twin of race_lazy.c: the table is made once. */
#include <Python.h>
#include <pthread.h>
#include <threads.h>

static int *table, *other;
static once_flag flag = ONCE_FLAG_INIT;
static pthread_once_t control = PTHREAD_ONCE_INIT;

static void
make_table(void)
{
    table = calloc(16, sizeof *table);
}

static void
make_other(void)
{
    other = calloc(16, sizeof *other);
}

static void
step(PyObject *Py_UNUSED(module))
{
    call_once(&flag, make_table);
    pthread_once(&control, make_other);
    if (table[0] != other[0]) {
        abort();
    }
}

#define NAME race_once
#include "races.h"
