"""isan check: the verdict for an extension, and its reasons."""
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import xml.etree.ElementTree as ET

import pytest

from ext.build import build
from helpers.check_command import Check, outcomes, own
from helpers.programs import line_of
from helpers.tree import EXT, LIBRARY

PYTHONS = pytest.mark.parametrize("name", ["system", "3.13-plain", "3.13-fast"])


@PYTHONS
@pytest.mark.parametrize("bug, variable, line", [
    ("exc_static", "error", line_of("exc_static.c", "static PyObject *error;")),
    ("cache_static", "cache", line_of("cache_static.c", "static PyObject *cache;")),
])
def test_object_in_a_static_is_unsafe_and_its_twin_is_not(target_of, name, bug, variable, line):
    target, twin = target_of(name), bug.replace("static", "state")
    check = Check(target, bug, twin)
    assert check.status == 86, check.err
    unsafe, safe = check.modules[bug], check.modules[twin]
    assert unsafe["verdict"] == "unsafe"
    static = next(finding for finding in unsafe["findings"] if finding["kind"] == "static")
    holder = static["holder"]
    assert (holder["symbol"], os.path.basename(holder["file"]), holder["line"]) == (variable, bug + ".c", line)
    assert "module state" in static["hint"]
    assert (safe["verdict"], safe["findings"], safe["leaks"], safe["crashes"]) == (own(target), [], [], [])
    assert set(outcomes(safe).values()) == {"ended"}
    assert safe["declares"] == own(target, "multi-phase") and safe["extensions"][0]["state"] > 0
    assert any("has no interpreters with GILs of their own" in note for note in safe["notes"]) == (target.hexversion < (3, 12))


def test_the_same_in_legacy_and_own_gil_interpreters_is_one_finding(target_of):
    module = Check(target_of("3.14-plain"), "exc_static").one()
    kinds = [finding["kind"] for finding in module["findings"]]
    assert kinds[0] == "static" and sorted(set(kinds)) == sorted(kinds), module["findings"]
    assert {tuple(finding["seen_in"]) for finding in module["findings"]} == {("legacy", "own-gil")}


@PYTHONS
def test_text_names_variable_line_and_remedy(target_of, name):
    target = target_of(name)
    check = Check(target, "exc_static", "exc_state", format="text")
    assert check.status == 86, check.err
    table, details = check.out.split("\n\n", 1)
    rows = [re.split(r"  +", row) for row in table.splitlines()]
    assert rows[0][:4] == ["MODULE", "DECLARES", "LOADS IN", "VERDICT"]
    assert [(row[0], row[3]) for row in rows[1:]] == [
        ("exc_static", "UNSAFE"), ("exc_state", {"own-gil": "own-GIL safe", "legacy": "legacy only"}[own(target)])]
    assert f"exc_static.c:{line_of('exc_static.c', 'static PyObject *error;')}) holds a `type` of interpreter" in details
    assert "static `error` of exc_static" in details and "  fix: Move the variable into module state" in details


@PYTHONS
def test_single_phase_is_for_legacy_interpreters(target_of, name):
    target = target_of(name)
    check = Check(target, "single_init_clean", "single_init")
    assert {m["declares"] for m in check.modules.values()} == {"single-phase"}
    clean, bug = check.modules["single_init_clean"], check.modules["single_init"]
    assert (clean["verdict"], clean["findings"], bug["verdict"]) == ("legacy", [], "unsafe"), check.err
    if target.hexversion >= (3, 12):
        assert clean["reasons"] == ["own-GIL interpreters: refused (ImportError: module single_init_clean does not support"
                                    " loading in subinterpreters)"]
        assert outcomes(clean)["own-GIL"] == "refused" and "own-GIL, parallel" not in outcomes(clean)


