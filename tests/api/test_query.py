"""isan/isan.h: queries, and the signal that requests a scan."""
import os
import signal
import subprocess

import pytest

from ext.build import build
from helpers.programs import holder_of, line_of, who
from helpers.tree import INCLUDE, LIBRARY

KEPT = "kept", "ask.c", line_of("ask.c", "static PyObject *kept;")

# Both interpreters import the extension before its static holds an object.  Only a requested scan finds that object while
# both interpreters live.
KEEP = """
import os, signal, threading, time
import ask
interpreter = Interpreter()
interpreter.run("import ask")
interpreter.run("ask.keep(['mine'])")
"""
SIGNALLED = "os.kill(os.getpid(), signal.SIGUSR1)\nlist(map(str, range(1000)))\n"
KILLED = "os.kill(os.getpid(), signal.SIGKILL)\n"
SIGUSR1 = "signal=%d" % signal.SIGUSR1


class Anywhere:
    def found(self, run):
        finding = run.one("static", type="list")
        assert (holder_of(finding), who(finding["owner"])[0], who(finding["current"])[0]) == (KEPT, 1, 0)
        return finding

    def test_scan(self, way):
        run = way.run(KEEP + "print(ask.loaded(), ask.findings(), ask.look(), ask.look(), ask.findings(), flush=True)\n" + KILLED)
        assert run.out == "True 0 1 1 1\n", run.err
        self.found(run)

    def test_scan_without_a_new_finding(self, way):
        run = way.run("import ask\nask.keep([])\nfirst = Interpreter()\nfirst.run('import ask')\nfirst.run('ask.look()')\n"
                      "first.end()\nfirst = Interpreter()\nfirst.end()\nprint(ask.look())\n")
        # The static holds an object of the main interpreter: a finding since the second interpreter's import.
        assert run.out == "1\n" and run.one("static", type="list")["owner"]["id"] == 0, run.err
        run = way.run("import ask\nfirst = Interpreter()\nfirst.run('import ask')\nask.look()\nfirst.end()\nprint(ask.look())\n")
        assert run.out == "0\n" and run.healthy()

    def test_a_leak_counts(self, way):
        run = way.run("import ask\nfirst = Interpreter()\nfirst.run('import leak_ref; leak_ref.make_object()')\n"
                      "before = ask.findings()\nfirst.end()\nprint(before, ask.findings() >= 1)\n")
        assert run.out == "0 True\n" and run.findings("leak", type="list"), run.err

    def test_owner(self, way):
        run = way.run(KEEP + "mine = []\nprint(ask.owner(mine), ask.owner_of_kept(), ask.owner(None), ask.owner(int))\n"
                      "interpreter.run('assert ask.owner([]) == 1')\n"
                      "interpreter.end()\nprint(ask.owner_of_kept())\nask.keep(None)\n")
        assert run.out == "0 1 -1 -1\n1\n", run.err

    def kept(self, run, interpreter, kind):
        """Objects that an interpreter owned at the last query, with this kind of retainer."""
        return [group for group in run.report["owned"] if not group["residue"]
                and (group["owner"]["id"], (group["holder"] or {}).get("kind")) == (interpreter, kind)]

    def test_owned(self, way):
        """The interpreter's own objects are one sum; objects that only a static keeps alive have its name; none is a finding."""
        run = way.run("""
            interpreter = Interpreter()
            interpreter.run('''if True:
                import ask
                class Mine: pass
                class Cached: pass
                mine = [Mine() for _ in range(1000)]
                ask.keep([Cached(), Cached()])
                assert ask.owned() > 3000
                mine = mine[:500]
                ask.owned()
                ask.keep(None)
            ''')
            interpreter.end()
        """)
        assert run.healthy() and "interpreter 1 (" in run.err and "when it was last asked" in run.err
        (own,) = self.kept(run, 1, "interpreter")
        assert {kept["type"]: kept["count"] for kept in own["kept"]["types"]}["Mine"] == 500
        (held,) = self.kept(run, 1, "static")
        assert (held["object"]["type"], held["count"], holder_of(held)) == ("list", 1, KEPT)
        assert [(kept["type"], kept["count"]) for kept in held["kept"]["types"] if kept["type"] == "Cached"] == [("Cached", 2)]
        assert "kept alive by static `kept` of ask." in run.err

    def test_owned_by_itself_as_well(self, way):
        """An object in a static counts as the interpreter's own while something else keeps it alive, too."""
        run = way.run("""
            interpreter = Interpreter()
            interpreter.run("import ask; mine = [object()]; ask.keep(mine); ask.owned(); ask.keep(None)")
            interpreter.end()
        """)
        assert run.healthy() and self.kept(run, 1, "interpreter") and not self.kept(run, 1, "static")

    def test_owned_by_an_object_of_another(self, way):
        run = way.run("""
            import ask, keepers
            shelf = [None] * 4
            keepers.use_shelf(shelf)
            interpreter = Interpreter("legacy")
            interpreter.run("import keepers; Put = type('Put', (), {}); keepers.put(Put())")
            ask.owned()
            keepers.leave_shelf()
            interpreter.end()
        """)
        (put,) = self.kept(run, 1, "foreign")
        assert (put["object"]["type"], put["holder"]["object"]["type"], put["holder"]["path"]) == ("Put", "list", "[2]")

    def test_garbage(self, way):
        """Garbage for the next collection, and a cycle that the collector cannot clear, with the reason."""
        run = way.run("""
            import gc
            interpreter = Interpreter()
            interpreter.run('''if True:
                import ask, gc, cycle_unseen
                gc.collect()
                gc.disable()
                class Ring: pass
                ring = Ring()
                ring.me = ring
                del ring
                def circle():
                    items = []
                    items.append(cycle_unseen.Keeper(items))
                circle()
                sorted(range(10), key=lambda n: [n, n, n, n])  # over what the stack had
                ask.owned()
            ''')
            interpreter.end()
        """)
        cycles = {group["object"]["type"]: group for group in self.kept(run, 1, "cycle")}
        assert {"Ring", "cycle_unseen.Keeper"} <= cycles.keys(), run.err
        assert cycles["Ring"]["reasons"] == [] and "a cycle of garbage, for the next collection: 1 object of type `Ring`" in run.err
        assert any("has no Py_TPFLAGS_HAVE_GC" in reason for reason in cycles["cycle_unseen.Keeper"]["reasons"])

    def test_query_is_limited_to_interpreters_with_the_caller_s_gil(self, way):
        if way.hexversion < (3, 12):
            interpreters = {0, 1, 2}        # they have one GIL
        else:
            interpreters = {0, 1}
        run = way.run("""
            import ask
            legacy, own = Interpreter("legacy"), Interpreter()
            ask.owned()
            own.end()
            legacy.end()
        """)
        assert run.healthy() and {group["owner"]["id"] for group in run.report["owned"]} == interpreters

    def test_signal(self, way):
        run = way.run(KEEP + SIGNALLED + KILLED, SIGUSR1)
        assert run.status == 86, run.err
        self.found(run)

    def test_one_signal_is_one_scan(self, way):
        """The scan does not find an object that the static holds only later."""
        run = way.run("import os, signal\nimport ask\nfirst = Interpreter()\nfirst.run('import ask')\n"
                      + SIGNALLED + "first.run('ask.keep([])')\nlist(map(str, range(1000)))\n" + KILLED, SIGUSR1)
        assert (run.status, run.findings()) == (128 + signal.SIGKILL, [])

    def test_signal_to_a_thread_that_waits(self, way):
        """Another thread, which runs Python code, does the scan."""
        run = way.run(KEEP + """
done = threading.Event()
def work():
    while not done.is_set():
        list(map(str, range(100)))
worker = threading.Thread(target=work)
worker.start()
reader, writer = os.pipe()
def send():
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(0.5)
    found = ask.findings()
    print(found, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
sender = threading.Thread(target=send)
sender.start()
os.read(reader, 1)
""", SIGUSR1)
        assert run.out == "1\n", run.err
        self.found(run)

    def test_many_signals(self, way):
        """Signals arrive while an interpreter is created, works and ends."""
        run = way.run("""
            import os, signal, subprocess, sys
            import ask
            sender = subprocess.Popen([sys.executable, "-S", "-c", "import os, time\\nwhile True:\\n os.kill(%d, %d)\\n time.sleep(0.0003)"
                                       % (os.getpid(), signal.SIGUSR1)], env={})
            for number in range(10):
                interpreter = Interpreter()
                interpreter.run("import ask, json; json.dumps(list(range(20000))); [str(i) for i in range(100000)]")
                interpreter.end()
            sender.kill()
            sender.wait()
        """, SIGUSR1)
        assert run.healthy()

    def test_without_the_option_a_signal_is_the_program_s(self, way):
        run = way.run(KEEP + SIGNALLED)
        assert run.status == 128 + signal.SIGUSR1, run.err

    def test_the_program_s_own_handler(self, way):
        """It replaces isan's handler."""
        run = way.run("import os, signal\nimport ask\nsignal.signal(signal.SIGUSR1, lambda *_: print('mine', flush=True))\n"
                      "interpreter = Interpreter()\ninterpreter.run('import ask')\ninterpreter.run('ask.keep([])')\n"
                      + SIGNALLED + KILLED, SIGUSR1)
        assert (run.out, run.findings()) == ("mine\n", []), run.err

    def test_a_signal_that_cannot_be_caught(self, way):
        done = way.by_hand("pass", "signal=%d" % signal.SIGKILL)
        assert (done.returncode, done.stderr.split("\n")[0]) == (
            2, "isan: signal=9 cannot be caught; SIGUSR1 (10) and SIGUSR2 (12) are free in most programs")


