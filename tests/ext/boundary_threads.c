/* Healthy: threads that load and unload modules all at once. */
#include <Python.h>
#include <dlfcn.h>
#include <pthread.h>

enum { THREADS = 4, EACH = 20, ROUNDS = 200 };
static const char *copies;                  /* a format for the number of a copy */

static void *
load_and_unload(void *first)
{
    void *handles[EACH];
    char path[4096];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < EACH; i++) {
            snprintf(path, sizeof path, copies, (int)(intptr_t)first + i);
            handles[i] = dlopen(path, RTLD_NOW);
            if (handles[i] == NULL) {
                return "a copy cannot be loaded";
            }
        }
        for (int i = 0; i < EACH; i++) {
            dlclose(handles[i]);
        }
    }
    return NULL;
}

static PyObject *
run(PyObject *Py_UNUSED(module), PyObject *format)
{
    pthread_t threads[THREADS];
    void *failed = NULL;
    copies = PyUnicode_AsUTF8(format);
    Py_BEGIN_ALLOW_THREADS
    for (intptr_t i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, load_and_unload, (void *)(i * EACH));
    }
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        failed = result != NULL ? result : failed;
    }
    Py_END_ALLOW_THREADS
    if (failed != NULL) {
        PyErr_SetString(PyExc_OSError, failed);
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"run", run, METH_O, "run(format): load and unload the modules that format % number names, number < copies."},
    {NULL, NULL, 0, NULL},
};

static int
threads_exec(PyObject *module)
{
    return PyModule_AddIntConstant(module, "copies", THREADS * EACH);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, threads_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "boundary_threads",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_boundary_threads(void)
{
    return PyModuleDef_Init(&definition);
}