@pytest.mark.parametrize("name", ["system", "3.13-fast"])
def test_legacy_interpreters_may_share_objects_without_references(target_of, name, tmp_path):
    """CPython copies the functions, strings and numbers of a single-phase module, so they decide nothing; a class does."""
    script = tmp_path / "parts.py"
    script.write_text("""if True:
        import sys
        module = sys.modules.get("single_class") or sys.modules["single_parts"]
        for part in module.use, module.__doc__, module.text, module.number, getattr(module, "error", None):
            module.use(part)
    """)
    check = Check(target_of(name), "--exercise", script, "single_parts", "single_class")
    healthy, bug = check.modules["single_parts"], check.modules["single_class"]
    types = {finding["object"]["type"] for finding in healthy["findings"]}
    assert (healthy["verdict"], types) == ("legacy", {"builtin_function_or_method", "str", "int"}), healthy["findings"]
    assert bug["verdict"] == "unsafe"
    assert {finding["object"]["type"] for finding in bug["findings"]} == {"type"}, bug["findings"]


@PYTHONS
def test_refusal_is_a_limit_that_force_lifts(target_of, name):
    target = target_of(name)
    module = Check(target, "refuses").one()
    assert (module["verdict"], module["findings"], module["crashes"]) == ("legacy", [], [])
    assert module["declares"] == ("main-only" if target.hexversion >= (3, 12) else "multi-phase")
    check = Check(target, "--force", "refuses", "type_static")
    assert check.modules["refuses"]["verdict"] == own(target), check.err


def test_forced_module_with_a_bug_refuses_rightly(target_of):
    check = Check(target_of("3.13-plain"), "--force", "--exercise", os.devnull, "type_static")
    module = check.one()
    assert (check.status, module["verdict"]) == (0, "legacy"), check.out
    assert any(f["object"]["static_type"] for f in module["findings"])
    assert "the refusal was lifted by --force; it is right in refusing" in module["reasons"]


@pytest.mark.parametrize("name", ["system", "3.13-fast"])
def test_crash_and_hang_are_results(target_of, name):
    target = target_of(name)
    check = Check(target, "--timeout", "15", "second_crash", "second_hang", "cache_state")
    assert check.status == 86
    crash, hang, safe = check.modules["second_crash"], check.modules["second_hang"], check.modules["cache_state"]
    line = line_of("second_crash.c", "raise(SIGSEGV)")
    assert crash["verdict"] == hang["verdict"] == "unsafe" and safe["verdict"] == own(target), check.out
    assert outcomes(crash)["legacy"] == "crashed" and "legacy, parallel" not in outcomes(crash)
    assert re.match(rf"legacy: crashes with SIGSEGV while importing it, at \S*second_crash.c:{line} in module_exec$",
                    crash["reasons"][0])
    assert outcomes(hang)["legacy"] == "hung"
    assert re.match(r"legacy: hangs while importing it, at \S*second_hang.c:\d+ in module_exec$", hang["reasons"][0])


def test_exercise_file_runs_in_every_interpreter(target_of, tmp_path):
    target, said = target_of("3.13-plain"), tmp_path / "said"
    file = tmp_path / "mine.py"
    file.write_text(f"import sys, posix\nassert 'cache_state' in sys.modules\n"
                    f"fd = posix.open({os.fspath(said)!r}, posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND)\n"
                    "posix.write(fd, b'.')\nposix.close(fd)\n")
    assert Check(target, "--exercise", file, "cache_state").one()["verdict"] == "own-gil"
    # The main interpreter; three interpreters, one of them twice; two threads with two interpreters each.
    assert said.read_text() == "." * (1 + 2 * (4 + 4))
    file.write_text("1/0")
    check = Check(target, "--exercise", file, "cache_state")
    assert (check.status, check.one()["verdict"]) == (2, None)
    assert check.one()["reasons"] == ["main: the exercise fails in interpreter 0: ZeroDivisionError: division by zero"]


# Builds a wheel from the C file with the name of the project.
BACKEND = """\
import os, shlex, subprocess, sysconfig, zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    open("left behind", "w").close()
    module, tag = "mymod" + sysconfig.get_config_var("EXT_SUFFIX"), "cp" + sysconfig.get_config_var("py_version_nodot")
    paths = sysconfig.get_paths()
    subprocess.run(["gcc", "-shared", "-fPIC", "-g", *shlex.split(os.environ.get("CFLAGS", "")), "-I" + paths["include"],
                    "-I" + paths["platinclude"], "-o", module, "mymod.c"], check=True)
    info, name = "mymod-1.dist-info/", f"mymod-1-{tag}-{tag}-linux_x86_64.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        wheel.write(module)
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: mymod\\nVersion: 1\\n")
        wheel.writestr(info + "WHEEL", f"Wheel-Version: 1.0\\nRoot-Is-Purelib: false\\nTag: {tag}-{tag}-linux_x86_64\\n")
        wheel.writestr(info + "RECORD", "".join(f"{file},,\\n" for file in wheel.namelist() + [info + "RECORD"]))
    return name
"""


