"""scripts/layers.py and scripts/sizes.py: what they refuse, on made-up files."""

import subprocess
import sys

import layers
import pytest
import sizes

from helpers import tree

LOCK, TABLE, LOG, TRAP, HOOK, PROCESS = (
    "runtime/base/lock.c", "runtime/base/table.c", "runtime/core/log.c", "runtime/detect/trap.c", "hooks/alloc.c",
    "runtime/process.c")
FILES = [LOCK, TABLE, LOG, TRAP, HOOK, PROCESS]
LADDER = [(TABLE, LOCK, "isan__lock"), (LOG, TABLE, "isan__get"), (TRAP, LOG, "isan__log"), (HOOK, TRAP, "isan__trap"),
          (PROCESS, HOOK, "isan__hook")]


def problems(*symbols, includes=(), files=FILES):
    return layers.check(files, layers.Uses(includes), layers.Uses([*LADDER, *symbols]))


def test_a_ladder_is_accepted():
    assert problems(includes=[(TRAP, LOG, "3"), (LOG, "include/isan/isan.h", "1")]) == []


@pytest.mark.parametrize("low,high", [(LOCK, LOG), (LOG, TRAP), (TRAP, HOOK), (HOOK, PROCESS),
                                      ("include/isan/isan.h", LOCK)])
def test_a_use_of_a_higher_layer_is_refused(low, high):
    files = [*FILES, "include/isan/isan.h"]
    found = layers.check(files, layers.Uses(), layers.Uses([(low, high, "isan__up")]))
    assert len(found) == 1
    assert found[0].startswith("%s uses isan__up of %s, of a higher layer\n" % (low, high)) and "events" in found[0]
    found = layers.check(files, layers.Uses([(low, high, "7")]), layers.Uses())
    assert found[0].startswith("%s, line 7, includes %s, of a higher layer\n" % (low, high))


def test_a_cycle_of_a_layer_is_named_with_the_uses_that_close_it():
    found = problems((LOCK, TABLE, "isan__take"), (TABLE, LOCK, "isan__unlock"))
    assert len(found) == 1
    assert found[0].startswith(
        "2 files of runtime/base use each other in a cycle: runtime/base/lock.c, runtime/base/table.c; "
        "these uses close it:\n    runtime/base/lock.c uses isan__take of runtime/base/table.c\n")


def test_a_cycle_through_layers_is_closed_by_what_goes_up():
    found = problems((LOCK, TRAP, "isan__up"))
    assert found[0].startswith("runtime/base/lock.c uses isan__up of runtime/detect/trap.c, of a higher layer")
    assert "4 files use each other in a cycle: " in found[1]
    assert found[1].count(" uses isan__") == 1 and "lock.c uses isan__up of" in found[1]


def test_headers_that_include_each_other_are_a_cycle():
    a, b = "runtime/core/a.h", "runtime/core/b.h"
    assert problems(includes=[(a, b, "2")], files=[*FILES, a, b]) == []
    found = problems(includes=[(a, b, "2"), (b, a, "5")], files=[*FILES, a, b])
    assert len(found) == 1 and "2 files of runtime/core use each other in a cycle" in found[0]


def test_a_file_outside_all_layers_is_refused():
    assert problems(files=[*FILES, "runtime/util.c"]) == [
        "1 file is not in a layer; move it into the folder of one: runtime/util.c"]


def test_long_cycles_and_cycles_that_share_a_file_are_one_group():
    n = 2000        # more than Python would recurse
    ring = [("f%d" % i, "f%d" % ((i + 1) % n), "isan__x") for i in range(n)]
    assert [len(group) for group in layers.cycles(layers.Uses(ring))] == [n]
    assert layers.cycles(layers.Uses(ring[:-1])) == []
    assert layers.cycles(layers.Uses([("a", "b", "x"), ("b", "a", "y"), ("b", "c", "z"), ("c", "b", "x")])) == [
        ["a", "b", "c"]]


def test_closing_uses_are_few():
    """All files of a layer use one that uses a single one of them: that is the use to change."""
    names = ["runtime/core/%s.c" % name for name in "abcdef"]
    star = [(name, names[0], "isan__self") for name in names[1:]]
    uses = layers.Uses([*star, (names[0], names[3], "isan__lost")])
    assert layers.closing_uses(uses, names) == [(names[0], names[3])]


def test_a_weak_symbol_of_a_header_is_no_use():
    own = {"isan__slot": True}
    assert layers.symbol_uses({LOCK: own, TABLE: own}, {LOG: {"isan__slot", "isan__elsewhere"}}).names == {}
    uses = layers.symbol_uses({LOCK: own, TABLE: {"isan__slot": False}}, {LOG: {"isan__slot"}})
    assert uses.names == {(LOG, TABLE): {"isan__slot"}}


