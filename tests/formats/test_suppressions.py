"""Suppressions: what their patterns match, what the report says of them, and that those for CPython's own races hide
nothing of an extension's.  From logs written here, without debug information."""
import json
import re
import subprocess

import pytest

from helpers.log_writer import Writer
from helpers.product import log, model, suggestions, suppressions, text
from helpers.sample_report import everything
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
    """On a variable (name), or in memory; the functions of two stacks, innermost first."""
    stacks = [w.stack([*(function(n) for n in names), function("_PyEval_EvalFrameDefault")]) for names in (one, other)]
    where = dict(holder=variable(name)) if name else {}
    w.finding(id, "race", "none", current=2, used=stacks[0], **{"type": "", **({"size": 0} if name else {}), **where, **object})
    for i in range(2):
        w.place(id, "access", stack=stacks[i], tid=20 + i, interp=2 + i, amount=8, flags=log.PLACE_WRITE)


def lines_of(tmp_path, *lines, name="known.supp"):
    path = tmp_path / name
    path.write_text("".join(line + "\n" for line in lines))
    return str(path)


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
def test_a_name_of_the_finding(tmp_path, pattern):
    report = report_of(tmp_path, some(tmp_path), "share:%s  # known" % pattern.replace("*[+]*+", ""))
    assert report["findings"] == [] and [f["kind"] for f in report["suppressed"]] == ["share"]


@pytest.mark.parametrize("line", [
    "race:Spam", "share:spam", "share:Spa", "share:eggs", "share:Eggs_Type.tp_dict", "share:Spam+nothing", "share:Spam[+]",
    "share:me", "share:spam.py",
])
def test_no_name_of_the_finding(tmp_path, line):
    report = report_of(tmp_path, some(tmp_path), line + "  # something else")
    assert len(report["findings"]) == 1 and report["suppressed"] == []


def test_each_of_those_that_are_merged(tmp_path):
    """Two races on one variable are one finding; suppressing the one must not hide the other."""
    w = begin()
    race(w, 1, "counter", ["type_ready"], ["type_ready"])
    race(w, 2, "counter", ["eggs_run"], ["eggs_run"])
    report = report_of(tmp_path, w, "race:type_ready  # known")
    assert [f["id"] for f in report["findings"]] == [2] and [f["id"] for f in report["suppressed"]] == [1]
    assert report["findings"][0]["paired"] == [] and "race #1" not in text.render(report)


# -- the report ------------------------------------------------------------------------


def test_counts_and_what_is_never_matched(tmp_path):
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