@pytest.fixture
def project(tmp_path):
    """project(source) -> the directory of a project, mymod, with that test extension."""
    def make(source):
        directory = tmp_path / "my project"
        directory.mkdir(exist_ok=True)
        (directory / "backend.py").write_text(BACKEND)
        (directory / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
            '[project]\nname = "mymod"\nversion = "1"\n')
        (directory / "mymod.c").write_text((EXT / source).read_text().replace(source.partition(".")[0], "mymod"))
        return directory
    return make


@pytest.mark.parametrize("name", ["system", "3.13-fast", "3.14-plain"])
def test_project_before_and_after_the_fix(target_of, name, project):
    """First the project has a static, then module state."""
    target, directory = target_of(name), project("exc_static.c")
    files = sorted(directory.iterdir())
    check = Check(target, "./", cwd=directory, format="text")
    assert check.status == 86, check.err
    line = line_of("exc_static.c", "static PyObject *error;")
    assert re.search(r"^mymod  .* UNSAFE  ", check.out, re.M) and f" (mymod.c:{line}) holds a `type` of interpreter 1" in check.out
    assert "static `error` of mymod." in check.out and "\n  fix: Move the variable into module state" in check.out
    log = directory.parent / "log"
    module = Check(target, "--log", log, project("exc_state.c")).one()
    assert (module["verdict"], module["findings"], module["leaks"]) == (own(target), [], [])
    assert sorted(directory.iterdir()) == files
    built, = log.glob("installed/*/mymod.*.so")
    assert "isan__slot" in subprocess.run(["nm", "-D", built], stdout=subprocess.PIPE, text=True, check=True).stdout


