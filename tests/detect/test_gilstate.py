"""Threads and thread states: callbacks in the wrong interpreter, thread states of other threads, calls without a thread
state, interpreters that end with threads.

Each finding names both interpreters, both sites, the function and the thread; there is none for the healthy twins.
"""
import pytest

from helpers.programs import line_of, places, who

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
def test_callback_that_keeps_its_interpreter(either, kind):
    assert either.run(REGISTER, KIND=kind, CODE="""
import gilstate_state as m
seen = []
m.watch(None)
m.watch(lambda: seen.append(1))
assert seen == [1]
""").healthy()


@KINDS
def test_callback_of_a_module_that_main_imported(either, kind):
    """Rule serves_all: it may be a callback of the main interpreter, unless it touches an object of another one."""
    script = "    import gilstate_callback\n" + REGISTER
    assert either.run(script, KIND=kind, CODE="import gilstate_callback as m; m.watch(None)").healthy()
    run = either.run(script, KIND=kind, CODE="import gilstate_callback as m\nclass Kept:\n    def __call__(self): pass\nm.watch(Kept())")
    (found,) = run.findings("gilstate")
    assert (found["access"], who(found["owner"]), who(found["current"])) == ("ensure", (2, kind_of(either, kind)), (0, "main"))
    assert places(found["stacks"]["used"], "gilstate_callback.c") == [line_of("gilstate_callback.c", "PyGILState_Ensure();")]
    (registered,) = found["places"]
    assert places(registered["stack"], "gilstate_callback.c") == [line_of("gilstate_callback.c", "callback_register(called")]
    assert run.findings("share", type="Kept")
    assert found["object"]["serial"] in [share["object"]["serial"] for share in run.findings("share")]


def test_callback_of_main(either):
    assert either.run("""
        import ctypes, gilstate_callback, sqlite3, threading
        seen = []
        gilstate_callback.watch(lambda: seen.append(1))
        array = (ctypes.c_int * 3)(3, 1, 2)
        compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
        ctypes.CDLL(None).qsort(array, 3, ctypes.sizeof(ctypes.c_int), compare(lambda a, b: a[0] - b[0]))
        with sqlite3.connect(":memory:") as connection:
            connection.set_trace_callback(seen.append)
            connection.execute("select 1")
        thread = threading.Thread(target=gilstate_callback.watch, args=(None,))
        thread.start()
        thread.join()
        assert list(array) == [1, 2, 3] and len(seen) >= 2
    """).healthy()


@pytest.mark.parametrize("where", ["main", "legacy", "isolated"])
def test_ensure_on_a_thread_of_an_interpreter(stock, where):
    """Before 3.12 PyGILState_Ensure attaches the first thread state of a thread, and deadlocks if the thread runs in another
    interpreter."""
    code = "import gilstate_thread as m; m.enter(); m.enter()"
    run = stock.run(code if where == "main" else REGISTER, "halt_on_error=1", KIND=where, CODE=code)
    if stock.hexversion >= (3, 12) or where == "main":
        assert run.healthy()
        return
    (found,) = run.findings()
    assert (found["kind"], found["access"], found["function"]) == ("gilstate", "ensure", "PyGILState_Ensure"), run.err
    assert (who(found["owner"]), who(found["current"])) == ((2, "legacy"), (0, "main"))
    assert places(found["stacks"]["used"], "gilstate_thread.c")[0] == line_of("gilstate_thread.c", "PyGILState_Ensure();")


# --- thread states of other threads -----------------------------------------------------------------------

@KINDS
@pytest.mark.parametrize("where", ["main", "other"])
def test_state_of_another_thread(either, kind, where):
    code = "import gilstate_thread as m; m.cross()"
    run = either.run(code if where == "main" else REGISTER, KIND=kind, CODE=code)
    (found,) = run.findings()
    expected = (0, "main") if where == "main" else (2, kind_of(either, kind))
    assert (found["kind"], found["access"], found["function"]) == ("gilstate", "thread", "PyEval_RestoreThread"), run.err
    assert who(found["owner"]) == expected
    assert places(found["stacks"]["used"], "gilstate_thread.c")[0] == line_of("gilstate_thread.c", "/* second */")
    (made,), (before,) = role(found, "made"), role(found, "attached")
    assert places(made["stack"], "gilstate_thread.c") == [line_of("gilstate_thread.c", "shared = PyThreadState_New(interpreter);")]
    assert who(before["interpreter"]) == expected and before["tid"] not in (None, found["tid"])
    if where == "other":
        assert places(before["stack"], "gilstate_thread.c")[0] == line_of("gilstate_thread.c", "pthread_create(&a")


@KINDS
@pytest.mark.parametrize("function", ["each", "hand", "inherit", "again"])
def test_own_state(either, kind, function):
    """Rule thread_ended; thread states made for another thread; thread states at the addresses of deleted ones."""
    assert either.run(REGISTER, KIND=kind, CODE=f"import gilstate_thread as m; m.{function}(); m.{function}()").healthy()


def test_state_of_an_ended_interpreter(either):
    run = either.run("import gilstate_thread as m; m.after()", options="halt_on_error=1")
    (found,) = run.findings("gilstate")
    assert (found["access"], found["function"], who(found["owner"])) == ("ended", "PyThreadState_Swap", (1, "legacy")), run.err
    assert places(found["stacks"]["used"], "gilstate_thread.c")[0] == line_of("gilstate_thread.c", "/* after it has ended */")
    assert places(found["stacks"]["ended"], "gilstate_thread.c")[0] == line_of("gilstate_thread.c", "/* its end */")
    assert "attaches a thread state of interpreter 1 (legacy), which has ended (PyThreadState_Swap)" in run.err


