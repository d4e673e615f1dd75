/* The built-in module `_isan`, what isan.h has for Python code (scripts/isan/
 * __init__.py wraps it).
 *
 * isan is compiled without Python's headers, so what a module is made of is
 * written down here: it is part of the stable ABI, the same in all releases
 * (Include/object.h, moduleobject.h, methodobject.h; PEP 384).  The functions of
 * Python's that it calls are looked up when it is imported, which is when Python
 * runs; if one is not there, the import fails and isan goes on.
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

/* Python's functions, and None. */
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
} py;

static const struct { void *to; const char *name; } wanted[] = {
    { &py.define,    "PyModuleDef_Init" },
    { &py.number,    "PyLong_FromLongLong" },
    { &py.number_in, "PyLong_AsLongLong" },
    { &py.decode,    "PyUnicode_DecodeUTF8" },
    { &py.path,      "PyUnicode_DecodeFSDefault" },
    { &py.utf8,      "PyUnicode_AsUTF8AndSize" },
    { &py.build,     "Py_BuildValue" },
    { &py.error,     "PyErr_Occurred" },
    { &py.save,      "PyEval_SaveThread" },
    { &py.restore,   "PyEval_RestoreThread" },
    { &py.take,      "Py_IncRef" },
    { &py.none,      "_Py_NoneStruct" },
};

static object *
none(void)
{
    py.take(py.none);
    return py.none;
}

static object *
look(object *module, object *unused)
{
    (void)module, (void)unused;
    return py.number(isan_look());
}

static object *
owned(object *module, object *unused)
{
    (void)module, (void)unused;
    return py.number(isan_owned());
}

static object *
findings(object *module, object *unused)
{
    (void)module, (void)unused;
    return py.number(isan_findings());
}

static object *
owner(object *module, object *of)
{
    (void)module;
    return py.number(isan_owner(of));
}

static object *
log_path(object *module, object *unused)
{
    char path[4096];
    (void)module, (void)unused;
    return isan_log(path, sizeof path) > 0 ? py.path(path) : none();
}

static object *
transfer(object *module, object *what)
{
    (void)module;
    return py.number(isan_transfer(what));
}

static object *
share(object *module, object *what)
{
    (void)module;
    return py.number(isan_share(what));
}

/* The text of a str is kept in it: the caller keeps that until ignore_end(). */
static object *
ignore_begin(object *module, object *reason)
{
    (void)module;
    const char *text = py.utf8(reason, NULL);
    if (text == NULL) {
        return NULL;
    }
    isan_ignore_begin(text);
    return none();
}

static object *
ignore_end(object *module, object *unused)
{
    (void)module, (void)unused;
    isan_ignore_end();
    return none();
}

static object *
finding(object *module, object *which)
{
    (void)module;
    struct isan_finding f = { .size = sizeof f };
    long long number = py.number_in(which);
    if (number == -1 && py.error() != NULL) {
        return NULL;
    }
    if (number != (int)number || isan_get_finding((int)number, &f) < 0) {
        return none();
    }
    object *type = py.decode(f.type, (int64_t)strlen(f.type), "backslashreplace");
    return type == NULL ? NULL
        : py.build("{s:i,s:s,s:s,s:N,s:L,s:L,s:K,s:K}", "number", f.number, "kind", f.kind,
                   "access", f.access, "type", type, "owner", f.owner, "current", f.current,
                   "address", (unsigned long long)(uintptr_t)f.object, "count", f.count);
}

/* Waits until event() is another number. */
static object *
wait_for(object *module, object *event)
{
    (void)module;
    long long seen = py.number_in(event);
    if (seen == -1 && py.error() != NULL) {
        return NULL;
    }
    void *state = py.save();
    isan__callbacks_wait((uint32_t)seen);
    py.restore(state);
    return none();
}

static object *
event(object *module, object *unused)
{
    (void)module, (void)unused;
    return py.number(isan__callbacks_event());
}

static object *
wake(object *module, object *unused)
{
    (void)module, (void)unused;
    isan__callbacks_wake();
    return none();
}

static struct method methods[] = {
    { "look",         look,         METH_NOARGS, "isan_look() of isan.h." },
    { "owned",        owned,        METH_NOARGS, "isan_owned() of isan.h." },
    { "findings",     findings,     METH_NOARGS, "isan_findings() of isan.h." },
    { "owner",        owner,        METH_O,      "isan_owner() of isan.h." },
    { "log",          log_path,     METH_NOARGS, "isan_log() of isan.h; None: there is none." },
    { "transfer",     transfer,     METH_O,      "isan_transfer() of isan.h." },
    { "share",        share,        METH_O,      "isan_share() of isan.h." },
    { "ignore_begin", ignore_begin, METH_O,      "isan_ignore_begin() of isan.h; keep the str until ignore_end()." },
    { "ignore_end",   ignore_end,   METH_NOARGS, "isan_ignore_end() of isan.h." },
    { "finding",      finding,      METH_O,      "isan_get_finding() of isan.h, as a dict; None: there is none." },
    { "event",        event,        METH_NOARGS, "A number that changes with each finding and wake()." },
    { "wait",         wait_for,     METH_O,      "Return when event() is another number than this." },
    { "wake",         wake,         METH_NOARGS, "Let all that are in wait() return." },
    { NULL, NULL, 0, NULL },
};

static struct slot slots[] = {
    { PY_MOD_MULTIPLE_INTERPRETERS, PER_INTERPRETER_GIL_SUPPORTED },
    { 0, NULL },
};

static struct definition definition = {
    .head.count = 1,
    .name = "_isan",
    .doc = "What isan tells, and what it is told, while the program runs (see isan).",
    .methods = methods,
};

/* PyInit__isan */
static object *
init(void)
{
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *symbol = isan__python_symbol(wanted[i].name);
        if (symbol == NULL) {
            void (*set)(object *, const char *) = (void (*)(object *, const char *))
                isan__python_symbol("PyErr_SetString");
            object **type = isan__python_symbol("PyExc_ImportError");
            if (set != NULL && type != NULL) {
                set(*type, "isan does not know this Python's C API");
            }
            return NULL;
        }
        memcpy(wanted[i].to, &symbol, sizeof symbol);
    }
    /* 3.11 has neither that slot nor immortal objects; later on the count is
     * that of any static object (PEP 683). */
    if (isan__py.has_interpreters_slot) {
        definition.slots = slots;
        memcpy(&definition.head.count, py.none, sizeof definition.head.count);
    }
    else {
        definition.slots = slots + 1;
    }
    return py.define(&definition);
}

void
isan__module_init(void)
{
    int (*append)(const char *, object *(*)(void)) = (int (*)(const char *, object *(*)(void)))
        isan__python_symbol("PyImport_AppendInittab");
    if (append != NULL && !isan__initialized() && append("_isan", init) < 0) {
        isan__say("no memory for the module _isan: Python code cannot ask isan");
    }
}
