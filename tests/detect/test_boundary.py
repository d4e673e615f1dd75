"""Arguments and results of C API calls by extensions of a stock Python.

For each access the report names the variable, the line and both interpreters; there is no finding for the healthy twins.
"""
import os

import pytest

from ext.build import build
from helpers.programs import holder_of, line_of, places, used_by, who

KINDS = pytest.mark.parametrize("kind", ["isolated", "legacy"])

# Method of boundary_uses.h -> its accesses to another interpreter's object, each with its line.
USES = {
    "called": [("share", "argument", "PyObject_Call(*kept")],
    "appended": [("share", "argument", "PyList_Append(list, *kept)")],
    "passed": [("share", "argument", "PyTuple_Pack(2, Py_None, *kept)")],
    "built": [("share", "argument", "Py_BuildValue(")],
    "got": [("share", "argument", "PyDict_SetItem(dict, key, *kept)"), ("share", "return", "PyDict_GetItem(")],
    "iterated": [("share", "argument", "PyDict_SetItemString("), ("share", "return", "PyDict_Next(")],
    "asked": [("share", "attribute", "PyObject_GetAttrString(*kept")],
    "increfed": [("share", "incref", "Py_IncRef(*kept)")],
    "decrefed": [("share", "decref", "Py_DecRef(*kept)")],
    "dropped": [("free", "dealloc", "Py_DECREF(*kept);")],
}
MAKE = """
import MODULE as m
class Kept:
    def __call__(self): pass
""" + "".join(f"def use_{name}(): m.{name}(Kept())\n" for name in USES)


def uses(module, names=USES):
    return MAKE.replace("MODULE", module) + "".join(f"use_{name}()\n" for name in names)


HAND_OVER = """
    first, second = Interpreter(KIND), Interpreter(KIND)
    first.run(CODE)
    second.run(CODE)
    second.end()
    first.end()
"""


def interpreter(stock, number, kind):
    return number, "own-gil" if kind == "isolated" and stock.hexversion >= (3, 12) else "legacy"


def traps(run, name, *kinds):
    """The findings of one method: as in USES, and as in the report."""
    found = [finding for finding in run.findings(*kinds, type="Kept") if used_by(finding, f"use_{name}")]
    return sorted((finding["kind"], finding["access"], *places(finding["stacks"]["used"], "boundary_uses.h")[:1])
                  for finding in found), found


@KINDS
def test_each_access(stock, kind):
    run = stock.run(HAND_OVER, KIND=kind, CODE=uses("boundary_static"))
    assert run.status == 86 and run.report["crashes"] == [], run.err
    for name, expected in USES.items():
        seen, found = traps(run, name, "share", "stale", "free")
        assert seen == sorted((kind, access, line_of("boundary_uses.h", text)) for kind, access, text in expected)
        for trap in found:
            assert holder_of(trap) == (f"kept_{name}", "boundary_static.c", line_of("boundary_static.c", f"*kept_{name};"))
            assert (who(trap["owner"]), who(trap["current"])) == (interpreter(stock, 1, kind), interpreter(stock, 2, kind))
            assert [frame["function"] for frame in trap["stacks"]["created"] if frame["kind"] == "python"] == [f"use_{name}"]
            assert trap["count"] == 1


@KINDS
def test_each_access_of_ones_own(stock, kind):
    assert stock.run("""
        interpreters = [Interpreter(KIND) for _ in range(3)]
        for _ in range(2):
            for interpreter in interpreters:
                interpreter.run(CODE)
        for interpreter in reversed(interpreters):
            interpreter.end()
    """, KIND=kind, CODE=uses("boundary_state")).healthy()


@KINDS
def test_after_its_interpreter_ended(stock, kind):
    names = ["appended", "increfed", "decrefed"]
    run = stock.run(HAND_OVER.replace("    second.run", "    first.end()\n    second.run", 1).replace("    second.end()\n    first", "    second"),
                    KIND=kind, CODE=uses("boundary_static", names))
    assert run.status == 86 and run.report["crashes"] == [], run.err
    for name in names:
        seen, found = traps(run, name, "share", "stale", "free")
        assert seen == [("stale", access, line_of("boundary_uses.h", text)) for _, access, text in USES[name]]
        assert [who(trap["owner"]) for trap in found] == [interpreter(stock, 1, kind)]


@pytest.mark.parametrize("flags", [["-Wl,-z,lazy,-z,norelro"], ["-Wl,-z,now"], ["-fno-plt", "-Wl,-z,now"], ["-fno-plt", "-O2"]],
                         ids=" ".join)
def test_ways_to_link(stock, flags):
    """Calls through the PLT, bound late or early, and through the GOT, each with and without RELRO."""
    directory = stock.make_directory("ext")
    for source in "boundary_static.c", "boundary_address.c":
        build(source, stock.python, directory, flags)
    run = stock.run(HAND_OVER, KIND="legacy", CODE=uses("boundary_static"), extensions=directory)
    assert {(name, trap["access"]) for name in USES for trap in traps(run, name, "share", "free")[1]} \
        >= {(name, access) for name, expected in USES.items() for _, access, _ in expected}
    run = stock.run("import boundary_address as m; print(m.same(), m.path('/dev'))", extensions=directory)
    assert run.healthy() and run.out == "(1, 1, 1, 1) b'/dev'\n"