def command(isan, *arguments):
    return subprocess.run([isan, "report", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=60)


def shared(*types):
    w = Writer()
    w.process(exe="")
    w.interp(1, log.BEGIN, 0)
    w.interp(2, log.BEGIN, 2)
    for id, type in enumerate(types, 1):
        w.finding(id, "share", current=2, owner=1, type=type)
    return w


def test_exit_status(isan, tmp_path):
    path = shared("Spam", "Eggs").write(tmp_path)
    spam, eggs = (lines_of(tmp_path, "share:%s  # known" % name, name=name) for name in ("Spam", "Eggs"))
    one = command(isan, "--suppressions", spam, path)
    assert one.returncode == 86 and "`Eggs`" in one.stdout and "`Spam`" not in one.stdout
    both = command(isan, "--suppressions", spam, "--suppressions", eggs, path)
    assert both.returncode == 0 and both.stdout.splitlines()[-1] == "SUMMARY: isan: no findings in 1 process"
    assert "Spam: 1 finding" in both.stdout and "Eggs: 1 finding" in both.stdout
    quiet = command(isan, "--if-any", "--suppressions", spam, "--suppressions", eggs, path)
    assert (quiet.returncode, quiet.stdout) == (0, "")
    made = json.loads(command(isan, "--format", "json", "--suppressions", spam, path).stdout)
    assert [f["object"]["type"] for f in made["findings"]] == ["Eggs"]
    assert [(f["object"]["type"], f["suppression"]["reason"]) for f in made["suppressed"]] == [("Spam", "known")]
    assert [s["count"] for s in made["suppressions"]] == [1]


def test_a_crash_is_never_suppressed(isan, tmp_path):
    w = shared("Spam")
    w.crash(stack=0, current=2)
    done = command(isan, "--if-any", "--suppressions", lines_of(tmp_path, "share:*  # all"), w.write(tmp_path))
    assert "isan: crash: the program was killed by SIGSEGV" in done.stdout
    assert "no findings, 1 crash" in done.stdout


@pytest.mark.parametrize("line,says", [
    ("share:Spam", "write kind:pattern  # reason"), ("share:Spam  #", "write kind:pattern  # reason"),
    ("share:Spam  known", "write kind:pattern  # reason"), ("Spam  # known", "write kind:pattern  # reason"),
    ("crash:*  # no", "there is no kind crash; give one of share, stale, "), ("shares:*  # no", "there is no kind shares"),
])
def test_a_reason_is_required(isan, tmp_path, line, says):
    file = lines_of(tmp_path, "# known", line)
    done = command(isan, "--suppressions", file, shared("Spam").write(tmp_path))
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("isan: %s:2: %s" % (file, says))


def test_no_such_file(isan, tmp_path):
    done = command(isan, "--suppressions", tmp_path / "none.supp", shared("Spam").write(tmp_path))
    assert (done.returncode, done.stdout) == (2, "") and "none.supp: No such file" in done.stderr


# -- suggested lines -----------------------------------------------------------------------


@pytest.mark.parametrize("hostile", [False, True])
def test_suggested_lines_match(tmp_path, hostile):
    """Each its finding, in a file that is refused until it says why."""
    made = everything(tmp_path, hostile)
    suggested = suggestions.render(made)
    assert all(c == "\n" or c.isprintable() for c in suggested)
    lines = [line for line in suggested.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines)) and sum(line.startswith("# ") for line in suggested.splitlines()) == len(made["findings"])
    with pytest.raises(suppressions.Malformed, match=r":2: say why, in place of WHY\?"):
        suppressions.read(lines_of(tmp_path, *suggested.splitlines(), name="raw.supp"))
    (tmp_path / "again").mkdir()
    left = everything(tmp_path / "again", hostile, suppressed=suggested.replace("WHY?", "because"))
    assert left["findings"] == [] and [s["pattern"] for s in left["suppressions"] if not s["count"]] == []


def test_suggested_lines_are_narrow(tmp_path):
    lines = [line for line in suggestions.render(everything(tmp_path)).splitlines() if not line.startswith("#")]
    assert {"share:cache+eggs.so  # WHY?", "race:counter+eggs.so  # WHY?", "static:Egg_Type+eggs.so  # WHY?",
            "immortal:eggs.so  # WHY?", "gilstate:PyGILState_Ensure+eggs_use+eggs.so  # WHY?",
            "free:eggs_use+serve+eggs.so  # WHY?"} <= set(lines)


@pytest.mark.parametrize("path,expected", [
    ("/a/eggs.cpython-313-x86_64-linux-gnu.so", "eggs.*so"), ("/a/eggs.so", "eggs.so"), ("/a/libc.so.6", "libc.so.6"),
    ("/a/e*g+s.abi3.so", "e[*]g[+]s.*so")])
def test_modules_of_suggested_lines(path, expected):
    assert suggestions._module(path) == expected


def test_suggest_command(isan, tmp_path):
    path = shared("Spam", "Eggs and bacon").write(tmp_path)
    done = command(isan, "--suggest", path)
    assert done.returncode == 86 and done.stdout == (
        "# share #1: interpreter 1 (own GIL) increfs a `Spam` that belongs to interpreter 0 (main)\n"
        "share:Spam  # WHY?\n"
        "# share #2: interpreter 1 (own GIL) increfs an `Eggs and bacon` that belongs to interpreter 0 (main)\n"
        "share:Eggs?and?bacon  # WHY?\n")
    refused = command(isan, "--suppressions", lines_of(tmp_path, *done.stdout.splitlines()), path)
    assert refused.returncode == 2 and refused.stderr.endswith("known.supp:2: say why, in place of WHY?\n")
    file = lines_of(tmp_path, *done.stdout.replace("WHY?", "it is meant so").splitlines())
    assert command(isan, "--suppressions", file, path).returncode == 0


SHARE = """
first, second = Interpreter(), Interpreter()
for interpreter in first, second:
    interpreter.run("import cache_static")
second.end()
first.end()
"""


