"""The scan of statics finds objects in all kinds of C and C++ variables and names them, and it finds static types."""
import os
import subprocess

import pytest

from ext.build import build
from helpers.product import log as logs
from helpers.programs import line_of, who

KEEP = """
    first, second = Interpreter("isolated"), Interpreter("isolated")
    first.run(f"for module, which in {KEEP}: __import__(module).keep(which, bytearray(100))")
    first.end()
    second.run(f"for module, which in {KEEP}: __import__(module)")
    second.end()
"""

# Source, number of the variable, its name in the report, the line of its definition.
PLACES = [
    ("static_variable.c", 0, "cache", "static PyObject *cache;"),
    ("static_namesake.c", 0, "cache", "static PyObject *cache;"),
    ("static_array.c", 2, "cache[2]", "static PyObject *cache[3];"),
    ("static_array.c", 4, "exported_array[1]", "PyObject *exported_array[2];"),
    ("static_struct.c", 0, "state.error", "} state ="),
    ("static_struct.c", 1, "state.inner.name", "} state ="),
    ("static_struct.c", 2, "state.row[3].value", "} state ="),
    ("static_local.c", 0, "place::once", "static PyObject *once;"),
    ("static_cxx.cc", 0, "shop::Counter::till", "PyObject *Counter::till;"),
    ("static_cxx.cc", 1, "shop::shelf", "static PyObject *shelf;"),
    ("static_cxx.cc", 2, "shop::(anonymous namespace)::drawer", "PyObject *drawer;"),
    ("static_cxx.cc", 3, "shop::Counter::local::once", "static PyObject *once;"),
    ("lib/static_library.c", 0, "cache", "static PyObject *cache;"),
    ("static_thread.c", 0, "cache", "static __thread PyObject *cache;"),
]


def module_of(source):
    return os.path.basename(source).split(".")[0]


def named(finding):
    """Name of the module's file, variable with its element, file and line of the definition."""
    holder = finding["holder"]
    return (os.path.basename(holder["module"]).split(".")[0], holder["symbol"] + (holder["path"] or ""),
            os.path.basename(holder["file"]), holder["line"])


def places_of(source):
    return [place for place in PLACES if place[0] == source]


@pytest.mark.parametrize("number", range(4))
def test_variables(either, number):
    """Each variable is in a static finding and is the retainer of a leak.  A run has the first (second, ...) of each source."""
    places = [places_of(source)[number] for source in dict.fromkeys(place[0] for place in PLACES)
              if len(places_of(source)) > number]
    run = either.run(KEEP, KEEP=[(module_of(source), which) for source, which, *_ in places])
    expected = sorted((("lib" if source.startswith("lib/") else "") + module_of(source), variable,
                       os.path.basename(source), line_of(source, line)) for source, _, variable, line in places)
    leaks, statics = run.findings("leak"), run.findings("static")
    assert sorted(map(named, leaks)) == expected and sorted(map(named, statics)) == expected
    assert {finding["object"]["type"] for finding in leaks + statics} == {"bytearray"}
    paired = {named(leak): leak["paired"] for leak in leaks}
    assert all(static["id"] in paired[named(static)] for static in statics)
    assert {(who(static["owner"])[0], who(static["current"])[0]) for static in statics} == {(1, 2)}
    assert {leak["count"] for leak in leaks} == {1}


def test_variables_that_are_cleared(either):
    """m_free clears them."""
    extensions = either.make_directory("ext")
    for source in {source.replace("lib/", "") for source, *_ in PLACES}:
        build(source, either.python, extensions, [*either.cflags[:0 if either.stock else None], "-DCLEARED"])
    places = [(module_of(source), which) for source, which, *_ in PLACES]
    assert either.run(KEEP, extensions=extensions, KEEP=places).healthy()


# --- without debugging information -----------------------------------------------------------

