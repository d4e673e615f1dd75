/* The built-in module `_isan`: the functions of isan.h for Python code (scripts/isan/
 * __init__.py wraps it).
 *
 * isan is compiled without Python's headers, so the structures that make a module are
 * declared here.  They are part of the stable ABI, the same in all releases
 * (Include/object.h, moduleobject.h, methodobject.h; PEP 384).  Python's functions are
 * looked up when the module is imported.  If one is missing, the import fails, and isan
 * goes on.
 */
#include "runtime/api/pymodule.h"

#include "isan/isan.h"
#include "runtime/api/callbacks.h"
#include "runtime/cpython/layout.h"

typedef void object;                        /* PyObject */
typedef object *function(object *module, object *argument);

struct method { const char *name; function *call; int flags; const char *doc; };
enum { METH_NOARGS = 0x0004, METH_O = 0x0008 };

struct slot { int id; void *value; };
enum { PY_MOD_MULTIPLE_INTERPRETERS = 3 };  /* 3.12 and later */
#define PER_INTERPRETER_GIL_SUPPORTED ((void *)2)

struct definition {
    struct { int64_t count; const void *type; } head;
    void *init;
    int64_t index;
    object *copy;
    const char *name, *doc;
    int64_t size;
    struct method *methods;
    struct slot *slots;
    void *traverse, *clear, *free;
};

/* Python's functions that are called here, and None. */
static struct {
    object *(*define)(struct definition *);
    object *(*number)(long long);
    long long (*number_in)(object *);
    object *(*decode)(const char *, int64_t, const char *);
    object *(*path)(const char *);
    const char *(*utf8)(object *, int64_t *);
    object *(*build)(const char *, ...);
    object *(*error)(void);
    void *(*save)(void);
    void (*restore)(void *);
    void (*take)(object *);
    object *none;
} py_api;

static const struct { void *to; const char *name; } needed[] = {
    { &py_api.define,    "PyModuleDef_Init" },
    { &py_api.number,    "PyLong_FromLongLong" },
    { &py_api.number_in, "PyLong_AsLongLong" },
    { &py_api.decode,    "PyUnicode_DecodeUTF8" },
    { &py_api.path,      "PyUnicode_DecodeFSDefault" },
    { &py_api.utf8,      "PyUnicode_AsUTF8AndSize" },
    { &py_api.build,     "Py_BuildValue" },
    { &py_api.error,     "PyErr_Occurred" },
    { &py_api.save,      "PyEval_SaveThread" },
    { &py_api.restore,   "PyEval_RestoreThread" },
    { &py_api.take,      "Py_IncRef" },
    { &py_api.none,      "_Py_NoneStruct" },
};

static object *
new_none(void)
{
    py_api.take(py_api.none);
    return py_api.none;
}

/* Functions that return the number that a function of isan.h returns. */
#define RETURNS_NUMBER(name, call)              \
    static object *                             \
    module_##name(object *module, object *of)   \
    {                                           \
        (void)module, (void)of;                 \
        return py_api.number(call);             \
    }
RETURNS_NUMBER(look, isan_look())
RETURNS_NUMBER(owned, isan_owned())
RETURNS_NUMBER(findings, isan_findings())
RETURNS_NUMBER(owner, isan_owner(of))
RETURNS_NUMBER(transfer, isan_transfer(of))
RETURNS_NUMBER(share, isan_share(of))
RETURNS_NUMBER(event, isan__callbacks_event())
#undef RETURNS_NUMBER

static object *
module_log(object *module, object *unused)
{
    char path[4096];
    (void)module, (void)unused;
    return isan_log(path, sizeof path) > 0 ? py_api.path(path) : new_none();
}

/* The text belongs to the str, which the caller keeps until ignore_end(). */
static object *
module_ignore_begin(object *module, object *reason)
{
    (void)module;
    const char *text = py_api.utf8(reason, NULL);
    if (text == NULL) {
        return NULL;
    }
    isan_ignore_begin(text);
    return new_none();
}

static object *
module_ignore_end(object *module, object *unused)
{
    (void)module, (void)unused;
    isan_ignore_end();
    return new_none();
}

