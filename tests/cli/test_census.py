"""isan census: its counts for each module, compared with numbers read in CPython's source."""
import json
import os
import re
import signal
import subprocess

import pytest

from ext.build import build
from helpers.programs import SYSTEM, line_of, release
from helpers.tree import EXT

NONE = {"static": 0, "bound": 0, "unbound": 0, "called": 0, "sequence": 0}

# Read in Modules/ of 3.13.5: the declaration of each module, whether it has module state, and how it makes its types.
IN_3_13 = {
    "_json": ("own-gil", False, dict(unbound=2)),                   # Scanner, Encoder: PyType_FromSpec
    "_csv": ("own-gil", True, dict(bound=4)),                       # Dialect, reader, writer, Error
    "_datetime": ("own-gil", True, dict(static=6, bound=1)),        # IsoCalendarDate alone is a heap type
    "_curses": ("single-phase", False, dict(static=1, called=1, sequence=1)),
    "_curses_panel": ("main-only", True, dict(bound=1, called=1)),
    "_decimal": ("own-gil", True, dict(bound=4, called=16)),        # 14 exceptions, SignalDict, and DecimalTuple by namedtuple()
    "readline": ("single-phase", True, {}),
    "zlib": ("own-gil", True, dict(bound=3, called=1)),
    "array": ("own-gil", True, dict(bound=2)),
    "math": ("own-gil", True, {}),
    "cmath": ("own-gil", False, {}),
    "_struct": ("own-gil", True, dict(bound=2, called=1)),
    "select": ("own-gil", True, dict(bound=2)),                     # poll, epoll; error is OSError
    "grp": ("own-gil", True, dict(sequence=1)),
    "binascii": ("own-gil", True, dict(called=2)),
    "_queue": ("own-gil", True, dict(bound=1, called=1)),
    "_hashlib": ("own-gil", True, dict(unbound=3, called=1)),
    "unicodedata": ("own-gil", False, dict(unbound=1)),
    "xxlimited": ("own-gil", True, dict(bound=2, called=1)),
    "xxlimited_35": ("shared-gil", False, dict(unbound=3, called=1)),
    "xxsubtype": ("own-gil", False, dict(static=2)),
    "_testclinic": ("single-phase", False, dict(static=7)),         # which are never made ready
    "_suggestions": ("main-only", False, {}),                       # the rest are built in
    "_thread": ("own-gil", True, dict(bound=2, unbound=3, sequence=1)),
    "itertools": ("own-gil", True, dict(bound=22)),
    "_weakref": ("own-gil", False, {}),                             # its types are Objects/weakrefobject.c's
    "builtins": ("single-phase", False, dict(static=3, called=1)),  # filter, map, zip; ExceptionGroup
}
# The same for 3.11, where Debian builds most of them into the executable.
IN_3_11 = {
    "_json": ("multi-phase", True, dict(unbound=2)),
    "_asyncio": ("single-phase", False, dict(static=5)),
    "_ctypes": ("single-phase", False, dict(static=19, called=1)),
    "_decimal": ("single-phase", False, dict(static=4, called=16)),
    "_curses": ("single-phase", False, dict(static=1, called=1, sequence=1)),
    "readline": ("single-phase", True, {}),
    "_datetime": ("single-phase", False, dict(static=7)),
    "_socket": ("single-phase", False, dict(static=1, called=2)),   # the type is not ready after the import
    "itertools": ("multi-phase", False, dict(static=21)),
    "array": ("multi-phase", True, dict(bound=2)),
    "zlib": ("multi-phase", True, dict(bound=2, called=1)),
    "posix": ("multi-phase", True, dict(bound=2, sequence=7)),
}


