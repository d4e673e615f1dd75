"""An unmodified Python and unmodified extensions: LD_PRELOAD alone."""
import re
import signal
import subprocess
import sys

import pytest

from ext.syscall_filter import FAIL, KILL, filter_call
from helpers.cache_static import CACHE_HOLDER, CREATED, HEALTHY, IMPORTS, USED
from helpers.programs import holder_of, places, who
from helpers.tree import SOAK


def kind_of(stock, kind):
    return "own-gil" if kind == "isolated" and stock.hexversion >= (3, 12) else "legacy"


def check_cache(stock, run, kind="legacy", origin=True):
    """The findings on the one bug of cache_static name the variable, its line, the object, both interpreters and the leak."""
    share = run.one("share", type="dict", access="argument")
    static = run.one("static", type="dict")
    leak = run.one("leak", type="dict")
    assert len(run.report["findings"]) == 3
    for finding in share, static, leak:
        assert holder_of(finding) == CACHE_HOLDER
        assert who(finding["owner"]) == (1, kind_of(stock, kind))
        assert finding["object"]["recycled"] == (stock.hexversion < (3, 13) or not origin)
        if origin:
            assert places(finding["stacks"]["created"], "cache_static.c") == [CREATED]
    for finding in share, static:
        assert who(finding["current"]) == (2, kind_of(stock, kind))
        assert (finding["paired"], finding["fate"]) == ([leak["id"]], "leaked")
    assert places(share["stacks"]["used"], "cache_static.c") == [USED]
    assert (leak["paired"], leak["count"]) == (sorted([share["id"], static["id"]]), 1)
    assert static["object"]["serial"] == leak["object"]["serial"] is not None


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_object_in_a_static(stock, kind):
    run = stock.run(IMPORTS, KIND=kind)
    assert run.status == 86, run.err
    check_cache(stock, run, kind)
    assert run.report["process"]["flavor"] == "stock"


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_object_in_module_state(stock, kind):
    assert stock.run(HEALTHY, KIND=kind).healthy()


def test_c_plus_plus_exception_through_glibc(either):
    run = either.run("import cxx_once\nprint(cxx_once.try_once())\n")
    assert run.out == "thrown\n" and run.healthy(), run.err


@pytest.mark.parametrize("env", [
    {"PYTHONMALLOC": "pymalloc"}, {"PYTHONMALLOC": "malloc"}, {"PYTHONMALLOC": "debug"}, {"PYTHONDEVMODE": "1"},
    {"PYTHONTRACEMALLOC": "5"}, {"PYTHONFAULTHANDLER": "1"},
], ids=lambda env: "=".join(*env.items()))
def test_ways_to_start_python(stock, env):
    if "PYTHONTRACEMALLOC" in env and stock.hexversion < (3, 12):
        # These releases hang under tracemalloc when they create a sub-interpreter, with or without isan.
        assert stock.run("print([object() for _ in range(9)][:0])", env=env).healthy()
        return
    check_cache(stock, stock.run(IMPORTS, env=env, KIND="legacy"))
    assert stock.run(HEALTHY, env=env, KIND="legacy").healthy()


def test_tracemalloc_started_and_stopped(stock):
    """tracemalloc uses the same hook as isan (PyRefTracer), and must see the same objects as without isan."""
    run = stock.run("""
        import tracemalloc
        tracemalloc.start()
        here = [object() for _ in range(1000)]
        statistics = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, __file__)]).statistics("lineno")
        assert max(s.count for s in statistics) >= 1000, statistics
        tracemalloc.stop()
        first, second = Interpreter("legacy"), Interpreter("legacy")
        first.run("import cache_static")
        second.run("import cache_static")
        first.end()
        second.end()
    """)
    check_cache(stock, run)


def test_object_made_while_tracemalloc_has_the_tracer(stock):
    """isan's hook does not see its creation, so isan recognises the object by its content."""
    run = stock.run("""
        import tracemalloc
        first = Interpreter()
        first.run("import leak_ref")
        tracemalloc.start()
        first.run("leak_ref.make_object()")
        tracemalloc.stop()
        first.end()
    """)
    # Before 3.13 tracemalloc itself leaks tracebacks (valgrind shows them, too), so other leaks are not compared.
    assert run.one("leak", type="list")["count"] == 1 and len(run.findings(python=True)) == 1, run.err


@pytest.mark.parametrize("options", ["", "origin=none"])
def test_memory_over_old_objects_is_no_object(stock, options):
    """The program has filled only part of a block, so that the block still begins like the object that it replaces."""
    run = stock.run("""
        for _ in range(30):
            interpreter = Interpreter()
            interpreter.run("import leak_ref")
            interpreter.run("import leak_ref; leak_ref.use_block()")
            interpreter.end()
    """, options)
    assert (run.one("leak", python=False)["count"], len(run.findings())) == (30, 1), run.err


def test_by_hand(stock):
    done = stock.by_hand(IMPORTS, KIND="legacy")
    assert done.returncode == 86, done.stderr
    assert re.search(r"static `cache` of cache_static\S* \(\S*tests/ext/cache_static.c:%d\)" % CACHE_HOLDER[2], done.stderr)
    assert done.stderr.rstrip().endswith("SUMMARY: isan: 3 findings (1 share, 1 static, 1 leak) in 1 process")


@pytest.mark.parametrize("origin", ["none", "native"])
def test_origins(stock, origin):
    run = stock.run(IMPORTS, f"origin={origin}", KIND="legacy")
    check_cache(stock, run, "legacy", origin != "none")
    if origin == "none":
        assert run.one("leak")["stacks"]["created"] == []


