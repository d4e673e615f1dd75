"""isan check of many modules: lists, shards, results that several workers share, and results of workers that ended early."""
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from helpers.product import Problem, results, verdicts
from helpers.check_command import Check, own

HOSTILE = ["..", ".", "...", "a\x1b]0;x\x07", "a\nb", "CON: \u202e", "\udcff", "%2e%2e", "a" * 300, "a" * 299 + "b", "../../up", "/etc/x", "~", ""]


def command(target, directory, *arguments):
    return [target.isan, "check", "--python", target.python, "--interpreters", "2", "--results", directory, *arguments]


@pytest.fixture
def worker(target_of, tmp_path):
    """worker(*arguments) -> a running isan check.  Its exercise file says that it has begun, and waits for the file `go`."""
    started = []
    file, go, waits = tmp_path / "exercise.py", tmp_path / "go", tmp_path / "waits"
    file.write_text(f"import os, time\nopen({os.fspath(waits)!r}, 'w').close()\n"
                    f"while not os.path.exists({os.fspath(go)!r}):\n    time.sleep(0.05)\n")

    def start(*arguments):
        target = target_of("system")
        started.append(subprocess.Popen(
            command(target, tmp_path / "results", "--exercise", file, *arguments), env=target.env(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    start.go, start.waits = go, waits
    yield start
    for one in started:
        one.kill()
        one.communicate()


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


# -- lists, shards, names ---------------------------------------------------------

def test_shards_are_all_of_the_list_and_each_once(tmp_path):
    file = tmp_path / "list"
    file.write_text("# all of them\n\nnumpy\n  lxml.etree # with C\n./a#b.so\nnumpy\njson\n")
    names = results.listed(["json"], file)
    assert names == ["json", "numpy", "lxml.etree", "./a#b.so"]
    for count in 1, 2, 3, 4, 7:
        shards = [results.shard(names, f"{number}/{count}") for number in range(1, count + 1)]
        assert sorted(sum(shards, [])) == sorted(names) and max(map(len, shards)) - min(map(len, shards)) <= 1
    assert results.shard(names, "2/2") == ["numpy", "./a#b.so"] and results.shard(names, None) == names
    for wrong in "0/2", "3/2", "1", "1/0", "-1/2", "a/b", "1/2/3", "", "\u0661/2", "1\x1b/2":
        with pytest.raises(Problem, match=r"--shard is K/N, the K-th of N shards, .* not [^\x1b]*$"):
            results.shard(names, wrong)
    file.write_text("# nothing\n")
    with pytest.raises(Problem, match="names no MODULE"):
        results.listed([], file)


def test_names_of_files_stay_in_their_directory():
    names = [results.file_name(name) for name in HOSTILE]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_%~-][A-Za-z0-9_.%~-]*", name) and len(name + results.BEGUN) < 200 for name in names), names
    assert results.file_name("my_package._mod-1.0") == "my_package._mod-1.0"


def test_hostile_names(target_of, tmp_path):
    target, directory = target_of("system"), tmp_path / "work" / "results"
    directory.mkdir(parents=True)
    names = ["..", "a\x1b]0;x\x07", "\udcff", "a" * 300]
    (tmp_path / "list").write_bytes("\n".join(names).encode("utf-8", "surrogateescape"))
    log = tmp_path / "work" / "log"
    check = Check(target, "--list", tmp_path / "list", "--results", directory, "--log", log, format="text")
    assert check.status == 2 and "4 modules: 4 not checked" in check.out, check.err
    assert "\x1b" not in check.out + check.err
    assert sorted(file.name for file in directory.iterdir()) == sorted(results.file_name(name) + ".json" for name in names)
    assert sorted(file.name for file in log.iterdir()) == sorted(map(results.file_name, names))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["list", "work"]
    merged = Check(target, "--merge", directory)
    assert len(merged.modules) == 4 and all(module["verdict"] is None for module in merged.modules.values())


# -- a directory of results -------------------------------------------------------

class Checker:
    """Has the attributes that a Store needs."""
    python, limit = "/usr/bin/python3", None

    def __init__(self, interpreters=2):
        self.interpreters = interpreters

    def configuration(self):
        return {"isan": "1", "--interpreters": self.interpreters}


def unknown(name):
    return [verdicts.Result.unknown(name, "because")]


def test_result_of_another_configuration_is_not_used(tmp_path):
    store = results.Store(tmp_path, Checker())
    assert store.take("one") == (None, [])
    store.keep(unknown("one"))
    assert store.take("one")[0][0].reasons == ["because"]
    with pytest.raises(Problem, match=r"is another configuration's \(--interpreters is 2, not 4\): give --results another"):
        results.Store(tmp_path, Checker(4)).take("one")
    other = results.Store(tmp_path / "other", Checker(4))
    other.take("two")
    other.keep(unknown("two"))
    with pytest.raises(Problem, match=r"are of two configurations \(--interpreters is 4, not 2\)"):
        results.Merged([tmp_path, tmp_path / "other"])


def test_file_that_has_changed_is_checked_again(tmp_path, capsys):
    wheel, store = os.fspath(tmp_path / "a.whl"), results.Store(tmp_path / "results", Checker())
    with open(wheel, "w") as file:
        file.write("one")
    store.take(wheel)
    store.keep(unknown(wheel))
    assert store.take(wheel)[0]
    with open(wheel, "w") as file:
        file.write("another")
    assert store.take(wheel) == (None, [])
    assert f"{wheel} is another file now, or has changed: it is checked again" in capsys.readouterr().err


@pytest.mark.parametrize("content, why", [
    ("", "Expecting value"), ("[]", "is no result of this isan's"), ('{"format": 0}', "is no result of this isan's"),
    ('{"format": 1}', "has no argument"), ("another", "is the result for another"), ("modules", "has modules that are none")])
def test_file_that_is_no_result(tmp_path, capsys, content, why):
    store = results.Store(tmp_path, Checker())
    for name in "another", "one":
        store.take(name)
        store.keep(unknown(name))
    one = tmp_path / "one.json"
    if content == "modules":
        content = json.dumps(dict(json.loads(one.read_text()), modules=[{}]))
    one.write_text((tmp_path / "another.json").read_text() if content == "another" else content)
    assert store.take("one") == (None, [])
    store.withdraw()
    assert f"{one} cannot be used ({why}" in capsys.readouterr().err
    merged = results.Merged([tmp_path])
    assert merged.complaints[0].startswith(f"{one} cannot be used: {why}") and [m.name for m in merged.results([])] == ["another"]


def test_one_worker_at_a_time_and_the_results_of_each(tmp_path):
    first, second = results.Store(tmp_path, Checker()), results.Store(tmp_path, Checker())
    assert first.take("one") == (None, []) and second.take("one") == (None, None) and second.elsewhere == ["one"]
    first.withdraw()        # interrupted: no fault of the module's
    assert not list(tmp_path.iterdir()) and second.take("one") == (None, [])
    second.failed("KeyError: 'x'")
    assert re.fullmatch(r".*, process \d+, .*: KeyError: 'x'", first.take("one")[1][0])
    os.close(first.fd)      # as the kernel does
    found, ends = second.take("one")
    assert found is None and len(ends) == results.MAX_WORKER_DEATHS
    second.withdraw()
    assert second.take("one")[1] == ends
    second.keep(unknown("one"))
    assert [file.name for file in tmp_path.iterdir()] == ["one.json"]


# -- workers ----------------------------------------------------------------------

def test_shards_resumed_and_merged(target_of, tmp_path):
    target = target_of("system")
    (tmp_path / "list").write_text("exc_static\nexc_state\nno_such_module\n")
    parts = [tmp_path / "a", tmp_path / "b"]
    which = ["--list", tmp_path / "list"]
    first = Check(target, *which, "--shard", "1/2", "--results", parts[0], cwd=tmp_path)
    assert (first.status, list(first.modules)) == (86, ["exc_static", "no_such_module"]), first.err
    before = {file.name: file.stat().st_mtime_ns for file in parts[0].iterdir()}
    again = Check(target, *which, "--shard", "1/2", "--results", parts[0], cwd=tmp_path)
    assert (again.status, again.out) == (86, first.out) and again.err == "isan check: 2 results were there already\n"
    assert {file.name: file.stat().st_mtime_ns for file in parts[0].iterdir()} == before
    less = Check(target, "--merge", parts[0], *which)
    assert less.modules["exc_state"]["reasons"] == ["it has no result: no worker has begun with it"] and less.status == 86
    assert Check(target, *which, "--shard", "2/2", "--results", parts[1], cwd=tmp_path).status == 0
    merged = Check(target, "--merge", *parts, *which, cwd=tmp_path)
    assert (merged.status, list(merged.modules)) == (86, ["exc_static", "exc_state", "no_such_module"])
    assert {**again.modules, "exc_state": merged.modules["exc_state"]} == merged.modules
    assert (merged.modules["exc_state"]["verdict"], merged.err) == (own(target), "")
    table = Check(target, "--merge", *parts, *which, cwd=tmp_path, format="text").out
    best = {"legacy": "legacy only", "own-gil": "own-GIL safe"}[own(target)]
    assert "static `error` of exc_static" in table and table.endswith(
        f"\n3 modules: 1 {best}, 1 UNSAFE, 1 not checked\n"), table
    run, = json.loads(Check(target, "--merge", *parts, format="sarif").out)["runs"]
    assert {result["properties"]["checked"] for result in run["results"] if result["ruleId"] == "static"} == {"exc_static"}
    assert 'tests="3" failures="1" errors="1"' in Check(target, "--merge", *parts, format="junit").out
    assert ">exc_static</th>" in Check(target, "--merge", *parts, format="html").out


def test_killed_worker_loses_one_module_and_says_so(target_of, worker, tmp_path):
    target, kept = target_of("system"), tmp_path / "results"
    (tmp_path / "list").write_text("no_such_module\nerrno\n")
    names = ["--list", tmp_path / "list"]
    first = worker(*names)
    until(worker.waits.exists)
    second = worker(*names)
    assert second.wait(60) == 2 and "1 MODULE is being checked by other workers: errno" in second.stderr.read()
    assert Check(target, "--merge", kept, *names).modules["errno"]["reasons"][0].startswith(
        "it has no result: a worker is checking it (")
    children = [int(pid) for pid in open(f"/proc/{first.pid}/task/{first.pid}/children").read().split()]
    first.kill()
    first.wait()
    assert children
    until(lambda: not any(alive(pid) for pid in children))
    ended = f"process {first.pid}, "
    lost = Check(target, "--merge", kept, *names)
    assert lost.status == 2 and re.match("it has no result: a worker ended while it checked it .*" + ended,
                                         lost.modules["errno"]["reasons"][0])
    assert lost.modules["no_such_module"]["reasons"][0].startswith("it cannot be imported")
    worker.go.touch()
    third = worker(*names, "--format", "json")
    out, err = third.communicate(timeout=120)
    module = {module["name"]: module for module in json.loads(out)["modules"]}["errno"]
    assert module["verdict"] == own(target) and any(
        note.startswith("it was being checked when a worker ended") and ended in note for note in module["notes"]), module
    assert "errno was being checked when a worker ended" in err and "1 result was there already" in err
    assert sorted(file.name for file in kept.iterdir()) == ["errno.json", "no_such_module.json"]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_module_that_kills_its_workers_is_skipped(target_of, tmp_path):
    target = target_of("system")
    claim = tmp_path / "errno.begun"
    claim.write_text(json.dumps({"argument": "errno", "begun": ["a, process 1, then", "b, process 2, later"]}))
    check = Check(target, "errno", "--results", tmp_path)
    assert check.status == 2 and check.one()["reasons"] == [
        "workers ended while they checked it: a, process 1, then; b, process 2, later; to have it checked again, remove "
        f"{tmp_path}/errno.json"]
    assert not claim.exists() and Check(target, "errno", "--results", tmp_path).one() == check.one()


def test_time_is_up(worker, tmp_path):
    process = worker("no_such_module", "errno")
    until(worker.waits.exists)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.endswith("isan check: interrupted: 1 of 2 modules were checked\n"), err
    assert [file.name for file in (tmp_path / "results").iterdir()] == ["no_such_module.json"]


def test_parallel(target_of, tmp_path):
    """The recipe of docs/scale.md, with local workers."""
    target = target_of("system")
    (tmp_path / "list").write_text("no_such_1\nno_such_2\nerrno\nno_such_3\n")
    words = " ".join(map(str, command(target, tmp_path / "results", "--list", tmp_path / "list", "--shard", "{}/2")))
    done = subprocess.run(["parallel", "--will-cite", "-j", "2", words + "; test $? -lt 128", ":::", "1", "2"], env=target.env(),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    merged = Check(target, "--merge", tmp_path / "results", "--list", tmp_path / "list")
    assert {name: module["verdict"] for name, module in merged.modules.items()} == {
        "errno": own(target), **{f"no_such_{number}": None for number in (1, 2, 3)}}
    assert merged.status == 2 and "has no result" not in merged.out


def test_wrong_usage(target_of, tmp_path):
    target = target_of("system")
    for arguments, message in [
            ([], "give the name of a module, or the path of an extension, a wheel or a project, or a --list of them"),
            (["--list", "missing"], "cannot read the list missing: No such file or directory"),
            (["math", "--shard", "3/2"], "--shard is K/N, the K-th of N shards, from 1/N to N/N, not 3/2"),
            (["--merge", "missing"], "cannot read missing: No such file or directory"),
            (["--merge", "."], "there is no result in .: give the directories that --results had"),
            (["math", "--results", sys.executable], f"cannot make {sys.executable}: File exists; give --results another directory"),
            (["--merge", ".", "--results", "."], "--merge reads results, and --results makes them: give one of them")]:
        check = Check(target, *arguments, cwd=tmp_path)
        assert (check.status, check.out, check.err) == (2, "", f"isan: {message}\n")
