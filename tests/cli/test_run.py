"""How programs under isan end, and their reports: isan run, by hand, crashes, bad options, full disks."""
import os
import re
import resource
import signal
import stat
import subprocess

import pytest

from helpers.product import residue
from helpers.programs import TIMEOUT, who
from helpers.tree import OPTIONS

# One interpreter uses an object of another.
FINDING = """
first, second = Interpreter(), Interpreter()
for interpreter in first, second:
    interpreter.run("import cache_static")
"""
END = "second.end()\nfirst.end()\n"
HEALTHY = FINDING.replace("cache_static", "cache_state")
BOTH_STACKS = "created in interpreter 1 (own GIL) at ", "touched in interpreter 2 (own GIL) at "


def told(text, stacks=BOTH_STACKS, function="cache_exec"):
    """Check that the text has the report, with its stacks."""
    return all(part in text for part in stacks) and function in text and "SUMMARY: isan: " in text


# --- the end ----------------------------------------------------------------------------------

@pytest.mark.parametrize("program, options, status", [
    (HEALTHY, "", 0), (HEALTHY + "raise SystemExit(3)", "", 3), (FINDING, "", 86), (FINDING + "raise SystemExit(3)", "", 86),
    (FINDING + "raise SystemExit(3)", "exitcode=0", 3), (FINDING, "exitcode=7", 7),
])
def test_exit_status(target, program, options, status):
    run = target.run(program, options)
    assert run.status == status
    assert bool(run.report["findings"]) == ("cache_static" in program) == told(run.err)


@pytest.mark.parametrize("program, options, status", [
    (HEALTHY + "raise SystemExit(3)", "", 3), (FINDING, "", 86), (FINDING + "raise SystemExit(3)", "exitcode=0", 3),
])
def test_by_hand(target, tmp_path, program, options, status):
    done = target.by_hand(program + "\nprint('done')" if "raise" not in program else program, options,
                          env={"TMPDIR": str(tmp_path)})
    assert done.returncode == status
    assert told(done.stderr) == ("cache_static" in program)
    assert done.stdout == ("done\n" if "raise" not in program else "")
    assert list(tmp_path.iterdir()) == []


def test_by_hand_without_a_report(target, tmp_path):
    """With log_path there is no report: the log is for another program."""
    done = target.by_hand(FINDING + END, f"log_path={tmp_path}/log")
    assert (done.returncode, done.stderr) == (0, "") and len(list((tmp_path / "log").iterdir())) == 1


# Both interpreters import the extension before its static holds an object.
USE = FINDING.replace("cache_static", "dealloc_wrong") + """
first.run("dealloc_wrong.make(lambda: [])")
second.run("dealloc_wrong.drop()")
"""


@pytest.mark.parametrize("program, kind, second_stack, function", [
    (FINDING, "static", "reached from interpreter 2 (own GIL), which has imported it too: found at ", "cache_exec"),
    (USE, "free", "deallocated in interpreter 2 (own GIL) at ", "drop"),
], ids=["static", "free"])
def test_halt_on_error(target, tmp_path, program, kind, second_stack, function):
    stacks = BOTH_STACKS[0], second_stack
    program += "print('not reached', flush=True)"
    run = target.run(program, "halt_on_error=1")
    assert (run.status, run.out) == (86, "") and told(run.err, stacks, function)
    assert [finding["kind"] for finding in run.findings()] == [kind]
    done = target.by_hand(program, "halt_on_error=1", env={"TMPDIR": str(tmp_path)})
    assert (done.returncode, done.stdout) == (-signal.SIGABRT, "") and told(done.stderr, stacks, function)
    assert list(tmp_path.iterdir()) == []


def test_no_halt_without_an_error(target):
    assert target.run(HEALTHY, "halt_on_error=1").healthy()


CRASH = """
def crash():
    ctypes.string_at(0)
import ctypes, resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
crash()
"""


