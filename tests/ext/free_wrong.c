/* Blocks of memory in statics, to be allocated in one interpreter and freed or
 * resized in another.
 *
 * Bug: PyMem_* and PyObject_* memory belongs to the interpreter that allocated
 * it.  Healthy: the raw_* functions, since PyMem_Raw* memory belongs to the
 * process, and all of them as long as one interpreter does everything. */
#include <Python.h>

#define DEFAULT_SIZE 100                /* a pymalloc block; more than 512 is malloc's */

static PyObject *
no_block(void)
{
    PyErr_SetString(PyExc_RuntimeError, "there is no block: allocate one first");
    return NULL;
}

/* The three functions of one family: allocate, free, resize.
 * Allocation forgets an earlier block: its owner is unknown. */
#define FAMILY(prefix, API)                                                     \
    static void *prefix##_block;                                                \
                                                                                \
    static PyObject *                                                           \
    prefix##_alloc(PyObject *Py_UNUSED(module), PyObject *args)                 \
    {                                                                           \
        Py_ssize_t size = DEFAULT_SIZE;                                         \
        if (!PyArg_ParseTuple(args, "|n", &size)) {                             \
            return NULL;                                                        \
        }                                                                       \
        prefix##_block = API##Malloc((size_t)size);                            \
        return prefix##_block ? Py_NewRef(Py_None) : PyErr_NoMemory();          \
    }                                                                           \
                                                                                \
    static PyObject *                                                           \
    prefix##_release(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args))    \
    {                                                                           \
        if (prefix##_block == NULL) {                                           \
            return no_block();                                                  \
        }                                                                       \
        API##Free(prefix##_block);                                             \
        prefix##_block = NULL;                                                  \
        Py_RETURN_NONE;                                                         \
    }                                                                           \
                                                                                \
    static PyObject *                                                           \
    prefix##_grow(PyObject *Py_UNUSED(module), PyObject *args)                  \
    {                                                                           \
        Py_ssize_t size = 2 * DEFAULT_SIZE;                                     \
        if (!PyArg_ParseTuple(args, "|n", &size)) {                             \
            return NULL;                                                        \
        }                                                                       \
        if (prefix##_block == NULL) {                                           \
            return no_block();                                                  \
        }                                                                       \
        void *grown = API##Realloc(prefix##_block, (size_t)size);              \
        if (grown == NULL) {                                                    \
            return PyErr_NoMemory();                                            \
        }                                                                       \
        prefix##_block = grown;                                                 \
        Py_RETURN_NONE;                                                         \
    }

FAMILY(mem, PyMem_)
FAMILY(obj, PyObject_)
FAMILY(raw, PyMem_Raw)

static PyMethodDef methods[] = {
    {"alloc", mem_alloc, METH_VARARGS, "alloc(size=100): PyMem_Malloc"},
    {"release", mem_release, METH_NOARGS, "release(): PyMem_Free"},
    {"grow", mem_grow, METH_VARARGS, "grow(size=200): PyMem_Realloc"},
    {"obj_alloc", obj_alloc, METH_VARARGS, "obj_alloc(size=100): PyObject_Malloc"},
    {"obj_release", obj_release, METH_NOARGS, "obj_release(): PyObject_Free"},
    {"obj_grow", obj_grow, METH_VARARGS, "obj_grow(size=200): PyObject_Realloc"},
    {"raw_alloc", raw_alloc, METH_VARARGS, "raw_alloc(size=100): PyMem_RawMalloc"},
    {"raw_release", raw_release, METH_NOARGS, "raw_release(): PyMem_RawFree"},
    {"raw_grow", raw_grow, METH_VARARGS, "raw_grow(size=200): PyMem_RawRealloc"},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "free_wrong",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_free_wrong(void)
{
    return PyModuleDef_Init(&definition);
}
