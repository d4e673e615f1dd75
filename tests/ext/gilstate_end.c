/* Bug: leave() ends an interpreter of its own making with a thread still in it.
 * Healthy: join() has the thread leave first. */
#include <Python.h>
#include <pthread.h>
#include <semaphore.h>

static sem_t there, leaves;

static void *
stay(void *interpreter)
{
    PyThreadState *state = PyThreadState_New(interpreter);
    PyEval_RestoreThread(state);
    PyEval_SaveThread();
    sem_post(&there);
    sem_wait(&leaves);
    PyEval_RestoreThread(state);
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
    return NULL;
}

static PyObject *
end(int joins)
{
    pthread_t thread;
    PyThreadState *here = PyThreadState_Get(), *other = Py_NewInterpreter();
    sem_init(&there, 0, 0);
    sem_init(&leaves, 0, 0);
    pthread_create(&thread, NULL, stay, PyThreadState_GetInterpreter(other));
    Py_BEGIN_ALLOW_THREADS
    sem_wait(&there);
    if (joins) {
        sem_post(&leaves);
        pthread_join(thread, NULL);
    }
    Py_END_ALLOW_THREADS
    Py_EndInterpreter(other);
    PyThreadState_Swap(here);
    Py_RETURN_NONE;
}

static PyObject *
leave(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    return end(0);
}

static PyObject *
join(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    return end(1);
}

static PyMethodDef methods[] = {
    {"leave", leave, METH_NOARGS, "End an interpreter with a thread in it."},
    {"join", join, METH_NOARGS, "End one when the thread has left it."},
    {NULL, NULL, 0, NULL},
};

#define NAME "gilstate_end"
#define INIT PyInit_gilstate_end
#include "gilstate.h"
