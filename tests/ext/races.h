/* The module of an extension in which interpreters race.  The extension defines
 * NAME, and step(module), which each interpreter runs again and again.
 *
 * run(parties, times) waits until that many interpreters have called it, and then
 * runs that many steps, all in C: so nothing in CPython orders the interpreters,
 * even if one is faster.  In the end it sleeps until the slower one is ready, too:
 * ThreadSanitizer forgets an access of a thread that does much after it, and then
 * reports no race with it. */
#include <Python.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#define QUOTED_(name) #name
#define QUOTED(name) QUOTED_(name)
#define JOINED_(a, b) a##b
#define JOINED(a, b) JOINED_(a, b)

static atomic_int arrived, done;

static PyObject *
run(PyObject *module, PyObject *args)
{
    int parties, times;
    if (!PyArg_ParseTuple(args, "ii:run", &parties, &times)) {
        return NULL;
    }
    atomic_fetch_add(&arrived, 1);
    while (atomic_load(&arrived) < parties) {
        sched_yield();
    }
    for (int i = 0; i < times; i++) {
        step(module);
    }
    atomic_fetch_add(&done, 1);
    while (atomic_load(&done) < parties) {
        usleep(1000);
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"run", run, METH_VARARGS, "Take steps together with other interpreters."},
    {NULL, NULL, 0, NULL},
};

#ifndef EXEC
static int
exec(PyObject *Py_UNUSED(module))
{
    return 0;
}
#endif

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

#ifndef STATE
#define STATE 0
#endif

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = QUOTED(NAME),
    .m_size = STATE,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
JOINED(PyInit_, NAME)(void)
{
    return PyModuleDef_Init(&definition);
}
