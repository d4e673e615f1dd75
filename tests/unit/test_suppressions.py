"""Suppressions: what patterns match, and what the report says about them.  Those for races of CPython itself hide no race of
an extension.  The logs are written here, without debug information."""
import re

import pytest

from helpers.log_writer import Writer
from helpers.product import log, model, suggestions, suppressions, text
from helpers.sample_report import sample_report
from helpers.suppression_file import lines_of
from helpers.tree import SUPPRESSIONS

PYTHON, JSON_, EXT = "/opt/bin/python3.13", "/opt/lib/python3.13/lib-dynload/_json.so", "/home/me/eggs.so"
BASES = {PYTHON: 0x10000000, JSON_: 0x20000000, EXT: 0x30000000}
FUNCTIONS = {PYTHON: ["_PyEval_EvalFrameDefault", "type_ready", "_PyType_Lookup", "memcpy", "PyType_Ready", "_PyExc_InitTypes"],
             JSON_: ["json_exec"], EXT: ["eggs_exec", "eggs_run"]}
VARIABLES = {PYTHON: [("PyLong_Type", ".tp_flags"), ("_PyExc_KeyError", ".tp_vectorcall")],
             JSON_: [("PyScannerType", ".tp_flags")], EXT: [("Eggs_Type", ".tp_flags"), ("counter", None)]}


class Symbols:
    """Functions and variables, each at a multiple of 0x100 in its module."""
    bare, errors = (), {}

    def code(self, module, address):
        function = FUNCTIONS[module.path][(address - module.bias) >> 8]
        return [{"function": function, "line": 7, "start": 1,
                 "file": None if function == "memcpy" else function + ".c"}]

    def data(self, module, address):
        symbol, element = VARIABLES[module.path][((address - module.bias) >> 8) - 0x100]
        return {"symbol": symbol, "element": element, "file": "file.c", "line": 3, "section": ".data"}

    def tls(self, *_):
        return {}

    def member(self, *_):
        return None


def function(name):
    return next(BASES[module] + 0x100 * names.index(name) + 0x10 for module, names in FUNCTIONS.items() if name in names)


def variable(name):
    return next(BASES[module] + 0x10000 + 0x100 * i for module, all in VARIABLES.items()
                for i, (symbol, _) in enumerate(all) if symbol == name)


def begin(pid=100, flavor="tsan", hexversion=0x030d05f0):
    w = Writer(pid=pid, start=pid)
    w.process(flavor=flavor, hexversion=hexversion)
    for module, bias in BASES.items():
        w.module(module, bias)
    for serial, kind in (1, 0), (2, 2), (3, 2):
        w.interp(serial, log.BEGIN, kind)
    return w


def race(w, id, name, one, other, **object):
    """Write a race on a variable (name), or in memory; one, other: the functions of the stacks, innermost first."""
    stacks = [w.stack([*(function(n) for n in names), function("_PyEval_EvalFrameDefault")]) for names in (one, other)]
    where = dict(holder=variable(name)) if name else {}
    w.finding(id, "race", "none", current=2, used=stacks[0], **{"type": "", **({"size": 0} if name else {}), **where, **object})
    for i in range(2):
        w.place(id, "access", stack=stacks[i], tid=20 + i, interp=2 + i, amount=8, flags=log.PLACE_WRITE)


def report_of(tmp_path, w, *lines, ours=False, **more):
    """The report on one log with these suppressions."""
    given = suppressions.read(lines_of(tmp_path, *lines, name="known-%d.supp" % hash(lines)), ours)
    return model.build(log.read([w.write(tmp_path)]), Symbols(), suppressions_of=lambda log: given, **more)


# -- what a pattern matches ------------------------------------------------------------


def some(tmp_path):
    """A share of a Spam, created by Python code in spam.make, used in eggs.so, in the variable counter."""
    w = begin()
    make = w.code("/src/spam.py", "Spam.make it", 20, (4, 21))
    used = w.stack([function("eggs_run"), function("_PyEval_EvalFrameDefault")])
    registered = w.stack([function("type_ready")])
    w.finding(1, "share", current=3, owner=2, origin=make, type="Spam", holder=variable("Eggs_Type"), used=used)
    w.place(1, "registered", stack=registered, interp=2)
    return w


@pytest.mark.parametrize("pattern", [
    "Eggs_Type", "Eggs_Type.tp_flags", "*.tp_flags", "Spam", "eggs_run", "eggs_*", "type_ready", "eggs.so", "/home/me/*",
    "Spam.make?it", "Spam+eggs_run+*.so", "_PyEval_*", "*[+]*+Spam", "[ST]pam",
])
def test_pattern_matches(tmp_path, pattern):
    report = report_of(tmp_path, some(tmp_path), "share:%s  # known" % pattern.replace("*[+]*+", ""))
    assert report["findings"] == [] and [f["kind"] for f in report["suppressed"]] == ["share"]


