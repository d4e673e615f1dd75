"""The benchmark of an interpreter's end: it measures, its arithmetic is right, its bars bite."""
import json
import subprocess
import sys

import pytest

import ending
from helpers.tree import BENCH

ENDING = BENCH / "ending.py"


def run(*arguments, timeout=100):
    return subprocess.run([sys.executable, ENDING, *arguments], capture_output=True, text=True, timeout=timeout)


def test_all_cases(isan, plain, flavor_python, tmp_path):
    """An end takes longer with isan, and what it takes grows with leaks to analyse and with statics to look into.  One run of
    0.05 s says nothing beside other tests, so there are five of each."""
    out = tmp_path / "ending.json"
    done = run("--base", plain, "--test", "isan", "--test", f"fast={flavor_python('fast')}", "--rounds", "5", "--sizes", "10", "--json", out)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert [column["name"] for column in report["columns"]] == ["base", "isan", "fast"]
    for comparison in report["comparisons"]:
        seconds = {case: result["seconds"]["10"] for case, result in comparison["cases"].items()}
        assert set(seconds) == set(ending.CASES)
        assert all(one["test"] > one["base"] > 0 for one in seconds.values())
        assert min(seconds[case]["added"] for case in ("leaked", "modules")) > seconds["main"]["added"]
        assert f"{comparison['name']}, leaked: " in done.stdout
    assert "MISSED" not in done.stdout and "met" not in done.stdout     # 100 MB were not asked for


def test_arithmetic_and_bars():
    linear = {"leaked": {size: (1.0, 1.0 + size / 200) for size in ending.SIZES}}
    steep = {"leaked": {size: (1.0, 1.0 + size * size / 1e5) for size in ending.SIZES}}
    slow = {"leaked": {size: (1.0, 1.0 + size / 50) for size in ending.SIZES}}
    small = {"main": {size: (1.0, 1.0 + size / 1e6) for size in ending.SIZES}}
    limits = {bar.name: bar.dflt for bar in ending.BARS}
    for taken, met, values in [(linear, [True, True], [0.5, 1.0]), (steep, [True, False], [0.1, 10.0]),
                               (slow, [False, True], [2.0, 1.0]), (small, [True, True], [1e-4, 0.1])]:
        result, = ending.compare(taken, limits).values()
        assert [bar["met"] for bar in result["bars"]] == met
        assert [bar["value"] for bar in result["bars"]] == pytest.approx(values)
    assert result["seconds"][100] == pytest.approx({"base": 1.0, "test": 1.0001, "added": 1e-4})


def test_a_missed_bar_is_named_and_exits_1(isan, plain):
    done = run("--base", plain, "--test", "isan", "--rounds", "1", "--only", "freed", "--sizes", "100", "--max-added", "1e-6")
    assert done.returncode == 1 and "MISSED  seconds added at 100 MB" in done.stdout
    assert "isan misses the bar max-added in freed: " in done.stderr


def test_too_little_memory(monkeypatch):
    monkeypatch.setattr(ending, "available", lambda: 10 ** 9)
    with pytest.raises(ending.Failure, match="freed with 1000 MB needs 4.0 GB of memory, and 1.0 GB are available: end other programs, "
                                             "or leave it out with --sizes"):
        ending.measure([ending.Column("base", sys.executable)], ["freed"], [1000], 1, 10)


def test_a_test_without_isan(plain):
    done = run("--base", plain, "--test", f"other={plain}", "--rounds", "1", "--only", "freed", "--sizes", "1")
    assert done.returncode == 1 and f"freed with 1 MB under {plain} ran without isan: it has left no log." in done.stderr


@pytest.mark.parametrize("arguments, message", [
    (["--test", "/nonexistent/python"], "does not work as a Python interpreter"),
    (["--test", "isan", "--json", "/nonexistent/file"], "cannot write /nonexistent/file"),
    (["--test", "isan", "--test", "isan"], "each --test needs a name of its own"),
    (["--test", "isan", "--only", "nothing"], "invalid choice: 'nothing'"),
    (["--test", "isan", "--sizes", "0"], "must be at least 1"),
    (["--test", "memcheck"], "not a way with isan"),
    ([], "required: --test"),
])
def test_wrong_usage(arguments, message):
    done = run("--base", sys.executable, *arguments)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