static object *
module_finding(object *module, object *which)
{
    (void)module;
    struct isan_finding f = { .size = sizeof f };
    long long number = py_api.number_in(which);
    if (number == -1 && py_api.error() != NULL) {
        return NULL;
    }
    if (number != (int)number || isan_get_finding((int)number, &f) < 0) {
        return new_none();
    }
    object *type = py_api.decode(f.type, (int64_t)strlen(f.type), "backslashreplace");
    return type == NULL ? NULL
        : py_api.build("{s:i,s:s,s:s,s:N,s:L,s:L,s:K,s:K}", "number", f.number, "kind", f.kind,
                   "access", f.access, "type", type, "owner", f.owner, "current", f.current,
                   "address", (unsigned long long)(uintptr_t)f.object, "count", f.count);
}

/* Returns when event() is another number than that. */
static object *
module_wait(object *module, object *event)
{
    (void)module;
    long long seen = py_api.number_in(event);
    if (seen == -1 && py_api.error() != NULL) {
        return NULL;
    }
    void *state = py_api.save();
    isan__callbacks_wait((uint32_t)seen);
    py_api.restore(state);
    return new_none();
}

static object *
module_wake(object *module, object *unused)
{
    (void)module, (void)unused;
    isan__callbacks_wake();
    return new_none();
}

static struct method methods[] = {
    { "look",         module_look,         METH_NOARGS, "isan_look() of isan.h." },
    { "owned",        module_owned,        METH_NOARGS, "isan_owned() of isan.h." },
    { "findings",     module_findings,     METH_NOARGS, "isan_findings() of isan.h." },
    { "owner",        module_owner,        METH_O,      "isan_owner() of isan.h." },
    { "log",          module_log,          METH_NOARGS, "isan_log() of isan.h; None: there is none." },
    { "transfer",     module_transfer,     METH_O,      "isan_transfer() of isan.h." },
    { "share",        module_share,        METH_O,      "isan_share() of isan.h." },
    { "ignore_begin", module_ignore_begin, METH_O,
      "isan_ignore_begin() of isan.h; keep the str until ignore_end()." },
    { "ignore_end",   module_ignore_end,   METH_NOARGS, "isan_ignore_end() of isan.h." },
    { "finding",      module_finding,      METH_O,
      "isan_get_finding() of isan.h, as a dict; None: no such finding." },
    { "event",        module_event,        METH_NOARGS, "A number that changes with each finding and wake()." },
    { "wait",         module_wait,         METH_O,      "Return when event() is another number than this." },
    { "wake",         module_wake,         METH_NOARGS, "Let every wait() return." },
    { NULL, NULL, 0, NULL },
};

static struct slot slots[] = {
    { PY_MOD_MULTIPLE_INTERPRETERS, PER_INTERPRETER_GIL_SUPPORTED },
    { 0, NULL },
};

static struct definition definition = {
    .head.count = 1,
    .name = "_isan",
    .doc = "Functions of isan.h for Python code: use the module isan.",
    .methods = methods,
};

/* PyInit__isan() */
static object *
create_definition(void)
{
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        void *symbol = isan__python_symbol(needed[i].name);
        if (symbol == NULL) {
            void (*set)(object *, const char *) = (void (*)(object *, const char *))
                isan__python_symbol("PyErr_SetString");
            object **type = isan__python_symbol("PyExc_ImportError");
            if (set != NULL && type != NULL) {
                set(*type, "isan does not know this Python's C API");
            }
            return NULL;
        }
        memcpy(needed[i].to, &symbol, sizeof symbol);
    }
    /* 3.11 has neither the slot nor immortal objects.  Later the definition has the count
     * of a static object, which is immortal (PEP 683), as None has it. */
    if (isan__py.has_interpreters_slot) {
        definition.slots = slots;
        memcpy(&definition.head.count, py_api.none, sizeof definition.head.count);
    }
    else {
        definition.slots = slots + 1;
    }
    return py_api.define(&definition);
}

void
isan__module_init(void)
{
    int (*append)(const char *, object *(*)(void)) = (int (*)(const char *, object *(*)(void)))
        isan__python_symbol("PyImport_AppendInittab");
    if (append != NULL && !isan__initialized() && append("_isan", create_definition) < 0) {
        isan__say("no memory for the module _isan: Python code cannot ask isan");
    }
}
