"""`isan report` and `isan run` as commands, with a program that writes logs in place of an interpreter."""
import json
import os
import signal
import subprocess
import sys

import pytest

from helpers import compiled, tree
from helpers.compiled import run
from helpers.log_writer import Writer
from helpers.sample_log import sample_log

# Stands in for the recorder: writes a log where ISAN_OPTIONS says.
PROGRAM = """\
import os, signal, sys, time
sys.path[:0] = {path!r}
from helpers.log_writer import Writer
from pathlib import Path
what = sys.argv[1]
directory = Path(dict(o.split("=") for o in os.environ["ISAN_OPTIONS"].split(":"))["log_path"])
w = Writer(pid=os.getpid())
w.process()
if what == "find":
    w.finding(1, "share")
if what != "nothing":
    w.write(directory)
if what == "options":
    print(os.environ["ISAN_OPTIONS"], os.environ.get("LD_PRELOAD"))
if what == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(33))
    print("ready", flush=True)
    time.sleep(30)
if what == "die":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The path of isan-symbolize."""
    return compiled.symbolize(tmp_path_factory.mktemp("symbolize"))


@pytest.fixture(scope="module")
def foo(tmp_path_factory):
    return compiled.foo(tmp_path_factory.mktemp("foo"))


@pytest.fixture
def isan(tmp_path, program):
    """isan(command, *arguments) runs a command of isan; an empty library stands in for libisan."""
    (tmp_path / "program.py").write_text(PROGRAM.format(path=tree.PYTHON_PATH))
    (tmp_path / "empty.c").write_text("")
    run("gcc", "-shared", "-fPIC", tmp_path / "empty.c", "-o", tmp_path / "libisan.so.0")
    (tmp_path / "isan.py").write_text(
        "import sys\nsys.path[:0] = %r\n"
        "import argparse, importlib\nfrom helpers.product import Problem, launch, symbols\n"
        "launch.LIBRARY = %r\nsymbols.Symbolizer.__init__.__defaults__ = (%r, '')\n"
        "command = importlib.import_module(%r + sys.argv[1])\nparser = argparse.ArgumentParser()\n"
        "command.add_arguments(parser)\n"
        "try:\n    sys.exit(command.main(parser.parse_args(sys.argv[2:])))\n"
        "except Problem as problem:\n    print('isan:', problem, file=sys.stderr)\n    sys.exit(2)\n"
        % (tree.PYTHON_PATH, str(tmp_path / "libisan.so.0"), str(program), tree.COMMANDS))
    # Another name, since `import isan` would find isan.py.
    (tmp_path / "isan.py").rename(tmp_path / "drive.py")

    def start(*args, **more):
        env = dict(os.environ, XDG_CACHE_HOME=str(tmp_path / "cache"))
        env.pop("ISAN_OPTIONS", None)
        env.update(more)
        return subprocess.Popen([sys.executable, str(tmp_path / "drive.py"), *map(str, args)], env=env, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def finish(*args, **more):
        process = start(*args, **more)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    finish.start = start
    finish.program = [sys.executable, str(tmp_path / "program.py")]
    return finish


def test_run_reports_and_chooses_the_status(isan, tmp_path):
    status, _, err = isan("run", *isan.program, "find", "3")
    assert status == 86 and "share #1" in err and err.endswith("SUMMARY: isan: 1 finding (1 share) in 1 process\n")
    assert isan("run", *isan.program, "find", "3", ISAN_OPTIONS="exitcode=0")[0] == 3
    assert isan("run", *isan.program, "find", "3", ISAN_OPTIONS="exitcode=7")[0] == 7
    status, _, err = isan("run", *isan.program, "clean", "5")
    assert status == 5 and "no findings" in err
    assert isan("run", *isan.program, "die", "0")[0] == 128 + signal.SIGKILL
    status, _, err = isan("run", *isan.program, "nothing", "0")
    assert status == 2 and "nothing was checked" in err


def test_run_keeps_the_users_options_and_logs(isan, tmp_path):
    kept = tmp_path / "some" / "logs"
    status, out, err = isan("run", "--log", kept, "--", *isan.program, "options", "0",
                            ISAN_OPTIONS="origin=native:quarantine=3", LD_PRELOAD=str(tmp_path / "libisan.so.0"))
    options, preload = out.split()
    assert options == "origin=native:quarantine=3:log_path=%s:exitcode=0" % kept
    assert preload == ":".join([str(tmp_path / "libisan.so.0")] * 2)
    assert len(list(kept.glob("isan.*.log"))) == 1
    # Logs of earlier runs are not this run's.
    isan("run", "--log", kept, *isan.program, "find", "0")
    status, _, err = isan("run", *isan.program, "clean", "0", ISAN_OPTIONS="log_path=%s" % kept)
    assert status == 0 and len(list(kept.glob("isan.*.log"))) == 3
    status, _, err = isan("run", "--log", tmp_path, *isan.program, "clean", "0", ISAN_OPTIONS="log_path=%s" % kept)
    assert status == 2 and len(err.splitlines()) == 1 and "leave one of them out" in err


def test_run_passes_signals_on(isan):
    process = isan.start("run", *isan.program, "wait", "0")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 33 and "SUMMARY" in err


def test_run_says_what_is_wrong(isan, tmp_path):
    (tmp_path / "plain.py").write_text("")
    (tmp_path / "file").write_text("")
    for args, words in ((["nosuchprogram"], "cannot find nosuchprogram"), ([tmp_path / "plain.py"], "not executable"),
                        (["--log", tmp_path / "file" / "x", *isan.program, "clean", "0"], "cannot write logs"),
                        (["--log", "a:b", *isan.program, "clean", "0"], "colon"),
                        (["--version", "3.13", *isan.program, "clean", "0"], "--flavor")):
        status, _, err = isan("run", *args)
        assert status == 2 and words in err and len(err.splitlines()) == 1


def test_run_replaces_python(isan, tmp_path):
    fake = tmp_path / "mypython"
    fake.write_text("#!/bin/sh\necho \"$@\"\nexit 2\n")
    fake.chmod(0o755)
    assert isan("run", "--python", fake, "--", "python3", "-c", "x")[1] == "-c x\n"
    assert isan("run", "--python", fake, "--", "script.py", "a")[1] == "script.py a\n"
    assert isan("run", "--python", fake, "--", "-m", "mod")[1] == "-m mod\n"


def test_report_command(isan, foo, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    w = sample_log(foo)
    w.process(hexversion=0)             # no Python to measure the residue of
    path = w.write(logs)
    status, out, err = isan("report", logs)
    assert status == 86 and "SUMMARY: isan: 3 findings" in out and err == ""
    status, out, _ = isan("report", "--format", "json", "-o", tmp_path / "r.json", path)
    assert status == 86 and out == "" and len(json.loads((tmp_path / "r.json").read_text())["findings"]) == 3
    assert isan("report", logs, PYTHONIOENCODING="ascii")[0] == 86
    assert isan("report", tmp_path / "missing")[0] == 2
    (tmp_path / "none").mkdir()
    status, _, err = isan("report", tmp_path / "none")
    assert status == 2 and "there is no isan.*.log" in err
    foreign = tmp_path / "foreign"
    foreign.write_text("x" * 5000)
    status, out, err = isan("report", foreign)
    assert status == 2 and out == "" and str(foreign) in err and "not a log of isan" in err
    status, out, err = isan("report", foreign, path)
    assert status == 2 and "share #1" in out and str(foreign) in err
    path.write_bytes(path.read_bytes()[:-20])
    status, out, err = isan("report", path)
    assert status == 2 and "share #1" in out and "offset" in err
    clean = Writer()
    clean.process()
    clean.exit()
    path = clean.write(tmp_path)
    assert isan("report", path)[0] == 0
    assert isan("report", "--if-any", path) == (0, "", "")
    assert "share #1" in isan("report", "--if-any", logs)[1]


def test_color_on_a_terminal(foo, tmp_path):
    """Colour only on a terminal that has it; the summary is the last line."""
    path = sample_log(foo).write(tmp_path)
    isan = tree.ISAN
    for term, variable, color in ("xterm", "", True), ("xterm", "1", False), ("dumb", "", False):
        leader, follower = os.openpty()
        done = subprocess.Popen([isan, "report", path], stdin=subprocess.DEVNULL, stdout=follower,
                                env=dict(os.environ, TERM=term, NO_COLOR=variable))
        os.close(follower)
        out = b""
        try:
            while True:
                out += os.read(leader, 65536)
        except OSError:             # EIO: no process has the terminal open any more
            os.close(leader)
        assert done.wait(60) == 86 and (b"\x1b[" in out) == color
        assert out.decode().splitlines()[-1].startswith("SUMMARY: isan: 3 findings")
