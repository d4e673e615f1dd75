"""Fingerprints, which outlive edits and rebuilds, and reports compared with an earlier one."""
import copy
import json
import re
import subprocess

import pytest

from ext.build import build
from helpers.log_writer import Writer
from helpers.product import baseline, fingerprints, log, model, text
from helpers.tree import EXT

USE = """
first, second = Interpreter(), Interpreter()
for interpreter in first, second:
    interpreter.run("import " + module)
second.run("import " + module + " as m; m.get()['key'] = 1")
second.end()
first.end()
"""


@pytest.fixture(scope="module")
def fast(subject_of):
    return subject_of("3.13-fast")


def prints(run):
    found = {finding["fingerprint"]: finding for finding in run.report["findings"]}
    assert len(found) == len(run.report["findings"]) and {"static", "share", "leak"} <= {f["kind"] for f in found.values()}
    return found


def test_fingerprints_outlive_edits_and_directories(fast, tmp_path):
    """The same extension, built where it is and, with lines inserted above and within, elsewhere; and another variable."""
    source = (EXT / "cache_static.c").read_text()
    edited = source.replace("#include <Python.h>", "#include <Python.h>\n\n/* One\n * more. */\nint unrelated[500];\n")
    edited = edited.replace("    if (cache == NULL) {\n        cache =", "    unrelated[1] = 1;\n    if (cache == NULL) {\n\n        cache =")
    assert len(edited.splitlines()) == len(source.splitlines()) + 7
    found, lines = {}, {}
    for name, contents in (("one", source), ("two", edited), ("other", re.sub(r"\bcache\b", "cache2", source))):
        directory = tmp_path / name / "src"
        directory.mkdir(parents=True)
        (directory / "cache_static.c").write_text(contents)
        build(directory / "cache_static.c", fast.python, directory, fast.cflags)
        # Written below other lines, in another directory as well.
        run = fast.run("\n" * len(name) + USE, module="cache_static", extensions=directory)
        assert run.status == 86, run.err
        found[name] = prints(run)
        lines[name] = {f["holder"]["line"] for f in found[name].values() if f["holder"]}
    assert lines["one"] != lines["two"]
    assert set(found["one"]) == set(found["two"])
    assert {f: finding["kind"] for f, finding in found["one"].items()} == {f: finding["kind"] for f, finding in found["two"].items()}
    assert not set(found["one"]) & {f for f, finding in found["other"].items() if (finding["holder"] or {}).get("symbol")}


class Symbols:
    """No module has any."""
    bare, errors = (), {}
    code = lambda *_: {}
    data = tls = lambda *_: {}
    member = lambda *_: None


def made(*places, pid=100, edited=0, directory="/src", count=1):
    """The log of a list that interpreter 2 takes from 1, for each of these lines of a function in which it was created."""
    w = Writer(pid=pid)
    w.process(exe="", cwd=directory)
    w.interp(1, log.BEGIN, 0)
    w.interp(2, log.BEGIN, 2)
    make = w.code(directory + "/a.py", "make", 10 + edited, *((1, line + edited) for line in places))
    for id, _ in enumerate(places, 1):
        w.finding(id, "share", current=2, owner=1, origin=make + id - 1, type="list", serial=id, count=count)
    w.exit()
    return w


def report_of(*paths, **more):
    return model.build(log.read(list(paths)), Symbols(), **more)


def test_places_of_one_function_are_told_apart(tmp_path):
    """By number, in the order of their lines, wherever the function is."""
    one = report_of(made(12, 9, 100).write(tmp_path))["findings"]
    base = min(f["fingerprint"] for f in one)
    assert [(f["stacks"]["created"][0]["line"], f["fingerprint"]) for f in one] == [
        (12, base + "-2"), (9, base), (100, base + "-3")]
    assert len(base) == 16
    moved = report_of(made(9, 13, edited=300, directory="/elsewhere").write(tmp_path, "isan.2.log"))["findings"]
    assert [f["fingerprint"] for f in moved] == [base, base + "-2"]


@pytest.mark.parametrize("one,other", [
    ("_m.cpython-313-x86_64-linux-gnu.so", "_m.cpython-314d-x86_64-linux-gnu.so"), ("/a/_m.abi3.so", "/b/_m.so"),
    ("_m.cpython-311-darwin.so", "_m.so")])
def test_module_names(one, other):
    assert fingerprints.module_name(one) == fingerprints.module_name(other) == "_m.so"


