"""isan check compares what the modules of own-GIL interpreters hold, and says how much its verdict rests on."""
import os

import pytest

from ext.build import build
from helpers.check_command import Check, outcomes
from helpers.programs import line_of

PYTHONS = pytest.mark.parametrize("name", ["3.13-plain", "3.13-fast"])


def paths(module):
    return {one["path"]: one for one in reversed(module["shared"])}


@PYTHONS
def test_single_phase_module_is_never_safe_under_other_gils(target_of, name):
    """The runtime copies the dictionary of the first import, and so its functions, into each interpreter."""
    check = Check(target_of(name), "--force", "single_parts", "multi_parts")
    bug, twin = check.modules["single_parts"], check.modules["multi_parts"]
    assert (check.status, bug["verdict"], bug["findings"], outcomes(bug)["own-GIL"]) == (0, "legacy", [], "ended"), bug
    shared = paths(bug)
    assert {"single_parts.use", "single_parts.text", "single_parts.number"} <= set(shared)
    assert shared["single_parts.use"] == {
        "path": "single_parts.use", "type": "builtin_function_or_method", "static_type": False, "owner": 0,
        "single_phase": "single_parts"}
    line = line_of("single_parts.c", "static struct PyModuleDef definition")
    reason, beyond = bug["reasons"]
    assert reason.startswith("as it is, it cannot be used in own-GIL interpreters, which refuse single-phase"
                             " initialisation: the PyModuleDef `definition` of single_parts."), reason
    assert f" (single_parts.c:{line}); under --force, own-GIL interpreters share " in reason
    assert "such as single_parts.use (builtin_function_or_method), " in reason
    assert reason.endswith("; convert it to multi-phase initialisation (PEP 489)")
    assert beyond == "beyond that, isan found nothing in its own code that stands in the way"
    place = bug["extensions"][0]["place"]
    assert (place["symbol"], os.path.basename(place["file"]), place["line"]) == ("definition", "single_parts.c", line)
    assert (twin["verdict"], twin["shared"], twin["findings"], twin["reasons"]) == ("own-gil", [], [], []), twin
    assert twin["tried"]["objects"] > 10 and twin["extensions"][0]["place"] is None


def test_without_force_a_single_phase_module_is_refused(target_of):
    module = Check(target_of("3.13-plain"), "single_parts").one()
    assert (module["verdict"], module["shared"]) == ("legacy", [])
    assert module["reasons"] == ["own-GIL interpreters: refused (ImportError: module single_parts does not support"
                                 " loading in subinterpreters)"]


@PYTHONS
def test_module_that_makes_its_objects_anew_still_has_to_be_converted(target_of, name):
    """Nothing is copied from a definition with m_size 0, but own-GIL interpreters refuse it."""
    module = Check(target_of(name), "--force", "single_init_clean").one()
    assert (module["verdict"], module["shared"]) == ("legacy", []), module
    assert module["reasons"][0].endswith(f" (single_init_clean.c:{line_of('single_init_clean.c', 'static struct')});"
                                         " convert it to multi-phase initialisation (PEP 489)")


@PYTHONS
def test_object_that_all_modules_hold_is_unsafe(target_of, name):
    """It is seen in the modules, even if the exercise uses nothing."""
    check = Check(target_of(name), "--exercise", os.devnull, "multi_kept", "multi_parts")
    bug, twin = check.modules["multi_kept"], check.modules["multi_parts"]
    assert (bug["verdict"], twin["verdict"], twin["shared"]) == ("unsafe", "own-gil", [])
    assert [(one["path"], one["type"], one["single_phase"]) for one in bug["shared"]] == [("multi_kept.kept", "list", None)]
    assert "own-GIL interpreters share 1 mortal or mutable object: multi_kept.kept (list)" in bug["reasons"]


HANDED = """#include <Python.h>
static int module_exec(PyObject *m)
{
    static int imports;
    static PyObject *kept;
    if (++imports == 2) {
        kept = PyList_New(0);
    }
    return imports == 3 ? PyModule_AddObjectRef(m, "kept", kept) : 0;
}
static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec}, {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "handed", .m_slots = slots};
PyMODINIT_FUNC PyInit_handed(void) { return PyModuleDef_Init(&definition); }
"""


@PYTHONS
def test_object_of_another_interpreter_is_unsafe(target_of, name, tmp_path):
    """Only one interpreter has it in its module, but it belongs to the other."""
    target, source = target_of(name), tmp_path / "handed.c"
    source.write_text(HANDED)
    build(source, target.python, tmp_path)
    module = Check(target, "handed", env={"PYTHONPATH": os.fspath(tmp_path)}).one()
    assert module["verdict"] == "unsafe"
    assert [(one["path"], one["type"], one["owner"]) for one in module["shared"]] == [("handed.kept", "list", 2)]


