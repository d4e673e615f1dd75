/* The healthy twin of race_counter.c, race_lazy.c and race_type.c: each module has its own. */
#include <Python.h>

struct state {
    long counter;
    PyObject *type;
};
#define STATE sizeof(struct state)

static PyType_Slot type_slots[] = { {0, NULL} };
static PyType_Spec spec = { "race_state.Thing", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT, type_slots };

static int
exec(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    state->type = PyType_FromModuleAndSpec(module, &spec, NULL);
    if (state->type == NULL) {
        return -1;
    }
    int failed = PyModule_AddObjectRef(module, "Thing", state->type);
    Py_DECREF(state->type);             /* the module has it */
    return failed;
}

static void
step(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    state->counter++;
    PyObject_SetAttrString(state->type, "hits", state->counter & 1 ? Py_True : Py_False);
}

#define NAME race_state
#define EXEC
#include "races.h"
