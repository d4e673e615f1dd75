/* Bug: cross() attaches the thread state of another thread, after() one of an
 * ended interpreter.  Healthy: own() has a state for each thread, hand() makes one
 * for another thread, inherit() takes over the state of a thread that has ended,
 * again() makes interpreters at the addresses of ended ones.  enter() is a bug in
 * sub-interpreters before 3.12, and healthy otherwise. */
#include <Python.h>
#include <pthread.h>
#include <semaphore.h>

static sem_t attached, done;
static PyInterpreterState *interpreter;
static PyThreadState *shared;

static void *
first(void *leaves)
{
    shared = PyThreadState_New(interpreter);
    PyEval_RestoreThread(shared);
    PyEval_SaveThread();
    sem_post(&attached);
    if (leaves == NULL) {
        sem_wait(&done);
    }
    return NULL;
}

static void *
second(void *state)
{
    PyEval_RestoreThread(state);    /* second */
    PyEval_SaveThread();
    return NULL;
}

static void *
own(void *Py_UNUSED(arg))
{
    PyThreadState *state = PyThreadState_New(interpreter);
    second(state);
    PyEval_RestoreThread(state);
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
    return NULL;
}

static void
delete(void)
{
    PyThreadState_Clear(shared);
    PyThreadState_Delete(shared);
}

/* In the interpreter of the caller: runs one thread, and then a second one. */
static PyObject *
run(void *(*one)(void *), void *of_one, void *(*two)(void *))
{
    pthread_t a, b;
    interpreter = PyInterpreterState_Get();
    sem_init(&attached, 0, 0);
    sem_init(&done, 0, 0);
    Py_BEGIN_ALLOW_THREADS
    if (one != NULL) {
        pthread_create(&a, NULL, one, of_one);
        sem_wait(&attached);
        if (of_one != NULL) {
            pthread_join(a, NULL);
        }
    }
    pthread_create(&b, NULL, two, shared);
    pthread_join(b, NULL);
    if (one != NULL && of_one == NULL) {
        sem_post(&done);
        pthread_join(a, NULL);
    }
    Py_END_ALLOW_THREADS
    delete();
    Py_RETURN_NONE;
}

static PyObject *
cross(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    return run(first, NULL, second);
}

static PyObject *
inherit(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    return run(first, &shared, second);
}

static PyObject *
hand(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    shared = PyThreadState_New(PyInterpreterState_Get());
    return run(NULL, NULL, second);
}

static PyObject *
each(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    return run(first, NULL, own);
}

static PyObject *
after(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    PyThreadState *here = PyThreadState_Get(), *there = Py_NewInterpreter(), *state;
    PyThreadState_Swap(NULL);
    state = PyThreadState_New(PyThreadState_GetInterpreter(there)); /* after */
    PyThreadState_Swap(state);
    PyThreadState_Swap(there);
    PyThreadState_Clear(state);
    PyThreadState_Delete(state);
    Py_EndInterpreter(there);       /* its end */
    PyThreadState_Swap(state);      /* after it has ended */
    PyThreadState_Swap(here);
    Py_RETURN_NONE;
}

static PyObject *
again(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    PyThreadState *here = PyThreadState_Get();
    for (int i = 0; i < 4; i++) {
        PyThreadState *there = Py_NewInterpreter();
        PyThreadState_Swap(here);
        PyThreadState_Swap(there);
        Py_EndInterpreter(there);
        PyThreadState_Swap(here);
    }
    Py_RETURN_NONE;
}

static PyObject *
enter(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyGILState_Release(state);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"cross", cross, METH_NOARGS, "A second thread attaches the state of a first."},
    {"inherit", inherit, METH_NOARGS, "The same when the first has ended."},
    {"hand", hand, METH_NOARGS, "A second thread attaches a new state."},
    {"each", each, METH_NOARGS, "Each thread has its own."},
    {"again", again, METH_NOARGS, "Attach those of interpreters in the memory of others."},
    {"enter", enter, METH_NOARGS, "Ask for the GIL where it is held."},
    {"after", after, METH_NOARGS, "Attach a state of an interpreter that has ended."},
    {NULL, NULL, 0, NULL},
};

#define NAME "gilstate_thread"
#define INIT PyInit_gilstate_thread
#include "module.h"
