"""The benchmark: its workloads run, its arithmetic is right, its bars bite."""
import json
import os
import subprocess
import sys

import pytest

import run as bench
from helpers import tree

RUN = tree.BENCH / "run.py"
WORKLOADS = sorted(path.stem for path in tree.WORKLOADS.glob("*.py"))


def run(*arguments, path=None, timeout=60, **variables):
    environment = {**os.environ, "ISAN_BENCH_SCALE": "0.01", **variables}
    if path:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    return subprocess.run([sys.executable, RUN, *arguments], env=environment, capture_output=True, text=True, timeout=timeout)


def without_notes(text):
    return "".join(line for line in text.splitlines(True) if not line.startswith("note: "))


def both(*arguments, **keywords):
    return run("--base", sys.executable, "--test", f"test={sys.executable}", "--rounds", "1", *arguments, **keywords)


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def wrapper(path, before):
    """An interpreter that runs a shell command before each workload."""
    return script(path, f'case "$*" in *workloads*) {before};; esac\nexec {sys.executable} "$@"\n')


def test_there_are_workloads_enough():
    assert len([name for name in WORKLOADS if name != bench.SERIAL]) >= 13
    assert {bench.MEMORY, bench.PARALLEL, bench.SERIAL} <= set(WORKLOADS)


