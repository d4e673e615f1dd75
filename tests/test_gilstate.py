"""Threads and thread states: callbacks in the wrong interpreter, thread states of others, calls without one, ends with
threads; both interpreters, both sites, the function, the thread; silence for the healthy twins."""
import pytest

from subject import line_of, places, who

KINDS = pytest.mark.parametrize("kind", ["isolated", "legacy"])


def kind_of(either, kind):
    return "own-gil" if kind == "isolated" and either.hexversion >= (3, 12) else "legacy"


def role(finding, name):
    return [place for place in finding["places"] if place["role"] == name]


# --- PyGILState_Ensure --------------------------------------------------------------------------------

REGISTER = """
    first, second = Interpreter(KIND), Interpreter(KIND)
    second.run(CODE)
    second.end()
    first.end()
"""


@KINDS
def test_callback(either, kind):
    run = either.run(REGISTER, KIND=kind, CODE="import gilstate_callback as m; m.watch(None); m.watch(None)")
    (found,) = run.findings()
    assert (run.status, found["kind"], found["access"], found["function"], found["count"]) == \
        (86, "gilstate", "ensure", "PyGILState_Ensure", 2), run.err
    assert (who(found["owner"]), who(found["current"])) == ((2, kind_of(either, kind)), (0, "main"))
    assert places(found["stacks"]["used"], "gilstate_callback.c")[0] == line_of("gilstate_callback.c", "PyGILState_Ensure();")
    assert found["stacks"]["used"][0]["function"] == "called"
    (registered,) = found["places"]
    assert (registered["role"], who(registered["interpreter"])) == ("registered", (2, kind_of(either, kind)))
    assert places(registered["stack"], "lib/gilstate_callback.c")[0] == line_of("lib/gilstate_callback.c", "pthread_create(")
    assert places(registered["stack"], "gilstate_callback.c") == [line_of("gilstate_callback.c", "callback_register(called")]
    assert found["tid"] not in (None, registered["tid"]) and registered["tid"]
    assert "PyInterpreterState of each registration" in found["hint"] and "PyThreadState_New" in found["hint"]
    assert f"isan: gilstate #1: thread {found['tid']} calls PyGILState_Ensure for interpreter 2" in run.err
    assert "and lands in interpreter 0 (main)" in run.err


@KINDS
def test_callback_with_the_interpreter_kept(either, kind):
    assert either.run(REGISTER, KIND=kind, CODE="""
import gilstate_state as m
seen = []
m.watch(None)
m.watch(lambda: seen.append(1))
assert seen == [1]
""").healthy()
