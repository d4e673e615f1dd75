"""Immortal objects whose reference count an extension has changed (PEP 683)."""
import os
import shutil
import signal
import subprocess

import pytest

from helpers.log_writer import Writer
from helpers.product import log as logs_, model, text
from helpers.programs import FAST, STOCK, line_of, places, who

ARITHMETIC = "immortal_arithmetic"
KILLED = "\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"


@pytest.fixture(scope="session", params=FAST + [name for name in STOCK if name != "system"])
def python(request, target_of):
    """Interpreters of releases with immortal objects."""
    return target_of(request.param)


def changes(finding):
    return {change["object"]: change["amount"] for change in finding["changes"]}


def is_about(python, amount, by):
    """Whether this amount is the change, or close to it.

    Before 3.14 the ordinary counting of references goes on after the change, and adds or subtracts a few."""
    return amount == by if python.hexversion >= (3, 14) and by > 0 else by - 100 <= amount <= by + 100 and amount


def suspects(finding):
    return [os.path.basename(suspect["module"]).split(".")[0] for suspect in finding["suspects"]]


NAMES = {
    "None": "None", "True": "True", "...": "Ellipsis", "NotImplemented": "NotImplemented",
    "250": "int 250", "-5": "int -5", "0": "int 0", "'\\xfe'": "str '\xfe'", "''": "str ''", "b'\\xfe'": "bytes b'\\xfe'",
    "b''": "bytes b''", "()": "tuple ()", "memoryview": "type memoryview", "UnicodeWarning": "type UnicodeWarning",
    "type(None)": "type NoneType", "'__qualname__'": "str '__qualname__'", '"\'"': "str \"'\"",
}


def test_every_sort_of_object(python):
    """One finding names all objects and the changes of their counts."""
    run = python.run("import immortal_arithmetic as mod\nfor each in OBJECTS:\n mod.add(eval(each), 1000)\n",
                     OBJECTS=list(NAMES))
    finding = run.one("immortal")
    assert run.status == 86
    assert sorted(changes(finding)) == sorted(NAMES.values())
    assert all(is_about(python, amount, 1000) for amount in changes(finding).values()), changes(finding)
    assert suspects(finding) == [ARITHMETIC] and not finding["suspects"][0]["old_abi"]
    assert finding["since"].startswith("the import of immortal_arithmetic.") and finding["until"] == "the end of interpreter 0"
    assert [who(interp) for interp in finding["lived"]] == [(0, "main")]
    assert not any(change["mortal"] for change in finding["changes"])
    assert "the reference counts of 17 immortal objects are off: " in run.err
    assert "by %s, the only extension that was loaded but for CPython's own" % os.path.basename(finding["suspects"][0]["module"]) in run.err


def test_decremented(python):
    finding = python.run("import immortal_arithmetic as mod\nmod.add(251, -1000)\n").one("immortal")
    (name, amount), = changes(finding).items()
    assert name == "int 251" and is_about(python, amount, -1000)


def test_before_3_12(stock):
    """3.11 has no immortal objects, so there is no finding."""
    run = stock.run("import immortal_arithmetic as mod, ask\nmod.add(251, 1000)\nprint(ask.look())\n")
    assert run.out == "%d\n" % (stock.hexversion >= (3, 12)), run.err
    assert run.findings("immortal") or run.healthy()


@pytest.mark.parametrize("kind", ["main", "isolated", "legacy"])
def test_healthy_twin(python, kind):
    """It takes and drops references, does arithmetic on the count of an object of its own, and makes strings immortal."""
    code = """
import immortal_clean as mod
for each in (None, True, 5, "a", "", b"", (), dict, ValueError, "immortal_clean_add", mod.add.__name__, mod):
    for by in 1000, -1000:
        mod.add(each, by)
"""
    run = python.run(code if kind == "main" else "for n in range(3):\n one = Interpreter(KIND)\n one.run(CODE)\n one.end()\n",
                     KIND=kind, CODE=code)
    assert run.healthy()


