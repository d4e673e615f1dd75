"""A report with every kind of finding, for the tests of the formats.

The logs are written here: those of a program that uses an extension, eggs.so, with its source, eggs.c.
"""
import textwrap

from helpers.log_writer import Writer
from helpers.product import log, model, suppressions

BIAS = {"/opt/bin/python3.13": 0x10000000, "eggs.so": 0x20000000}
SOURCE = """\
#include <Python.h>

/* Everything that several interpreters of one process must not share. */
static PyObject *cache;
static PyObject *items[16];
static PyTypeObject Egg_Type;
static long counter;

PyObject *
eggs_make(PyObject *self, PyObject *unused)
{
    if (cache == NULL) {
        cache = PyDict_New();
    }
    counter++;
    return Py_NewRef(cache);
}

PyObject *
eggs_use(PyObject *self, PyObject *key)
{
    counter++;
    return PyDict_GetItem(cache, key);
}
"""
PROGRAM = """\
import eggs, concurrent.interpreters

def serve(requests):
    for request in requests:
        eggs.make()
        print("<b>&amp; done</b>")

serve(range(3))
"""
# name -> (file, line, first line); variables: name -> (file, line)
FUNCTIONS = {"_PyEval_EvalFrameDefault": None, "PyDict_SetItem": None, "eggs_make": (13, 9), "eggs_use": (23, 20)}
VARIABLES = {"cache": 4, "items": 5, "Egg_Type": 6, "counter": 7}
HOSTILE = b"</script><script>document.title='owned'</script><img src=x onerror=alert(1)>]](http://evil) {0} \x1b[2J\r\n\xe2\x80\xae\xff\"'&"


