/* Passes objects between interpreters through statics, with the declarations of
 * isan/isan.h.  Bug: put() and use() without a declaration.  Healthy: give() and
 * take(), share(), ignore(). */
#include "../../include/isan/isan.h"
#include <Python.h>
#include <unistd.h>

static PyObject *slot;
static void *memory;

static PyObject *
declare_put(PyObject *Py_UNUSED(module), PyObject *object)
{
    slot = Py_NewRef(object);
    Py_RETURN_NONE;
}

/* The static has the only reference to the object. */
static PyObject *
declare_give(PyObject *Py_UNUSED(module), PyObject *make)
{
    slot = PyObject_CallNoArgs(make);
    if (slot == NULL) {
        return NULL;
    }
    if (PyObject_GC_IsTracked(slot)) {
        PyObject_GC_UnTrack(slot);
    }
    Py_RETURN_NONE;
}

static PyObject *
declare_take(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(isan_transfer(slot));
}

static PyObject *
declare_use(PyObject *Py_UNUSED(module), PyObject *function)
{
    return PyObject_CallOneArg(function, slot);
}

static PyObject *
declare_use_array(PyObject *Py_UNUSED(module), PyObject *function)
{
    return PyObject_Vectorcall(function, &slot, 1, NULL);
}

static PyObject *
declare_drop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    Py_CLEAR(slot);
    Py_RETURN_NONE;
}

static PyObject *
declare_forget(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    slot = NULL;
    Py_RETURN_NONE;
}

static PyObject *
declare_share(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(isan_share(slot));
}

static PyObject *
declare_ignore(PyObject *Py_UNUSED(module), PyObject *function)
{
    isan_ignore_begin("declare.c has its reasons");
    PyObject *result = PyObject_CallNoArgs(function);
    isan_ignore_end();
    return result;
}

static PyObject *
declare_look(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(isan_look());
}

static PyObject *
declare_raw(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    memory = PyMem_RawMalloc(3000);
    Py_RETURN_NONE;
}

static PyObject *
declare_raw_owner(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLongLong(isan_owner(memory));
}

static PyObject *
declare_raw_take(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(isan_transfer(memory));
}

static PyObject *
declare_raw_share(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(isan_share(memory));
}

static PyObject *
declare_raw_free(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    PyMem_RawFree(memory);
    memory = NULL;
    Py_RETURN_NONE;
}

/* Runs in isan's thread, and may only record the finding. */
enum { MANY = 64 };
static struct isan_finding told[MANY];
static int n_told, numbers[MANY];

static void
tell(int number, void *data)
{
    int n = __atomic_load_n(&n_told, __ATOMIC_RELAXED);
    if (n < MANY && data == (void *)&n_told) {
        told[n].size = sizeof told[n];
        isan_get_finding(number, &told[n]);
        numbers[n] = number;
        __atomic_store_n(&n_told, n + 1, __ATOMIC_RELEASE);
    }
}

static PyObject *
declare_listen(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(isan_on_finding(tell, &n_told));
}

/* The recorded findings: (number, kind, access, owner, current, type, has a variable). */
static PyObject *
declare_heard(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    int ended;
    Py_BEGIN_ALLOW_THREADS
    ended = isan_off_finding(tell, &n_told);
    Py_END_ALLOW_THREADS
    PyObject *list = ended == 0 ? PyList_New(0) : Py_NewRef(Py_None);
    for (int i = 0; ended == 0 && i < n_told; i++) {
        PyObject *item = Py_BuildValue("(issLLsO)", numbers[i], told[i].kind, told[i].access, told[i].owner,
                                       told[i].current, told[i].type, told[i].variable ? Py_True : Py_False);
        if (item == NULL || PyList_Append(list, item) < 0) {
            return NULL;
        }
        Py_DECREF(item);
    }
    return list;
}

/* Ends itself when there is a finding more than it has been called for. */
static int once_calls, once_ended;

static void
tell_once(int number, void *data)
{
    while (isan_findings() == number) {
        usleep(1000);
    }
    __atomic_store_n(&once_ended, isan_off_finding(tell_once, data), __ATOMIC_RELAXED);
    __atomic_add_fetch(&once_calls, 1, __ATOMIC_RELEASE);
}

static PyObject *
declare_listen_once(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(isan_on_finding(tell_once, &once_calls));
}

/* (how often it was called, what isan_off_finding() returned there). */
static PyObject *
declare_heard_once(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    int calls = __atomic_load_n(&once_calls, __ATOMIC_ACQUIRE);
    return Py_BuildValue("(ii)", calls, __atomic_load_n(&once_ended, __ATOMIC_RELAXED));
}

static PyObject *
declare_log(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    char path[4096] = "";
    int n = isan_log(path, sizeof path), cut = isan_log(NULL, 0);
    return Py_BuildValue("(iis)", n, cut, path);
}

static PyMethodDef methods[] = {
    {"put", declare_put, METH_O, "Put an object into the static."},
    {"give", declare_give, METH_O, "Put what the function makes into the static, without any other reference."},
    {"take", declare_take, METH_NOARGS, "isan_transfer() of it."},
    {"use", declare_use, METH_O, "Call a function with it."},
    {"use_array", declare_use_array, METH_O, "The same by PyObject_Vectorcall()."},
    {"drop", declare_drop, METH_NOARGS, "Give back the static's reference."},
    {"forget", declare_forget, METH_NOARGS, "Clear the static, and nothing else."},
    {"share", declare_share, METH_NOARGS, "isan_share() of it."},
    {"ignore", declare_ignore, METH_O, "Call a function; its findings do not count."},
    {"look", declare_look, METH_NOARGS, "isan_look()."},
    {"raw", declare_raw, METH_NOARGS, "Allocate memory."},
    {"raw_owner", declare_raw_owner, METH_NOARGS, "Its owner."},
    {"raw_take", declare_raw_take, METH_NOARGS, "isan_transfer() of it."},
    {"raw_share", declare_raw_share, METH_NOARGS, "isan_share() of it."},
    {"raw_free", declare_raw_free, METH_NOARGS, "Free it."},
    {"listen", declare_listen, METH_NOARGS, "Listen to findings."},
    {"heard", declare_heard, METH_NOARGS, "End that; what there was."},
    {"listen_once", declare_listen_once, METH_NOARGS, "Listen to one finding."},
    {"heard_once", declare_heard_once, METH_NOARGS, "How often it was called; what ending it returned."},
    {"log", declare_log, METH_NOARGS, "isan_log(): length, the same with no room, path."},
    {NULL, NULL, 0, NULL},
};

#define NAME "declare"
#define INIT PyInit_declare
#include "module.h"
