"""isan regrtest: test files in the form of CPython's own, each with its findings."""
import json
import os
import re
import signal
import subprocess

import pytest

from helpers.programs import line_of
from helpers.tree import EXT

PYTHONS = pytest.mark.parametrize("name", ["system", "3.13-plain", "3.14-fast"])
LINE = line_of("cache_static.c", "static PyObject *cache;")
FILE = """
import os, sys, time, unittest
PATH = %r
sys.path[:0] = PATH

class Test(unittest.TestCase):
    def test(self):
        %s
"""
USES = """from interpreters import Interpreter
        one, two = Interpreter("legacy"), Interpreter("legacy")
        for interpreter in one, two:
            interpreter.run("import sys; sys.path[:0] = %%r; import %s" %% PATH)
            interpreter.end()"""


class Regrtest:
    def __init__(self, target, directory, **bodies):
        """A directory of test files with these bodies."""
        self.target, self.tests, self.runs = target, directory / "tests", 0
        self.tests.mkdir()
        for name, body in bodies.items():
            self.write(name, body)
        self.directory = directory

    def write(self, name, body):
        (self.tests / f"test_{name}.py").write_text(FILE % ([os.fspath(self.target.extensions), os.fspath(EXT)], body))

    def command(self, *arguments, how=None):
        self.runs += 1
        self.log = self.directory / f"log{self.runs}"
        how = how or self.target.how or ["--python", self.target.python]
        return [self.target.isan, "regrtest", *how, "--log", self.log, *arguments, "--", "--testdir", self.tests]

    def run(self, *arguments, how=None):
        done = subprocess.run(self.command(*arguments, how=how), env=self.target.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        return self.kept

    @property
    def kept(self):
        """The saved results of the last run, by file."""
        with open(self.log / "regrtest.json") as file:
            return {one["name"]: one for one in json.load(file)["files"]}

    def summary(self):
        return self.out.splitlines()[-1]


def variables(result):
    """The statics in the findings of a file."""
    return {(f["holder"]["symbol"], os.path.basename(f["holder"]["file"]), f["holder"]["line"])
            for f in result["findings"] if f["kind"] == "static"}


@PYTHONS
def test_findings_are_those_of_their_file(target_of, tmp_path, name):
    tests = Regrtest(target_of(name), tmp_path, cache=USES % "cache_static", healthy=USES % "cache_state", other="pass")
    kept = tests.run()
    assert (tests.status, {name: one["result"] for name, one in kept.items()}) == (
        86, dict.fromkeys(["test_cache", "test_healthy", "test_other"], "SUCCESS")), tests.out + tests.err
    assert variables(kept["test_cache"]) == {("cache", "cache_static.c", LINE)}
    assert kept["test_healthy"]["findings"] == kept["test_other"]["findings"] == []
    assert re.search(r"^\[\d/3\] test_cache +[\d.]+ s  SUCCESS: .*1 static", tests.out, re.M)
    static = tests.out[tests.out.index("\nstatic: static `cache` of cache_static"):]
    assert f"cache_static.c:{LINE}" in static and "\n      in 1 file: test_cache\n" in static
    assert re.fullmatch(r"SUMMARY: isan: \d+ findings in 1 of 3 test files; 3 SUCCESS", tests.summary())
    assert list((tests.log / "test_cache").glob("*.log"))
    assert "SUCCESS" in (tests.log / "test_cache/output.txt").read_text()


def test_one_finding_of_two_files_is_printed_once(target_of, tmp_path):
    tests = Regrtest(target_of("3.13-plain"), tmp_path, a=USES % "cache_static", b=USES % "cache_static")
    tests.run("-j", "2")
    assert len(re.findall(r"^static: ", tests.out, re.M)) == 1
    assert "\n      in 2 files: test_a test_b\n" in tests.out


def test_crash_hang_and_failure_are_results(target_of, tmp_path):
    tests = Regrtest(target_of("3.13-fast"), tmp_path, crash="os.kill(os.getpid(), 11)", fail="self.fail('no')",
                     hang="time.sleep(60)", good="pass")
    kept = tests.run("--timeout", "15")     # an empty test takes half a second on an idle machine
    assert {name: (one["result"], one["status"]) for name, one in kept.items()} == {
        "test_crash": ("CRASHED (SIGSEGV)", -11), "test_fail": ("FAILURE", 2), "test_good": ("SUCCESS", 0),
        "test_hang": ("HUNG", -6)}
    assert tests.status == 1 and "    AssertionError: no\n" in tests.out
    (crash,) = kept["test_crash"]["crashes"]
    assert (crash["signal"], "test" in [frame["function"].rpartition(".")[2] for frame in crash["stack"] if frame["function"]]) == (11, True)
    (hang,) = kept["test_hang"]["crashes"]
    assert "time_sleep" in [frame["function"] for frame in hang["stack"]]
    assert 'test_hang.py", line ' in tests.out      # regrtest has faulthandler enabled


def test_two_runs_are_compared(target_of, tmp_path):
    target = target_of("3.13-fast")
    tests = Regrtest(target, tmp_path, one=USES % "cache_static", two="pass")
    tests.run(how=["--flavor", "plain"])
    assert (tests.status, [one["findings"] for one in tests.kept.values()]) == (0, [[], []])
    plain = tests.log
    tests.run()
    first = tests.log
    tests.write("one", USES % "cache_state")
    tests.write("two", USES % "exc_static" + "\n        self.fail()")
    tests.run()

    def compare(old, new):
        done = subprocess.run([target.isan, "regrtest", "--compare", old, new], stdout=subprocess.PIPE, text=True)
        return done.returncode, done.stdout

    status, out = compare(first, tests.log)
    assert status == 86 and "test_two: SUCCESS, then FAILURE\n" in out
    gone, new = out.split("\ngone:\n")[1].split("\nnew:\n")
    assert "static `cache` of cache_static" in gone and "in 1 file: test_one" in gone and "`error`" not in gone
    assert "static `error` of exc_static" in new and "in 1 file: test_two" in new and "`cache`" not in new
    assert re.search(r"^SUMMARY: isan: findings: \d+ new, \d+ gone, 0 in both; 1 test file with a worse result$", out, re.M)
    status, out = compare(first, first)
    assert (status, out.splitlines()[0]) == (0, "3.13, fast, 2 files; then 3.13, fast, 2 files")
    assert re.fullmatch(r"SUMMARY: isan: findings: 0 new, 0 gone, \d+ in both; 0 test files with a worse result", out.splitlines()[-1])
    assert compare(plain, first)[0] == 86 and compare(first, plain)[0] == 0


def test_suppressions_can_name_the_file_and_the_release(target_of, tmp_path):
    tests = Regrtest(target_of("3.13-plain"), tmp_path, a=USES % "cache_static", b=USES % "cache_static")
    supp = tmp_path / "known"
    supp.write_text("".join(f"{kind}:test_a+3.13+cache_static*  # known\n" for kind in (
        "static", "share", "stale", "free", "leak")) + "static:test_a+3.12+cache  # of another release\n")
    kept = tests.run("--suppressions", supp)
    assert (tests.status, kept["test_a"]["findings"]) == (86, []) and variables(kept["test_b"])
    assert "static" in {line for line in re.findall(r"^suppressed 1: (\w+):test_a\+3\.13\+cache_static\*", tests.out, re.M)}
    assert "\nnever needed: static:test_a+3.12+cache (line 6 of " in tests.out
    assert any(entry["line"] == 1 for entry in kept["test_a"]["suppressed"])


def test_interrupt_keeps_finished_results(target_of, tmp_path):
    tests = Regrtest(target_of("3.13-plain"), tmp_path, a="pass", b="time.sleep(60)")
    with subprocess.Popen(tests.command("-j", "1"), env=tests.target.environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "test_a" in first, err
    assert out.splitlines()[-1] == "SUMMARY: isan: no findings in 1 test file; 1 SUCCESS; interrupted, 1 not run"
    with open(tests.log / "regrtest.json") as file:
        assert json.load(file)["interrupted"] is True
    assert list(tests.kept) == ["test_a"]


@pytest.mark.parametrize("name", ["3.13-plain", "3.13-fast"])
def test_the_tests_see_no_settings_of_the_users(target_of, tmp_path, name):
    """With PYTHON* variables some of CPython's tests would be skipped, or fail."""
    tests = Regrtest(target_of(name), tmp_path, settings="""self.assertEqual([name for name in os.environ if name.startswith("PYTHON")
                                                                             and name != "PYTHONREGRTEST_UNICODE_GUARD"], [])
        self.assertFalse(sys.dont_write_bytecode)""")
    tests.target.environment, before = dict(tests.target.environment, PYTHONDONTWRITEBYTECODE="1"), tests.target.environment
    try:
        tests.run()
    finally:
        tests.target.environment = before
    assert tests.status == 0, tests.out


def test_wrong_usage(target_of, tmp_path):
    target = target_of("3.13-plain")
    (tmp_path / "regrtest.json").write_text("[]")
    for arguments, message in [
            (["-v"], None),
            (["test_json", "-v"], "isan: -v: isan's own options go before the files, those of `python -m test` behind --\n"),
            (["--python", target.python, "test_no_such_thing"], f"isan: {target.python} has no test_no_such_thing: install"
             " its tests (on Debian: libpython3-testsuite), or name another file\n"),
            (["--log", tmp_path, "test_json"], f"isan: {tmp_path} has the results of another run; give --log another directory\n"),
            (["--compare", tmp_path, tmp_path], f"isan: {tmp_path}/regrtest.json is not what isan regrtest --log has kept\n"),
            (["--jobs", "0"], "isan: --jobs is a number from 1 on, not 0\n")]:
        done = subprocess.run([target.isan, "regrtest", *arguments], env=target.environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        assert (done.returncode, done.stdout) == (2, "") and (message is None or done.stderr == message), done.stderr


def test_tests_of_cpython(target_of):
    """Some of CPython's own tests pass in each flavor, without findings in the standard library's extensions."""
    target = target_of("3.13-fast")
    done = subprocess.run([target.isan, "regrtest", *target.how, "test_struct", "test__interpreters"],
                          env=target.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode in (0, 86), done.stdout + done.stderr
    assert re.search(r"test_struct +[\d.]+ s  SUCCESS$", done.stdout, re.M) and "; 2 SUCCESS" in done.stdout