def test_use_after_the_owner_ended(stock):
    run = stock.run("""
        first, second = Interpreter(), Interpreter()
        first.run("import cache_static")
        first.end()
        second.run("import cache_static")
        second.end()
    """)
    stale = run.one("stale", type="dict", access="argument")
    assert holder_of(stale) == CACHE_HOLDER and stale["fate"] == "leaked"
    assert places(stale["stacks"]["used"], "cache_static.c") == [USED]
    assert (who(stale["owner"])[0], who(stale["current"])[0]) == (1, 2)
    assert [frame["function"] for frame in stale["stacks"]["ended"] if frame["kind"] == "python"][-1] == "<module>"
    assert run.one("leak", type="dict")["paired"] == sorted([stale["id"], run.one("static")["id"]])


ELSEWHERE = """
    first, second = Interpreter(KIND), Interpreter(KIND)
    for use in "release", "grow":
        first.run(f"import free_wrong; free_wrong.{PREFIX}alloc()")
        second.run(f"import free_wrong; free_wrong.{PREFIX}{use}()")
    second.run(f"free_wrong.{PREFIX}release()")
    second.end()
    first.end()
"""


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_memory_freed_elsewhere(stock, kind):
    assert stock.run(ELSEWHERE, KIND=kind, PREFIX="raw_").healthy()
    run = stock.run(ELSEWHERE, KIND=kind, PREFIX="")
    if stock.hexversion < (3, 12):          # one heap for all, rules.inc
        assert run.healthy()
        return
    found = {finding["access"]: finding for finding in run.findings("free")}
    assert sorted(found) == ["free", "realloc"]
    for finding in found.values():
        assert (who(finding["owner"]), who(finding["current"])) == ((1, kind_of(stock, kind)), (2, kind_of(stock, kind)))
        assert finding["object"]["type"] is None and len(places(finding["stacks"]["used"], "free_wrong.c")) == 1


# --- fork, exec, threads -----------------------------------------------------------------

def test_fork(stock):
    """Each process has its own log with its own findings."""
    run = stock.run("""
        import os, sys
        child = os.fork()                                   # which leaves only the main interpreter
        first, second = Interpreter("legacy"), Interpreter("legacy")
        if child == 0:
            first.run("import cache_static")
            second.run("import cache_static")
        else:
            first.run("import cache_state")
            second.run("import cache_state")
        first.end()
        second.end()
        if child:
            _, status = os.waitpid(child, 0)
            sys.exit(os.waitstatus_to_exitcode(status))
    """)
    assert run.status == 86, run.err
    child = run.one("static")["pid"]
    assert {finding["pid"] for finding in run.report["findings"]} == {child}
    assert len({process["pid"] for process in run.report["processes"]}) == 2


@pytest.mark.parametrize("follow", [1, 0])
def test_executed_children(stock, follow):
    run = stock.run("""
        import subprocess, sys, textwrap
        subprocess.run([sys.executable, "-c", textwrap.dedent(CHILD)], check=True)
    """, f"follow_children={follow}",
        CHILD='from interpreters import Interpreter\nKIND = "legacy"' + "\n" + "\n".join(
            line[4:] for line in IMPORTS.splitlines()))
    assert len(run.report["processes"]) == 1 + follow
    assert (run.status, bool(run.findings("static"))) == ((86, True) if follow else (0, False)), run.err


@pytest.mark.parametrize("action", [KILL, FAIL], ids=["kill", "EPERM"])
def test_filter_of_system_calls(stock, action):
    """Services of systemd (SystemCallFilter=) and containers have such filters: few programs need process_vm_readv."""
    run = stock.run(IMPORTS, preexec=lambda: filter_call(310, action), KIND="legacy")
    assert run.status == 86 and run.report["crashes"] == [], run.err
    check_cache(stock, run)


RESERVED = """
    import ctypes
    libc, private_anonymous_noreserve, failed = ctypes.CDLL(None), 0x4022, 2 ** 64 - 1
    libc.mmap.restype, libc.mmap.argtypes = ctypes.c_size_t, [ctypes.c_size_t] * 6
    assert libc.mmap(0, 16 << 40, 3, private_anonymous_noreserve, failed, 0) != failed
"""


def test_address_space_taken_by_another_sanitizer(stock):
    """isan does not walk terabytes of reserved memory page by page when an interpreter ends."""
    check_cache(stock, stock.run(RESERVED + IMPORTS, KIND="legacy"))


def test_daemon_threads_at_exit(stock):
    """At the end of the interpreter CPython blocks daemon threads for ever, or ends them; isan changes neither."""
    run = stock.run("""
        import threading, time
        def work():
            while True:
                [object() for _ in range(100)]
        for _ in range(4):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.05)                                    # until they run; nothing depends on it
        print("end")
    """)
    assert (run.status, run.out, run.report["crashes"]) == (0, "end\n", []), run.err


def test_a_hundred_interpreters_in_turn(stock):
    """isan's own memory does not grow; see tests/bench/soak.py."""
    done = subprocess.run([sys.executable, SOAK, "--stock", "--python", stock.python,
                           "--count", "102"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0 and "flat: " in done.stdout, done.stdout


def test_crash(stock):
    run = stock.run("import faulthandler; faulthandler._sigsegv()")
    assert run.status == 128 + signal.SIGSEGV
    assert [crash["signal"] for crash in run.report["crashes"]] == [signal.SIGSEGV]