# --- when isan scans -------------------------------------------------------------------

ADD = "import immortal_arithmetic as mod\nmod.add(251, 1000)\n"


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_at_the_end_of_an_interpreter(python, kind):
    run = python.run("one, two = Interpreter(KIND), Interpreter(KIND)\none.run(ADD)\none.end()\n" + KILLED, KIND=kind, ADD=ADD)
    finding = run.one("immortal")
    assert finding["until"] == "the end of interpreter 1" and " in interpreter 1" in finding["since"]
    assert [who(interp)[0] for interp in finding["lived"]] == [0, 1, 2]
    assert is_about(python, changes(finding)["int 251"], 1000)


def test_on_demand(python):
    """Changes after the first scan add to its finding."""
    run = python.run("import ask\n" + ADD + "print(ask.look(), flush=True)\nmod.add(251, 1000)\nmod.add(252, 1000)\n"
                     "print(ask.look(), ask.look(), flush=True)\n" + KILLED)
    assert run.out == "1\n1 1\n", run.err
    finding = run.one("immortal")
    assert finding["until"] == "a look on demand" and suspects(finding) == ["ask", ARITHMETIC]
    assert all(is_about(python, changes(finding)[name], by)
               for name, by in (("int 251", 2000), ("int 252", 1000))), changes(finding)


def test_by_signal(python):
    run = python.run(ADD + "import os, signal\nos.kill(os.getpid(), signal.SIGUSR1)\nlist(map(str, range(1000)))\n" + KILLED,
                     "signal=%d" % signal.SIGUSR1)
    assert run.one("immortal")["until"] == "a look on demand"


def test_at_an_import(python):
    """isan scans before it lets the imported extension run."""
    run = python.run(ADD + "import ask\n" + KILLED)
    finding = run.one("immortal")
    assert finding["until"].startswith("the import of ask.") and suspects(finding) == [ARITHMETIC]


def test_os_exit_makes_no_scan(python):
    run = python.run(ADD + "import os\nos._exit(0)\n")
    assert (run.status, run.findings()) == (0, [])


def test_halt_on_error(python):
    run = python.run("import ask\n" + ADD + "ask.look()\nprint('on')\n", "halt_on_error=1")
    assert (run.status, run.out) == (86, "") and run.one("immortal")


def test_fork(python):
    """A forked child reports only its own changes."""
    run = python.run("import os, ask\n" + ADD + """
ask.look()
child = os.fork()
if child == 0:
    ask.look()
    mod.add(252, 2000)
    ask.look()
    os._exit(0)
os.waitpid(child, 0)
""")
    logs = logs_.read([os.path.join(run.log, name) for name in os.listdir(run.log)])
    theirs = [[p.text for p in log.places if p.role == "changed"] for log in logs]
    assert theirs == [["int 251"], ["int 252"]], run.err


def test_interpreters_one_after_the_other(python):
    """Changes by several interpreters in turn are one finding."""
    run = python.run("for n in range(5):\n one = Interpreter()\n one.run(ADD)\n one.end()\n", ADD=ADD)
    finding = run.one("immortal")
    assert is_about(python, changes(finding)["int 251"], 5000)


# --- suspects --------------------------------------------------------------------------

def test_stable_abi(python, tmp_path):
    """An extension for the stable ABI before 3.12 is known by the name of its file and by the functions that it calls."""
    directory = python.extension("immortal_stable.c", False)
    built, = directory.iterdir()
    built.rename(directory / "immortal_stable.abi3.so")
    shutil.copy(directory / "immortal_stable.abi3.so", tmp_path)        # debug information stays in it
    run = python.run("import immortal_stable as mod\nmod.add(None, 100000)\nmod.add(memoryview, -500)\n", extensions=tmp_path)
    finding = run.one("immortal")
    assert is_about(python, changes(finding)["None"], 100000) or changes(finding)["None"] > 90000
    assert is_about(python, changes(finding)["type memoryview"], -500)
    assert [(os.path.basename(s["module"]), s["old_abi"]) for s in finding["suspects"]] == [("immortal_stable.abi3.so", True)]
    assert "immortal_stable.abi3.so is built for the stable ABI of a release before 3.12" in run.err