def test_option_of_a_run(subject, tmp_path):
    all_of_it = [kind + ":cache_static.*  # the bug it is for" for kind in ("share", "stale", "static", "leak", "free")]
    file = lines_of(tmp_path, *all_of_it)
    run = subject.run(SHARE, "suppressions=" + file)
    assert run.status == 0 and "SUMMARY: isan: no findings" in run.err and "suppressed by " in run.err, run.err
    assert subject.by_hand(SHARE, "suppressions=" + file).returncode == 0
    assert subject.by_hand("import os; os.chdir('/')" + SHARE, "suppressions=" + file).stderr == ""
    part = lines_of(tmp_path, *all_of_it[1:], name="part")
    for done in subject.run(SHARE, "suppressions=" + part).err, subject.by_hand(SHARE, "suppressions=" + part).stderr:
        assert "isan: share #" in done and "isan: static #" not in done and "suppressed by " in done


def test_option_with_a_bad_file(subject, tmp_path):
    """Said before the program runs; by hand what was found is kept."""
    done = subject.run("print('ran')", "suppressions=/nowhere")
    assert (done.status, done.out) == (2, "") and "isan: cannot read the suppressions /nowhere" in done.err
    done = subject.by_hand("print('ran')", "suppressions=/nowhere")
    assert (done.returncode, done.stdout) == (2, "") and "cannot read suppressions=/nowhere" in done.stderr
    file = lines_of(tmp_path, "share:*")
    done = subject.run("print('ran')", "suppressions=" + file)
    assert (done.status, done.out) == (2, "") and file + ":1: write kind:pattern" in done.err
    done = subject.by_hand(SHARE, "suppressions=" + file, env={"TMPDIR": str(tmp_path)})
    kept, = tmp_path.glob(".isan.*.log")
    assert file + ":1: write kind:pattern" in done.stderr and "the log is %s" % kept in done.stderr


# -- CPython's own ---------------------------------------------------------------------


TP_FLAGS = "race:*.tp_flags  # type_ready writes the flags of CPython's static types again in each interpreter"
HEAP = "race:_PyType_Lookup  # memory, by the code"


def cpythons(tmp_path, line, name, one, other, **object):
    """Whether a race counts as CPython's own."""
    w = begin()
    race(w, 1, name, one, other, **object)
    report = report_of(tmp_path, w, line, ours=True)
    assert len(report["findings"]) + len(report["suppressed"]) == 1
    return report["findings"] == []


@pytest.mark.parametrize("name,one,other,of_cpython", [
    ("PyLong_Type", ["type_ready"], ["type_ready"], True),
    ("PyScannerType", ["type_ready", "json_exec"], ["type_ready", "json_exec"], True),
    ("PyLong_Type", ["json_exec"], ["_PyEval_EvalFrameDefault"], True),
    # On the way of an extension's to it, but the doing is CPython's.
    ("PyLong_Type", ["type_ready", "eggs_run"], ["_PyType_Lookup", "eggs_exec"], True),
    ("PyLong_Type", ["memcpy", "type_ready"], ["type_ready"], True),
    # An extension's variable, whoever accesses it.
    ("Eggs_Type", ["type_ready"], ["type_ready"], False),
    ("Eggs_Type", ["type_ready", "PyType_Ready", "eggs_exec"], ["type_ready", "PyType_Ready", "eggs_exec"], False),
    # An extension's access, whosever the variable is; ThreadSanitizer's memcpy() is in the executable.
    ("PyLong_Type", ["eggs_run"], ["type_ready"], False),
    ("PyLong_Type", ["type_ready"], ["eggs_run"], False),
    ("PyLong_Type", ["memcpy", "eggs_run"], ["type_ready"], False),
    ("PyLong_Type", [], ["memcpy"], True),
])
def test_a_variable_of_cpython(tmp_path, name, one, other, of_cpython):
    assert cpythons(tmp_path, TP_FLAGS, name, one, other) is of_cpython


@pytest.mark.parametrize("one,other,object,of_cpython", [
    (["_PyType_Lookup"], ["type_ready"], {}, True),
    (["_PyType_Lookup"], ["type_ready", "json_exec"], {}, True),
    (["_PyType_Lookup"], ["type_ready", "eggs_run"], {}, False),
    (["_PyType_Lookup", "eggs_run"], ["type_ready"], {}, False),
    (["_PyType_Lookup"], ["type_ready"], {"holder": variable("PyLong_Type")}, True),
    (["_PyType_Lookup"], ["type_ready"], {"holder": variable("Eggs_Type")}, False),     # its tp_dict, or so
])
def test_memory_that_was_allocated(tmp_path, one, other, object, of_cpython):
    assert cpythons(tmp_path, HEAP, None, one, other, **object) is of_cpython