def test_crash(target, tmp_path):
    for program, status in (FINDING, 86), (HEALTHY, 128 + signal.SIGSEGV):
        run = target.run(program + CRASH)
        assert run.status == status
        (crash,) = run.report["crashes"]
        assert (crash["signal"], who(crash["current"])) == (signal.SIGSEGV, (0, "main"))
        assert [frame["function"] for frame in crash["stack"] if frame["kind"] == "python"][-2:] == ["crash", "<module>"]
        assert bool(run.report["findings"]) == told(run.err) == (program == FINDING)
        assert "SIGSEGV" in run.err
    done = target.by_hand(FINDING + CRASH, env={"TMPDIR": str(tmp_path)})
    assert done.returncode == -signal.SIGSEGV and told(done.stderr) and "SIGSEGV" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_killed(target):
    kill = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    run = target.run(FINDING + kill)
    assert run.status == 86 and told(run.err)
    assert run.findings("share", type="dict")
    assert any("killed" in note["text"] for note in run.report["notes"])
    run = target.run(HEALTHY + kill)
    assert (run.status, run.report["findings"]) == (128 + signal.SIGKILL, [])


# --- forks and threads ----------------------------------------------------------------------------

def test_fork(target):
    """The child has its own interpreters and its own log.  (CPython aborts in a child of a process with sub-interpreters.)"""
    run = target.run("""
        import os
        child = os.fork()
        first, second = Interpreter(), Interpreter()
        for interpreter in first, second:
            interpreter.run("import " + ("cache_state" if child else "cache_static"))
        second.end()
        first.end()
        if child == 0:
            print(os.getpid(), flush=True)
            os._exit(0)
        assert os.waitpid(child, 0) == (child, 0)
    """)
    assert run.status == 86 and told(run.err)
    child = int(run.out)
    pids = [process["pid"] for process in run.report["processes"]]
    assert len(pids) == 2 and child in pids
    assert {finding["pid"] for finding in run.findings()} == {child}
    traps = run.findings("share", type="dict")
    assert traps and run.findings("leak", type="dict")
    for trap in traps:
        assert (who(trap["owner"]), who(trap["current"])) == ((1, "own-gil"), (2, "own-gil"))
        assert trap["holder"]["symbol"] == "cache" and trap["stacks"]["created"] and trap["paired"]


def test_fork_without_a_finding(target):
    run = target.run("""
        import os
        child = os.fork()
        if child:
            assert os.waitpid(child, 0) == (child, 3 << 8)
            raise SystemExit(4)
        raise SystemExit(3)
    """)
    assert (run.status, run.report["findings"]) == (4, [])


THREADS = """
import threading
interpreters = [Interpreter() for _ in range(4)]
interpreters[0].run("import MODULE")
ready = threading.Barrier(3)
def work(interpreter):
    ready.wait(30)
    interpreter.run("import MODULE")
threads = [threading.Thread(target=work, args=(interpreter,)) for interpreter in interpreters[1:]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(30)
for interpreter in reversed(interpreters):
    interpreter.end()
"""


def test_threads(target):
    """Own-GIL interpreters run in parallel; each check uses the interpreter of its thread."""
    assert target.run(THREADS.replace("MODULE", "cache_state")).healthy()
    run = target.run(THREADS.replace("MODULE", "cache_static"))
    assert run.status == 86 and run.report["crashes"] == []
    (trap,) = [finding for finding in run.findings("share", access="incref", type="dict")
               if "cache_exec" in [frame["function"] for frame in finding["stacks"]["used"]]]
    assert (trap["count"], who(trap["owner"])) == (3, (1, "own-gil"))
    assert who(trap["current"])[0] in (2, 3, 4) and trap["tid"] != trap["pid"]