def test_several_extensions(python):
    """The suspects are the extensions that were loaded before the change."""
    run = python.run(ADD + """
import immortal_clean
mod.add(252, 1000)
import ask
ask.look()
""")
    first, second = sorted(run.findings("immortal"), key=lambda f: f["id"])
    assert (suspects(first), list(changes(first))) == ([ARITHMETIC], ["int 251"])
    assert (suspects(second), list(changes(second))) == ([ARITHMETIC, "immortal_clean"], ["int 252"])
    assert "by one of the extensions that were loaded: immortal_arithmetic." in run.err


# --- the option `immortal`: breakpoints on counts -------------------------------------------

CHANGED = line_of("immortal_arithmetic.c", "object->ob_refcnt += by;")


def seen(finding, name):
    """The changes of an object that a breakpoint recorded: amount, and lines, innermost first."""
    return [(place["amount"], places(place["stack"], "immortal_arithmetic.c")) for place in finding["places"]
            if place["text"] == name]


@pytest.fixture(scope="session")
def watches(isan):
    """Tests with this fixture need a kernel that lets a process watch its own memory."""
    done = subprocess.run([isan, "run", "--", "python3", "-c", "import _json"], env=dict(os.environ, ISAN_OPTIONS="immortal=None"),
                          capture_output=True, text=True)
    if "the kernel does not let" in done.stderr:
        pytest.fail(done.stderr, pytrace=False)


def test_watched(python, watches):
    """Each change is reported with its line, in each thread and interpreter, even if CPython's own counting soon undoes it."""
    run = python.run("""
import threading
import immortal_arithmetic as mod
one, two = Interpreter("isolated"), Interpreter("legacy")
mod.add(None, 1000)
thread = threading.Thread(target=lambda: [mod.add(7, 3) for n in range(5)])
thread.start()
thread.join()
one.run("import immortal_arithmetic as mod; mod.add(memoryview, -5)")
one.end()
two.run("import immortal_arithmetic as mod; mod.add(b'', 1)")
two.end()
for n in range(10):
    mod.add(8, 1)
""", "immortal=None,int 7,type memoryview,bytes b''")
    finding = run.one("immortal")
    assert seen(finding, "None") == [(1000, [CHANGED])]
    assert [lines for _, lines in seen(finding, "int 7")] == [[CHANGED]] and 15 - 5 <= seen(finding, "int 7")[0][0] <= 15
    assert seen(finding, "type memoryview") == [(-5, [CHANGED])]
    assert seen(finding, "bytes b''") == [(1, [CHANGED])]
    assert [who(place["interpreter"]) for place in finding["places"]] == [(0, "main"), (0, "main"), (1, "own-gil"), (2, "legacy")]
    assert suspects(finding) == [ARITHMETIC]
    assert "  None changed by +1,000 in interpreter 0 (main) at tests/ext/immortal_arithmetic.c:%d in change" % CHANGED in run.err


def test_watched_of_the_stable_abi(python, watches):
    """Headers of old releases change the count by one at a time."""
    run = python.run("import immortal_stable as mod\nmod.add(9, 500)\n", "immortal=int 9")
    (place,) = run.one("immortal")["places"]
    assert (place["amount"], places(place["stack"], "immortal_stable.c")) \
        == (500, [line_of("immortal_stable.c", "op->ob_refcnt++;")])


def test_watched_and_healthy(python, watches):
    run = python.run("import immortal_clean as mod\nfor n in range(1000):\n mod.add(None, 5); mod.add(None, -5); mod.add(int, 3)\n"
                     "one = Interpreter()\none.run('import json')\none.end()\n", "immortal=None,True,type int")
    assert run.healthy()