@pytest.mark.parametrize("line", [
    "race:Spam", "share:spam", "share:Spa", "share:eggs", "share:Eggs_Type.tp_dict", "share:Spam+nothing", "share:Spam[+]",
    "share:me", "share:spam.py",
])
def test_pattern_does_not_match(tmp_path, line):
    report = report_of(tmp_path, some(tmp_path), line + "  # something else")
    assert len(report["findings"]) == 1 and report["suppressed"] == []


def test_merged_findings_are_suppressed_one_by_one(tmp_path):
    """Two races on one variable are one finding.  A suppression of one of them does not hide the other."""
    w = begin()
    race(w, 1, "counter", ["type_ready"], ["type_ready"])
    race(w, 2, "counter", ["eggs_run"], ["eggs_run"])
    report = report_of(tmp_path, w, "race:type_ready  # known")
    assert [f["id"] for f in report["findings"]] == [2] and [f["id"] for f in report["suppressed"]] == [1]
    assert report["findings"][0]["paired"] == [] and "race #1" not in text.render(report)


# -- the report ------------------------------------------------------------------------


def test_counts_of_matches_and_lines_that_never_match(tmp_path):
    w = some(tmp_path)
    race(w, 2, "counter", ["eggs_run"], ["eggs_run"])
    report = report_of(tmp_path, w, "# about us", "", "share:Sp?m  # is on purpose", "leak:Spam # goes with the process",
                       "share:Spam  # the first one counts")
    assert [f["kind"] for f in report["findings"]] == ["race"]
    finding, = report["suppressed"]
    assert (finding["suppression"]["line"], finding["suppression"]["reason"]) == (3, "is on purpose")
    assert [(s["line"], s["kind"], s["pattern"], s["count"]) for s in report["suppressions"]] == [
        (3, "share", "Sp?m", 1), (4, "leak", "Spam", 0), (5, "share", "Spam", 0)]
    *_, said, summary = text.render(report).splitlines()
    assert re.fullmatch(r"suppressed by \S+\.supp: 1 finding; share:Sp\?m \(line 3\) 1, never leak:Spam \(line 4\),"
                        r" share:Spam \(line 5\)", said)
    assert summary == "SUMMARY: isan: 1 finding (1 race) in 1 process"


# -- suggested lines -----------------------------------------------------------------------


@pytest.mark.parametrize("hostile", [False, True])
def test_suggested_lines_match(tmp_path, hostile):
    """Each suggested line matches its finding; the file is refused until it gives reasons."""
    made = sample_report(tmp_path, hostile)
    suggested = suggestions.render(made)
    assert all(c == "\n" or c.isprintable() for c in suggested)
    lines = [line for line in suggested.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines)) and sum(line.startswith("# ") for line in suggested.splitlines()) == len(made["findings"])
    with pytest.raises(suppressions.Malformed, match=r":2: say why, in place of WHY\?"):
        suppressions.read(lines_of(tmp_path, *suggested.splitlines(), name="raw.supp"))
    (tmp_path / "again").mkdir()
    left = sample_report(tmp_path / "again", hostile, suppressed=suggested.replace("WHY?", "because"))
    assert left["findings"] == [] and [s["pattern"] for s in left["suppressions"] if not s["count"]] == []


def test_suggested_lines_are_narrow(tmp_path):
    lines = [line for line in suggestions.render(sample_report(tmp_path)).splitlines() if not line.startswith("#")]
    assert {"share:cache+eggs.so  # WHY?", "race:counter+eggs.so  # WHY?", "static:Egg_Type+eggs.so  # WHY?",
            "immortal:eggs.so  # WHY?", "gilstate:PyGILState_Ensure+eggs_use+eggs.so  # WHY?",
            "free:eggs_use+serve+eggs.so  # WHY?"} <= set(lines)


@pytest.mark.parametrize("path,expected", [
    ("/a/eggs.cpython-313-x86_64-linux-gnu.so", "eggs.*so"), ("/a/eggs.so", "eggs.so"), ("/a/libc.so.6", "libc.so.6"),
    ("/a/e*g+s.abi3.so", "e[*]g[+]s.*so")])
def test_modules_of_suggested_lines(path, expected):
    assert suggestions._module(path) == expected


# -- CPython's own ---------------------------------------------------------------------


TP_FLAGS = "race:*.tp_flags  # type_ready writes the flags of CPython's static types again in each interpreter"
HEAP = "race:_PyType_Lookup  # memory, by the code"


def cpythons(tmp_path, line, name, one, other, **object):
    """Whether a race counts as one of CPython itself."""
    w = begin()
    race(w, 1, name, one, other, **object)
    report = report_of(tmp_path, w, line, ours=True)
    assert len(report["findings"]) + len(report["suppressed"]) == 1
    return report["findings"] == []


