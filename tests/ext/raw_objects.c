/* Healthy: objects in memory that belongs to the process (PyMem_RawMalloc), and a static that keeps an address only to
 * compare it.  shared_list() is healthy where interpreters share an allocator, and a bug where they do not.  Bug:
 * leave_freed() leaves memory in that list that the end of the interpreter frees. */
#include <Python.h>
#include <pthread.h>

typedef struct {
    PyTypeObject *raw, *pooled, *listed;
} State;

enum { MOST = 16 };
static void *pool[MOST], *list[MOST];
static int n_pool, n_list;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uintptr_t last_seen;
static int leaves_freed;

static void
raw_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyMem_RawFree(op);
    Py_DECREF(type);
}

static void
pooled_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    pthread_mutex_lock(&mutex);
    int kept = n_pool < MOST;
    if (kept) {
        pool[n_pool++] = op;
    }
    pthread_mutex_unlock(&mutex);
    if (!kept) {
        PyMem_RawFree(op);
    }
    Py_DECREF(type);
}

static void
listed_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    if (n_list < MOST) {
        list[n_list++] = op;
    }
    else {
        PyObject_Free(op);
    }
    Py_DECREF(type);
}

static PyObject *
init(void *memory, PyTypeObject *type)
{
    return memory != NULL ? PyObject_Init(memory, type) : PyErr_NoMemory();
}

/* The memory is allocated without a thread state. */
static PyObject *
detached(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    void *memory;
    Py_BEGIN_ALLOW_THREADS
    memory = PyMem_RawCalloc(1, 64);
    Py_END_ALLOW_THREADS
    return init(memory, ((State *)PyModule_GetState(module))->raw);
}

static PyObject *
pooled(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    pthread_mutex_lock(&mutex);
    void *memory = n_pool > 0 ? pool[--n_pool] : PyMem_RawCalloc(1, 64);
    pthread_mutex_unlock(&mutex);
    return init(memory, ((State *)PyModule_GetState(module))->pooled);
}

static PyObject *
shared_list(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    return init(n_list > 0 ? list[--n_list] : PyObject_Malloc(64), ((State *)PyModule_GetState(module))->listed);
}

static PyObject *
is_same(PyObject *Py_UNUSED(module), PyObject *op)
{
    int same = last_seen == (uintptr_t)op;
    last_seen = (uintptr_t)op;
    return PyBool_FromLong(same);
}

static PyObject *
leave_freed(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    leaves_freed = 1;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"detached", detached, METH_NOARGS, "An object in raw memory."},
    {"pooled", pooled, METH_NOARGS, "An object in raw memory of a pool of the process."},
    {"shared_list", shared_list, METH_NOARGS, "An object in memory of a free list of all interpreters."},
    {"is_same", is_same, METH_O, "Is it the object of the last call?"},
    {"leave_freed", leave_freed, METH_NOARGS, "Free the first entry of the list with the module, and keep it there."},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject *
make_type(PyObject *module, const char *name, destructor dealloc)
{
    PyType_Slot slots[] = {{Py_tp_dealloc, dealloc}, {0, NULL}};
    PyType_Spec spec = {name, sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT, slots};
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
}

static int
exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    state->raw = make_type(module, "raw_objects.Raw", raw_dealloc);
    state->pooled = make_type(module, "raw_objects.Pooled", pooled_dealloc);
    state->listed = make_type(module, "raw_objects.Listed", listed_dealloc);
    return state->raw && state->pooled && state->listed ? 0 : -1;
}

static int
traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->raw);
    Py_VISIT(state->pooled);
    Py_VISIT(state->listed);
    return 0;
}

static int
clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->raw);
    Py_CLEAR(state->pooled);
    Py_CLEAR(state->listed);
    return 0;
}

static void
free_entry(void *module)
{
    clear(module);
    if (leaves_freed) {
        leaves_freed = 0;
        PyObject_Free(list[0]);
    }
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "raw_objects",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = free_entry,
};

PyMODINIT_FUNC
PyInit_raw_objects(void)
{
    return PyModuleDef_Init(&definition);
}
