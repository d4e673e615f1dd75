/* Bug: leave() creates an interpreter and ends it with another thread in it;
 * before() attaches that thread's state to clear it.
 * Healthy: join() waits until the thread has left; meanwhile() clears the state
 * while the interpreter ends. */
#include <Python.h>
#include <pthread.h>
#include <semaphore.h>

static sem_t there, leaves;
static PyThreadState *stays;

static void *
stay(void *interpreter)
{
    PyThreadState *state = PyThreadState_New(interpreter);
    PyEval_RestoreThread(state);
    PyEval_SaveThread();
    stays = state;
    sem_post(&there);
    sem_wait(&leaves);
    if (stays == NULL) {
        return NULL;
    }
    PyEval_RestoreThread(state);
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
    return NULL;
}

static PyObject *
clear(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    PyThreadState *here = PyThreadState_Swap(stays);    /* clear */
    PyThreadState_Clear(stays);
    PyThreadState_Swap(here);
    PyThreadState_Delete(stays);
    stays = NULL;
    Py_RETURN_NONE;
}

static PyObject *
end(int joins, const char *script)
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
    PyRun_SimpleString(script);
    Py_EndInterpreter(other);
    PyThreadState_Swap(here);
    if (stays == NULL) {
        sem_post(&leaves);
        pthread_join(thread, NULL);
    }
    Py_RETURN_NONE;
}

static PyObject *
leave(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    return end(0, "");
}

static PyObject *
join(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    return end(1, "");
}

static PyObject *
before(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    return end(0, "import gilstate_end; gilstate_end.clear()");
}

static PyObject *
meanwhile(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    return end(0, "import atexit, gilstate_end; atexit.register(gilstate_end.clear)");
}

static PyMethodDef methods[] = {
    {"leave", leave, METH_NOARGS, "End an interpreter with a thread in it."},
    {"join", join, METH_NOARGS, "End one when the thread has left it."},
    {"before", before, METH_NOARGS, "Clear the thread's state before the end."},
    {"meanwhile", meanwhile, METH_NOARGS, "Clear it at the end."},
    {"clear", clear, METH_NOARGS, "Clear the state of the thread that stays."},
    {NULL, NULL, 0, NULL},
};

#define NAME "gilstate_end"
#define INIT PyInit_gilstate_end
#include "module.h"