@pytest.mark.parametrize("name,one,other,of_cpython", [
    ("PyLong_Type", ["type_ready"], ["type_ready"], True),
    ("PyScannerType", ["type_ready", "json_exec"], ["type_ready", "json_exec"], True),
    ("PyLong_Type", ["json_exec"], ["_PyEval_EvalFrameDefault"], True),
    # An extension calls CPython, and CPython accesses the variable.
    ("PyLong_Type", ["type_ready", "eggs_run"], ["_PyType_Lookup", "eggs_exec"], True),
    ("PyLong_Type", ["memcpy", "type_ready"], ["type_ready"], True),
    # A variable of an extension, accessed by CPython.
    ("Eggs_Type", ["type_ready"], ["type_ready"], False),
    ("Eggs_Type", ["type_ready", "PyType_Ready", "eggs_exec"], ["type_ready", "PyType_Ready", "eggs_exec"], False),
    # An access by an extension to a variable of CPython; ThreadSanitizer's memcpy() is in the executable.
    ("PyLong_Type", ["eggs_run"], ["type_ready"], False),
    ("PyLong_Type", ["type_ready"], ["eggs_run"], False),
    ("PyLong_Type", ["memcpy", "eggs_run"], ["type_ready"], False),
    ("PyLong_Type", [], ["memcpy"], True),
])
def test_race_on_a_variable_is_cpythons_own(tmp_path, name, one, other, of_cpython):
    assert cpythons(tmp_path, TP_FLAGS, name, one, other) is of_cpython


@pytest.mark.parametrize("one,other,object,of_cpython", [
    (["_PyType_Lookup"], ["type_ready"], {}, True),
    (["_PyType_Lookup"], ["type_ready", "json_exec"], {}, True),
    (["_PyType_Lookup"], ["type_ready", "eggs_run"], {}, False),
    (["_PyType_Lookup", "eggs_run"], ["type_ready"], {}, False),
    (["_PyType_Lookup"], ["type_ready"], {"holder": variable("PyLong_Type")}, True),
    (["_PyType_Lookup"], ["type_ready"], {"holder": variable("Eggs_Type")}, False),     # its tp_dict, or so
])
def test_race_on_allocated_memory_is_cpythons_own(tmp_path, one, other, object, of_cpython):
    assert cpythons(tmp_path, HEAP, None, one, other, **object) is of_cpython


def test_race_on_memory_of_an_extension_is_reported(tmp_path):
    w = begin()
    made = w.stack([function("PyType_Ready"), function("eggs_exec")])
    race(w, 1, None, ["_PyType_Lookup"], ["type_ready"], origin=made, owner=2, flags=log.OBJ_OBJECT | log.OBJ_ORIGIN_STACK)
    assert len(report_of(tmp_path, w, HEAP, ours=True)["findings"]) == 1


def test_race_with_a_missing_stack_is_reported(tmp_path):
    w = begin()
    w.finding(1, "race", "none", current=2, holder=variable("PyLong_Type"), size=0, type="")
    w.place(1, "access", tid=20, interp=2, amount=8)
    assert len(report_of(tmp_path, w, TP_FLAGS, ours=True)["findings"]) == 1


@pytest.mark.parametrize("flavor,hexversion,known", [
    ("tsan", 0x030d05f0, "PyLong_Type"), ("tsan", 0x030e06f0, "_PyExc_KeyError"), ("fast", 0x030d05f0, None),
    ("stock", 0x030e06f0, None), ("tsan", 0x030c00f0, None),
])
def test_suppressions_apply_to_one_release_under_tsan(tmp_path, flavor, hexversion, known):
    """Each release has its own races."""
    w = begin(flavor=flavor, hexversion=hexversion)
    race(w, 1, "PyLong_Type", ["type_ready"], ["type_ready"])
    race(w, 2, "_PyExc_KeyError", ["_PyExc_InitTypes"], ["_PyExc_InitTypes"])
    race(w, 3, "Eggs_Type", ["type_ready", "_PyExc_InitTypes"], ["type_ready", "_PyExc_InitTypes"])
    report = model.build(log.read([w.write(tmp_path)]), Symbols(), suppressions_of=suppressions.of_cpython)
    assert {f["holder"]["symbol"] for f in report["findings"]} == {"PyLong_Type", "_PyExc_KeyError", "Eggs_Type"} - {known}
    assert [f["holder"]["symbol"] for f in report["suppressed"]] == ([known] if known else [])
    said = "known of CPython itself and left out: 1 race (isan report --no-default-suppressions shows them)"
    assert (said in text.render(report)) is bool(known)


def test_the_files_that_come_with_isan():
    """Each pattern names a variable or function, and has a reason of at least six words."""
    files = sorted(SUPPRESSIONS.glob("*.supp"))
    assert files
    for file in files:
        assert re.fullmatch(r"cpython-3\.\d+\.supp", file.name)
        given = suppressions.read(str(file), True)
        assert given and len({s.pattern for s in given}) == len(given)
        for s in given:
            assert s.kind == "race" and len(s.reason.split()) >= 6, s
            assert all(re.search(r"\w{4}", part) for part in s.pattern.split("+")), s