class TestInstrumented(Anywhere):
    @pytest.fixture
    def way(self, target):
        return target


class TestStock(Anywhere):
    @pytest.fixture
    def way(self, stock):
        return stock


# --- programs without Python, without isan, in C and C++ -----------------------------------------

PROGRAM = """
#include <isan/isan.h>
#include <stdio.h>

static void
found(int number, void *data)
{
    (void)number, (void)data;
}

int
main(void)
{
    static int number;
    struct isan_finding finding;
    finding.size = sizeof finding;
    printf("%d %d %d %lld\\n", isan_loaded(), isan_look(), isan_findings(), isan_owner(&number));
    isan_ignore_begin("for no reason");
    isan_ignore_end();
    isan_ignore_end();
    return isan_owner(0) + isan_log(0, 0) + isan_transfer(&number) + isan_share(0) + isan_get_finding(1, &finding)
        + isan_on_finding(found, &number) + isan_off_finding(found, &number) + (int)isan_owned() + 8;
}
"""


@pytest.fixture(scope="module", params=["c -std=c99", "c -std=gnu11 -fPIE -pie", "c -fno-pic -no-pie", "c -static", "c++", "c++ -std=c++20 -O2"])
def program(request, isan, tmp_path_factory):
    """A program that calls each function, compiled as users do, with all warnings."""
    directory = tmp_path_factory.mktemp("program")
    language, *flags = request.param.split()
    (directory / "program.c").write_text(PROGRAM)
    cflags = subprocess.run([isan, "config", "--cflags"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    subprocess.run(["g++" if language == "c++" else "gcc", "-x", language, *flags, "-Wall", "-Wextra", "-Wpedantic", "-Werror", *cflags[2:],
                    "-o", directory / "program", directory / "program.c"], check=True)
    return directory / "program", "-static" in flags


def test_a_program_without_isan(program):
    file, _ = program
    assert subprocess.run([file], stdout=subprocess.PIPE, text=True, check=True).stdout == "0 -1 -1 -1\n"


def test_a_program_without_python(program):
    file, static = program
    done = subprocess.run([file], stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "LD_PRELOAD": str(LIBRARY)})
    assert done.stdout == ("0" if static else "1") + " -1 -1 -1\n"


def test_without_isan(plain, tmp_path):
    build("ask.c", plain, tmp_path)
    done = subprocess.run([plain, "-c", "import ask; print(ask.loaded(), ask.look(), ask.findings(), ask.owner([]))"],
                          cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "False -1 -1 -1\n"


def test_every_function_is_exported(isan):
    declared = {line.split("(")[0].split()[-1] for line in (INCLUDE / "isan" / "isan.h").read_text().splitlines()
                if line.startswith("ISAN__WEAK ")}
    names = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    assert declared == {name for name in names if name.startswith("isan_") and not name.startswith("isan__")}