def test_loaded_again(stock):
    """isan distinguishes a module from an unloaded one at the same address."""
    run = stock.run("""
        import _ctypes
        def base():
            with open("/proc/self/maps") as maps:
                return next((line.split("-")[0] for line in maps if PATH in line), None)
        other = Interpreter("legacy")
        handle = _ctypes.dlopen(PATH, 2)
        before = base()
        _ctypes.dlclose(handle)
        assert base() is None
        exec(CODE, {"__name__": "__main__"})
        assert base() == before
        other.run(CODE)
        other.end()
    """, CODE=uses("boundary_static", ["appended"]),
        PATH=next(os.path.join(stock.extensions, name) for name in os.listdir(stock.extensions) if name.startswith("boundary_static.")))
    assert run.status == 86, run.err
    assert [access for _, access, _ in traps(run, "appended", "share")[0]] == ["argument"]


@pytest.mark.parametrize("flags", [["-Wl,-z,now"], ["-fno-plt", "-Wl,-z,now"]], ids=" ".join)
def test_loaded_by_many_threads(stock, flags):
    """isan rewrites one thread's modules while ld.so still loads another thread's."""
    directory = stock.make_directory("ext")
    run = stock.run("""
        import boundary_threads, shutil
        for number in range(boundary_threads.copies):
            shutil.copyfile(PATH, PATH + str(number))
        boundary_threads.run(PATH.replace("%", "%%") + "%d")
    """, PATH=str(build("boundary_static.c", stock.python, directory, flags)))
    assert run.healthy()


@pytest.mark.parametrize("function, expected", [("cross", {("Kept", "argument"), ("set", "argument")}), ("stay", set())])
def test_thread_in_another_interpreter(stock, function, expected):
    """The thread changes its interpreter and uses the object without an allocation in between."""
    run = stock.run(f"""
        import boundary_switch
        class Kept: pass
        boundary_switch.{function}(set(), Kept())
    """)
    assert {(finding["object"]["type"], finding["access"]) for finding in run.findings("share")} == expected
    for finding in run.findings("share"):
        assert (who(finding["owner"]), finding["current"]["id"]) == ((0, "main"), 1)


@pytest.mark.parametrize("expression, of_static_type", [
    ("int.__abs__", True), ("list.append", True), ("dict.fromkeys.__class__.__new__", True), ("slice.__dict__['start']", True),
    ("Kept.__dict__['__weakref__']", False), ("Kept.__dict__['slot']", False), ("(1.5).hex", False),
])
def test_tables_of_static_types(stock, expression, of_static_type):
    """Rule one_table: before 3.12 all interpreters have one `int`, with its methods."""
    run = stock.run(HAND_OVER, KIND="legacy", CODE=f"""
import boundary_static as m
class Kept:
    __slots__ = "slot", "__weakref__"
m.appended({expression})
""")
    found = run.findings("share", access="argument")
    if of_static_type and stock.hexversion < (3, 12):
        assert found == [] and run.findings("static") == [], run.err
    else:
        (trap,) = found
        assert holder_of(trap)[0] == "kept_appended" and who(trap["current"])[0] == 2


# A Python with compiled-in checks wraps the C API, too, for uses that neither count references nor access attributes.
MEASURE = """
    first, second = Interpreter(KIND), Interpreter(KIND)
    for interpreter in first, second:
        interpreter.run("import boundary_unseen as m; assert m.measure(bytearray(5)) == (5, 1, -1.0)")
    second.end()
    first.end()
"""


@KINDS
def test_uses_that_only_the_boundary_sees(target, kind):
    run = target.run(MEASURE, KIND=kind)
    line = {text: line_of("boundary_unseen.c", text) for text in ("PyObject_Length(", "PyObject_IsTrue(")}
    found = run.findings("share")
    assert {places(trap["stacks"]["used"], "boundary_unseen.c")[0] for trap in found} == set(line.values())
    for trap in found:
        assert (trap["access"], trap["object"]["type"], trap["count"]) == ("argument", "bytearray", 1)
        assert holder_of(trap) == ("kept", "boundary_unseen.c", line_of("boundary_unseen.c", "static PyObject *kept;"))
        assert (who(trap["owner"]), who(trap["current"])) == (interpreter(target, 1, kind), interpreter(target, 2, kind))


def test_the_same_uses_of_an_own_object(target):
    extensions = target.extension("boundary_unseen.c", True, "-DOWN")
    assert target.run(MEASURE, extensions=extensions, KIND="isolated").healthy()


def test_array_of_arguments(either):
    """callable() takes no reference to its argument, so that only the call itself shows the use."""
    run = either.run("""
        first, second = Interpreter(), Interpreter()
        first.run("import declare as m; kept = bytearray(100); m.put(kept)")
        second.run("import declare as m; m.use_array(callable)")
        second.end()
        first.run("m.drop()")
        first.end()
    """)
    assert who(run.one("share", access="argument", type="bytearray")["current"])[0] == 2, run.err
