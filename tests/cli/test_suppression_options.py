"""Suppressions given to `isan report` and to a run: exit statuses, bad files, suggested lines."""
import json
import subprocess

import pytest

from helpers.log_writer import Writer
from helpers.product import log
from helpers.suppression_file import lines_of


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


def test_option_of_a_run(target, tmp_path):
    all_of_it = [kind + ":cache_static.*  # the bug it is for" for kind in ("share", "stale", "static", "leak", "free")]
    file = lines_of(tmp_path, *all_of_it)
    run = target.run(SHARE, "suppressions=" + file)
    assert run.status == 0 and "SUMMARY: isan: no findings" in run.err and "suppressed by " in run.err, run.err
    assert target.by_hand(SHARE, "suppressions=" + file).returncode == 0
    assert target.by_hand("import os; os.chdir('/')" + SHARE, "suppressions=" + file).stderr == ""
    part = lines_of(tmp_path, *all_of_it[1:], name="part")
    for done in target.run(SHARE, "suppressions=" + part).err, target.by_hand(SHARE, "suppressions=" + part).stderr:
        assert "isan: share #" in done and "isan: static #" not in done and "suppressed by " in done


def test_option_with_a_bad_file(target, tmp_path):
    """isan run refuses it before the program runs; by hand the log is kept."""
    done = target.run("print('ran')", "suppressions=/nowhere")
    assert (done.status, done.out) == (2, "") and "isan: cannot read the suppressions /nowhere" in done.err
    done = target.by_hand("print('ran')", "suppressions=/nowhere")
    assert (done.returncode, done.stdout) == (2, "") and "cannot read suppressions=/nowhere" in done.stderr
    file = lines_of(tmp_path, "share:*")
    done = target.run("print('ran')", "suppressions=" + file)
    assert (done.status, done.out) == (2, "") and file + ":1: write kind:pattern" in done.err
    done = target.by_hand(SHARE, "suppressions=" + file, env={"TMPDIR": str(tmp_path)})
    kept, = tmp_path.glob(".isan.*.log")
    assert file + ":1: write kind:pattern" in done.stderr and "the log is %s" % kept in done.stderr


# CPython crashes now and then unless the main interpreter imports datetime first (gh-136421).
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
    """All races of CPython are in its list (tests/cpython/races.py runs more), and isan itself has none: with such a small
    quarantine, each interpreter frees blocks that others have put into it."""
    run = tsan.run(IMPORTS, "quarantine=1")
    assert run.findings("race") == [] and run.report["crashes"] == [], run.err
    known = [finding["holder"]["symbol"] for finding in run.report["suppressed"] if finding["holder"]]
    assert {"_PyRuntime", "_PyExc_KeyError"} & set(known) and "known of CPython itself and left out: " in run.err
    assert {finding["kind"] for finding in run.report["suppressed"]} == {"race"}