def test_memory_that_an_extension_allocated(tmp_path):
    w = begin()
    made = w.stack([function("PyType_Ready"), function("eggs_exec")])
    race(w, 1, None, ["_PyType_Lookup"], ["type_ready"], origin=made, owner=2, flags=log.OBJ_OBJECT | log.OBJ_ORIGIN_STACK)
    assert len(report_of(tmp_path, w, HEAP, ours=True)["findings"]) == 1


def test_a_stack_that_is_missing_proves_nothing(tmp_path):
    w = begin()
    w.finding(1, "race", "none", current=2, holder=variable("PyLong_Type"), size=0, type="")
    w.place(1, "access", tid=20, interp=2, amount=8)
    assert len(report_of(tmp_path, w, TP_FLAGS, ours=True)["findings"]) == 1


@pytest.mark.parametrize("flavor,hexversion,known", [
    ("tsan", 0x030d05f0, "PyLong_Type"), ("tsan", 0x030e06f0, "_PyExc_KeyError"), ("fast", 0x030d05f0, None),
    ("stock", 0x030e06f0, None), ("tsan", 0x030c00f0, None),
])
def test_for_which_pythons(tmp_path, flavor, hexversion, known):
    """Each release has races of its own."""
    w = begin(flavor=flavor, hexversion=hexversion)
    race(w, 1, "PyLong_Type", ["type_ready"], ["type_ready"])
    race(w, 2, "_PyExc_KeyError", ["_PyExc_InitTypes"], ["_PyExc_InitTypes"])
    race(w, 3, "Eggs_Type", ["type_ready", "_PyExc_InitTypes"], ["type_ready", "_PyExc_InitTypes"])
    report = model.build(log.read([w.write(tmp_path)]), Symbols(), suppressions_of=suppressions.of_cpython)
    assert {f["holder"]["symbol"] for f in report["findings"]} == {"PyLong_Type", "_PyExc_KeyError", "Eggs_Type"} - {known}
    assert [f["holder"]["symbol"] for f in report["suppressed"]] == ([known] if known else [])
    said = "known of CPython itself and left out: 1 race (isan report --no-default-suppressions shows them)"
    assert (said in text.render(report)) is bool(known)


# Where it is not the main interpreter that imports datetime first, CPython crashes now and then (gh-136421).
IMPORTS = """
import datetime, sys, threading
ready = threading.Barrier(4)
def work(interpreter):
    ready.wait()
    interpreter = interpreter or Interpreter()
    interpreter.run("import json, datetime, decimal; int('12345')")
    interpreter.end()
# From 3.14 on it is what makes an interpreter that races for certain.
threads = [threading.Thread(target=work, args=(Interpreter() if sys.version_info < (3, 14) else None,)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_four_interpreters_that_import(tsan):
    """What CPython races on then is listed (tests/races.py does more), and isan has no race of its own: with so little
    room each of them frees what others have left in quarantine."""
    run = tsan.run(IMPORTS, "quarantine=1")
    assert run.findings("race") == [] and run.report["crashes"] == [], run.err
    known = [finding["holder"]["symbol"] for finding in run.report["suppressed"] if finding["holder"]]
    assert {"_PyRuntime", "_PyExc_KeyError"} & set(known) and "known of CPython itself and left out: " in run.err
    assert {finding["kind"] for finding in run.report["suppressed"]} == {"race"}


def test_the_files_that_come_with_isan():
    """Each names a variable or function, never whatever there is, with a reason that says more than that it is known."""
    files = sorted(SUPPRESSIONS.glob("*.supp"))
    assert files
    for file in files:
        assert re.fullmatch(r"cpython-3\.\d+\.supp", file.name)
        given = suppressions.read(str(file), True)
        assert given and len({s.pattern for s in given}) == len(given)
        for s in given:
            assert s.kind == "race" and len(s.reason.split()) >= 6, s
            assert all(re.search(r"\w{4}", part) for part in s.pattern.split("+")), s