FINDING = {
    "kind": "share", "access": "incref", "object": {"type": "list", "size": 56, "address": 1, "serial": 2},
    "owner": {"kind": "own-gil", "id": 1, "serial": 2}, "current": {"kind": "legacy", "id": 2, "serial": 3},
    "holder": {"kind": "static", "module": "/a/_m.so", "symbol": "cache", "path": "[3].next", "section": ".bss", "address": 7,
               "file": "/a/m.c", "line": 7},
    "stacks": {"created": [{"kind": "python", "function": "make", "file": "/a/m.py", "line": 3, "start": 1, "cpython": False}],
               "used": [{"kind": "native", "function": "use.isra.0", "file": "/a/m.c", "line": 9, "start": 8, "module": "/a/_m.so",
                         "address": 99, "offset": 9, "cpython": False}]}}


def changed(*keys, to):
    finding = copy.deepcopy(FINDING)
    inner = finding
    for key in keys[:-1]:
        inner = inner[key]
    assert inner[keys[-1]] != to
    inner[keys[-1]] = to
    return finding


def print_of(finding):
    fingerprints.assign([finding])
    return finding["fingerprint"]


@pytest.mark.parametrize("keys,to", [
    (("object", "address"), 5), (("object", "serial"), 5), (("object", "size"), 5), (("owner", "id"), 5), (("owner", "serial"), 5),
    (("holder", "address"), 5), (("holder", "line"), 5), (("holder", "file"), "/b/n.c"), (("holder", "path"), "[8].next"),
    (("holder", "path"), "[3].next->rows[5].value"),
    (("holder", "module"), "/b/_m.cpython-313-x86_64-linux-gnu.so"), (("stacks", "created", 0, "line"), 5),
    (("stacks", "created", 0, "file"), "/b/m.py"), (("stacks", "created", 0, "start"), 2), (("stacks", "used", 0, "line"), 5),
    (("stacks", "used", 0, "file"), None), (("stacks", "used", 0, "address"), 5), (("stacks", "used", 0, "offset"), 5),
    (("stacks", "used", 0, "function"), "use"), (("stacks", "used", 0, "function"), "use.constprop.1"),
])
def test_what_a_fingerprint_outlives(keys, to):
    assert print_of(changed(*keys, to=to)) == print_of(copy.deepcopy(FINDING))


@pytest.mark.parametrize("keys,to", [
    (("kind",), "free"), (("access",), "decref"), (("object", "type"), "dict"), (("holder",), None), (("holder", "symbol"), "caches"),
    (("holder", "module"), "/a/_n.so"), (("holder", "path"), "[3].last"), (("owner", "kind"), "legacy"),
    (("stacks", "created", 0, "function"), "made"), (("stacks", "created", 0, "file"), "/a/n.py"),
    (("stacks", "used", 0, "function"), "used"), (("stacks", "used", 0, "module"), "/a/_n.so"),
])
def test_what_a_fingerprint_is_made_of(keys, to):
    assert print_of(changed(*keys, to=to)) != print_of(copy.deepcopy(FINDING))


def with_holder(**holder):
    return {**copy.deepcopy(FINDING), "holder": holder or None}


@pytest.mark.parametrize("holder", [
    {**FINDING["holder"], "indirect": True}, {**FINDING["holder"], "indirect": True, "symbol": "caches"},
    {**dict.fromkeys(FINDING["holder"]), "kind": "reference"}, {**dict.fromkeys(FINDING["holder"]), "kind": "memory"}])
def test_a_search_through_memory_is_not_in_a_fingerprint(holder):
    """It takes a limited time for each process: what it finds depends on what was searched before."""
    assert print_of(with_holder(**holder)) == print_of(with_holder())
    assert fingerprints.identity(with_holder(**holder)) != fingerprints.identity(with_holder())


@pytest.mark.parametrize("holder", [
    {**FINDING["holder"], "indirect": False}, {**FINDING["holder"], "kind": "foreign", "indirect": False},
    {**dict.fromkeys(FINDING["holder"]), "kind": "cycle"},
    {**dict.fromkeys(FINDING["holder"]), "kind": "reference", "edge": "field", "object": {"type": "list"}}])
def test_what_holds_it_without_a_search_is_in_a_fingerprint(holder):
    assert print_of(with_holder(**holder)) != print_of(with_holder())


# -- compared with an earlier report -------------------------------------------------------