SINGLE = """#include <Python.h>
static PyTypeObject Thing = {
    PyVarObject_HEAD_INIT(NULL, 0) .tp_name = "single_rest.Thing", .tp_basicsize = sizeof(PyObject)};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "single_rest", .m_size = -1};
PyMODINIT_FUNC PyInit_single_rest(void)
{
    PyObject *m = PyModule_Create(&definition);
    return m == NULL || PyModule_AddType(m, &Thing) < 0 ? NULL : m;
}
"""


@PYTHONS
def test_force_tells_what_is_left_after_the_conversion(target_of, name, tmp_path):
    """The second part of the answer: a static type stays a static type."""
    target, source = target_of(name), tmp_path / "single_rest.c"
    source.write_text(SINGLE)
    build(source, target.python, tmp_path)
    module = Check(target, "--force", "single_rest", env={"PYTHONPATH": os.fspath(tmp_path)}).one()
    assert module["reasons"][0].startswith("as it is, it cannot be used in own-GIL interpreters")
    assert module["reasons"][1] == "beyond that, isan found in its own code what follows"
    assert any("share 1 mortal or mutable object: single_rest.Thing (static type)" in reason
               for reason in module["reasons"]), module["reasons"]
    assert {f["holder"]["symbol"] for f in module["findings"]} == {"Thing"}, module["findings"]


@PYTHONS
def test_module_that_holds_functions_of_a_single_phase_module(target_of, name, tmp_path):
    """The definition that is named is the dependency's."""
    target = target_of(name)
    extension = next(target.extensions.glob("multi_parts.*.so"))
    (tmp_path / "above").mkdir()
    os.symlink(extension, tmp_path / "above" / extension.name)
    (tmp_path / "above/__init__.py").write_text("from . import multi_parts\nfrom single_parts import use\n")
    module = Check(target, "--force", "above", env={"PYTHONPATH": f"{tmp_path}:{target.extensions}"}).one()
    assert (module["verdict"], module["declares"]) == ("legacy", "own-gil"), module
    assert paths(module)["above.use"]["single_phase"] == "single_parts"
    assert "the PyModuleDef `definition` of single_parts." in module["reasons"][0]


PROXIES = """
import types, functools
class Proxy:
    __class__ = property(lambda self: 1/0)
    def __getattribute__(self, name):
        raise SystemExit("called by isan")
    __hash__ = __eq__ = None
def called(*arguments):
    raise SystemExit("called by isan")
class Meta(type):
    __eq__ = __ne__ = __hash__ = __getattribute__ = called
class Compared(metaclass=Meta):
    def __call__(self):
        return self
compared, table = Compared(), {"a": [Compared()], "b": (Compared,)}
def call():
    return compared(), compared()
proxy = Proxy()
def function(a, b=[1], *, c={"d": Proxy}):
    return lambda: (a, b, c)
closure = function(object())
partial = functools.partial(function, None)
loop = []
loop.append(loop)
nested = {proxy.__class__ if 0 else "a": (loop, [closure])}
from sys import version_info, modules
"""


@PYTHONS
def test_what_a_healthy_module_holds_is_not_run(target_of, name, tmp_path):
    """No code of the module runs when isan compares, and what CPython shares is no reason."""
    target = target_of(name)
    extension = next(target.extensions.glob("multi_parts.*.so"))
    (tmp_path / "odd").mkdir()
    os.symlink(extension, tmp_path / "odd" / extension.name)
    (tmp_path / "odd/__init__.py").write_text("from . import multi_parts\n" + PROXIES)
    exercise = tmp_path / "exercise.py"
    exercise.write_text("import odd\nodd.call()\n")
    module = Check(target, "--exercise", exercise, "odd", env={"PYTHONPATH": os.fspath(tmp_path)}).one()
    assert (module["verdict"], module["shared"], module["reasons"]) == ("own-gil", [], []), module
    assert module["tried"]
    assert not any("could not be compared" in note for note in module["notes"]), module["notes"]


def test_what_cpython_shares_is_its_own(target_of, tmp_path):
    """The static objects of its extensions, such as datetime's UTC, are no other module's fault, but that extension's."""
    (tmp_path / "clock.py").write_text("from datetime import timezone\nutc = [timezone.utc]\n")
    check = Check(target_of("3.13-plain"), "clock", "_datetime", env={"PYTHONPATH": os.fspath(tmp_path)})
    assert check.modules["clock"]["shared"] == [] and check.modules["clock"]["tried"]["objects"] > 10
    assert [one["path"] for one in check.modules["_datetime"]["shared"]] == ["_datetime.UTC"]
    assert check.modules["_datetime"]["verdict"] == "unsafe"