@pytest.mark.parametrize("where", ["plain", "system"])
@pytest.mark.parametrize("name", WORKLOADS)
def test_workload_runs_in_silence(name, where, plain):
    python = plain if where == "plain" else sys.executable
    environment = {**bench.child_environment(), "ISAN_BENCH_SCALE": "0.01"}
    done = subprocess.run([python, "-S", tree.WORKLOADS / f"{name}.py"], env=environment,
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", [bench.PARALLEL, bench.SERIAL])
def test_interpreters_need_a_python_that_has_them(name, tmp_path, plain):
    done = subprocess.run([plain, "-S", "-c", f"""
import runpy, sys
sys.modules["_interpreters"] = sys.modules["_xxsubinterpreters"] = None
sys.path.insert(0, {str(tree.WORKLOADS)!r})
runpy.run_module({name!r}, run_name="__main__")"""], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "this workload needs a CPython with the module _interpreters or _xxsubinterpreters\n"


def test_no_speedup_where_interpreters_share_a_gil(monkeypatch):
    monkeypatch.setattr(bench, "describe", lambda python: {"hexversion": 0x030b00f0, "version": "3.11.0"})
    with pytest.raises(bench.Failure, match="older than 3.12"):
        bench.main(["--base", "x", "--test", "y", "--min-speedup", "1"])


def minima(**workloads):
    return {name: dict(zip(("seconds", "cpu_seconds", "peak_bytes"), values)) for name, values in workloads.items()}


BASE = minima(calls=(1.0, 1.0, 10_000_000), memory=(2.0, 1.0, 200_000_000),
              interpreters=(1.0, 2.0, 20_000_000), interpreters_serial=(2.0, 2.0, 10_000_000))
TEST = minima(calls=(2.0, 1.5, 20_000_000), memory=(2.0, 1.5, 260_000_000),
              interpreters=(4.0, 6.0, 20_000_000), interpreters_serial=(6.0, 6.0, 90_000_000))


def test_arithmetic():
    result = bench.compare(BASE, TEST)
    assert result["time"]["workloads"] == {"calls": 2.0, "memory": 1.0, "interpreters": 4.0, "interpreters_serial": 3.0}
    assert result["time"]["geometric_mean"] == pytest.approx(2.0)
    assert result["cpu"]["geometric_mean"] == pytest.approx((1.5 * 1.5 * 3) ** (1 / 3))
    assert result["memory"]["workloads"]["memory"] == pytest.approx(1.3)
    assert result["speedup"] == {"base": 2.0, "test": 1.5, "quotient": 0.75}
    assert "instructions" not in result
    assert "speedup" not in bench.compare(BASE, TEST, parallel=False)


def test_a_test_without_some_of_the_workloads():
    result = bench.compare(BASE, minima(calls=(2.0, 1.5, 20_000_000), memory=(2.0, 1.5, 260_000_000)))
    assert result["time"] == {"workloads": {"calls": 2.0, "memory": 1.0}, "geometric_mean": pytest.approx(2 ** 0.5)}
    assert "speedup" not in result


@pytest.mark.parametrize("time, memory, speedup, met", [
    (2.01, 1.31, 0.74, [True, True, True]),
    (1.99, 1.31, 0.74, [False, True, True]),
    (2.01, 1.29, 0.74, [True, False, True]),
    (2.01, 1.31, 0.76, [True, True, False]),
])
def test_bars(time, memory, speedup, met):
    limits = {"max-time": [("a", time)], "max-memory": [("", memory)], "min-speedup": [("a", speedup), ("b", 9.0)]}
    bars = bench.judge("a", bench.compare(BASE, TEST), limits)
    assert [(bar["bar"], bar["limit"]) for bar in bars] == [("max-time", time), ("max-memory", memory), ("min-speedup", speedup)]
    assert [bar["met"] for bar in bars] == met


def test_minima_and_order_of_the_rounds(monkeypatch):
    """Base and tests take turns, slow ones for fewer rounds; the smallest value of each quantity counts."""
    order, samples = [], iter([(3, 9, 5), (4, 4, 4), (9, 9, 9), (2, 8, 6), (5, 3, 7)])

    def run_child(command, environment, what, timeout):
        order.append(command[0])
        return dict(zip(("seconds", "cpu_seconds", "peak_bytes"), next(samples)))

    monkeypatch.setattr(bench, "run_child", run_child)
    columns = [bench.Column(name, name, bench.Way(rounds=rounds)) for name, rounds in (("base", 0), ("test", 0), ("slow", 1))]
    base, test, slow = bench.measure(columns, ["calls"], 2, 1, False)
    assert order == ["base", "test", "slow", "base", "test"]
    assert base == minima(calls=(2, 8, 5))
    assert test == minima(calls=(4, 3, 4))
    assert slow == minima(calls=(9, 9, 9))


def test_ways(tmp_path, isan, plain):
    """One run with all ways: each runs its interpreter as described."""
    out = tmp_path / "bench.json"
    ways = [argument for name in bench.WAYS for argument in ("--test", name)]
    done = run("--base", plain, *ways, "--rounds", "1", "--only", "calls", "--only", "interpreters", "--json", out, timeout=240)
    assert done.returncode == 0, done.stderr
    names = ["base", "base", *bench.WAYS]
    report = json.loads(out.read_text())
    assert [column["name"] for column in report["columns"]] == names
    assert [column["scale"] for column in report["columns"]] == [1, 0.25, 1, 1, 1, 0.25]
    assert [comparison["name"] for comparison in report["comparisons"]] == list(bench.WAYS)
    for comparison in report["comparisons"]:
        # What a process needs at most differs by some percent from run to run.
        assert all(ratio > 0.9 for ratio in comparison["memory"]["workloads"].values())
        assert set(comparison["time"]["workloads"]) == {"calls"} | (
            set() if comparison["name"] == "tracemalloc" else {"interpreters", "interpreters_serial"})
    lines = done.stdout.splitlines()
    assert [line.split()[-5:] for line in lines if line.startswith("time, s")] == [["base", *bench.WAYS]]
    memcheck, = [line for line in lines if line.startswith("memcheck ")]
    assert memcheck == f"memcheck     PYTHONMALLOC=malloc valgrind --log-file=/dev/null {plain} (0.25 of the work, as its own base, 1 round)"
    row, = [line.split() for line in lines if line.startswith("interpreters ")][:1]
    assert row[4] == "-"


@pytest.mark.parametrize("way, before", [
    ("isan", 'grep -q libisan /proc/$$/maps && [ "$ISAN_OPTIONS" = print_summary=0:leaks=0 ]'),
    ("isan-none", 'grep -q libisan /proc/$$/maps && [ "$ISAN_OPTIONS" = print_summary=0:leaks=0:origin=none ]'),
    ("tracemalloc", 'case "$*" in *"-X tracemalloc=1"*) ;; *) false;; esac'),
    ("memcheck", '[ "$PYTHONMALLOC $ISAN_BENCH_SCALE" = "malloc 0.0025" ]'),
])
def test_options_and_environment_of_a_way(tmp_path, isan, way, before):
    """The base sees the same test, and fails it."""
    passed = tmp_path / "passed"
    python = wrapper(tmp_path / "python", f"if {before}; then echo >> {passed}; fi")
    done = run("--base", python, "--test", way, "--rounds", "1", "--only", "calls", ISAN_OPTIONS="leaks=0")
    assert done.returncode == 0, done.stderr
    assert passed.read_text() == "\n"


def test_a_way_that_is_not_available(tmp_path):
    done = subprocess.run([sys.executable, RUN, "--base", sys.executable, "--test", "memcheck"], env={"PATH": str(tmp_path)},
                          capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (
        2, "run.py: memcheck is not available: there is no valgrind on this machine (Debian: apt install valgrind).\n")


def test_a_run_writes_table_and_json(tmp_path):
    out = tmp_path / "bench.json"
    done = both("--only", "calls", "--only", "memory", "--max-time", "1000", "--max-memory", "10", "--json", out,
                ISAN_OPTIONS="leaks=0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("met  ") == 2 and "geometric mean" in done.stdout
    assert without_notes(done.stderr) == "[1/2] calls\n[2/2] memory\n"
    report = json.loads(out.read_text())
    assert [python["name"] for python in report["columns"]] == ["base", "test"]
    for python in report["columns"]:
        assert python["version"] == sys.version
        for taken in python["workloads"].values():
            assert taken["seconds"] > 0 and taken["peak_bytes"] > 1_000_000
    assert report["isan_options"] == "print_summary=0:leaks=0"
    assert report["comparisons"][0]["bars"][0]["met"] is True
    assert report["machine"]["cpus"] >= 1 and report["rounds"] == 1 and report["scale"] == 0.01


def test_a_missed_bar_is_named_and_exits_1():
    done = both("--only", "calls", "--max-time", "0.0001")
    assert done.returncode == 1
    assert "MISSED" in done.stdout
    assert "test misses the bar max-time" in done.stderr


def test_children_have_a_clean_environment(tmp_path):
    seen = tmp_path / "seen"
    python = wrapper(tmp_path / "python", f"env > {seen}")
    done = run("--base", sys.executable, "--test", python, "--rounds", "1", "--only", "calls",
               PYTHONDONTWRITEBYTECODE="1", PYTHONPATH="/nowhere", ISAN_OPTIONS="leaks=0")
    assert done.returncode == 0, done.stderr
    lines = seen.read_text().splitlines()
    assert [line for line in lines if line.startswith("PYTHON")] == ["PYTHONHASHSEED=0"]
    assert "ISAN_OPTIONS=print_summary=0:leaks=0" in lines


@pytest.mark.parametrize("before, problem", [
    ("echo two findings >&2; exit 86", "has findings (exit status 86)"),
    ("echo half a report >&2; kill -SEGV $$", "was killed by signal 11"),
    ("echo no memory >&2; exit 3", "ended with exit status 3"),
    ("echo debugging output", "printed something, which no workload does"),
    ("echo asleep; sleep 30", "did not end within 2.0 s"),
])
def test_a_failing_child_names_workload_and_interpreter(tmp_path, before, problem):
    python = wrapper(tmp_path / "python", before)
    done = run("--base", sys.executable, "--test", python, "--rounds", "1", "--only", "calls", "--timeout", "2")
    assert done.returncode == 1
    assert f"calls under {python} {problem}" in done.stderr
    assert before.split(";")[0].removeprefix("echo ").removesuffix(" >&2") in done.stderr
    assert done.stdout == ""


PERF = """
while [ "$1" != -- ]; do [ "$1" = -o ] && out=$2; shift; done
shift; "$@" || exit
echo "{count},,instructions:u,100,100.00,," > "$out"
"""


def test_instructions(tmp_path):
    script(tmp_path / "perf", PERF.format(count=12345))
    out = tmp_path / "bench.json"
    done = both("--only", "calls", "--instructions", "--json", out, path=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert [python["workloads"]["calls"]["instructions"] for python in report["columns"]] == [12345, 12345]
    assert report["comparisons"][0]["instructions"]["geometric_mean"] == 1.0


def test_instructions_where_they_cannot_be_counted(tmp_path):
    script(tmp_path / "perf", PERF.format(count="<not supported>"))
    done = both("--only", "calls", "--instructions", path=tmp_path)
    assert done.returncode == 2
    assert without_notes(done.stderr) == (
        "run.py: --instructions is not available: perf does not count instructions on this machine.\n")


@pytest.mark.parametrize("arguments, message", [
    (["--test", "/nonexistent/python"], "does not work as a Python interpreter"),
    (["--test", "/bin/true"], "does not work as a Python interpreter"),
    (["--test", sys.executable, "--json", "/nonexistent/file"], "cannot write /nonexistent/file"),
    (["--test", sys.executable, "--only", "calls", "--max-memory", "2"], "--max-memory needs the workload memory"),
    (["--test", sys.executable, "--only", "calls", "--min-speedup", "1"], "--min-speedup needs the workload interpreters"),
    (["--test", sys.executable, "--max-time", "fast=1.5"], "--max-time is for fast, which no --test is called"),
    (["--test", sys.executable, "--max-time", "much"], "invalid limit value: 'much'"),
    (["--test", "tracemalloc", "--min-speedup", "1"], "--min-speedup cannot hold for tracemalloc"),
    (["--test", sys.executable, "--test", sys.executable], "each --test needs a name of its own"),
    (["--test", sys.executable, "--only", "nothing"], "invalid choice: 'nothing'"),
    (["--test", sys.executable, "--rounds", "0"], "--rounds must be at least 1"),
    ([], "required: --test"),
])
def test_wrong_usage(arguments, message):
    done = run("--base", sys.executable, *arguments)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