def command(isan, *arguments):
    return subprocess.run([isan, "report", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=60)


def test_baseline(isan, tmp_path):
    before, after = (w.write(tmp_path, name) for w, name in ((made(11, 12, 13), "before.log"), (made(11, edited=5), "after.log")))
    saved = tmp_path / "saved.json"
    assert command(isan, "--format", "json", "-o", saved, before).returncode == 86
    same = command(isan, "--baseline", saved, before)
    assert same.returncode == 0
    assert [line.split(":")[1] for line in same.stdout.splitlines()[:3]] == [" known"] * 3 and "share #3" in same.stdout
    assert same.stdout.endswith("SUMMARY: isan: 3 findings (3 share) in 1 process; since the baseline: 0 new, 3 known, 0 gone\n")
    assert "hint" not in same.stdout and "hint" in command(isan, "--full", "--baseline", saved, before).stdout
    assert command(isan, "--if-any", "--baseline", saved, before).stdout == ""

    less = command(isan, "--baseline", saved, after)
    assert less.returncode == 0 and less.stdout.endswith("since the baseline: 0 new, 1 known, 2 gone\n")
    assert [line for line in less.stdout.splitlines() if "gone: share:" in line] == 2 * [
        "isan: gone: share: interpreter 1 (own GIL) increfs a `list` that belongs to interpreter 0 (main)"]

    assert command(isan, "--format", "json", "-o", saved, after).returncode == 86
    more = command(isan, "--format", "json", "--baseline", saved, before)
    report = json.loads(more.stdout)
    assert more.returncode == 86 and [f["baseline"] for f in report["findings"]] == ["new", "new", "known"]
    assert report["gone"] == [] and report["baseline"] == str(saved)
    shown = command(isan, "--baseline", saved, before).stdout
    assert shown.index("share #2: ") < shown.index("share #3: ") < shown.index("known: share #1: ")
    # What it is compared with may itself have been compared.
    saved.write_text(more.stdout)
    assert command(isan, "--baseline", saved, before).returncode == 0
    # Suppressed is not gone.
    (tmp_path / "supp").write_text("share:list  # all of them\n")
    hidden = json.loads(command(isan, "--format", "json", "--baseline", saved, "--suppressions", tmp_path / "supp", before).stdout)
    assert (hidden["findings"], hidden["gone"]) == ([], [])


@pytest.mark.parametrize("contents,says", [
    ("", "is no saved report"), ("[1]", "is no report of this isan's"), ("[" * 100000, "is no saved report"),
    ('{"findings": [{"fingerprint": 3, "kind": "", "headline": ""}]}', "is no report of this isan's"),
    ('{"findings": 3}', "is no report of this isan's"), (None, "cannot read the baseline"),
])
def test_what_is_no_baseline(isan, tmp_path, contents, says):
    path = tmp_path / "saved.json"
    if contents is not None:
        path.write_text(contents)
    done = command(isan, "--baseline", path, made(11).write(tmp_path))
    assert (done.returncode, done.stdout) == (2, "") and says in done.stderr and len(done.stderr.splitlines()) == 1
    assert str(path) in done.stderr


def test_a_hostile_baseline(tmp_path):
    report = report_of(made(11).write(tmp_path))
    baseline.compare(report, "b\x1b[2J.json", {"x": {"fingerprint": "x", "kind": "\x1b[2J", "headline": "a\nb\x1b]0;c\x07"}})
    assert "\x1b" not in text.render(report) and r"gone: \x1b[2J: a\x0ab\x1b]0;c\x07" in text.render(report)


def test_run_with_a_baseline(fast, tmp_path):
    """`isan run` alike; the same findings again do not fail it."""
    first = fast.run(USE, module="cache_static")
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps(first.report))
    again = subprocess.run([fast.isan, "run", *fast.how, "--baseline", saved, "--", "python", first.path], env=fast.env(),
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    n = len(first.report["findings"])
    assert (first.status, again.returncode) == (86, 0), again.stderr
    assert again.stderr.endswith("since the baseline: 0 new, %d known, 0 gone\n" % n)


# -- merging --------------------------------------------------------------------------------


def test_the_same_bug_a_thousand_times(isan, tmp_path):
    """In logs of two directories (machines), whatever the directory the program lies in there."""
    for machine in "ab":
        (tmp_path / machine).mkdir()
        for pid in range(20):
            made(11, pid=pid + 1, directory="/home/" + machine, count=25).write(tmp_path / machine)
    done = command(isan, "--format", "json", tmp_path / "a", tmp_path / "b")
    report = json.loads(done.stdout)
    finding, = report["findings"]
    assert finding["count"] == 1000 and len(report["processes"]) == 40 and done.returncode == 86
    shown = command(isan, tmp_path / "a", tmp_path / "b").stdout
    assert shown.endswith("SUMMARY: isan: 1 finding (1 share) in 40 processes\n"), shown[-500:]
    assert "in process 1, 2, 3 and 17 more\n" in shown and len(shown.splitlines()) < 12