def test_interpreter_in_another_thread(either):
    """Rule own_interpreters."""
    assert either.run("""
        import threading
        interpreter = Interpreter("legacy")
        interpreter.run("pass")
        thread = threading.Thread(target=interpreter.run, args=("import sys",))
        thread.start()
        thread.join()
        interpreter.end()
    """).healthy()


# --- without a thread state ------------------------------------------------------------------------------------

@KINDS
@pytest.mark.parametrize("call, function, line", [("uses(3000)", "PyLong_AsLong", "PyLong_AsLong(number)"),
                                                  ("thread(3000)", "PyNumber_Check", "PyNumber_Check(number)")])
def test_no_state(stock, kind, call, function, line):
    run = stock.run(REGISTER, KIND=kind, CODE=f"import gilstate_none as m; m.{call}; m.{call}")
    (found,) = run.findings()
    assert (found["kind"], found["access"], found["function"], found["count"], found["current"]) == \
        ("gilstate", "detached", function, 2, None), run.err
    assert who(found["owner"]) == (2, kind_of(stock, kind))
    assert places(found["stacks"]["used"], "gilstate_none.c")[0] == line_of("gilstate_none.c", line)
    (place,) = found["places"]
    assert who(place["interpreter"]) == (2, kind_of(stock, kind))
    assert places(place["stack"], "gilstate_none.c")[0] == line_of(
        "gilstate_none.c", "/* uses */" if function == "PyLong_AsLong" else "pthread_create(")
    assert place["role"] == ("left" if function == "PyLong_AsLong" else "registered")
    assert f"thread {found['tid']} calls {function} without a thread state" in run.err


@KINDS
def test_no_state_to_allocate(either, kind):
    run = either.run(REGISTER, "halt_on_error=1", KIND=kind, CODE="import gilstate_none as m; m.makes()")
    (found,) = run.findings("gilstate")
    assert (found["access"], who(found["owner"]), found["current"]) == ("detached", (2, kind_of(either, kind)), None), run.err
    assert places(found["stacks"]["used"], "gilstate_none.c")[0] == line_of("gilstate_none.c", "made = PyList_New(1000);")
    assert found["function"] == "PyList_New"
    (left,) = found["places"]
    assert places(left["stack"], "gilstate_none.c") == [line_of("gilstate_none.c", "/* makes */")]


@KINDS
def test_functions_that_need_no_state(either, kind):
    """Rule may_ask."""
    assert either.run("import gilstate_none; assert gilstate_none.may()").healthy()
    if either.hexversion >= (3, 12):
        assert either.run(REGISTER, KIND=kind, CODE="import gilstate_none; assert gilstate_none.may()").healthy()


def test_no_state_when_there_is_no_python(stock):
    """Rule not_running: no finding while Python does not run, a finding while it does."""
    assert stock.run("import gilstate_none as m; assert m.at_end()").healthy()
    found = stock.run("import gilstate_none as m; m.now()").one("gilstate")
    assert (found["access"], found["function"]) == ("detached", "PyNumber_Check")
    assert places(found["stacks"]["used"], "gilstate_none.c")[0] == line_of("gilstate_none.c", "/* check */")


# --- interpreters that end with threads ------------------------------------------------------------------------------

def test_end_with_a_thread(either):
    run = either.run("import gilstate_end as m; m.leave()")
    (found,) = run.findings("gilstate")
    assert (found["access"], found["function"], who(found["owner"])) == ("end", "Py_EndInterpreter", (1, "legacy")), run.err
    assert places(found["stacks"]["used"], "gilstate_end.c")[0] == line_of("gilstate_end.c", "Py_EndInterpreter(other);")
    (thread,) = role(found, "remains")
    assert who(thread["interpreter"]) == (1, "legacy") and thread["tid"] not in (None, found["tid"])
    assert places(thread["stack"], "gilstate_end.c")[0] == line_of("gilstate_end.c", "pthread_create(&thread, NULL, stay")
    assert [crash["signal"] for crash in run.report["crashes"]] == ([6] if either.hexversion < (3, 14) else [])
    assert "interpreter 1 (legacy) ends with 1 other thread still in it (Py_EndInterpreter)" in run.err


def test_end_without_threads(either):
    assert either.run("import gilstate_end as m; m.join(); m.join()").healthy()


def test_state_cleared_at_the_end(either):
    """Rule cleared_at_end: no finding for thread states cleared at the end of the interpreter, a finding for one cleared before."""
    assert either.run("import gilstate_end as m; m.meanwhile()").healthy()
    found = either.run("import gilstate_end as m; m.before()").one()
    assert (found["kind"], found["access"], found["function"]) == ("gilstate", "thread", "PyThreadState_Swap")
    assert who(found["owner"]) == (1, "legacy")
    assert places(found["stacks"]["used"], "gilstate_end.c")[0] == line_of("gilstate_end.c", "/* clear */")


@pytest.mark.parametrize("daemon", [True, False])
def test_end_with_a_thread_of_pythons(target, daemon):
    """CPython joins threads at the end of an interpreter, but not daemon threads."""
    run = target.run("""
        interpreter = Interpreter("legacy")
        interpreter.run(CODE)
        interpreter.end()
    """, CODE=f"import threading, time\nthread = threading.Thread(target=time.sleep, args=({9 if daemon else .2},), daemon={daemon})\nthread.start()")
    if not daemon:
        assert run.healthy()
        return
    (found,) = run.findings("gilstate")
    assert (found["access"], who(found["owner"])) == ("end", (1, "legacy")), run.err
    (thread,) = role(found, "remains")
    assert "start" in [frame["function"].split(".")[-1] for frame in thread["stack"] if frame["kind"] == "python"]