def test_object_files_and_includes_are_read(tmp_path):
    """The whole program, on files that a compiler has seen."""
    sources = {
        "runtime/base/lock.h": "int isan__lock(void);\n",
        "runtime/base/lock.c": '#include "runtime/base/lock.h"\nint isan__lock(void) { return 1; }\n',
        "runtime/core/log.c": '#include "runtime/base/lock.h"\nint isan__log(void) { return isan__lock(); }\n',
        "runtime/process.c": "int isan__log(void);\nint isan__start(void) { return isan__log(); }\n",
    }

    def run(*args):
        for name, text in sources.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        for name in sources:
            if name.endswith(".c"):
                built = tmp_path / "build/obj" / name[:-2]
                built.parent.mkdir(parents=True, exist_ok=True)
                subprocess.run(["gcc", "-I", tmp_path, "-c", tmp_path / name, "-o", built.with_suffix(".o")],
                               check=True)
        return subprocess.run([sys.executable, tree.SCRIPTS / "layers.py", "--root", tmp_path, *args],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split() for line in done.stdout.splitlines()[1:]] == [
        ["runtime/base"], ["lock.c", "0", "1"], ["runtime/core"], ["log.c", "1", "1"], ["runtime/process.c"],
        ["runtime/process.c", "1", "0"]]

    sources["runtime/base/lock.c"] = "int isan__log(void);\nint isan__lock(void) { return isan__log(); }\n"
    sources["runtime/base/lock.h"] = '#include "runtime/core/log.h"\nint isan__lock(void);\n'
    sources["runtime/core/log.h"] = ""
    done = run("--quiet")
    assert (done.returncode, done.stdout) == (1, "")
    assert "runtime/base/lock.h, line 1, includes runtime/core/log.h, of a higher layer" in done.stderr
    assert "runtime/base/lock.c uses isan__log of runtime/core/log.c, of a higher layer" in done.stderr
    assert "2 files use each other in a cycle" in done.stderr

    (tmp_path / "build/obj/runtime/base/lock.o").unlink()
    done = subprocess.run([sys.executable, tree.SCRIPTS / "layers.py", "--root", tmp_path], stderr=subprocess.PIPE,
                          text=True)
    assert done.returncode == 2 and "runtime/base/lock.c" in done.stderr and "run make first" in done.stderr


# -- sizes.py ----------------------------------------------------------------------

C = """\
struct pair {
    int a;
};

static const int table[] = {
    1,
};

/* A comment (in parentheses). */
__attribute__((noinline)) static int
first(int a,
      int b)
{
%s}

int second(void)
{
}
"""

PYTHON = """\
class A:
    def method(self):
        pass

def outer():
    def inner():
        pass
%s
"""


def test_functions_are_found():
    assert list(sizes.c_functions(C % "")) == [("first", 10, 5), ("second", 16, 3)]
    assert list(sizes.c_functions(C % "    b++;\n\n    {\n    }\n")) == [("first", 10, 9), ("second", 20, 3)]
    assert sorted(sizes.python_functions(PYTHON % "    return inner")) == [
        ("inner", 6, 2), ("method", 2, 2), ("outer", 5, 4)]


def test_long_functions_and_files_are_refused(tmp_path):
    body = sizes.FUNCTION_LINES - 5
    (tmp_path / "a.c").write_text(C % ("    a++;\n" * body))
    assert sizes.check(tmp_path, ["a.c"], {})[0] == []
    (tmp_path / "a.c").write_text(C % ("    a++;\n" * (body + 1)))
    assert sizes.check(tmp_path, ["a.c"], {})[0] == [
        "a.c:10: first has 81 lines; at most 80 are allowed: split it by subject"]
    (tmp_path / "b.py").write_text("x = 1\n" * sizes.FILE_LINES)
    assert sizes.check(tmp_path, ["b.py"], {}) == ([], ((0, ""), (600, "b.py")))
    (tmp_path / "b.py").write_text("x = 1\n" * (sizes.FILE_LINES + 1))
    assert sizes.check(tmp_path, ["b.py"], {})[0] == [
        "b.py has 601 lines; at most 600 are allowed: split it by subject"]


def test_exceptions_have_a_limit_and_are_needed(tmp_path):
    (tmp_path / "a.c").write_text(C % ("    a++;\n" * 100))
    assert sizes.check(tmp_path, ["a.c"], {"a.c:first": 105})[0] == []
    assert sizes.check(tmp_path, ["a.c"], {"a.c:first": 104})[0] == [
        "a.c:10: first has 105 lines; at most 104 are allowed: split it by subject"]
    assert sizes.check(tmp_path, ["a.c"], {"a.c:first": 105, "a.c": 700, "b.c": 700})[0] == [
        "the exception of a.c is not needed any more: delete its line",
        "the exception of b.c is not needed any more: delete its line"]


def test_an_exception_without_a_reason_is_refused(tmp_path):
    exceptions = tmp_path / "sizes.txt"
    exceptions.write_text("# why\n\na.c:f 144 the switch over opcodes is a table\n")
    assert sizes.read_exceptions(exceptions) == {"a.c:f": 144}
    exceptions.write_text("a.c:f 144\n")
    with pytest.raises(SystemExit, match="sizes.txt:1: .* and a reason"):
        sizes.read_exceptions(exceptions)