def test_watched_by_many_changes(python, watches):
    """isan stops watching an object that changes all the time, and still reports the whole change."""
    run = python.run("import immortal_arithmetic as mod\nfor n in range(200000):\n mod.add(memoryview, -50)\n",
                     "immortal=type memoryview")
    finding = run.one("immortal")
    (amount, lines), = seen(finding, "type memoryview")
    assert lines == [CHANGED] and -100000 <= amount <= -5000
    assert changes(finding)["type memoryview"] < -1000000


def test_watched_in_a_forked_child(python, watches):
    """A forked child has no breakpoint, but isan still scans there."""
    run = python.run("""
import os
import immortal_arithmetic as mod
child = os.fork()
if child == 0:
    mod.add(memoryview, 5000)
    raise SystemExit
os.waitpid(child, 0)
""", "immortal=type memoryview")
    finding = run.one("immortal")
    assert finding["places"] == [] and is_about(python, changes(finding)["type memoryview"], 5000)


def test_another_sigtrap(python, watches):
    """A SIGTRAP that is not a breakpoint of isan goes to the program."""
    run = python.run("import os, signal\nimport immortal_clean\nos.kill(os.getpid(), signal.SIGTRAP)\n", "immortal=None")
    assert (run.status, run.findings()) == (128 + signal.SIGTRAP, [])
    run = python.run("import os, signal\nimport immortal_clean\nsignal.signal(signal.SIGTRAP, lambda *_: print('mine'))\n"
                     "os.kill(os.getpid(), signal.SIGTRAP)\n", "immortal=None")
    assert run.out == "mine\n" and run.healthy()


def test_watched_before_3_12(stock):
    run = stock.run("import ask\n", "immortal=None")
    said = "isan: immortal=None: nothing is immortal before Python 3.12\n" in run.err
    assert said == (stock.hexversion < (3, 12)) and run.healthy()


def test_no_such_object(python):
    run = python.run("import ask\n", "immortal=Nonne")
    assert "isan: immortal=Nonne: there is no such object; give names as a finding has them\n" in run.err


# --- immortal no more -------------------------------------------------------------------

def test_mortal(python):
    """The count has fallen so far that the object is not immortal any more, and the next references dropped free it."""
    run = python.run("""
import sys
import immortal_arithmetic as mod
mod.add(memoryview, 1 - (0xC0000000 if sys.hexversion >= 0x30e0000 else 0xFFFFFFFF))
for n in range(100):
    mod.add(memoryview, -1)
    [memoryview]
""")
    change, = run.one("immortal")["changes"]
    assert (change["object"], change["mortal"]) == ("type memoryview", True) and change["amount"] < -2**31
    assert len(run.report["crashes"]) == 1
    assert "  an object that CPython takes for immortal was no more: immortal #" in run.err
    assert "no longer immortal, so that it is deallocated when its count falls to 0: type memoryview" in run.err


# --- rules ---------------------------------------------------------------------------

def test_references_on_the_stack(python):
    """From 3.14 on, the count of a string that becomes immortal while it is on the evaluation stack is too low by a few
    references.  That looks like a small error of an extension, so small differences are no finding."""
    run = python.run("""
import importlib, sys
def within(depth, name):
    return importlib.import_module(name) if depth == 0 else within(depth - 1, name)
for name in ("mmap", "zlib", "array"):
    within(50, "".join(list(name)))
import immortal_arithmetic as mod
def never_called():
    return a_name_of_this_test_alone, another_name_of_this_test
few, many = never_called.__code__.co_names
if sys.hexversion >= 0x30e0000:
    mod.add(few, 900)
else:
    mod.add(few, 1000000)
mod.add(many, 1000000)
""")
    names = {"str 'another_name_of_this_test'"} | ({"str 'a_name_of_this_test_alone'"} if python.hexversion < (3, 14) else set())
    finding = run.one("immortal")
    assert set(changes(finding)) == names
    assert all(amount > 990000 for amount in changes(finding).values())


