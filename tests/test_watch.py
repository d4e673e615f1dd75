"""statics=watch: interpreters with GILs of their own that store into the same static at a time."""
import os

import pytest

from subject import holder_of, line_of, places, who

# All do the same from the same moment on, in C.
TOGETHER = """
import threading
interpreters = [Interpreter(kind) for kind in kinds]
for interpreter in interpreters:
    interpreter.run(f"import {module} as mod")
threads = [threading.Thread(target=interpreter.run, args=(f"mod.run({parties}, {times})",)) for interpreter in interpreters]
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
HEALTHY = ["race_mutex", "race_atomic", "race_once", "race_thread", "race_state"]


@pytest.fixture(scope="session", params=["3.13-fast", "3.14-fast", "3.13-plain", "3.14-plain"])
def parallel(request, subject_of):
    """Those whose interpreters can have GILs of their own."""
    return subject_of(request.param)


def together(subject, module, kind="isolated", parties=2, times=1000, options="statics=watch", **more):
    run = subject.run(TOGETHER, options, kinds=[kind] * 2, module=module, parties=parties, times=times, **more)
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
        assert place["amount"] == size and places(place["stack"], source)[0] == line_of(source, use)
        assert any(frame["kind"] == "python" for frame in place["stack"])
    assert f"interpreters 1 and 2 (own GIL) write static `{variable}" in run.err


@pytest.mark.parametrize("module", HEALTHY)
def test_healthy(parallel, module):
    assert together(parallel, module).healthy()


def test_same_constant(parallel):
    """The rule, and its border."""
    assert together(parallel, "race_flag").healthy()
    other = parallel.extension("race_flag.c", not parallel.stock, "-DOTHER")
    assert holder_of(together(parallel, "race_flag", extensions=other).one("race"))[0] == "there"


def test_interpreters_with_one_gil(parallel):
    assert together(parallel, "race_counter", kind="legacy", parties=1).findings("race") == []


def test_not_asked_for(parallel):
    assert together(parallel, "race_counter", options="statics=look").healthy()