def test_verdict_says_how_much_was_tried(target_of, tmp_path):
    """Calls count, of whatever exercise. Wrong arguments are no try."""
    target, script = target_of("3.13-plain"), tmp_path / "mine.py"
    module = Check(target, "multi_parts").one()
    assert module["tried"].pop("objects") > 10
    assert module["tried"] == {"functions": 3, "functions_called": 1, "functions_run": 1, "types": 2,
                               "types_instantiated": 1, "own_gil_steps": 2}
    check = Check(target, "multi_parts", format="text")
    assert check.out.splitlines()[1].endswith("own-GIL safe  as far as tried (1 of 3 functions)"), check.out
    script.write_text("import multi_parts as m\nm.use(1)\nlist(map(repr, [m.unused(2)]))\n"
                      "try: m.unused_too()\nexcept TypeError: pass\ntry: raise m.error\nexcept m.error: pass\n")
    check = Check(target, "--exercise", script, "multi_parts")
    assert [check.one()["tried"][key] for key in ("functions", "functions_called", "functions_run")] == [3, 3, 2]
    check = Check(target, "--exercise", script, "multi_parts", format="text")
    assert check.out.splitlines()[1].endswith("own-GIL safe"), check.out
    check = Check(target, "--exercise", script, "multi_parts", "single_parts", format="junit")
    assert 'name="multi_parts"' in check.out and "as far as tried" not in check.out


UNDOTTED = """#include <Python.h>
static PyType_Slot type_slots[] = {{0, NULL}};
static PyType_Spec spec = {
    .name = "Undotted", .basicsize = sizeof(PyObject), .flags = Py_TPFLAGS_DEFAULT, .slots = type_slots};
static int module_exec(PyObject *m)
{
    PyObject *type = PyType_FromSpec(&spec);
    int result = type == NULL ? -1 : PyModule_AddObjectRef(m, "Undotted", type);
    Py_XDECREF(type);
    return result;
}
static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec}, {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "undotted", .m_slots = slots};
PyMODINIT_FUNC PyInit_undotted(void) { return PyModuleDef_Init(&definition); }
"""


def test_type_without_a_module_is_no_trouble(target_of, tmp_path):
    """Such a type has no __module__."""
    target, source = target_of("3.13-plain"), tmp_path / "undotted.c"
    source.write_text(UNDOTTED)
    build(source, target.python, tmp_path)
    module = Check(target, "undotted", env={"PYTHONPATH": os.fspath(tmp_path)}).one()
    assert (module["verdict"], module["shared"], module["reasons"]) == ("own-gil", [], []), module
    assert module["tried"]["types"] == 1 and not any("could not be compared" in note for note in module["notes"])


TYPES = """#include <Python.h>
static PyObject *use(PyObject *self, PyObject *unused) { (void)unused; return Py_NewRef(self); }
static PyMethodDef methods[] = {{"use", use, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyTypeObject Thing = {
    PyVarObject_HEAD_INIT(NULL, 0) .tp_name = "lower.Thing", .tp_basicsize = sizeof(PyObject), .tp_methods = methods};
static int module_exec(PyObject *m)
{
    static PyObject *kept;
    if (PyModule_AddType(m, &Thing) < 0 || (kept == NULL && (kept = PyList_New(0)) == NULL)) {
        return -1;
    }
    return PyModule_AddObjectRef(m, "kept", kept);
}
static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec}, {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "NAME", .m_slots = slots};
PyMODINIT_FUNC PyInit_NAME(void) { return PyModuleDef_Init(&definition); }
"""
CACHED = 'PyObject_GetAttrString(PyImport_ImportModule("multi_parts"), "Thing")'