def test_wheel(target_of, project):
    target, directory = target_of("3.13-plain"), project("cache_static.c")
    name = subprocess.run([target.python, "-c", "import backend; print(backend.build_wheel('..'))"], cwd=directory,
                          stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    module = Check(target, directory.parent / name).one()
    assert (module["name"], module["verdict"], module["findings"][0]["holder"]["symbol"]) == ("mymod", "unsafe", "cache")


def test_formats(target_of, project):
    """In JUnit an unsafe module is a failure; in SARIF the static is a result at its line."""
    target, directory = target_of("3.13-plain"), project("exc_static.c")
    suite = ET.fromstring(Check(target, "./", "exc_state", cwd=directory, format="junit").out).find("testsuite")
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {"tests": "2", "failures": "1", "errors": "0"}
    cases = {case.get("name"): case for case in suite}
    assert "static `error` of mymod." in cases["mymod"].find("failure").text and cases["exc_state"].find("failure") is None
    run, = json.loads(Check(target, "--exercise", os.devnull, "./", "cache_static", cwd=directory, format="sarif").out)["runs"]
    results = {result["properties"]["checked"]: result for result in run["results"] if result["ruleId"] == "static"}
    line = line_of("exc_static.c", "static PyObject *error;")
    assert set(results) == {"mymod", "cache_static"}
    location = results["mymod"]["locations"][0]["physicalLocation"]
    assert (location["artifactLocation"]["uri"], location["region"]["startLine"]) == ("mymod.c", line)
    ids = [result["properties"]["id"] for result in run["results"]]
    assert len(ids) == len(set(ids))
    page = Check(target, "--exercise", os.devnull, "./", "exc_state", cwd=directory, format="html").out
    assert re.search(r">mymod</th>.*>UNSAFE</td>.*>exc_state</th>.*>own-GIL safe</td>", page)


def test_projects_that_cannot_be_installed(target_of, project, tmp_path):
    target, directory = target_of("3.13-plain"), project("exc_state.c")
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([target.python, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    check = Check(target, "--python", python, directory)
    assert (check.status, check.err) == (2, f"isan: {python} has no pip, which is to install {directory}: install it"
                                            f" (Debian: python3-pip; else {python} -m ensurepip)\n")
    with open(directory / "mymod.c", "a") as file:
        file.write("#error not yet\n")
    check = Check(target, directory)
    assert (check.status, check.out) == (2, "") and "#error not yet" in check.err, check.err
    assert f"isan: pip cannot install {directory} (exit status 1):\n" in check.err
    check = Check(target, "--pip=--no-such-option", directory)
    assert check.status == 2 and "no such option: --no-such-option" in check.err
    check = Check(target, "--pip=-v", "math")
    assert check.status == 2 and "--pip is for a wheel or a project" in check.err


TESTS = """\
import sys, threading, unittest
import cache_state
try:
    import _interpreters
except ImportError:
    import _xxsubinterpreters as _interpreters

class Tests(unittest.TestCase):
    def test_well(self):
        self.assertIsNotNone(cache_state)

    def test_never(self):
        self.assertEqual(1, 2)

    def test_main(self):
        self.assertEqual(_interpreters.get_current(), _interpreters.get_main(), "of the first")
"""


@pytest.mark.parametrize("name, runner, test", [("system", "pytest", "test_them.py::Tests::"), ("3.13-plain", "unittest", "test_them.Tests.")])
def test_tests_of_the_module(target_of, tmp_path, name, runner, test):
    """Tests that fail in the main interpreter are left out.  Tests that fail only in other interpreters are listed, and decide
    nothing."""
    target = target_of(name)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    (tmp_path / "test_them.py").write_text(TESTS)
    check = Check(target, "--tests", tmp_path, "cache_state", "cache_static")
    module, bug = check.modules["cache_state"], check.modules["cache_static"]
    assert (check.status, module["verdict"], bug["verdict"]) == (86, own(target), "unsafe"), check.out
    assert module["left_out"] == [test + "test_never"]
    assert f"its tests in each interpreter: 3 tests, with {runner}" in module["notes"]
    assert [note for note in module["notes"] if "fails" in note] == [
        f"1 of them fails in the main interpreter, too, and is left out: {test}test_never (AssertionError: 1 != 2)"]
    assert [reason.partition(" (")[0] for reason in module["reasons"]] == [
        f"{kind} interpreters: 1 of its tests fails there, and not in the main interpreter: {test}test_main"
        for kind in ("legacy", "own-GIL")[:1 + (target.hexversion >= (3, 12))]]
    assert not list(tmp_path.rglob("__pycache__"))


def test_test_that_crashes_is_named(target_of, tmp_path):
    (tmp_path / "test_it.py").write_text("import unittest, exc_static\nclass Tests(unittest.TestCase):\n    def test_fail(self):\n"
                                         "        try:\n            exc_static.fail()\n        except Exception:\n            pass\n")
    module = Check(target_of("3.13-plain"), "--tests", tmp_path / "test_it.py", "exc_static").one()
    assert module["verdict"] == "unsafe"
    assert module["reasons"][0] == "legacy: crashes with SIGSEGV while exercising it (test_it.Tests.test_fail)"


@pytest.mark.parametrize("script, reason", [
    ("import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
     "legacy: crashes with SIGABRT while ending the interpreter (Fatal Python error: Py_EndInterpreter: "),
    ("import ctypes; libc = ctypes.CDLL(None); libc.__cxa_atexit(libc.abort, None, None)", "main: crashes with SIGABRT while ending the process"),
])
def test_abort_with_no_code_of_an_extension(target_of, tmp_path, script, reason):
    """The stack has only CPython's code, and there is no finding: the report blames no extension."""
    (tmp_path / "mine.py").write_text(script)
    module = Check(target_of("system"), "--exercise", tmp_path / "mine.py", "exc_state").one()
    assert module["verdict"] == "unsafe", module["notes"]
    assert any(said.startswith(reason) for said in module["reasons"]), module["reasons"]


def test_extensions_that_a_package_does_not_import(target_of, tmp_path):
    target = target_of("3.13-plain")
    for name in "parts", "parts/tests":
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    for file in "cache_static", "type_heap", "tests/type_static":
        extension = next(target.extensions.glob(os.path.basename(file) + ".*.so"))
        os.symlink(extension, tmp_path / "parts" / os.path.dirname(file) / extension.name)
    module = Check(target, "parts/", cwd=tmp_path).one()
    assert (module["verdict"], module["not_looked_at"]) == ("unsafe", ["parts.tests.type_static"])
    assert [e["name"] for e in module["extensions"]] == ["parts.cache_static", "parts.type_heap"]
    assert {finding["holder"]["symbol"] for finding in module["findings"] if finding["kind"] == "static"} == {"cache"}


def test_module_that_refuses_is_not_exercised(target_of, tmp_path):
    (tmp_path / "mine.py").write_text("import refuses\n")
    module = Check(target_of("3.13-plain"), "--exercise", tmp_path / "mine.py", "refuses").one()
    assert (module["verdict"], module["reasons"]) == ("legacy", [
        "own-GIL interpreters: refused (ImportError: module refuses does not support loading in subinterpreters)"])


def test_failure_before_the_import_is_no_verdict(target_of, isan, tmp_path):
    """Two copies of isan in one process."""
    target = target_of("3.13-plain")
    shutil.copy(LIBRARY, tmp_path / "other.so")
    check = Check(target, "math", env={"LD_PRELOAD": os.fspath(tmp_path / "other.so")}, format="text")
    assert check.status == 2 and "UNSAFE" not in check.out
    assert check.err.splitlines()[-1].startswith(f"isan: {target.python} does not get to the module under isan: main: ends the"
                                                 " process (status 2) while starting: isan: the place of the owner tags")
    assert check.err.endswith("is taken: is another libisan.so loaded (LD_PRELOAD)?\n")


def test_standard_library(target_of):
    check = Check(target_of("3.13-plain"), "json", "_elementtree", "math", "xml.etree.ElementTree")
    assert check.status == 0, check.out
    assert {name: (m["verdict"], m["declares"]) for name, m in check.modules.items()} == dict.fromkeys(
        ("json", "_elementtree", "math", "xml.etree.ElementTree"), ("own-gil", "own-gil"))
    assert [e["name"] for e in check.modules["json"]["extensions"]] == ["_json"]


@pytest.mark.parametrize("name", ["system", "3.13-fast", "3.13-debug", "3.13-tsan", "3.14-plain", "3.14-fast"])
def test_standard_library_in_every_flavor(target_of, name):
    """_csv is safe.  _curses keeps its exception class in a static; from 3.14 on it refuses other interpreters instead
    (Modules/_cursesmodule.c)."""
    target = target_of(name)
    check = Check(target, "_csv", "_curses")
    good, bad = check.modules["_csv"], check.modules["_curses"]
    assert (good["verdict"], good["findings"]) == (own(target), []), check.out
    if target.hexversion >= (3, 14):
        assert (bad["verdict"], bad["findings"], bad["declares"]) == ("main", [], "main-only")
    else:
        assert (check.status, bad["verdict"], bad["declares"]) == (86, "unsafe", "single-phase")
        error, = (f["holder"] for f in bad["findings"] if f["kind"] == "static" and f["holder"]["symbol"] == "PyCursesError")
        assert os.path.basename(error["file"]) == "_cursesmodule.c" and error["line"] in range(160, 180)


def test_path_of_an_extension(target_of, tmp_path):
    target = target_of("3.13-plain")
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    file = next(target.extensions.glob("cache_state.*.so"))
    os.symlink(file, package / file.name)
    module = Check(target, f"package/{file.name}", cwd=tmp_path).one()
    assert (module["name"], module["verdict"]) == ("package.cache_state", "own-gil")


def test_python_by_a_relative_path(target_of, project):
    target, directory = target_of("3.13-plain"), project("exc_state.c")
    check = Check(target, "--python", os.path.relpath(target.python, directory), "--exercise", os.devnull, "./", cwd=directory)
    assert check.status == 0 and check.one()["verdict"] == "own-gil", check.err


def test_interrupt_keeps_finished_results(target_of):
    target = target_of("3.13-plain")
    with subprocess.Popen([target.isan, "check", "--python", target.python, "--interpreters", "2", "cache_state", "second_hang"],
                          env=target.env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as check:
        rows = [check.stdout.readline() for _ in range(2)]
        for line in check.stderr:
            if "second_hang: legacy, " in line:
                break
        check.send_signal(signal.SIGINT)
        out, err = check.communicate(timeout=30)
    assert rows[1].split() == ["cache_state", "own-gil", "main", "legacy", "own-GIL", "own-GIL", "safe"]
    assert (check.returncode, out, err.splitlines()[-1]) == (
        130, "", "isan check: interrupted: 1 of 2 modules were checked")


def test_call_that_hangs_in_the_main_interpreter_is_left_out(target_of, tmp_path):
    target = target_of("3.13-plain")
    source = tmp_path / "stuck.c"
    source.write_text((EXT / "type_heap.c").read_text().replace("type_heap", "stuck").replace(
        "    Py_RETURN_NONE;", "    while (pause()) {\n    }\n    Py_RETURN_NONE;").replace(
        "#include <Python.h>", "#include <Python.h>\n#include <unistd.h>").replace(
        "    .m_slots = slots,", "    .m_slots = slots,\n    .m_methods = functions,").replace(
        "static struct PyModuleDef ", """static PyMethodDef functions[] = {
    {"think", thing_method, METH_NOARGS, "Never ends."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef """))
    build(source, target.python, tmp_path)
    module = Check(target, "stuck", env={"PYTHONPATH": os.fspath(tmp_path)}).one()
    assert (module["verdict"], module["left_out"]) == ("own-gil", ["stuck.think()"]), module
    assert any(note.startswith("main: hangs while exercising it (stuck.think())") for note in module["notes"])


GETTERS = """static PyObject *
bad(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    raise(SIGSEGV);
    Py_RETURN_NONE;
}

static PyGetSetDef getters[] = {{"a", bad, NULL, NULL, NULL}, {"b", bad, NULL, NULL, NULL}, {"c", bad, NULL, NULL, NULL}, {0}};

"""


@pytest.mark.parametrize("types, left_out", [
    (1, ["crashy.Thing0", "crashy.Thing0().a"]),
    (5, ["*", *(f"crashy.Thing{n}{what}" for n in range(4) for what in ("", "().a"))])])
def test_object_that_crashes_in_the_main_interpreter_is_left_out(target_of, tmp_path, types, left_out):
    """The whole object is left out, even if several of its attributes crash."""
    target, source = target_of("system"), tmp_path / "crashy.c"
    text = ["#include <Python.h>\n#include <signal.h>\n", GETTERS,
            "static PyType_Slot slots[] = {{Py_tp_getset, getters}, {0, NULL}};\n",
            "static int\nmodule_exec(PyObject *m)\n{\n"]
    for n in range(types):
        text.append(f"""    static PyType_Spec spec{n} = {{"crashy.Thing{n}", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT, slots}};
    PyObject *type{n} = PyType_FromModuleAndSpec(m, &spec{n}, NULL);
    if (type{n} == NULL || PyModule_AddObject(m, "Thing{n}", type{n}) < 0) {{
        return -1;
    }}
""")
    text.append("""    return 0;
}
static PyModuleDef_Slot parts[] = {{Py_mod_exec, module_exec}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "crashy", .m_slots = parts};
PyMODINIT_FUNC PyInit_crashy(void) { return PyModuleDef_Init(&definition); }
""")
    source.write_text("".join(text))
    build(source, target.python, tmp_path)
    module = Check(target, "crashy", env={"PYTHONPATH": os.fspath(tmp_path)}).one()
    assert (module["verdict"], module["crashes"], module["left_out"]) == ("legacy", [], left_out), module


def test_dictionary_of_a_static_type_under_one_gil(target_of, tmp_path):
    """Interpreters with one GIL may share it, even if they use nothing else of the type (as _multiprocessing up to 3.11)."""
    target, source = target_of("system"), tmp_path / "typedict.c"
    source.write_text("""#include <Python.h>
static PyTypeObject Thing = {PyVarObject_HEAD_INIT(NULL, 0) .tp_name = "typedict.Thing", .tp_basicsize = sizeof(PyObject)};
static int module_exec(PyObject *Py_UNUSED(m))
{
    return PyType_Ready(&Thing) < 0 ? -1 : PyDict_SetItemString(Thing.tp_dict, "most", Py_None);
}
static PyModuleDef_Slot parts[] = {{Py_mod_exec, module_exec}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "typedict", .m_slots = parts};
PyMODINIT_FUNC PyInit_typedict(void) { return PyModuleDef_Init(&definition); }
""")
    build(source, target.python, tmp_path)
    module = Check(target, "typedict", env={"PYTHONPATH": os.fspath(tmp_path)}).one()
    assert module["verdict"] == "legacy" and ".tp_dict" in {finding["holder"]["path"] for finding in module["findings"]}, module


def test_import_that_crashes_in_the_main_interpreter_is_not_tried_for_ever(target_of, tmp_path):
    """It crashes under isan only, so not where isan reads what the module declares."""
    (tmp_path / "once.py").write_text("import os\n"
                                      "if 'libisan' in open('/proc/self/maps').read(): os.kill(os.getpid(), 11)\n")
    module = Check(target_of("system"), "once", env={"PYTHONPATH": os.fspath(tmp_path)}).one()
    assert module["verdict"] == "unsafe" and outcomes(module)["main"] == "crashed", module
    assert module["reasons"][0].startswith("main: crashes with SIGSEGV while importing it"), module["reasons"]


def test_module_with_an_import_that_crashes_has_no_verdict(target_of, tmp_path):
    """A module that it imports crashes in other interpreters, so isan cannot judge this one."""
    target, source = target_of("system"), tmp_path / "first_crash.c"
    source.write_text((EXT / "second_crash.c").read_text().replace("second_crash", "first_crash").replace(
        "first != PyInterpreterState_Get()", "PyInterpreterState_Get() != PyInterpreterState_Main()"))
    build(source, target.python, tmp_path)
    (tmp_path / "between.py").write_text("import first_crash\n")
    (tmp_path / "above.py").write_text("import between\n")
    check = Check(target, "above", env={"PYTHONPATH": os.fspath(tmp_path)})
    assert (check.status, check.one()["verdict"]) == (2, None), check.out
    assert check.one()["reasons"] == ["legacy interpreters: not known, since a module that it imports fails there first"]
    assert any("which seems to be the doing of first_crash" in note for note in check.one()["notes"])


def test_disk_full_is_no_verdict(target_of, tmp_path):
    (tmp_path / "much.py").write_text("import asyncio, unittest\n")
    check = Check(target_of("3.13-plain"), "--exercise", tmp_path / "much.py", "cache_state",
                  preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18)))
    assert (check.status, check.one()["verdict"]) == (2, None), check.out
    assert any("could not be recorded (disk or table full)" in reason for reason in check.one()["reasons"])


def test_wrong_usage(target_of, tmp_path):
    target = target_of("3.13-plain")
    for arguments, message in [
            (["./missing.so"], "isan: there is no ./missing.so: give the name of a module, or the path of an extension, a wheel or a project\n"),
            (["./"], "isan: ./ is no package, and has no pyproject.toml or setup.py: give the path of an extension, a wheel or a project\n"),
            (["missing.whl"], "isan: there is no missing.whl: give the name of a module, or the path of an extension, a wheel or a project\n"),
            (["--tests", "none", "math"], "isan: there is no none: give --tests a file or directory of tests\n"),
            (["--interpreters", "1", "math"], "isan: --interpreters is a number from 2 on, not 1\n"),
            (["--exercise", tmp_path / "no.py", "math"], f"isan: cannot read {tmp_path}/no.py: No such file or directory\n")]:
        check = Check(target, *arguments, cwd=tmp_path)
        assert (check.status, check.out, check.err) == (2, "", message)
    check = Check(target, "no_such_module")
    assert (check.status, check.one()["verdict"]) == (2, None)
    assert "ModuleNotFoundError: No module named 'no_such_module'" in check.one()["reasons"][0]