class Census:
    def __init__(self, isan, *arguments, env=None, format="json"):
        done = subprocess.run([isan, "census", "--format", format, *arguments], env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        if format == "json" and self.out:
            self.all = json.loads(self.out)
            self.modules = {m["name"]: m for m in self.all["modules"]}
            self.rows = {row["key"]: row for row in self.all["rows"]}


def summary(module):
    return module["declares"], (module["state"] or 0) > 0, {kind: n for kind, n in module["counts"].items() if n}


def variables(entries):
    return {entry["symbol"] for entry in entries}


@pytest.fixture
def extensions(tmp_path):
    """extensions(python, names of tests/ext or paths...) -> the environment in which they can be imported, their names."""
    def make(python, *sources):
        for source in sources:
            build(f"{source}.c", python, tmp_path)
        return dict(os.environ, PYTHONPATH=os.fspath(tmp_path)), [os.path.basename(source) for source in sources]
    return make


MODULE = """
#include <Python.h>
#include <unistd.h>

static int
run(PyObject *Py_UNUSED(module))
{
    %s
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, run},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "%s",
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_%s(void)
{
    return PyModuleDef_Init(&definition);
}
"""


@pytest.fixture(scope="module")
def of_3_13(isan, plain):
    return Census(isan, "--python", plain, *IN_3_13, "_testimportmultiple")


@pytest.mark.parametrize("name", IN_3_13)
def test_counts_of_3_13(of_3_13, name):
    assert of_3_13.status == 0, of_3_13.err
    assert summary(of_3_13.modules[name]) == IN_3_13[name]


def test_rows_name_the_modules_behind_the_counts(of_3_13):
    for key, has in [("static-types", lambda m: m[2].get("static")), ("bound-types", lambda m: m[2].get("bound")),
                     ("unbound-types", lambda m: m[2].get("unbound")), ("state", lambda m: m[1]),
                     ("single-phase", lambda m: m[0] == "single-phase"), ("main-only", lambda m: m[0] == "main-only")]:
        row = of_3_13.rows[key]
        expected = [name for name in IN_3_13 if has(IN_3_13[name])] + ["_testimportmultiple"] * (key == "main-only")
        assert (row["modules"], row["count"], row["of"], row["not_known"]) == (expected, len(expected), len(IN_3_13) + 1, [])


def test_statics_of_the_standard_library(of_3_13):
    def of(name):
        statics = of_3_13.modules[name]["statics"]
        return variables(statics["hold"]), variables(statics["may_hold"])
    assert of("_curses") == ({"PyCursesError", "ModDict"}, set())
    assert of("xxlimited_35") == ({"ErrorObject", "Xxo_Type"}, set())
    assert of("_json") == (set(), set())
    assert of("_decimal")[0] == set()
    assert of("_datetime") == (set(), {"capi", "utc_timezone"})
    (error,) = [one for one in of_3_13.modules["_curses"]["statics"]["hold"] if one["symbol"] == "PyCursesError"]
    assert error["file"].endswith("Modules/_cursesmodule.c") and error["line"] > 1 and error["holds"] == "type"


@pytest.mark.skipif(release(SYSTEM) != "3.11", reason="these are the modules of Debian 12's Python")
def test_counts_of_3_11(isan, tmp_path):
    """Without debug information (even if it is installed) the columns that depend on it are unknown, and the table says so."""
    census = Census(isan, "--python", "/usr/bin/python3", "--debuginfo-path", tmp_path, *IN_3_11, "_collections", "_weakref")
    assert census.status == 0, census.err
    assert {name: summary(census.modules[name]) for name in IN_3_11} == IN_3_11
    assert "own-gil" not in census.rows                         # it has no such interpreters
    datetime = census.modules["_datetime"]
    assert (datetime["statics"], datetime["debug_information"]) == ({"hold": None, "may_hold": None}, False)
    assert any("without debug information of" in note for note in datetime["notes"])
    assert census.modules["_decimal"]["statics"]["hold"] and census.modules["_decimal"]["statics"]["may_hold"] is None
    # collections.OrderedDict and weakref.ref belong to CPython, but nothing distinguishes them from types of these modules.
    assert [name for name, m in census.modules.items() if m["at_least"] == ["static"]] == ["_collections", "_weakref"]
    assert census.modules["_collections"]["counts"]["static"] == 5
    assert "_weakref" in census.rows["static-types"]["not_known"] and "_collections" in census.rows["static-types"]["modules"]


@pytest.mark.parametrize("version", [None, "3.13", "3.14"])
def test_small_extensions(isan, flavor_python, extensions, version):
    python = flavor_python("plain", version) if version else SYSTEM
    own, shared = ("multi-phase", "multi-phase") if release(python) == "3.11" else ("own-gil", "shared-gil")
    env, names = extensions(python, "type_static", "type_heap", "cache_static", "cache_state", "exc_static", "exc_state",
                            "single_init", "single_kept")
    census = Census(isan, "--python", python, *names, env=env)
    assert census.status == 0, census.err
    # For each: declaration, state, types, statics that hold objects, statics that may hold objects.
    modules = {name: (*summary(m), variables(m["statics"]["hold"]), variables(m["statics"]["may_hold"]))
               for name, m in census.modules.items()}
    assert modules["type_static"] == (shared, False, {"static": 1}, set(), {"thing"})
    assert modules["type_heap"] == (own, False, {"bound": 1}, set(), set())
    assert modules["cache_static"] == (own, False, {}, {"cache"}, set())
    assert modules["cache_state"] == (own, True, {}, set(), set())
    assert modules["exc_static"] == (own, False, {"called": 1}, {"error"}, set())
    assert modules["exc_state"] == (own, True, {"called": 1}, set(), set())
    assert modules["single_init"] == ("single-phase", False, {}, {"list"}, set())
    assert modules["single_kept"] == ("single-phase", False, {}, set(), {"kept"})      # not m_copy of the definition
    (error,) = census.modules["exc_static"]["statics"]["hold"]
    assert os.path.basename(error["file"]) == "exc_static.c" and error["line"] == line_of("exc_static.c", "static PyObject *error;")
    (thing,) = census.modules["type_static"]["types"]
    assert (thing["name"], thing["symbol"], os.path.basename(thing["file"])) == ("type_static.Thing", "thing", "type_static.c")
    assert "PyModule_Create2" in census.modules["single_init"]["imports"]
    assert "PyType_FromModuleAndSpec" in census.modules["type_heap"]["imports"]


def test_a_module_that_cannot_be_imported_is_a_result(isan, plain, extensions, tmp_path):
    for name, code in ("dies", "abort();"), ("raises", r'PyErr_SetString(PyExc_RuntimeError, "no \x1b[31mway"); return -1;'):
        (tmp_path / (name + ".c")).write_text(MODULE % (code, name, name))
    env, _ = extensions(plain, tmp_path / "dies", tmp_path / "raises")
    census = Census(isan, "--python", plain, "dies", "raises", "no_such", "json", "this", env=env)
    assert census.status == 2 and "isan census: dies: its import crashes with SIGABRT" in census.err, census.err
    assert census.modules["raises"]["trouble"] == "RuntimeError: no \x1b[31mway"
    assert census.modules["no_such"]["trouble"] == "ModuleNotFoundError: No module named 'no_such'"
    # The file alone shows how CPython would initialise it.
    assert [census.modules[name]["initialisation"] for name in ("dies", "raises", "no_such")] == ["multi-phase"] * 2 + [None]
    assert census.rows["multi-phase"]["modules"] == ["dies", "raises", "_json"]
    assert census.rows["static-types"]["not_known"] == ["dies", "raises", "no_such", "this"]
    assert census.modules["_json"]["counts"]["unbound"] == 2                # which json stands for
    assert census.modules["this"]["trouble"] == "it loads no extension of its own"
    shown = Census(isan, "--python", plain, "raises", os.path.relpath(next(tmp_path.glob("dies.*.so"))), env=env, format="text")
    assert "\x1b" not in shown.out + shown.err
    assert re.search(r"^raises .*RuntimeError: no \\x1b\[31mway$", shown.out, re.M), shown.out
    assert re.search(r"^dies .*its import crashes with SIGABRT", shown.out, re.M), shown.out


def test_text(isan, plain, extensions):
    env, names = extensions(plain, "exc_static", "type_heap")
    census = Census(isan, "--python", plain, *names, "array", env=env, format="text")
    assert census.status == 0, census.err
    assert re.search(r"^Python 3\.13\.\d+ \(.*\): 3 modules, 0 of them built in\n4 types: 0 static, 4 heap types \(100%\): 3 bound, 0 unbound, 1 called",
                     census.out)
    assert re.search(r"^ +1 +33%  C statics that hold objects after the import\n +exc_static$", census.out, re.M)
    assert re.search(r"^exc_static +own-gil +none +- +- +- +1 +- +1$", census.out, re.M)
    assert re.search(r"^array +own-gil +56 +- +2 +- +- +- +0$", census.out, re.M)
    assert "  `error` (%s:%d) holds an object of type `type`\n" % (
        EXT / "exc_static.c", line_of("exc_static.c", "static PyObject *error;")) in census.out
    assert max(map(len, census.out.splitlines())) <= 160


def test_interrupt_keeps_finished_results(isan, plain, extensions, tmp_path):
    (tmp_path / "hangs.c").write_text(MODULE % ("for (;;) {\n        pause();\n    }\n    return 0;", "hangs", "hangs"))
    env, _ = extensions(plain, tmp_path / "hangs")
    with subprocess.Popen([isan, "census", "--python", plain, "--format", "json", "hangs", "array"], stdin=subprocess.DEVNULL,
                          env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            while "isan census: 1 of 2: hangs" not in process.stderr.readline():     # every 20 seconds, after two
                assert process.poll() is None
            os.killpg(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    report = json.loads(out)
    assert (process.returncode, report["interrupted"]) == (130, True), err
    assert err.endswith("isan census: interrupted: 1 of 2 modules were looked at\n"), err
    assert [(m["name"], m["counts"]["bound"]) for m in report["modules"]] == [("array", 2)]


def test_wrong_usage(isan):
    for arguments, message in [
            (["./missing.so"], "isan: there is no ./missing.so"),
            (["--version", "3.13", "math"], "isan: --version goes with --flavor\n"),
            (["--python", "/bin/false", "math"], "isan: /bin/false does not work")]:
        census = Census(isan, *arguments)
        assert (census.status, census.out) == (2, "") and census.err.startswith(message), census.err
