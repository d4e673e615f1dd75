"""How the recorder names a reference.

The C file that does so is linked into an extension, and a Python without isan asks it about references between its own
objects.
"""
import subprocess

from ext.build import build
from helpers import tree

GLUE = """
#include <Python.h>
#include "REFERENCE_NAME_HEADER"
#include "runtime/cpython/layout.h"


static PyObject *
edge_of(PyObject *module, PyObject *args)
{
    unsigned long long from, memory;
    Py_ssize_t at;
    struct isan__reference_name edge;
    (void)module;
    if (!PyArg_ParseTuple(args, "KKn", &from, &memory, &at)) {
        return NULL;
    }
    isan__name_reference((char *)from, (char *)memory, at, &edge);
    return Py_BuildValue("(ILss)", edge.edge, (long long)edge.offset, edge.label, edge.member);
}

static PyMethodDef methods[] = { {"edge_of", edge_of, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL} };
static struct PyModuleDef definition = { PyModuleDef_HEAD_INIT, .m_name = "edge_glue", .m_methods = methods };

PyMODINIT_FUNC
PyInit_edge_glue(void)
{
    return isan__python_init() ? PyModule_Create(&definition) : NULL;
}
"""

PROGRAM = r'''
import os, struct, sys
from edge_glue import edge_of

FIELD, ITEM, KEY, VALUE, ATTRIBUTE, TYPE, MEMORY = range(7)
memory = os.open("/proc/self/mem", os.O_RDONLY)

def word(address):
    return struct.unpack("=Q", os.pread(memory, 8, address))[0]

def direct(op, to, size=256):
    """The name of the reference by the word in op, or before it, that points at `to`."""
    places = [at for at in range(-24, size, 8) if word(id(op) + at) == id(to)]
    return edge_of(id(op), 0, places[0])

def through(op, to, places=range(16, 64, 8)):
    """The name of the reference by the word that points at `to`, in memory that op points at."""
    for at in places:
        start = word(id(op) + at) + 1 & ~1      # in 3.12 that to an instance's values is odd
        if 4096 < start < 1 << 47:
            for more in range(0, 16384, 8):
                try:
                    found = word(start + more) == id(to)
                except (OSError, struct.error):
                    break
                if found:
                    return edge_of(id(op), start, more)

class Plain: pass
class Slots: __slots__ = "first", "second"
class List(list): pass
class Tuple(tuple): pass
class Dict(dict): pass
class Set(set): pass
first, second, third = ["first"], ["second"], ["third"]
late = sys.version_info >= (3, 13)

for op in [first, second], List([first, second]):
    assert through(op, second) == (ITEM, 1, "", ""), op
for op in (first, second), Tuple([first, second]):
    assert direct(op, second) == (ITEM, 1, "", ""), op
for op in {"a": first, "k\xe9y \u2713 \U0001f40d": second}, Dict({"a": first, "k\xe9y \u2713 \U0001f40d": second}):
    assert through(op, second) == (VALUE, 1, "k\xe9y \u2713 \U0001f40d", ""), op
    assert through(op, list(op)[1]) == (KEY, 1, "", "")
key = 1000, 2000
for op in {"a": first, key: second}, Dict({"a": first, key: second}):
    assert through(op, key) == (KEY, 1, "", "") and through(op, second) == (VALUE, 1, "", "")
    assert through(op, first) == (VALUE, 0, "a", "")
assert through({n: n for n in range(300)} | {"k" * 100: first}, first) == (VALUE, 300, "k" * 59, "")
for type in set, frozenset, Set:
    kind, index, *names = direct(type([key]), key)
    assert (kind, names) == (KEY, ["", ""]) and 0 <= index < 8
    kind, index, *names = through(type([key, *range(40)]), key)
    assert (kind, names) == (KEY, ["", ""]) and index < 1024

op = Plain()
op.one, op.two = first, second
assert (direct(op, second) if late else through(op, second, (-32, -24))) == (ATTRIBUTE, 1, "two", "")
assert direct(op, Plain) == (TYPE, 8, "", "")
names = op.__dict__
assert direct(op, names) == (ATTRIBUTE, -24, "__dict__", "")
op = Slots()
op.first, op.second = first, second
assert direct(op, second) == (FIELD, 24, "", "second")
for op in List(), Tuple([first, second]):
    op.extra = third
    assert direct(op, op.__dict__)[::2] == (ATTRIBUTE, "__dict__")
def function(): pass
assert direct(function, globals()) == (FIELD, 16, "", "__globals__")
function.attribute = third
assert direct(function, function.__dict__)[::2] == (ATTRIBUTE, "__dict__")
assert direct(sys, sys.__dict__)[::2] == (ATTRIBUTE, "__dict__")
assert through(memoryview(b"x"), second) is None
assert edge_of(0, id(first), 16) == (FIELD, 16, "", "")         # memory; no object is known that points at it
assert edge_of(64, 0, 24) == (FIELD, 24, "", "")                # no object is there
assert edge_of(id(first), id(second), 16)[::3] == (MEMORY, "")
assert through(Dict({"a": first}), first) == (VALUE, 0, "a", "")
'''


def check(python, directory):
    source = directory / "edge_glue.c"
    source.write_text(GLUE.replace("REFERENCE_NAME_HEADER", tree.REFERENCE_NAME_HEADER))
    build(source, python, directory, (f"-I{tree.ROOT}", f"-I{tree.INCLUDE}", "-std=gnu11", "-w",
                                      *map(str, tree.REFERENCE_NAME_NEEDS)))
    done = subprocess.run([python, "-c", PROGRAM], env={"PYTHONPATH": str(directory)}, stderr=subprocess.PIPE,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stderr
