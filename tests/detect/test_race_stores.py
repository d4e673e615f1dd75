"""statics=watch: interpreters with GILs of their own that store into the same static at a time.  That is seen if both
come to it within milliseconds, so they do it for a second."""
import subprocess
import sys

import pytest

from ext.build import build
from helpers import tree
from helpers.programs import holder_of, line_of, places, who

# All do the same, from the same moment on.
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
DECODE = r"""
#include <stdio.h>
#include "X86_DECODE_HEADER"
int main(void)
{
    char line[64];
    while (scanf("%63s", line) == 1) {
        uint8_t bytes[48];
        size_t n = strlen(line) / 2;
        struct isan__x86 x;
        memset(bytes, 0x90, sizeof bytes);
        for (size_t i = 0; i < n; i++) {
            sscanf(line + 2 * i, "%2hhx", &bytes[i]);
        }
        if (!isan__x86_decode(&x, bytes, bytes + sizeof bytes) || x.length != n) {
            printf("%s\n", line);
        }
    }
}
"""
HEALTHY = ["race_mutex", "race_atomic", "race_once", "race_thread", "race_state", "race_relaxed"]


@pytest.fixture(scope="session", params=["3.13-fast", "3.14-fast", "3.13-plain", "3.14-plain"])
def parallel(request, subject_of):
    """Those whose interpreters can have GILs of their own."""
    return subject_of(request.param)


def together(subject, module, kind="isolated", parties=2, times=3, options="statics=watch", **more):
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
        # step() of some is inlined, and what the loop stores is stored behind it.
        lines = places(place["stack"], source) or places(place["stack"], "races.h")
        assert place["amount"] == size and lines[0] in [line_of(source, use), line_of("races.h", "step(module);") - 1]
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


def test_atomic_variable(parallel):
    """The reporter's rule, and its border."""
    atomic = together(parallel, "race_release")
    assert atomic.healthy() and "no findings" in atomic.err
    plain = parallel.extension("race_release.c", not parallel.stock, "-DPLAIN")
    assert holder_of(together(parallel, "race_release", extensions=plain).one("race"))[0] == "last"


def test_interpreters_with_one_gil(parallel):
    assert together(parallel, "race_counter", kind="legacy", parties=1).findings("race") == []


def test_not_asked_for(parallel):
    assert together(parallel, "race_counter", options="statics=look").healthy()


def test_decoder(root, tmp_path):
    """The length of each instruction, of a library's code with all that compilers use."""
    program = tmp_path / "decode"
    (tmp_path / "decode.c").write_text(DECODE.replace("X86_DECODE_HEADER", tree.X86_DECODE_HEADER))
    subprocess.run(["gcc", "-I", root, "-I", tree.INCLUDE, "-o", program, tmp_path / "decode.c", tree.X86_DECODE],
                   check=True)
    code = subprocess.run(["objdump", "-d", "--insn-width=16", build("keepers.c", sys.executable, tmp_path), sys.executable],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    wanted = {"".join(fields[1].split()) for fields in (line.split("\t") for line in code.splitlines()) if len(fields) == 3}
    assert len(wanted) > 10000
    done = subprocess.run([program], input="\n".join(wanted), stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == ""


def test_fork_and_signals(parallel):
    """What runs in a child, a handler for faults installed later, as faulthandler does, and blocked signals."""
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