class Symbols:
    """Functions and variables, each at a multiple of 0x100 in its module."""
    errors = {}

    def __init__(self, source):
        self.source, self.bare = source, {}

    def code(self, module, address):
        name = list(FUNCTIONS)[(address - module.bias) >> 8]
        line, start = FUNCTIONS[name] or (40, 30)
        return [{"function": name, "line": line, "start": start, "file": self.source if FUNCTIONS[name] else "Objects/x.c"}]

    def data(self, module, address, *way):
        index, offset = divmod(address - module.bias - 0x10000, 0x100)
        name = list(VARIABLES)[index]
        return {"symbol": name, "line": VARIABLES[name], "file": self.source, "section": ".bss", "followed": 0,
                "element": "[%d]" % (offset // 8) if name == "items" else ".ob_base.ob_base" if name == "Egg_Type" else None}

    tls = lambda *_: {}
    member = lambda *_: None


class Logs:
    """A directory with the logs and the sources of a program."""

    def __init__(self, directory, hostile=False):
        self.directory = directory
        self.source, self.program = directory / "src" / "eggs.c", directory / "src" / "app.py"
        self.source.parent.mkdir(exist_ok=True)
        self.source.write_text(SOURCE)
        self.program.write_text(PROGRAM)
        self.tail = HOSTILE if hostile else b""
        self.paths = []

    def begin(self, pid=100, start=10**18):
        w = self.w = Writer(pid=pid, start=start)
        self.start = start
        w.process(exe="/opt/bin/python3.13", cwd=str(self.directory).encode(), argv=[b"python3", b"app.py" + self.tail])
        w.module("/opt/bin/python3.13", BIAS["/opt/bin/python3.13"])
        w.module(str(self.directory).encode() + b"/eggs.so" + self.tail, BIAS["eggs.so"])
        for serial, kind, ms in (1, 0, 1), (2, 2, 20), (3, 2, 30), (4, 1, 400):
            w.interp(serial, log.BEGIN, kind, time=start + ms * 10**6)
        self.site = w.code(str(self.program), b"serve" + self.tail, 3, (4, 5), (4, 6))
        return w

    @staticmethod
    def function(name):
        return BIAS["/opt/bin/python3.13" if FUNCTIONS[name] is None else "eggs.so"] + 0x100 * list(FUNCTIONS).index(name) + 0x10

    @staticmethod
    def variable(name, offset=0):
        return BIAS["eggs.so"] + 0x10000 + 0x100 * list(VARIABLES).index(name) + offset

    def stack(self, *names, interp=2):
        return self.w.stack([*map(self.function, names), self.function("_PyEval_EvalFrameDefault")], [(self.site, 1, interp)])

    def end(self):
        self.w.exit(self.start + 900 * 10**6)
        self.paths.append(self.w.write(self.directory))

    def type(self, name):
        return name.encode() + self.tail

    def report(self, suppressed="", **more):
        file = self.directory / "known.supp"
        file.write_text(suppressed)
        given = suppressions.read(str(file), False)
        suppressions.read.cache_clear()
        return model.build(log.read(self.paths), Symbols(str(self.source)), version="1.0", suppressions_of=lambda log: given, **more)


def sample_report(directory, hostile=False, suppressed="", **more):
    """The report on two processes with findings of all kinds; the source files that it names exist."""
    logs = Logs(directory, hostile)
    w = logs.begin()
    ms = lambda n: logs.start + n * 10**6
    make, use = logs.stack("PyDict_SetItem", "eggs_make", interp=2), logs.stack("eggs_use", interp=3)
    object = dict(owner=2, serial=12, origin=make, flags=log.OBJ_OBJECT | log.OBJ_ORIGIN_STACK)
    w.finding(1, "share", count=3, current=3, holder=logs.variable("cache"), used=use, time=ms(100), type=logs.type("dict"), **object)
    w.finding(2, "static", "none", current=3, holder=logs.variable("cache"), used=use, time=ms(90), type=logs.type("dict"), **object)
    w.finding(3, "static", "none", current=3, holder=logs.variable("Egg_Type"), used=use, time=ms(95), type=logs.type("eggs.Egg"),
              owner=2, flags=log.OBJ_OBJECT | log.OBJ_STATIC_TYPE)
    w.finding(4, "race", "none", current=2, holder=logs.variable("counter"), used=use, time=ms(200), type="", size=0, count=40)
    for i in range(2):
        w.place(4, "access", stack=(make, use)[i], tid=20 + i, interp=2 + i, amount=8, flags=log.PLACE_WRITE)
    w.place(4, "lock", stack=use)
    w.finding(5, "immortal", "none", current=1, time=ms(300), type="None")
    w.place(5, "since", amount=ms(1), text="the start of Python")
    w.place(5, "until", amount=ms(300), text="the end of interpreter 1")
    w.place(5, "suspect", text=b"/home/me/eggs.so" + logs.tail, flags=log.PLACE_OLD_ABI)
    w.place(5, "changed", text="None", amount=-3, flags=log.PLACE_MORTAL)
    w.place(5, "changed", text="int 7", amount=2)
    w.finding(6, "immortal", "none", current=3, time=ms(310), type="None")
    w.place(6, "changed", stack=use, interp=3, amount=-1, text="None")
    for id, access in enumerate(("ensure", "thread", "ended", "detached", "end"), 10):
        w.finding(id, "gilstate", access, current=1 if access == "ensure" else 0, owner=2, used=use, time=ms(400 + id),
                  type=b"PyGILState_Ensure" + logs.tail, flags=0, size=0, tid=44)
        w.place(id, "registered", stack=make, interp=2, tid=7)
        w.place(id, "remains", tid=8, interp=2)
    w.interp(2, log.FINALIZING, 2, time=ms(500), stack=logs.stack("eggs_make", interp=1))
    w.leak(20, count=14, bytes=2240, kept=(30, 900), holder=logs.variable("cache"), keeper="static", pairs=[(12, 1)], type=logs.type("dict"),
           **object)
    w.kept(20, logs.type("str"), 20, 800)
    w.kept(20, "", 10, 100)
    w.step(20, 1, "value", 0, (logs.type("dict"), "list", b"users" + logs.tail, ""))
    w.step(20, 2, "field", 24, ("list", "str", "", "next"))
    w.leak(21, keeper="foreign", owner=2, type="list", bytes=56)
    w.step(21, 0, "item", 1, ("tuple", "list", "", ""), from_=dict(owner=1, origin=logs.site))
    w.leak(22, keeper="cycle", owner=2, type="eggs.Node")
    w.reason(22, "no_visit_member", ("eggs.Node", "list", b"next" + logs.tail))
    w.leak(23, keeper="reference", owner=2, type="set", extra=2)
    w.leak(24, keeper="memory", owner=2, type="", flags=0, domain="m", bytes=100, origin=logs.site)
    w.leak(25, owner=2, type="bytes")
    w.leak(32, keeper="given_up", owner=2, type="range")
    w.leak(33, keeper="replaced", owner=2, type="complex", extra=1)
    w.leak(34, keeper="static", holder=logs.variable("items", 8), owner=2, type="frozenset")
    w.behind(34, 16, 24)
    w.leak(26, residue=1, count=100, bytes=6400, type="str", owner=2)
    w.leak(30, 0, 0, kept=(9, 900), keeper="interpreter", look=1, type="", owner=3, flags=0)
    w.kept(30, "X", 7, 700)
    w.leak(31, 4, 64, keeper="static", holder=logs.variable("items", 16), look=1, owner=3, type="dict")
    w.interp(2, log.END, 2, time=ms(520))
    w.finding(27, "stale", "attribute", current=3, holder=logs.variable("items", 8), used=use, time=ms(700), type=logs.type("dict"), **object)
    w.finding(28, "free", "free", current=3, owner=4, used=use, time=ms(710), type="", flags=0, size=48, origin=logs.site)
    w.note(b"a note" + logs.tail)
    w.dropped = 2
    logs.end()
    w = logs.begin(101, logs.start + 3 * 10**8)
    w.finding(1, "share", count=2, current=3, owner=2, origin=logs.site, type="tuple", time=logs.start + 10**8)
    w.crash(11, 0x10, logs.stack("eggs_use", interp=3), 3)
    w.interp(3, log.END, 2, time=logs.start + 2 * 10**8)
    logs.paths.append(w.write(logs.directory))
    return logs.report(textwrap.dedent(suppressed), **more)
