"""Shared objects with debug information, compiled for the tests of the reporter, and the symbolizer itself."""
import re
import shutil
import subprocess

from helpers import tree

FOO = """\
struct item { int id; void *objects[3]; };
static void *cache;
struct item items[4];
void *grid[2][3];
void sink(void *);
__attribute__((noinline)) void deep(void *p)
{
    static void *seen[2];
    seen[1] = p;
    sink(seen);
}
static inline __attribute__((always_inline)) void Py_INCREF(void *p)
{
    deep(p);
}
void use_cache(void *p)
{
    Py_INCREF(p);
    cache = p;
    sink(&cache);
}
void *_PyEval_EvalFrameDefault(void *p)
{
    use_cache(p);
    return cache;
}
void run_string(void *p)
{
    sink(_PyEval_EvalFrameDefault(p));
}
"""
CPP = """\
namespace { void *hidden[3]; }
namespace ns { struct C { static int count; void *method(); };
int C::count = 3;
void *C::method() { static void *local; local = hidden[1]; count++; return &local; } }
extern "C" void *entry() { ns::C c; hidden[1] = &hidden; return c.method(); }
"""
HEAD = """\
typedef struct _object { long ob_refcnt; void *ob_type; } PyObject;
typedef struct { PyObject ob_base; long ob_size; } PyVarObject;
typedef struct { PyObject ob_base; PyObject *of_all[5]; } Everywhere;       /* as long as Node and Egg */
"""
SPAM = """\
#include "head.h"
struct link { PyObject *to; long weight; };
typedef struct { PyObject ob_base; PyObject *name; struct link links[2]; } Node;
typedef struct { PyVarObject ob_base; PyObject *first, *second; } Row;
typedef struct { Row row; PyObject *extra; } LongRow;
struct plain { long a, b, c, d, e, f, g; };
__thread PyObject *current;
static __thread struct { int depth; PyObject *stack[3]; } frames;
struct plain plain;
Node node; Row row; LongRow long_row; Everywhere there;
PyObject **push(PyObject *p)
{
    static __thread PyObject *last;
    last = current;
    current = p;
    frames.stack[frames.depth++] = p;
    return &last;
}
"""
EGGS_H = """\
#include "head.h"
typedef struct { PyObject ob_base; PyObject *title; long w[4]; } Egg;
"""
EGGS = """\
#include "eggs.h"
typedef struct { PyVarObject ob_base; PyObject *first, *other; } Shell;     /* as long as Row */
Egg egg; Shell shell; Everywhere here;
PyObject **hatch(void) { return &egg.title; }
"""
CPP_OBJECT = """\
#include "head.h"
namespace ns { struct Base : PyObject { PyObject *dict; }; class Derived : public Base { public: PyObject *values[2]; };
inline thread_local PyObject *held[2];
struct Pool { static thread_local PyObject *spare; }; thread_local PyObject *Pool::spare; }
ns::Derived derived;
extern "C" void *method() { thread_local PyObject *mine; ns::held[1] = mine; ns::Pool::spare = mine; mine = &derived; return mine; }
"""


def run(*command):
    return subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True).stdout


class Built:
    """A shared object and the addresses of its symbols."""

    def __init__(self, path):
        self.path = path
        self.symbols = {line.split()[2]: int(line.split()[0], 16) for line in run("nm", path).splitlines()
                        if len(line.split()) == 3}
        self.build_id = re.search(r"Build ID: ([0-9a-f]+)", run("readelf", "-n", path))[1]

    def copy(self, path):
        shutil.copy(self.path, path)
        return path

    def calls(self, function, callee):
        """The address just behind the call of callee in function."""
        code = run("objdump", "-d", "--no-show-raw-insn", self.path).split("<%s>:\n" % function)[1].split("\n\n")[0]
        lines = code.splitlines()
        at = next(i for i, line in enumerate(lines) if "call" in line and callee in line)
        return int(lines[at + 1].split(":")[0], 16)


def symbolize(directory):
    """The program isan-symbolize, compiled into a directory."""
    path = directory / "isan-symbolize"
    run("gcc", "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-I", tree.ROOT, *tree.SYMBOLIZE,
        "-ldw", "-lelf", "-o", path)
    return path


def foo(directory):
    """_foo.so: statics, and functions that call each other."""
    (directory / "foo.c").write_text(FOO)
    path = directory / "_foo.so"
    run("gcc", "-g", "-O1", "-fno-optimize-sibling-calls", "-fPIC", "-shared", "-Wl,--build-id", directory / "foo.c",
        "-o", path)
    return Built(path)


def spam(directory):
    """_spam.so: two units of C with Python objects and thread-local variables."""
    for name, source in ("head.h", HEAD), ("spam.c", SPAM), ("eggs.h", EGGS_H), ("eggs.c", EGGS):
        (directory / name).write_text(source)
    path = directory / "_spam.so"
    run("gcc", "-g", "-O1", "-fPIC", "-shared", "-Wl,--build-id", directory / "spam.c", directory / "eggs.c", "-o", path)
    return Built(path)