def test_findings_while_libraries_are_loaded(target, tmp_path):
    """The dynamic linker and libunwind have a lock each.  When isan took both in the wrong order, three of ten such programs
    hung, so that six in a row ended only once in ten times."""
    library = tmp_path / "nothing.so"
    subprocess.run(["gcc", "-shared", "-x", "c", "/dev/null", "-o", library], check=True)
    for _ in range(6):
        run = target.run("""
            import threading
            import loads_libraries
            loader = threading.Thread(target=loads_libraries.go_on, args=(LIBRARY,))
            ready = threading.Barrier(4)
            def import_it(interpreter):
                ready.wait(30)
                interpreter.run("import cache_static")
            first, *others = [Interpreter() for _ in range(5)]
            first.run("import cache_static")
            importers = [threading.Thread(target=import_it, args=(interpreter,)) for interpreter in others]
            for thread in [loader, *importers]:
                thread.start()
            for thread in importers:
                thread.join()
            loads_libraries.stop()
            loader.join()
            first.end()
        """, LIBRARY=str(library))
        assert run.status == 86 and run.one("static", type="dict")["holder"]["symbol"] == "cache", run.err


# --- options and other trouble --------------------------------------------------------------------------

def test_help(target):
    done = target.by_hand("print('not reached')", "help=1")
    assert done.returncode == 0 and "not reached" not in done.stdout
    with open(OPTIONS, encoding="utf-8") as table:
        names = [line.split("(")[1].split(",")[0] for line in table if line.startswith("ISAN_")]
    listed = [line.split("=")[0].strip() for line in done.stdout.splitlines() if line.startswith("  ") and line[2] != " "]
    assert listed == names and "halt_on_error" in names
    assert "default: 86" in done.stdout


def refused(done, *parts):
    """Check that nothing was run, and that stderr is one sentence with these parts."""
    assert (done.returncode, done.stdout) == (2, ""), done
    (line,) = done.stderr.splitlines()
    assert line.startswith("isan: ") and all(part in line for part in parts), line
    return True


@pytest.mark.parametrize("options, parts", [
    ("nonsense=1", ("nonsense", "ISAN_OPTIONS=help=1")), ("halt_on_error", ("halt_on_error=",)),
    ("halt_on_error=2", ("halt_on_error=2", "from 0 to 1")), ("exitcode=many", ("exitcode=many", "from 0 to 255")),
    ("origin=somewhere", ("origin=somewhere", "none|python|native")),
    ("log_path=/dev/null", ("/dev/null", "log_path")), ("log_path=/proc/isan", ("/proc/isan", "log_path")),
])
def test_bad_option(target, options, parts):
    assert refused(target.by_hand("print('not reached')", options), *parts)