def symbols(extensions, module):
    """The addresses in a module's symbol table, or offsets for thread-local variables."""
    path, = extensions.glob(module + ".*.so")
    table = subprocess.run(["nm", path], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {line.split()[2]: int(line.split()[0], 16) for line in table.splitlines() if len(line.split()) == 3}


@pytest.mark.parametrize("options, which, symbol, file", [
    (["--strip-debug"], 2, "cache", None), (["--strip-all"], 2, None, None), (["--strip-unneeded"], 2, None, None),
    (["--strip-unneeded"], 4, "exported_array", None),
], ids=["debug", "all", "unneeded", "exported"])
def test_stripped(either, options, which, symbol, file):
    """The report has the symbol and the offset in it, or else the section and the offset in the module."""
    extensions = either.extension("static_array.c", not either.stock)
    start = symbols(extensions, "static_array")
    wanted = start["cache"] + 16 if which == 2 else start["exported_array"] + 8
    subprocess.run(["strip", *options, *extensions.glob("static_array.*.so")], check=True)
    run = either.run(KEEP, extensions=extensions, KEEP=[("static_array", which)])
    for finding in run.one("leak"), run.one("static"):
        holder = finding["holder"]
        assert (holder["symbol"], holder["file"], holder["section"], holder["offset"]) == (symbol, file, ".bss", wanted)


# --- thread-local variables --------------------------------------------------------------------

THREADS = """
    import threading
    first, second, third = (Interpreter("legacy") for _ in range(3))
    def run(interpreter, wait):
        interpreter.run("import static_thread; static_thread.keep(0, bytearray(9))")
        kept.set()
        wait.wait()
    kept, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=run, args=(first, done))
    thread.start()
    kept.wait()
    ident = thread.native_id
    if OTHER:
        second.run("import static_thread")
    first.end()
    done.set()
    thread.join()
    second.end()
    third.end()
    print(ident, flush=True)
"""


def raw(run):
    log, = [logs.Log(path).read() for path in run.log.glob("*.log")]
    return log


def test_thread_local(either):
    """A thread-local variable of the main thread."""
    log = raw(either.run(KEEP, KEEP=[("static_thread", 0)]))
    module = next(module for module in log.modules if "/static_thread." in module.path)
    finding, = log.findings.values()
    leak, = [leak for leak in log.leaks.values() if leak.type == "bytearray"]
    cache = symbols(either.extensions, "static_thread")["cache"]
    for holder in finding.holder, leak.holder:
        assert (holder.address, holder.tls, holder.tid) == (module.start, cache + 1, log.pid)


@pytest.mark.parametrize("other", [False, True])
def test_thread_local_of_another_thread(either, other):
    """The scan sees variables of other threads.  An interpreter that has not run on a thread cannot reach its variables."""
    run = either.run(THREADS, OTHER=other)
    assert named(run.one("leak", type="bytearray"))[1] == "cache" and run.findings("static") == []
    leak, = [leak for leak in raw(run).leaks.values() if leak.type == "bytearray"]
    assert leak.holder.tid == int(run.out)


def test_thread_that_has_ended(either):
    """Variables of a thread that has ended hold no objects."""
    run = either.run("""
        import os, threading, time
        first = Interpreter("legacy")
        thread = threading.Thread(target=lambda: first.run("import static_thread; static_thread.keep(0, bytearray(9))"))
        thread.start()
        thread.join()
        while os.path.exists(f"/proc/self/task/{thread.native_id}"):        # join() may return earlier
            time.sleep(0.01)
        first.end()
    """)
    assert run.one("leak", type="bytearray")["holder"]["kind"] != "static"


# --- static types --------------------------------------------------------------------------------

TYPES = """
    first, second = Interpreter("legacy"), Interpreter("legacy")
    first.run(f"import {MODULE}\\n{THEN}")
    if ENDED:
        first.end()
    if TWO:
        second.run(f"import {MODULE}")
    second.end()
    if not ENDED:
        first.end()
"""


def types(run):
    """The findings about static types, in the form of the log."""
    return [finding for finding in raw(run).findings.values() if finding.object.flags & logs.OBJ_STATIC_TYPE]


@pytest.mark.parametrize("ended", [False, True])
def test_static_type(either, ended):
    run = either.run(TYPES, MODULE="type_static", THEN="", ENDED=ended, TWO=True)
    static = run.one("static")
    assert (static["object"]["type"], static["holder"]["symbol"], static["holder"]["line"]) \
        == ("type_static.Thing", "thing", line_of("type_static.c", "} thing = {"))
    assert (who(static["owner"]), who(static["current"]), static["count"]) == ((1, "legacy"), (2, "legacy"), 1)
    finding, = types(run)
    assert finding.object.address == finding.holder.address and finding.object.flags & logs.OBJ_OBJECT


def test_static_type_of_one_interpreter(either):
    assert either.run(TYPES, MODULE="type_static", THEN="", ENDED=False, TWO=False).findings("static") == []


def test_heap_type(either):
    assert either.run(TYPES, MODULE="type_heap", THEN="", ENDED=False, TWO=True).healthy()


# Checks that a type is static, and whether it is one of CPython's built-in static types.
FLAGS = """
flags = {module}.{type}.__flags__
assert not flags & 1 << 9 and bool(flags & 1 << 1) is {builtin}
"""


def test_types_of_the_standard_library(stock):
    """Interpreters that share one GIL share the static types of the standard library; later releases have few of them."""
    one_gil = stock.hexversion < (3, 12)
    module, type = ("_datetime", "timedelta") if one_gil else ("_testbuffer", "ndarray")
    then = FLAGS.format(module=module, type=type, builtin=False)
    run = stock.run(TYPES, MODULE=module, THEN=then, ENDED=False, TWO=True)
    assert {finding.type for finding in types(run)} == (set() if one_gil else {"ndarray", "staticarray"})


def test_static_builtin_types(stock):
    """From 3.13 on the types of _datetime are built-in static types, with state for each interpreter."""
    then = FLAGS.format(module="_datetime", type="timedelta", builtin=stock.hexversion >= (3, 13))
    run = stock.run(TYPES, MODULE="_datetime", THEN=then, ENDED=False, TWO=True)
    assert (run.status == 0 or stock.hexversion < (3, 12)) and types(run) == []


DATETIME = """
    first, second = Interpreter("legacy"), Interpreter("legacy")
    first.run("import datetime, datetime_static as m; m.keep(datetime.datetime(2000, 1, 1))")
    second.run("import datetime_static")
    first.end()
    second.end()
"""


def test_table_of_types_is_no_object(stock):
    """datetime's C API is a table that begins with a pointer to a type.  If the executable is at a low address, that pointer
    looks like a reference count."""
    run = stock.run(DATETIME)
    mine = [finding for finding in run.findings() if "datetime_static" in ((finding["holder"] or {}).get("module") or "")]
    line = line_of("datetime_static.c", "static PyObject *now;")
    assert {(f["kind"], f["object"]["type"], f["holder"]["symbol"], f["holder"]["line"]) for f in mine} == {
        (kind, "datetime.datetime", "now", line) for kind in ("static", "leak")}, run.err
    assert {step["to"] for f in run.findings("leak") for step in f["way"] if step["from"] == "PyCapsule"} <= {None}, run.err


# --- extensions that refuse own-GIL interpreters -----------------------------------------------------

@pytest.fixture(scope="module")
def undeclared(either):
    """exc_static, which keeps an exception class in a static, without Py_MOD_PER_INTERPRETER_GIL_SUPPORTED."""
    return either.extension("exc_static.c", not either.stock, "-DUNDECLARED")


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("lenient", [False, True])
def test_refused_import_reaches_no_static(either, undeclared, order, lenient):
    """The main interpreter imports the extension before or after the refused import."""
    run = either.run("""
        other = Interpreter()
        if ORDER == "first":
            import exc_static
        if LENIENT:
            other.run("import _imp; getattr(_imp, '_override_multi_interp_extensions_check', int)(-1)")
        other.run('''if True:
            try:
                import exc_static
            except ImportError:
                print("refused", flush=True)
        ''')
        import exc_static
        other.end()
    """, extensions=undeclared, ORDER=order, LENIENT=lenient)
    if lenient or either.hexversion < (3, 12):      # interpreters with one GIL are not refused
        static = run.one("static", type="type")
        assert run.out == "" and static["holder"]["symbol"] == "error", run.err
        assert {static["owner"]["id"], static["current"]["id"]} == {0, 1}
    else:
        assert run.out == "refused\n" and run.healthy()


def test_static_with_an_old_word_in_a_module_loaded_before(either):
    """raw_objects keeps the address only to compare it, and the second interpreter has not imported raw_objects."""
    run = either.run("""
        first, second = Interpreter(), Interpreter()
        first.run("import raw_objects, declare as m\\nkept = bytearray(100)\\nraw_objects.is_same(kept)\\nm.put(kept)")
        second.run("import declare as m\\ndef take(object): pass\\nm.use(take)")
        second.end()
        first.end()
    """)
    found = {finding["kind"]: finding["holder"]["symbol"] for finding in run.findings(type="bytearray")}
    assert found == dict.fromkeys(("share", "static", "leak"), "slot"), run.err
