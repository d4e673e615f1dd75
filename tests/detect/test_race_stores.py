"""statics=watch: two own-GIL interpreters store into the same static.

isan sees the race if both stores are within milliseconds, so the interpreters repeat them for a second.
"""
import pytest

from helpers.programs import holder_of, line_of, places, who

# All interpreters start at the same moment and do the same.
TOGETHER = """
import threading
interpreters = [Interpreter(kind) for kind in kinds]
for interpreter in interpreters:
    interpreter.run(f"import time, {module} as mod")
code = f"end = time.time() + 1\\nwhile time.time() < end: mod.run({parties}, {times})"
threads = [threading.Thread(target=interpreter.run, args=(code,)) for interpreter in interpreters]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for interpreter in interpreters:
    interpreter.end()
print("done")
"""
RACES = {
    "race_counter": ("counter", "static long counter;", None, "counter++;", 8),
    "race_lazy": ("table", "static int *table;", None, "table = fresh;", 8),
    "race_list": ("head", "static struct node *head;", None, "head = node;", 8),
    "race_text": ("state", "} state;", ".text[0]", "snprintf(state.text", 1),
}
HEALTHY = ["race_mutex", "race_atomic", "race_once", "race_thread", "race_state", "race_relaxed"]


@pytest.fixture(scope="session", params=["3.13-fast", "3.14-fast", "3.13-plain", "3.14-plain"])
def parallel(request, target_of):
    """Interpreters of releases with own-GIL sub-interpreters."""
    return target_of(request.param)


def together(target, module, kind="isolated", parties=2, times=3, options="statics=watch", **more):
    run = target.run(TOGETHER, options, kinds=[kind] * 2, module=module, parties=parties, times=times, **more)
    assert run.out == "done\n" and run.report["dropped"] == 0, run.err
    return run


@pytest.mark.parametrize("module", RACES)
def test_race(parallel, module):
    variable, definition, path, use, size = RACES[module]
    run = together(parallel, module)
    race = run.one("race")
    source = module + ".c"
    assert run.status == 86 and race["access"] == "none" and race["gil"] == "different"
    assert holder_of(race) == (variable, source, line_of(source, definition)) and race["holder"]["path"] == path
    assert sorted(who(place["interpreter"]) for place in race["places"]) == [(1, "own-gil"), (2, "own-gil")]
    assert len({place["tid"] for place in race["places"]}) == 2
    for place in race["places"]:
        assert place["role"] == "access" and place["write"] and not place["atomic"] and not place["detached"]
        # The compiler inlines step() of some modules, and moves the store of the loop behind it.
        lines = places(place["stack"], source) or places(place["stack"], "races.h")
        assert place["amount"] == size and lines[0] in [line_of(source, use), line_of("races.h", "step(module);") - 1]
        assert any(frame["kind"] == "python" for frame in place["stack"])
    assert f"interpreters 1 and 2 (own GIL) write static `{variable}" in run.err


@pytest.mark.parametrize("module", HEALTHY)
def test_healthy(parallel, module):
    assert together(parallel, module).healthy()


def test_same_constant(parallel):
    """Rule same_constant: stores of one constant are no race; stores of two are."""
    assert together(parallel, "race_flag").healthy()
    other = parallel.extension("race_flag.c", not parallel.stock, "-DOTHER")
    assert holder_of(together(parallel, "race_flag", extensions=other).one("race"))[0] == "there"


def test_atomic_variable(parallel):
    """The reporter leaves out variables that debug information calls atomic, and no others."""
    atomic = together(parallel, "race_release")
    assert atomic.healthy() and "no findings" in atomic.err
    plain = parallel.extension("race_release.c", not parallel.stock, "-DPLAIN")
    assert holder_of(together(parallel, "race_release", extensions=plain).one("race"))[0] == "last"


def test_interpreters_with_one_gil(parallel):
    assert together(parallel, "race_counter", kind="legacy", parties=1).findings("race") == []


def test_not_asked_for(parallel):
    assert together(parallel, "race_counter", options="statics=look").healthy()


def test_fork_and_signals(parallel):
    """Watched code runs in a forked child, under a fault handler installed later (faulthandler), and with signals blocked."""
    run = parallel.run("""
        import faulthandler, os, signal, race_counter
        faulthandler.enable()
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
        race_counter.run(1, 10)
        child = os.fork()
        other = Interpreter()
        other.run("import race_counter as mod; mod.run(1, 10)")
        race_counter.run(1, 10)
        other.end()
        if child == 0:
            os._exit(7)
        assert os.waitpid(child, 0)[1] == 7 << 8
    """, "statics=watch:leaks=0")
    assert run.status == 0 and run.findings() == [], run.err


def test_halt_on_error(parallel):
    run = parallel.run(TOGETHER, "statics=watch:halt_on_error=1", kinds=["isolated"] * 2, module="race_list", parties=2,
                       times=3)
    assert run.out == "" and len(run.one("race")["places"]) == 2