def test_bad_option_of_a_run(target, tmp_path):
    for arguments, options, part in ((), "nonsense=1", "nonsense"), (("--log", "/proc/isan"), "", "/proc/isan"):
        done = subprocess.run([target.isan, "run", "--flavor", "fast", "--version", target.version, *arguments, "--",
                               "python", "-c", "print('not reached')"], env=target.env(options), timeout=TIMEOUT,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert refused(done, part)


def limit(what, size):
    return lambda: resource.setrlimit(what, (size, size))


def test_no_address_space(target):
    assert refused(target.by_hand("print('not reached')", preexec=limit(resource.RLIMIT_AS, 8 << 30)), "ulimit -v")


def test_no_room_for_a_log(target, tmp_path):
    done = target.by_hand("print('not reached')", f"log_path={tmp_path}", preexec=limit(resource.RLIMIT_FSIZE, 1 << 16))
    assert refused(done, str(tmp_path), "log_path")
    assert list(tmp_path.iterdir()) == []


MANY = """
first, second = Interpreter(), Interpreter()
first.run("import attr_borrowed as m\\nthing = m.Thing()\\nthing.number = 1\\nm.store(thing)")
second.run("import attr_borrowed as m\\n" + "m.getattr('number')\\n" * 150)
second.run("print('done', flush=True)")
"""


def test_a_log_is_its_owners_alone(target, tmp_path):
    """Only its owner can read it, with any umask, and isan follows no link in its place."""
    (tmp_path / "precious").write_text("as it was")
    done = subprocess.run(["/bin/sh", "-c", 'umask 0; mkdir log; ln -s ../precious log/isan.$$.log; exec "$@"', "sh", target.python,
                           "-c", "pass"], cwd=tmp_path, env=target.env("log_path=log:exitcode=0"), stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "precious").read_text() == "as it was"
    log, = (path for path in (tmp_path / "log").iterdir() if not path.is_symlink())
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert subprocess.run([target.isan, "report", log], stdout=subprocess.PIPE).returncode == 0


def test_disk_full(target):
    """isan counts the records that do not fit; the program goes on."""
    run = target.run(MANY + END, preexec=limit(resource.RLIMIT_FSIZE, 1 << 19))
    assert (run.status, run.out) == (86, "done\n")
    assert run.report["dropped"] > 100 and run.report["errors"] == []
    assert run.findings("share", access="attribute")


def test_disk_full_is_no_clean_run(target):
    """Findings may be among the lost records."""
    run = target.run("""
one = Interpreter()
one.run("import asyncio, unittest")
one.end()
print("done", flush=True)
""", preexec=limit(resource.RLIMIT_FSIZE, 1 << 18))
    assert (run.status, run.out) == (2, "done\n")
    report, = [line for line in run.err.splitlines() if line.startswith("SUMMARY: ")]
    assert re.fullmatch(r"SUMMARY: isan: no findings, [\d,]+ records lost in 1 process", report)
    assert "the process was killed" not in run.err
    again = subprocess.run([target.isan, "report", run.log], stdout=subprocess.PIPE, text=True)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (2, report)


def test_residue_without_a_place_to_keep_it(isan, monkeypatch):
    """isan measures it anyway, once for all processes of a report."""
    program = ("import subprocess, sys\n"
               "if sys.version_info >= (3, 13): import _interpreters as api; api.destroy(api.create('legacy'))\n"
               "else: import _xxsubinterpreters as api; api.destroy(api.create(isolated=False))\n"
               "if not sys.argv[1:]: subprocess.run([sys.executable, *sys.orig_argv[1:], 'again'], check=True)\n")
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    done = subprocess.run([isan, "run", "/usr/bin/python3", "-c", program], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 0 and "note:" not in done.stderr, done.stderr
    assert done.stderr.count("measuring what empty interpreters") == 1
    assert done.stderr.endswith("SUMMARY: isan: no findings in 2 processes\n")


def test_residue_of_a_user_without_a_home(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(residue.Path, "home", no_home)
    residue.keep("measured", {"kinds": {}})
    assert residue.kept("measured") is None


# Daemons close all files and open their own.
TAKE_THE_NUMBER = """
import os
log, = (n for n in os.listdir("/proc/self/fd") if os.path.basename(os.path.realpath(f"/proc/self/fd/{n}")).startswith("isan."))
data = os.open(DATA, os.O_RDWR | os.O_CREAT)
assert data < int(log)                                  # nothing of isan's is among the lowest numbers
os.dup2(data, int(log))
os.write(data, b"as it was")
child = os.fork()
if child == 0:
    os.fstat(int(log))
    os._exit(0)
assert os.waitpid(child, 0) == (child, 0)
"""


def test_log_closed_by_the_program(target, tmp_path):
    """isan does not write, truncate or close a file that has the log's number now, and the log is complete."""
    data = tmp_path / "data"
    run = target.run(TAKE_THE_NUMBER + MANY + END, DATA=str(data))
    assert (run.status, run.out) == (86, "done\n"), run.err
    assert data.read_bytes() == b"as it was"
    assert run.report["dropped"] == 0 and run.findings("share", access="attribute")


def test_signals_are_as_they_were(isan):
    """Python ignores SIGPIPE and SIGXFSZ, and a program must not inherit that from isan run."""
    done = subprocess.run([isan, "run", "cat", "/proc/self/status"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=60)
    ignored = int(re.search(r"^SigIgn:\t(\w+)$", done.stdout, re.MULTILINE)[1], 16)
    assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1), done.stdout + done.stderr