@PYTHONS
def test_static_type_counts_for_the_module_that_has_it(target_of, name, tmp_path):
    """A module that imports it is not to blame; a module whose file has it is, whatever the type says.

    A module that keeps another module's type of the first interpreter is to blame for that.
    """
    target = target_of(name)
    for module, kept in ("lower", "PyList_New(0)"), ("feigned", "PyList_New(0)"), ("caches", CACHED):
        source = tmp_path / f"{module}.c"
        source.write_text(TYPES.replace("NAME", module).replace("PyList_New(0)", kept))
        build(source, target.python, tmp_path)
    extension = next(target.extensions.glob("multi_parts.*.so"))
    for package, taken in ("higher", "Thing"), ("keeps", "kept"), ("feigns", "__doc__"):
        (tmp_path / package).mkdir()
        os.symlink(extension, tmp_path / package / extension.name)
        (tmp_path / package / "__init__.py").write_text(f"from . import multi_parts\nfrom lower import {taken}\n")
    next(tmp_path.glob("feigned.*.so")).rename(tmp_path / "feigns" / extension.name.replace("multi_parts", "feigned"))
    check = Check(target, "higher", "keeps", "lower", "feigns", "caches", "--exercise", os.devnull,
                  env={"PYTHONPATH": f"{tmp_path}:{target.extensions}"})
    clean = check.modules["higher"]
    assert (clean["verdict"], clean["shared"], clean["reasons"]) == ("own-gil", [], []), clean
    assert any(note.startswith("not counted: own-GIL interpreters share ") and note.endswith(" of lower")
               for note in clean["notes"]), clean["notes"]
    assert (check.modules["keeps"]["verdict"], list(paths(check.modules["keeps"]))) == ("unsafe", ["keeps.kept"])
    assert {"caches.kept", "caches.kept.__dict__"} <= set(paths(check.modules["caches"])), check.modules["caches"]
    for module in "lower", "feigns.feigned":
        bug = check.modules[module.partition(".")[0]]
        assert bug["verdict"] == "unsafe" and paths(bug)[f"{module}.Thing"]["static_type"], bug
        assert {f"{module}.kept", f"{module}.Thing.use", f"{module}.Thing.__dict__"} <= set(paths(bug)), paths(bug)


UNWRITTEN = """
import posix
def write(fd, data, write=posix.write):
    if b"\\0" in data:
        raise OSError("no addresses here")
    return write(fd, data)
posix.write = write
"""


def test_what_was_not_compared_is_not_safe(target_of, tmp_path):
    """The addresses of the first interpreter are missing, or there is no memory file to put them into."""
    (tmp_path / "unwritten.py").write_text(UNWRITTEN)
    module = Check(target_of("3.13-plain"), "unwritten", env={"PYTHONPATH": os.fspath(tmp_path)}).one()
    assert module["verdict"] == "legacy", module
    assert "what own-GIL interpreters hold could not be compared: OSError: no addresses here" in module["notes"]
    (tmp_path / "sitecustomize.py").write_text(
        "import posix\ndef none(*arguments):\n    raise OSError(38, 'no memory files')\nposix.memfd_create = none\n")
    module = Check(target_of("3.13-plain"), "multi_parts", env={
        "PYTHONPATH": f"{tmp_path}:{target_of('3.13-plain').extensions}"}).one()
    assert (module["verdict"], outcomes(module)["own-GIL"]) == ("legacy", "ended"), module
    assert "what own-GIL interpreters hold could not be compared: OSError: [Errno 38] no memory files" in module["notes"]


STATIC_LIST = """#include <Python.h>
static PyListObject list = {.ob_base = PyVarObject_HEAD_INIT(&PyList_Type, 0)};
static int module_exec(PyObject *m)
{
    static int imports;
    if (PyInterpreterState_Get() != PyInterpreterState_Main() && ++imports == REFUSED) {
        PyErr_SetString(PyExc_ImportError, "not here");
        return -1;
    }
    return PyModule_AddObjectRef(m, "kept", (PyObject *)&list);
}
static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec}, {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "NAME", .m_slots = slots};
PyMODINIT_FUNC PyInit_NAME(void) { return PyModuleDef_Init(&definition); }
"""


def test_what_interpreters_share_that_refuse_the_module_does_not_decide(target_of, tmp_path):
    """The import fails in one of three; the other two share a list."""
    target = target_of("3.13-plain")
    for module, refused in ("picky", "1"), ("open", "0"):
        source = tmp_path / f"{module}_list.c"
        source.write_text(STATIC_LIST.replace("NAME", source.stem).replace("REFUSED", refused))
        build(source, target.python, tmp_path)
    check = Check(target, "picky_list", "open_list", env={"PYTHONPATH": os.fspath(tmp_path)})
    refuses, bug = check.modules["picky_list"], check.modules["open_list"]
    assert paths(refuses).keys() == {"picky_list.kept"} and paths(bug).keys() == {"open_list.kept"}
    assert (refuses["verdict"], bug["verdict"]) == ("main", "unsafe"), (refuses["reasons"], bug["reasons"])
    assert not any("share" in reason for reason in refuses["reasons"]), refuses["reasons"]