def test_string_of_an_interpreter(python):
    run = python.run("""
one = Interpreter()
one.run('''
import immortal_arithmetic as mod
def never_called():
    return a_name_of_this_test_alone
mod.add(never_called.__code__.co_names[0], 1000000)
''')
one.end()
""")
    finding = run.one("immortal")
    assert list(changes(finding)) == ["str 'a_name_of_this_test_alone'"] and who(finding["owner"]) == (1, "own-gil")


def test_extensions_of_cpython(python):
    """Nothing in the standard library of CPython leads to a finding."""
    run = python.run("""
import importlib, sys
import ask
CODE = '''
import importlib, sys
for name in sorted(sys.stdlib_module_names):
    if name not in ("antigravity", "this") and "test" not in name and not name.startswith(("idle", "turtle")):
        try:
            importlib.import_module(name)
        except BaseException:
            pass
'''
exec(CODE)
for kind in "isolated", "legacy":
    one = Interpreter(kind)
    one.run(CODE)
    one.end()
ask.look()
""")
    assert run.findings("immortal") == []


# --- the report ------------------------------------------------------------------------

class NoSymbols:
    bare, errors = (), {}

    def code(self, *_):
        return []

    data = tls = code


def written(tmp_path, pid, amounts, suspects=("/x/one.abi3.so",), mortal=False):
    writer = Writer(pid=pid, start=pid)
    writer.process()
    writer.interp(1, 1, kind=0, time=5)
    writer.interp(2, 1, time=20)
    writer.finding(1, "immortal", access="none", type="None", owner=0, current=1)
    writer.place(1, "since", amount=10, text="the start of Python")
    writer.place(1, "until", amount=30, text="the end of interpreter 1")
    for suspect in suspects:
        writer.place(1, "suspect", text=suspect, flags=logs_.PLACE_OLD_ABI)
    for name, amount in amounts:
        writer.place(1, "changed", text=name, amount=amount, flags=logs_.PLACE_MORTAL * mortal)
    return writer.write(tmp_path)


def test_text(tmp_path):
    path = written(tmp_path, 100, [("int %d" % n, 1) for n in range(5)] + [("None", -7000)], mortal=True)
    out = text.render(model.build(logs_.read([path]), NoSymbols()))
    assert out.startswith("""\
isan: immortal #1: the reference counts of 6 immortal objects are off: None by -7,000, int 0 by +1, int 1 by +1 and 3 more
  between the start of Python and the end of interpreter 1, while there was interpreter 0 (main) and interpreter 1 (own GIL)
  by one.abi3.so, the only extension that was loaded but for CPython's own
  one.abi3.so is built for the stable ABI of a release before 3.12, which has no immortal objects
  to see by whom: ISAN_OPTIONS='immortal=None,int 0,int 1,int 2'
  no longer immortal, so that it is deallocated when its count falls to 0: None, int 0, int 1, int 2, int 3, int 4
  hint: """)


def test_text_without_an_extension(tmp_path):
    out = text.render(model.build(logs_.read([written(tmp_path, 100, [("None", 1)], suspects=())]), NoSymbols()))
    assert out.startswith("isan: immortal #1: the reference count of None, which is immortal, is off by +1\n")
    assert "  when no extension was loaded: by the program that embeds Python, or through ctypes\n" in out


def test_processes_are_merged(tmp_path):
    paths = [written(tmp_path, pid, [("None", 3), ("int %d" % pid, 1)]) for pid in (100, 101)]
    finding, = model.build(logs_.read(paths), NoSymbols())["findings"]
    assert (changes(finding), finding["pids"]) == ({"None": 6, "int 100": 1, "int 101": 1}, [100, 101])
    other = written(tmp_path, 102, [("None", 3)], suspects=("/x/two.so",))
    assert len(model.build(logs_.read([*paths, other]), NoSymbols())["findings"]) == 2
