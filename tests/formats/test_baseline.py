"""Reports compared with an earlier one, and fingerprints of one bug in different builds and programs."""
import json
import re
import subprocess

import pytest

from ext.build import build
from helpers.product import baseline, text
from helpers.shared_list import made, report_of
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
def fast(target_of):
    return target_of("3.13-fast")


def prints(run):
    found = {finding["fingerprint"]: finding for finding in run.report["findings"]}
    assert len(found) == len(run.report["findings"]) and {"static", "share", "leak"} <= {f["kind"] for f in found.values()}
    return found


def test_fingerprints_outlive_edits_and_directories(fast, tmp_path):
    """An extension has the same fingerprints after lines are inserted and its directory changes; another variable changes them."""
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
        # The program, too, has other line numbers and another directory.
        run = fast.run("\n" * len(name) + USE, module="cache_static", extensions=directory)
        assert run.status == 86, run.err
        found[name] = prints(run)
        lines[name] = {f["holder"]["line"] for f in found[name].values() if f["holder"]}
    assert lines["one"] != lines["two"]
    assert set(found["one"]) == set(found["two"])
    assert {f: finding["kind"] for f, finding in found["one"].items()} == {f: finding["kind"] for f, finding in found["two"].items()}
    assert not set(found["one"]) & {f for f, finding in found["other"].items() if (finding["holder"] or {}).get("symbol")}


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
    # The baseline may itself have been compared with a baseline.
    saved.write_text(more.stdout)
    assert command(isan, "--baseline", saved, before).returncode == 0
    # Suppressed findings are not gone.
    (tmp_path / "supp").write_text("share:list  # all of them\n")
    hidden = json.loads(command(isan, "--format", "json", "--baseline", saved, "--suppressions", tmp_path / "supp", before).stdout)
    assert (hidden["findings"], hidden["gone"]) == ([], [])


@pytest.mark.parametrize("contents,says", [
    ("", "is no saved report"), ("[1]", "is no report of this isan's"), ("[" * 100000, "is no saved report"),
    ('{"findings": [{"fingerprint": 3, "kind": "", "headline": ""}]}', "is no report of this isan's"),
    ('{"findings": 3}', "is no report of this isan's"), (None, "cannot read the baseline"),
])
def test_files_that_are_no_baseline(isan, tmp_path, contents, says):
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
    """The same findings again do not fail `isan run`."""
    first = fast.run(USE, module="cache_static")
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps(first.report))
    again = subprocess.run([fast.isan, "run", *fast.how, "--baseline", saved, "--", "python", first.path], env=fast.env(),
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    n = len(first.report["findings"])
    assert (first.status, again.returncode) == (86, 0), again.stderr
    assert again.stderr.endswith("since the baseline: 0 new, %d known, 0 gone\n" % n)


def test_the_same_bug_a_thousand_times(isan, tmp_path):
    """In logs from two machines, with the program in different directories, it is one finding."""
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
