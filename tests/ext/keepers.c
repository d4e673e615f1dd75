/* Bugs that leak objects or memory, each with another retainer.  keepers_clean.c
 * is the healthy twin. */
#include <Python.h>

struct owner {
    PyObject *object;
};

#ifdef CLEAN
#define NAME "keepers_clean"
#define INIT PyInit_keepers_clean
#define GIVE_BACK(object) Py_DECREF(object)
#define FREE(block) PyMem_Free(block)
#define RAW_FREE(block) PyMem_RawFree(block)
#define SHELF(module) ((struct owner *)PyModule_GetState(module))->object
#else
#define NAME "keepers"
#define INIT PyInit_keepers
#define GIVE_BACK(object) (void)(object)
#define FREE(block) (void)(block)
#define RAW_FREE(block) (void)(block)
static PyObject *shelf;                     /* belongs to the caller of use_shelf() */
#define SHELF(module) (*(((void)(module)), &shelf))
#endif

static PyObject *
take(PyObject *Py_UNUSED(module), PyObject *object)
{
    Py_INCREF(object);
    GIVE_BACK(object);
    Py_RETURN_NONE;
}

static PyObject *
take_memory(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    char *block = PyMem_Malloc(400);        /* for the process */
    char *raw = PyMem_RawMalloc(500);
    if (block == NULL || raw == NULL) {
        return PyErr_NoMemory();
    }
    block[0] = raw[0] = 1;
    FREE(block);
    RAW_FREE(raw);
    Py_RETURN_NONE;
}

static PyObject *
own(PyObject *Py_UNUSED(module), PyObject *object)
{
    struct owner *owner = PyMem_Malloc(600);
    if (owner == NULL) {
        return PyErr_NoMemory();
    }
    owner->object = Py_NewRef(object);
    GIVE_BACK(object);
    FREE(owner);
    Py_RETURN_NONE;
}

/* No bug: memory that an object owns through a pointer behind its header. */
static void
free_headed(PyObject *capsule)
{
    PyMem_Free((char *)PyCapsule_GetPointer(capsule, NULL) - 32);
}

static PyObject *
headed(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    char *block = PyMem_Calloc(1, 700);
    return block == NULL ? PyErr_NoMemory() : PyCapsule_New(block + 32, NULL, free_headed);
}

/* No bug: a static that does not own what it refers to. */
static PyObject *borrowed;

static PyObject *
borrow(PyObject *Py_UNUSED(module), PyObject *object)
{
    borrowed = object == Py_None ? NULL : object;
    Py_RETURN_NONE;
}

static PyObject *
use_shelf(PyObject *module, PyObject *list)
{
    Py_XSETREF(SHELF(module), Py_NewRef(list));
    Py_RETURN_NONE;
}

static PyObject *
put(PyObject *module, PyObject *object)
{
    if (PyList_SetItem(SHELF(module), 2, Py_NewRef(object)) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
leave_shelf(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    Py_CLEAR(SHELF(module));
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"take", take, METH_O, "Take a reference."},
    {"take_memory", take_memory, METH_NOARGS, "Take memory."},
    {"own", own, METH_O, "Take memory that refers to an object."},
    {"headed", headed, METH_NOARGS, "Return an object with memory."},
    {"borrow", borrow, METH_O, "Refer to an object, or to none (None), without a reference."},
    {"use_shelf", use_shelf, METH_O, "Use this list."},
    {"put", put, METH_O, "Put an object into the list."},
    {"leave_shelf", leave_shelf, METH_NOARGS, "Use it no more."},
    {NULL, NULL, 0, NULL},
};

#ifdef CLEAN
static int
keepers_clear(PyObject *module)
{
    Py_CLEAR(SHELF(module));
    return 0;
}

static void
keepers_free(void *module)
{
    keepers_clear(module);
}

static int
keepers_traverse(PyObject *module, visitproc visit, void *arg)
{
    Py_VISIT(SHELF(module));
    return 0;
}
#endif

static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = NAME,
    .m_methods = methods,
    .m_slots = slots,
#ifdef CLEAN
    .m_size = sizeof(struct owner),
    .m_traverse = keepers_traverse,
    .m_clear = keepers_clear,
    .m_free = keepers_free,
#endif
};

PyMODINIT_FUNC
INIT(void)
{
    return PyModuleDef_Init(&definition);
}
