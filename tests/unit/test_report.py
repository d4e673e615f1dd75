"""The reporter: symbols, logs, text and JSON, from logs written here.  Needs a
C compiler and elfutils, no CPython of ours."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import tree
from helpers.log_writer import Writer, linetable
from helpers.product import json as json_, log, model, packages, pythons, tables, text
from helpers.product import linetable as linetable_
from helpers.product import symbols as symbols_

BIAS = 0x10000000
FOO = """\
struct item { int id; void *objects[3]; };
static void *cache;
struct item items[4];
void *grid[2][3];
void sink(void *);
__attribute__((noinline)) void deep(void *p)
{
    static void *seen[2];
    seen[1] = p;
    sink(seen);
}
static inline __attribute__((always_inline)) void Py_INCREF(void *p)
{
    deep(p);
}
void use_cache(void *p)
{
    Py_INCREF(p);
    cache = p;
    sink(&cache);
}
void *_PyEval_EvalFrameDefault(void *p)
{
    use_cache(p);
    return cache;
}
void run_string(void *p)
{
    sink(_PyEval_EvalFrameDefault(p));
}
"""
CPP = """\
namespace { void *hidden[3]; }
namespace ns { struct C { static int count; void *method(); };
int C::count = 3;
void *C::method() { static void *local; local = hidden[1]; count++; return &local; } }
extern "C" void *entry() { ns::C c; hidden[1] = &hidden; return c.method(); }
"""
HEAD = """\
typedef struct _object { long ob_refcnt; void *ob_type; } PyObject;
typedef struct { PyObject ob_base; long ob_size; } PyVarObject;
typedef struct { PyObject ob_base; PyObject *of_all[5]; } Everywhere;       /* as long as Node and Egg */
"""
SPAM = """\
#include "head.h"
struct link { PyObject *to; long weight; };
typedef struct { PyObject ob_base; PyObject *name; struct link links[2]; } Node;
typedef struct { PyVarObject ob_base; PyObject *first, *second; } Row;
typedef struct { Row row; PyObject *extra; } LongRow;
struct plain { long a, b, c, d, e, f, g; };
__thread PyObject *current;
static __thread struct { int depth; PyObject *stack[3]; } frames;
struct plain plain;
Node node; Row row; LongRow long_row; Everywhere there;
PyObject **push(PyObject *p)
{
    static __thread PyObject *last;
    last = current;
    current = p;
    frames.stack[frames.depth++] = p;
    return &last;
}
"""
EGGS_H = """\
#include "head.h"
typedef struct { PyObject ob_base; PyObject *title; long w[4]; } Egg;
"""
EGGS = """\
#include "eggs.h"
typedef struct { PyVarObject ob_base; PyObject *first, *other; } Shell;     /* as long as Row */
Egg egg; Shell shell; Everywhere here;
PyObject **hatch(void) { return &egg.title; }
"""
CPP_OBJECT = """\
#include "head.h"
namespace ns { struct Base : PyObject { PyObject *dict; }; class Derived : public Base { public: PyObject *values[2]; };
inline thread_local PyObject *held[2];
struct Pool { static thread_local PyObject *spare; }; thread_local PyObject *Pool::spare; }
ns::Derived derived;
extern "C" void *method() { thread_local PyObject *mine; ns::held[1] = mine; ns::Pool::spare = mine; mine = &derived; return mine; }
"""


def run(*command):
    return subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True).stdout


class Built:
    """A shared object and where its symbols are."""

    def __init__(self, path):
        self.path = path
        self.symbols = {line.split()[2]: int(line.split()[0], 16) for line in run("nm", path).splitlines()
                        if len(line.split()) == 3}
        self.build_id = re.search(r"Build ID: ([0-9a-f]+)", run("readelf", "-n", path))[1]

    def copy(self, path):
        shutil.copy(self.path, path)
        return path

    def calls(self, function, callee):
        """The address just behind the call of callee in function."""
        code = run("objdump", "-d", "--no-show-raw-insn", self.path).split("<%s>:\n" % function)[1].split("\n\n")[0]
        lines = code.splitlines()
        at = next(i for i, line in enumerate(lines) if "call" in line and callee in line)
        return int(lines[at + 1].split(":")[0], 16)


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("symbolize") / "isan-symbolize"
    run("gcc", "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", tree.SYMBOLIZE, "-ldw", "-lelf",
        "-o", path)
    return path


@pytest.fixture(scope="session")
def foo(tmp_path_factory):
    directory = tmp_path_factory.mktemp("foo")
    (directory / "foo.c").write_text(FOO)
    path = directory / "_foo.so"
    run("gcc", "-g", "-O1", "-fno-optimize-sibling-calls", "-fPIC", "-shared", "-Wl,--build-id", directory / "foo.c",
        "-o", path)
    return Built(path)


@pytest.fixture(scope="session")
def spam(tmp_path_factory):
    """Two units of C with Python objects and thread-local variables."""
    directory = tmp_path_factory.mktemp("spam")
    for name, source in ("head.h", HEAD), ("spam.c", SPAM), ("eggs.h", EGGS_H), ("eggs.c", EGGS):
        (directory / name).write_text(source)
    path = directory / "_spam.so"
    run("gcc", "-g", "-O1", "-fPIC", "-shared", "-Wl,--build-id", directory / "spam.c", directory / "eggs.c", "-o", path)
    return Built(path)


@pytest.fixture
def symbolizer(program):
    with symbols_.Symbolizer(program) as s:
        yield s


def ask(program, *requests):
    done = subprocess.run([str(program)], input="".join(r + "\n" for r in requests).encode(), stdout=subprocess.PIPE,
                          check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(requests)
    return answers


def data(path, address, build_id=""):
    return "data\t%s\t%s\t%x" % (path, build_id, address)


def code(path, address, build_id=""):
    return "code\t%s\t%s\t%x" % (path, build_id, address)


def tls(path, offset, build_id=""):
    return "tls\t%s\t%s\t%x" % (path, build_id, offset)


def member(path, address, size, offset, build_id=""):
    return "member\t%s\t%s\t%x\t%x\t%x" % (path, build_id, address, size, offset)


# -- symbolize.c ------------------------------------------------------------------


def test_variables_by_name_and_element(program, foo):
    s = foo.symbols
    cache, item, cell, local, gap = ask(
        program, data(foo.path, s["cache"], foo.build_id), data(foo.path, s["items"] + 2 * 32 + 16),
        data(foo.path, s["grid"] + 32), data(foo.path, s["seen.0"] + 8), data(foo.path, s["cache"] + 4))
    assert (cache["symbol"], cache["line"], cache["offset"], cache["size"]) == ("cache", 2, 0, 8)
    assert cache["file"].endswith("/foo.c") and cache["section"] == ".bss" and cache["element"] is None
    assert (item["symbol"], item["element"], item["offset"]) == ("items", "[2].objects[1]", 80)
    assert (cell["symbol"], cell["element"]) == ("grid", "[1][1]")
    assert (local["symbol"], local["element"], local["line"]) == ("deep::seen", "[1]", 8)
    assert gap["element"] == "+4"


def test_inlined_calls_innermost_first(program, foo):
    frames = ask(program, code(foo.path, foo.calls("use_cache", "deep") - 1))[0]["frames"]
    assert [(f["function"], f["line"]) for f in frames] == [("Py_INCREF", 14), ("use_cache", 18)]
    assert frames[1]["start"] == 16


def test_cplusplus_names(program, tmp_path):
    (tmp_path / "bar.cc").write_text(CPP)
    run("g++", "-g", "-O1", "-fPIC", "-shared", tmp_path / "bar.cc", "-o", tmp_path / "bar.so")
    bar = Built(tmp_path / "bar.so")
    hidden, count, local, method = ask(
        program, data(bar.path, bar.symbols["_ZN12_GLOBAL__N_16hiddenE"] + 8),
        data(bar.path, bar.symbols["_ZN2ns1C5countE"]), data(bar.path, bar.symbols["_ZZN2ns1C6methodEvE5local"]),
        code(bar.path, bar.symbols["_ZN2ns1C6methodEv"]))
    assert (hidden["symbol"], hidden["element"]) == ("(anonymous namespace)::hidden", "[1]")
    assert count["symbol"] == "ns::C::count"
    assert local["symbol"] == "ns::C::method::local"
    assert method["frames"][0]["function"] == "ns::C::method"


def test_struct_in_pieces(program, tmp_path):
    """What clang makes of a static struct of which only some members are used."""
    (tmp_path / "split.c").write_text("static struct { int unused; long hits; char *text; } all;\n"
                                      "long use(char *text) { char *old = all.text; all.text = text; return all.hits++ + !old; }\n")
    run(pythons.tsan_compiler(), "-g", "-O2", "-fPIC", "-shared", tmp_path / "split.c", "-o", tmp_path / "split.so")
    built = Built(tmp_path / "split.so")
    hits, text = (built.symbols[name] for name in sorted(name for name in built.symbols if name.startswith("all.")))
    for address, element, offset in (hits, ".hits", 8), (text, ".text", 16), (text + 4, ".text+4", 20):
        (answer,) = ask(program, data(built.path, address))
        assert (answer["symbol"], answer["element"], answer["offset"], answer["size"]) == ("all", element, offset, 24)
        assert answer["file"].endswith("/split.c") and answer["line"] == 1
    assert "all" not in built.symbols


def test_atomic_variables(program, tmp_path):
    """Those that are, as a whole or in the member there, and their neighbours; std::atomic and the like."""
    (tmp_path / "at.c").write_text("""
        #include <stdatomic.h>
        typedef volatile atomic_long counter;
        counter whole; long plain; _Atomic(long *) pointer; long *_Atomic other; _Atomic long *to;
        struct { long plain; struct { atomic_int value; int next; } in[2]; } box;
    """)
    (tmp_path / "at.cc").write_text("""
        #include <atomic>
        struct { long plain; std::atomic<long *> value; } box;
        std::atomic<long> whole; std::atomic_flag flag; std::atomic<int> some[2]; std::atomic<long> *to;
    """)
    for compiler, source, atomic, plain in (
            ("gcc", "at.c", ("whole", "pointer", "other", ("box", 8), ("box", 16)), ("plain", "to", "box", ("box", 12))),
            ("g++", "at.cc", ("whole", "flag", "some", ("some", 4), ("box", 8)), ("to", "box"))):
        run(compiler, "-g", "-fPIC", "-shared", tmp_path / source, "-o", tmp_path / (source + ".so"))
        built = Built(tmp_path / (source + ".so"))
        for names, expected in (atomic, True), (plain, False):
            for name in names:
                symbol, offset = (name, 0) if isinstance(name, str) else name
                (answer,) = ask(program, data(built.path, built.symbols[symbol] + offset))
                assert (answer["symbol"], answer["atomic"]) == (symbol, expected), (source, name)


def test_without_debug_information(program, foo, tmp_path):
    nodebug, stripped = foo.copy(tmp_path / "nodebug.so"), foo.copy(tmp_path / "stripped.so")
    run("strip", "-g", nodebug)
    run("strip", stripped)
    s = foo.symbols
    answers = ask(program, data(nodebug, s["cache"]), code(nodebug, s["deep"] + 2), data(stripped, s["grid"] + 8),
                  data(stripped, s["cache"]), code(stripped, s["use_cache"] + 2), code(stripped, 0))
    assert (answers[0]["symbol"], answers[0]["file"], answers[0]["section"]) == ("cache", None, ".bss")
    assert answers[1]["frames"][0]["function"] == "deep"
    assert (answers[2]["symbol"], answers[2]["offset"]) == ("grid", 8)      # .dynsym
    assert (answers[3]["symbol"], answers[3]["section"]) == (None, ".bss")
    assert answers[4]["frames"][0]["function"] == "use_cache"
    assert answers[5]["frames"][0]["function"] is None


def test_thread_local_variables(program, spam):
    s = spam.symbols
    last = next(name for name in s if name.startswith("last"))
    current, element, local, nothing = ask(
        program, tls(spam.path, s["current"], spam.build_id), tls(spam.path, s["frames"] + 16),
        tls(spam.path, s[last]), tls(spam.path, 4096))
    assert (current["symbol"], current["line"], current["element"], current["section"]) == ("current", 7, None, ".tbss")
    assert current["file"].endswith("/spam.c") and current["size"] == 8
    assert (element["symbol"], element["element"], element["line"]) == ("frames", ".stack[1]", 8)
    assert (local["symbol"], local["line"]) == ("push::last", 13)
    assert "no thread-local variable" in nothing["error"]


def test_thread_local_variables_without_debug_information(program, spam, tmp_path):
    nodebug, stripped = spam.copy(tmp_path / "nodebug.so"), spam.copy(tmp_path / "stripped.so")
    run("strip", "-g", nodebug)
    run("strip", stripped)
    frames, current, unknown = ask(program, tls(nodebug, spam.symbols["frames"] + 8),
                                   tls(stripped, spam.symbols["current"]), tls(stripped, spam.symbols["frames"] + 8))
    assert (frames["symbol"], frames["offset"], frames["file"], frames["debug"]) == ("frames", 8, None, False)
    assert (current["symbol"], current["file"]) == ("current", None)        # .dynsym
    assert (unknown["symbol"], unknown["section"]) == (None, ".tbss")
    assert unknown["offset"] == spam.symbols["frames"] + 8                  # the block begins with it


def test_members_of_objects(program, spam):
    push, hatch = spam.symbols["push"], spam.symbols["hatch"]
    ask_member = lambda *a: ask(program, member(spam.path, *a))[0]["member"]
    assert [ask_member(push, 56, at) for at in (16, 24, 32, 40)] == ["name", "links[0].to", "links[0].weight", "links[1].to"]
    # Another type of that size, in the other source file.
    assert [ask_member(hatch, 56, at) for at in (16, 24)] == ["title", "w[0]"]
    # No code to go by: what they agree on.
    assert ask_member(0, 56, 16) is None and [ask_member(0, 40, at) for at in (24, 32)] == ["first", None]
    assert ask_member(push, 40, 32) == "second" and ask_member(hatch, 40, 32) == "other"
    # Whatever unit the only one is in; a subtype's first member is its base.
    assert ask_member(hatch, 48, 40) == "extra" and ask_member(hatch, 48, 32) == "row.second"
    # No such struct, not an object, between members, outside.
    assert [ask_member(push, *a) for a in ((8, 0), (64, 16), (56, 20), (56, 56), (56, 1 << 40))] == [None] * 5


def test_members_after_link_time_optimisation(program, spam, tmp_path):
    """Code is in units of its own then, away from the types."""
    sources = [spam.path.parent / name for name in ("spam.c", "eggs.c")]
    run("gcc", "-g", "-O1", "-flto", "-fPIC", "-shared", *sources, "-o", tmp_path / "lto.so")
    built = Built(tmp_path / "lto.so")
    assert [ask(program, member(built.path, built.symbols[name], 56, 16))[0]["member"] for name in ("push", "hatch")] \
        == ["name", "title"]


def test_members_and_thread_local_variables_of_cplusplus(program, spam, tmp_path):
    (tmp_path / "head.h").write_text(HEAD)
    (tmp_path / "object.cc").write_text(CPP_OBJECT)
    run("g++", "-g", "-O1", "-std=c++17", "-fPIC", "-shared", tmp_path / "object.cc", "-o", tmp_path / "object.so")
    built = Built(tmp_path / "object.so")
    s = built.symbols
    base, derived, held, spare, mine = ask(
        program, member(built.path, s["method"], 40, 16), member(built.path, s["method"], 40, 32),
        tls(built.path, s["_ZN2ns4heldE"] + 8), tls(built.path, s["_ZN2ns4Pool5spareE"]), tls(built.path, s["_ZZ6methodE4mine"]))
    assert (base["member"], derived["member"]) == ("dict", "values[1]")
    assert (held["symbol"], held["element"], held["line"]) == ("ns::held", "[1]", 3)
    assert spare["symbol"] == "ns::Pool::spare" and (mine["symbol"], mine["line"]) == ("method::mine", 6)


@pytest.mark.parametrize("how", ["debuglink", "build-id"])
def test_separate_debug_files_name_everything(program, foo, spam, tmp_path, how):
    for built in foo, spam:
        path = built.copy(tmp_path / built.path.name)
        directory = tmp_path / "debug"
        if how == "debuglink":
            debug = tmp_path / ".debug" / (built.path.name + ".debug")
        else:
            debug = directory / ".build-id" / built.build_id[:2] / (built.build_id[2:] + ".debug")
        debug.parent.mkdir(parents=True, exist_ok=True)
        run("objcopy", "--only-keep-debug", path, debug)
        run("strip", path)
        if how == "debuglink":
            run("objcopy", "--add-gnu-debuglink=%s" % debug, path)
    with symbols_.Symbolizer(program, "" if how == "debuglink" else str(directory)) as symbolizer:
        _foo = log.Module(0, BIAS, BIAS, BIAS + 0x10000, str(tmp_path / "_foo.so"), foo.build_id)
        _spam = _foo._replace(path=str(tmp_path / "_spam.so"), build_id=spam.build_id)
        assert symbolizer.data(_foo, BIAS + foo.symbols["cache"])["line"] == 2
        assert symbolizer.tls(_spam, spam.symbols["frames"] + 16)["element"] == ".stack[1]"
        assert symbolizer.member(_spam, BIAS + spam.symbols["push"], 56, 24) == "links[0].to"
        assert symbolizer.code(_spam, BIAS + spam.symbols["push"])[0]["line"] == 12
        assert symbolizer.bare == {}
    # None of it where the debug file is not found.
    with symbols_.Symbolizer(program, str(tmp_path / "empty")) as symbolizer:
        shutil.rmtree(tmp_path / (".debug" if how == "debuglink" else "debug"))
        assert symbolizer.data(_foo, BIAS + foo.symbols["cache"])["symbol"] is None
        assert symbolizer.member(_spam, BIAS + spam.symbols["push"], 56, 24) is None
        assert set(symbolizer.bare) == {_foo.path, _spam.path}


def test_separate_debug_file(program, foo, tmp_path):
    path = foo.copy(tmp_path / "sep.so")
    run("objcopy", "--only-keep-debug", path, tmp_path / "sep.so.debug")
    run("strip", path)
    run("objcopy", "--add-gnu-debuglink=%s" % (tmp_path / "sep.so.debug"), path)
    cache, use = ask(program, data(path, foo.symbols["cache"]), code(path, foo.calls("use_cache", "deep") - 1))
    assert (cache["symbol"], cache["line"]) == ("cache", 2)
    assert [f["function"] for f in use["frames"]] == ["Py_INCREF", "use_cache"]


def test_another_build_is_refused(program, foo):
    answer, = ask(program, data(foo.path, foo.symbols["cache"], "00" * 20))
    assert "build-id" in answer["error"]


def test_unreadable_modules_and_requests(program, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "text").write_text("not ELF")
    (tmp_path / "empty").write_text("")
    answers = ask(program, data(tmp_path / "fifo", 0), code(tmp_path / "text", 0), code(tmp_path / "empty", 0),
                  code(tmp_path / "missing", 0), data("linux-vdso.so.1", 0), "", "code", "code\ta\tb\t", "code\ta\tb\txyz",
                  "what\ta\tb\t0", "code\ta\tb\t0\t0", data(tmp_path, 0),
                  "member\ta\tb\t0", "member\ta\tb\t0\t0\t0\t0", "tls\ta\tb\t-", tls(tmp_path / "text", 0),
                  member(tmp_path / "text", 0, 0, 0))
    assert all(set(a) == {"error"} for a in answers)


def test_hostile_names(program, foo, tmp_path):
    # A path with everything the protocol separates with.
    nasty = tmp_path / "a\tb\nc\\d"
    nasty.mkdir()
    path = foo.copy(nasty / "_foo.so")
    with symbols_.Symbolizer(program) as s:
        module = log.Module(0, BIAS, BIAS, BIAS + 0x10000, str(path), foo.build_id)
        assert s.data(module, BIAS + foo.symbols["cache"])["symbol"] == "cache"
    raw = foo.path.read_bytes()
    (tmp_path / "raw.so").write_bytes(raw.replace(b"use_cache\0", b"u\"\\\x01\xff\xc3\xa9\x1bX\0"))
    run("strip", "-g", tmp_path / "raw.so")
    frame = ask(program, code(tmp_path / "raw.so", foo.symbols["use_cache"]))[0]["frames"][0]
    assert frame["function"] == "u\"\\\x01\udcff\u00e9\x1bX"


def test_damaged_elf_files_get_an_answer(program, foo, tmp_path):
    raw = foo.path.read_bytes()
    random_ = random.Random(2)
    requests = []
    for i in range(60):
        broken = bytearray(raw)
        if i % 3 == 0:
            del broken[random_.randrange(64, len(broken)):]
        for _ in range(random_.choice((1, 20, 400))):
            broken[random_.randrange(16, len(broken))] = random_.randrange(256)
        path = tmp_path / ("%d.so" % i)
        path.write_bytes(broken)
        requests += [code(path, foo.calls("use_cache", "deep")), data(path, foo.symbols["grid"] + 8), tls(path, 8),
                     member(path, foo.calls("use_cache", "deep"), 32, 16)]
    requests.append(data(foo.path, foo.symbols["cache"]))
    assert ask(program, *requests)[-1]["symbol"] == "cache"


def test_a_symbolizer_that_dies_is_replaced(tmp_path, foo):
    """The worker is killed on one module; others are still answered."""
    source = (tree.SYMBOLIZE).read_text()
    marked = source.replace("    unescape(path);\n", "    unescape(path);\n    if (strstr(path, \"deadly\")) abort();\n")
    assert marked != source
    (tmp_path / "s.c").write_text(marked)
    run("gcc", "-std=gnu11", "-w", tmp_path / "s.c", "-ldw", "-lelf", "-o", tmp_path / "s")
    answers = ask(tmp_path / "s", data(foo.path, foo.symbols["cache"]), code("/deadly", 0), code("/deadly", 8),
                  data(foo.path, foo.symbols["cache"]))
    assert [a.get("symbol") for a in answers] == ["cache", None, None, "cache"]
    assert "crashed" in answers[1]["error"] and answers[1] == answers[2]


def test_missing_symbolizer_says_what_to_do(tmp_path):
    with pytest.raises(symbols_.Missing, match="make"):
        symbols_.Symbolizer(tmp_path / "nothing").data(log.Module(0, 0, 0, 1, "/x", ""), 0)


# -- tables and line tables ----------------------------------------------------------


def test_tables_are_the_c_tables():
    assert [k.name for k in tables.KINDS][:2] == ["share", "stale"] and tables.KINDS[-1].name == "leak"
    assert tables.ACCESSES[0] == "none" and tables.RESIDUES[0].name == "none"
    assert tables.OPTIONS["exitcode"].default == 86 and tables.OPTIONS["origin"].choices == ("none", "python", "native")
    with pytest.raises(ValueError):
        list(tables.rows("ISAN_KIND x"))
    assert list(tables.rows('/* x, ( */ ISAN_A(b, "c, (d" /* e */ " \\"f", -1)')) == [
        ("ISAN_A", ["b", 'c, (d "f', "-1"])]


def test_line_tables_written_here():
    table = linetable(10, (3, 10), (9, 500), (2, None), (1, 7))
    assert [linetable_.line_of(table, 10, u) for u in (0, 2, 3, 11, 12, 13, 14, 15)] == [10, 10, 500, 500, None, None, 7, None]
    assert linetable_.line_of(table[:3], 10, 5) is None and linetable_.line_of(b"\xe8\x7f\x7f", 1, 0) is None and linetable_.line_of(b"", 1, 0) is None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="this Python's code objects have no location table")
def test_line_tables_of_this_python():
    import argparse
    import types
    todo, seen = [f.__code__ for f in vars(argparse.ArgumentParser).values() if isinstance(f, types.FunctionType)], 0
    todo.append(compile(Path(argparse.__file__).read_text(), "argparse.py", "exec"))
    while todo:
        c = todo.pop()
        todo += [k for k in c.co_consts if isinstance(k, types.CodeType)]
        for unit, (line, *_) in enumerate(c.co_positions()):
            assert linetable_.line_of(c.co_linetable, c.co_firstlineno, unit) == line
            seen += 1
    assert seen > 1000


# -- logs to reports -------------------------------------------------------------------


def story(foo, pid=100, start=0, extra_lines=0):
    """Interpreter 1 makes an X, interpreter 2 finds it in _foo.so, 1 ends."""
    w = Writer(pid=pid, start=start)
    w.process(cwd="/src")
    w.module(str(foo.path), BIAS, build_id=foo.build_id)
    for serial, kind in (1, 0), (2, 2), (3, 1):
        w.interp(serial, log.BEGIN, kind)
    main = w.code("/src/main.py", "<module>", 1 + extra_lines, (4, 1 + extra_lines), (4, 7 + extra_lines))
    make = w.code("/src/user.py", "make", 20, (4, 21))
    get = w.code("/src/user.py", "get", 10, (4, 10), (4, 12))
    at = lambda function, callee: BIAS + foo.calls(function, callee)
    used = w.stack([at("use_cache", "deep") - 1, at("_PyEval_EvalFrameDefault", "use_cache"),
                    at("run_string", "_PyEval_EvalFrameDefault"), at("_PyEval_EvalFrameDefault", "use_cache"),
                    at("run_string", "_PyEval_EvalFrameDefault")],
                   [(get + 5, 0, 3), (get, log.FRAME_ENTRY, 3), (main + 5, log.FRAME_ENTRY, 1)])
    ended = w.stack([], [(main + 5, 1, 1)])
    holder = BIAS + foo.symbols["cache"]
    x = dict(owner=2, serial=12, origin=make, type="X")
    w.finding(1, "share", count=3, current=3, holder=holder, used=used, gone=2, time=5 * 10**8, **x)
    w.interp(2, log.FINALIZING, 2, time=10**9, stack=ended)
    w.leak(2, count=14, bytes=2240, holder=holder, pairs=[(12, 1), (12, 3)], **x)
    w.interp(2, log.END, 2, time=10**9)
    w.finding(3, "stale", "attribute", current=3, holder=holder, used=used, time=3 * 10**9, gone=2, **x)
    return w


def report_of(symbolizer, *paths, **more):
    return model.build(log.read(list(paths)), symbolizer, **more)


def test_the_whole_story(symbolizer, foo, tmp_path):
    w = story(foo)
    w.exit()
    report = report_of(symbolizer, w.write(tmp_path))
    out = text.render(report)
    share, stale, leak = out.split("\n\n")[:3]
    assert share.splitlines()[0] == \
        "isan: share #1: interpreter 2 (legacy) increfs a `X` that belongs to interpreter 1 (own GIL)"
    assert "created in interpreter 1 (own GIL) at user.py:21 in make" in share
    assert re.search(r"stored in static `cache` of _foo.so \(.*/foo.c:2\)", share)
    assert "touched 3 times in interpreter 2 (legacy) at user.py:12 in get:" in share
    frames = [line for line in share.splitlines() if re.match(r" +(#|---)", line)]
    assert [re.sub(r"(/\S*/)|( +)", lambda m: " " if m[2] else "", f.strip()) for f in frames] == [
        "#0 C use_cache foo.c:18", "#1 py get user.py:12", "#2 py get user.py:10", "#3 C run_string foo.c:29",
        "--- interpreter 2 (legacy) above, interpreter 0 (main) below ---",
        "#4 py <module> main.py:7", "#5 C run_string foo.c:29"]
    assert "outlived interpreter 1 (own GIL): leak #2" in share and "hint: Keep the object in module state" in share
    assert "accesses an attribute of a `X` of interpreter 1 (own GIL), which has ended" in stale
    assert "interpreter 1 (own GIL) had ended 2 s earlier at main.py:7 in <module>" in stale
    assert leak.splitlines()[0] == "isan: leak #2: 14 objects of type `X`, 2,240 bytes, of interpreter 1 (own GIL)"
    assert "kept alive by static `cache`" in leak
    assert "traps on the same objects: share #1, stale #3 (object serial 12)" in leak
    assert out.splitlines()[-1] == "SUMMARY: isan: 3 findings (1 share, 1 stale, 1 leak) in 1 process"

    parsed = json.loads(json_.render(report))
    first = parsed["findings"][0]
    assert (first["kind"], first["access"], first["id"], first["paired"], first["count"]) == ("share", "incref", 1, [2], 3)
    assert first["owner"]["id"] == 1 and first["owner"]["kind"] == "own-gil" and first["current"]["kind"] == "legacy"
    assert first["holder"]["symbol"] == "cache" and first["holder"]["line"] == 2
    assert [f["kind"] for f in first["stacks"]["used"]][:2] == ["native", "python"]
    assert parsed["findings"][2]["paired"] == [1, 3] and parsed["findings"][2]["bytes"] == 2240
    assert parsed["process"]["pid"] == 100 and len(parsed["interpreters"]) == 3


def test_places_of_a_finding(symbolizer, foo, tmp_path):
    w = story(foo)
    other = w.stack([BIAS + foo.calls("use_cache", "deep") - 1])
    w.place(1, "registered", stack=other, tid=7, interp=2, text="callback")
    w.place(1, "access", tid=8, amount=4, flags=log.PLACE_WRITE | log.PLACE_ATOMIC)
    report = report_of(symbolizer, w.write(tmp_path))
    first, second = report["findings"][0]["places"]
    assert (first["role"], first["interpreter"]["id"], first["tid"], first["text"]) == ("registered", 1, 7, "callback")
    assert [frame["function"] for frame in first["stack"]] == ["use_cache"]
    assert (second["role"], second["interpreter"], second["tid"], second["write"], second["atomic"], second["amount"]) \
        == ("access", None, 8, True, True, 4) and second["stack"] == []
    out = text.render(report)
    assert re.search(r"  registered in interpreter 1 \(own GIL\), thread 7, callback at .*foo.c:18 in use_cache\n", out)
    assert "  accessed in a thread without an interpreter, thread 8\n" in out


def racing(foo, kinds, flags=(log.PLACE_WRITE, log.PLACE_WRITE), interps=(2, 3), **finding):
    """The log of a race of the interpreters with these serials; kinds: theirs."""
    w = Writer()
    w.process()
    w.module(str(foo.path), BIAS)
    w.interp(1, log.BEGIN, kind=0)
    for serial, kind in zip((2, 3), kinds):
        w.interp(serial, log.BEGIN, kind=kind)
    stacks = [w.stack([BIAS + foo.calls("use_cache", "deep") - 1]), w.stack([BIAS + foo.calls("run_string", "_PyEval_EvalFrameDefault") - 1])]
    w.finding(1, "race", "none", **{"current": interps[0], "used": stacks[0], **finding})
    for i in range(2):
        w.place(1, "access", stack=stacks[i], tid=20 + i, interp=interps[i], amount=8, flags=flags[i])
    return w


def test_race_on_a_variable(symbolizer, foo, tmp_path):
    w = racing(foo, (2, 2), holder=BIAS + foo.symbols["cache"], size=0, type="", count=3)
    w.place(1, "lock", stack=1, amount=0x1234)
    w.finding(2, "static", "none", current=3, owner=2, holder=BIAS + foo.symbols["cache"])
    report = report_of(symbolizer, w.write(tmp_path))
    race, static = report["findings"]
    assert (race["kind"], race["gil"], race["count"], race["paired"], static["paired"]) == ("race", "different", 3, [2], [1])
    lines = text.render(report).split("\n\n")[0].splitlines()
    assert re.fullmatch(r"isan: race #1: interpreters 1 and 2 \(own GIL\) write static `cache` of \S+ \(\S*foo.c:2\)", lines[0])
    assert re.fullmatch(r"  interpreter 1 \(own GIL\), thread 20, wrote 8 bytes at \S*foo.c:18 in use_cache", lines[1])
    assert re.fullmatch(r"  before that interpreter 2 \(own GIL\), thread 21, wrote 8 bytes at \S*foo.c:29 in run_string", lines[2])
    assert re.fullmatch(r"  one of them under a lock made at \S*foo.c:18 in use_cache", lines[3])
    assert lines[4:6] == ["  two GILs: nothing kept them apart, seen 3 times", "  about the same variable: static #2"]
    assert lines[6].startswith("  hint: Own-GIL interpreters run truly in parallel")


@pytest.mark.parametrize("kinds,interps,flags,gil,who,why", [
    ((2, 2), (2, 3), (log.PLACE_WRITE, 0), "different", "interpreter 1 (own GIL) writes and interpreter 2 (own GIL) reads", "two GILs"),
    ((1, 2), (2, 3), (0, log.PLACE_WRITE), "different", "interpreter 1 (legacy) reads and interpreter 2 (own GIL) writes", "two GILs"),
    ((1, 1), (2, 3), (1, 1 | log.PLACE_FREE), "same", "interpreter 1 (legacy) writes and interpreter 2 (legacy) frees",
     "their interpreters have one GIL: at least one did not hold it"),
    ((1, 1), (1, 3), (1 | log.PLACE_DETACHED, 1), "same", "interpreter 0 (main) writes and interpreter 2 (legacy) writes",
     "their interpreters have one GIL: at least one did not hold it"),
    ((2, 2), (2, 2), (1 | log.PLACE_DETACHED, 1), "same", "two threads of interpreter 1 (own GIL) write",
     "one interpreter, one GIL: at least one of the threads did not hold it"),
    ((2, 2), (2, 2), (1, log.PLACE_ATOMIC), "same", "two threads of interpreter 1 (own GIL) access", "one interpreter, one GIL"),
    ((2, 2), (2, 0), (1, 0), "none", "a thread without an interpreter reads and interpreter 1 (own GIL) writes",
     "one of the threads was in no interpreter"),
    ((2, 2), (2, 0), (1, log.PLACE_UNKNOWN), None, "an unknown interpreter reads and interpreter 1 (own GIL) writes",
     "which interpreter a thread was in is not known"),
])
def test_interpreters_of_a_race(symbolizer, foo, tmp_path, kinds, interps, flags, gil, who, why):
    """Races of one GIL, or with a thread that has none, are told apart."""
    w = racing(foo, kinds, flags, interps, holder=BIAS + foo.symbols["cache"], size=0, type="")
    report = report_of(symbolizer, w.write(tmp_path))
    race, = report["findings"]
    assert race["gil"] == gil
    out = text.render(report)
    assert f"isan: race #1: {who} static `cache`" in out and f"  {why}" in out
    assert ("Own-GIL interpreters run" in out) == (gil in ("different", None))
    assert ("without its GIL, wrote" in out) == bool(flags[0] & log.PLACE_DETACHED)


def test_races_are_one_for_each_variable(symbolizer, foo, tmp_path):
    """Wherever it is accessed, whichever its element; and one for one GIL, one for two."""
    logs = []
    for pid, (symbol, offset, kinds, used) in enumerate([
            ("grid", 0, (2, 2), 1), ("grid", 8, (2, 2), 2), ("grid", 8, (1, 1), 1), ("cache", 0, (2, 2), 1)], 100):
        w = racing(foo, kinds, holder=BIAS + foo.symbols[symbol] + offset, size=0, type="", used=used)
        w.header["pid"] = pid
        logs.append(w.write(tmp_path))
    found = report_of(symbolizer, *logs)["findings"]
    assert sorted((f["holder"]["symbol"], f["gil"], f["count"], len(f["elements"])) for f in found) == [
        ("cache", "different", 1, 0), ("grid", "different", 2, 2), ("grid", "same", 1, 1)]


def test_race_on_memory(symbolizer, foo, tmp_path):
    """An object, a block, or what is in neither, with the static that leads there."""
    w = racing(foo, (2, 2), owner=2, serial=7, size=64, holder=BIAS + foo.symbols["cache"])
    w.leak(2, owner=2, serial=7)
    report = report_of(symbolizer, w.write(tmp_path))
    out = text.render(report)
    assert "interpreters 1 and 2 (own GIL) write a `dict` of interpreter 1 (own GIL) in static `cache` of " in out
    assert "  about the same object: leak #2\n" in out
    w = racing(foo, (2, 2), (1, 0), size=48, type="")
    assert "interpreter 1 (own GIL) writes and interpreter 2 (own GIL) reads 48 bytes of memory\n" in text.render(
        report_of(symbolizer, w.write(tmp_path)))


def test_dangling_pointer(symbolizer, foo, tmp_path):
    w = Writer()
    w.process()
    w.module(str(foo.path), BIAS)
    w.interp(2, log.BEGIN)
    w.interp(2, log.END)
    w.finding(1, "stale", owner=2, holder=BIAS + foo.symbols["grid"] + 8,
              flags=log.OBJ_OBJECT | log.OBJ_FREED, type="Err")
    out = text.render(report_of(symbolizer, w.write(tmp_path)))
    assert "a thread without an interpreter increfs an `Err` of interpreter 1 (own GIL), which has ended" in out
    assert "static `grid[0][1]`" in out and "was freed when interpreter 1 (own GIL) ended: the pointer dangles" in out


def test_identical_findings_of_processes_merge(symbolizer, foo, tmp_path):
    paths = [story(foo, pid=100 + i, start=i, extra_lines=i).write(tmp_path) for i in range(3)]
    report = report_of(symbolizer, *paths)
    # Lines that moved as a whole are the same findings.
    assert [(f["kind"], f["count"], f["paired"]) for f in report["findings"]] == [
        ("share", 9, [2]), ("stale", 3, [2]), ("leak", 42, [1, 3])]
    assert report["findings"][2]["bytes"] == 3 * 2240 and report["findings"][0]["pids"] == [100, 101, 102]
    assert text.render(report).endswith("in 3 processes\n")


def test_different_lines_are_different_findings(symbolizer, tmp_path):
    w = Writer()
    w.process()
    w.interp(2, log.BEGIN)
    site = w.code("/src/a.py", "f", 1, (1, 2), (1, 3))
    w.leak(1, owner=2, origin=site)
    w.leak(2, owner=2, origin=site + 1)
    assert len(report_of(symbolizer, w.write(tmp_path))["findings"]) == 2


def test_a_fork_sees_what_its_parent_recorded_before(symbolizer, foo, tmp_path):
    parent = Writer(pid=1, start=1)
    parent.process(cwd="/src")
    parent.module(str(foo.path), BIAS)
    parent.interp(1, log.BEGIN, 0)
    parent.interp(2, log.BEGIN, 2)
    site = parent.code("/src/p.py", "before", 5, (4, 6))
    stack = parent.stack([BIAS + foo.calls("use_cache", "deep") - 1], [])
    parent.finding(1, "share", owner=2, origin=site, used=stack, current=1)
    child = Writer(pid=2, start=2, parent="isan.1.log", parent_tail=parent.tail)
    child.next_stack = parent.next_stack
    late = parent.code("/src/p.py", "after", 50, (4, 51))
    parent.write(tmp_path)
    own = child.stack([BIAS + foo.calls("run_string", "_PyEval") - 1], [(site, 1, 2)])
    child.finding(2, "free", owner=1, origin=late, used=own, current=2, type="A")
    child.finding(3, "share", owner=2, origin=site, used=stack, current=1, type="B", gone=4)
    child.leak(4, owner=2, pairs=[(1, 1)], origin=site)
    path = child.write(tmp_path)

    report = report_of(symbolizer, path)        # the parent's log is found by itself
    by_type = {f["object"]["type"]: f for f in report["findings"] if f["kind"] != "leak"}
    assert by_type["A"]["stacks"]["created"][0]["function"] is None     # recorded after the fork: not this process's
    assert [f["function"] for f in by_type["A"]["stacks"]["used"]] == ["run_string", "before"]
    assert by_type["B"]["stacks"]["used"][0]["function"] == "use_cache"
    assert by_type["B"]["stacks"]["created"][0]["line"] == 6
    assert report["process"]["cwd"] == "/src"

    both = report_of(symbolizer, path, tmp_path / "isan.1.log")
    leak = next(f for f in both["findings"] if f["kind"] == "leak")
    assert leak["paired"] == [1, 3]

    (tmp_path / "isan.1.log").unlink()
    alone = report_of(symbolizer, path)
    assert alone["findings"] and "forked from" in alone["errors"][0]["text"]


def test_parent_cannot_be_a_path_elsewhere(tmp_path):
    child = Writer(parent="../isan.1.log", parent_tail=5000)
    assert "path" in log.read([child.write(tmp_path)])[0].errors[0][1]
    looped = Writer(pid=7, parent="isan.7.log", parent_tail=5000)
    looped.process()
    (_, error), = log.read([looped.write(tmp_path)])[0].errors
    assert "one of its descendants" in error


def test_modules_count_as_of_their_record(symbolizer, foo, tmp_path):
    other = tmp_path / "other.so"
    (tmp_path / "other.c").write_text("void *elsewhere[9000];")
    run("gcc", "-g", "-fPIC", "-shared", tmp_path / "other.c", "-o", other)
    w = Writer()
    w.process()
    w.module(str(foo.path), BIAS)
    w.finding(1, "share", holder=BIAS + foo.symbols["cache"])
    w.module(str(other), BIAS)
    w.finding(2, "share", holder=BIAS + Built(other).symbols["elsewhere"] + 8, type="B")
    w.finding(3, "share", holder=0x99, type="C")
    holders = [f["holder"] for f in report_of(symbolizer, w.write(tmp_path))["findings"]]
    assert [(h["symbol"], h["path"]) for h in holders] == [("cache", None), ("elsewhere", "[1]"), (None, None)]


def test_our_own_frames_are_left_out(symbolizer, foo, tmp_path):
    ours = foo.copy(tmp_path / "libisan.so.0")
    w = Writer()
    w.process()
    w.module(str(ours), BIAS)
    w.module(str(foo.path), 2 * BIAS)
    inside, used = BIAS + foo.symbols["deep"] + 1, 2 * BIAS + foo.calls("use_cache", "deep")
    w.finding(1, "share", used=w.stack([inside, inside + 4, used, inside + 4]))
    frames = report_of(symbolizer, w.write(tmp_path))["findings"][0]["stacks"]["used"]
    assert [f["function"] for f in frames] == ["use_cache"]


def test_crash(symbolizer, foo, tmp_path):
    w = Writer()
    w.process()
    w.module(str(foo.path), BIAS)
    w.interp(3, log.BEGIN, id=3)
    w.crash(11, 0x10, w.stack([BIAS + foo.symbols["deep"]]), 3)
    out = text.render(report_of(symbolizer, w.write(tmp_path)))
    assert re.search(r"isan: crash: the program was killed by SIGSEGV in interpreter 3 \(own GIL\) at \S*foo.c:7 in deep,"
                     r" accessing address 0x10\n +#0   C deep", out)
    assert "SUMMARY: isan: no findings, 1 crash in 1 process" in out


def test_nothing_hostile_reaches_the_terminal(symbolizer, tmp_path):
    w = Writer()
    w.process(cwd=b"/\xff")
    w.interp(2, log.BEGIN)
    bad = "\x1b[2J\r\n\u202e\x00"[:-1].encode() + b"\xff\x9b"
    site = w.code(b"/a" + bad, b"f" + bad, 1, (1, 1))
    w.module(b"/m" + bad, BIAS)
    w.finding(1, "share", owner=2, type=b"T" + bad, origin=site, used=w.stack([BIAS + 4], [(site, 1, 2)]), holder=BIAS)
    w.note(bad)
    report = report_of(symbolizer, w.write(tmp_path))
    out = text.render(report)
    assert all(c == "\n" or c.isprintable() for c in out)
    assert r"T\x1b[2J\x0d\x0a\u202e\xff\x9b" in out
    assert json.loads(json_.render(report).encode("ascii"))["findings"][0]["object"]["type"].endswith("\\xff\\x9b")
    assert "\x1b[" in text.render(report, color=True)


def test_color_on_a_terminal(foo, tmp_path):
    """And nowhere else; the summary is the last line."""
    path = story(foo).write(tmp_path)
    isan = tree.ISAN
    for term, variable, color in ("xterm", "", True), ("xterm", "1", False), ("dumb", "", False):
        leader, follower = os.openpty()
        done = subprocess.Popen([isan, "report", path], stdin=subprocess.DEVNULL, stdout=follower,
                                env=dict(os.environ, TERM=term, NO_COLOR=variable))
        os.close(follower)
        out = b""
        try:
            while True:
                out += os.read(leader, 65536)
        except OSError:             # EIO: nobody writes there any more
            os.close(leader)
        assert done.wait(60) == 86 and (b"\x1b[" in out) == color
        assert out.decode().splitlines()[-1].startswith("SUMMARY: isan: 3 findings")


def test_residue_by_rule_and_by_measure(symbolizer, tmp_path):
    w = Writer()
    w.process()
    for serial in (2, 3):
        w.interp(serial, log.BEGIN)
    site = w.code("/lib/boot.py", "load", 1, (1, 1), (1, 2))
    w.leak(1, count=100, bytes=6400, residue=1, type="str", owner=2)
    w.leak(2, count=10, bytes=640, type="dict", owner=2, origin=site)
    w.leak(3, count=5, bytes=320, type="dict", owner=2, origin=site + 1)
    w.leak(4, count=2, bytes=128, type="tuple", owner=3, origin=site)
    w.finding(5, "share", owner=3, gone=6)
    w.leak(6, count=1, bytes=64, type="list", owner=3, pairs=[(1, 5)])
    measured = {"own-gil": {("dict", "/lib/boot.py:load", ""): 12, ("list", "", ""): 1}}
    # Made by the main interpreter's code on behalf of the new one: not known by its line.
    created = w.stack([], [(site, 1, 1)])
    w.leak(7, type="set", owner=3, origin=created, flags=log.OBJ_OBJECT | log.OBJ_ORIGIN_STACK)
    measured["own-gil"]["set", "", ""] = 1
    w.interp(1, log.BEGIN, 0)
    report = report_of(symbolizer, w.write(tmp_path), residue_of=lambda log: measured)
    leaks = {(f["object"]["type"], f["count"], f["bytes"]) for f in report["findings"] if f["kind"] == "leak"}
    assert leaks == {("dict", 3, 192), ("tuple", 2, 128), ("list", 1, 64)}     # a trapped object is never residue
    assert sorted((l["residue"]["rule"], l["count"]) for l in report["residue"]) == [
        ("interned", 100), ("measured", 1), ("measured", 2), ("measured", 10)]
    assert "CPython's own residue: 56 blocks, 3,616 bytes per interpreter (mean of 2) (isan report" \
        in text.render(report)
    assert "100 objects of type `str`" in text.render(report, show_residue=True)


def test_long_stacks_are_summed_up_and_printed_once(symbolizer, foo, tmp_path):
    w = Writer()
    w.process()
    w.module(str(foo.path), BIAS)
    w.interp(1, log.BEGIN, 0)
    w.interp(2, log.BEGIN)
    mine, boot = w.code("/src/a.py", "mine", 1, (1, 2)), w.code("<frozen importlib._bootstrap>", "boot", 1, (1, 2))
    stack = w.stack([], [(boot, 1, 2)] * 9 + [(mine, 1, 2)] + [(boot, 1, 2)] * 3 + [(boot, 1, 1)] * 2 + [(mine, 1, 1)]
                    + [(boot, 1, 1)])
    w.finding(1, "share", owner=2, origin=stack, flags=log.OBJ_OBJECT | log.OBJ_ORIGIN_STACK, current=2, type="A")
    w.finding(2, "share", owner=2, origin=stack, flags=log.OBJ_OBJECT | log.OBJ_ORIGIN_STACK, current=2, type="B")
    report = report_of(symbolizer, w.write(tmp_path))
    first, second = text.render(report).split("\n\n")[:2]
    assert [re.sub(" +", " ", line.strip()) for line in first.splitlines()[2:-1]] == [
        "#%d py boot <frozen importlib._bootstrap>:2" % i for i in range(6)] + [
        "... 3 frames of CPython, boot to boot", "#9 py mine a.py:2", "... 3 frames of CPython, boot to boot",
        "--- interpreter 1 (own GIL) above, interpreter 0 (main) below ---",
        "#13 py boot <frozen importlib._bootstrap>:2", "#14 py boot <frozen importlib._bootstrap>:2",
        "#15 py mine a.py:2", "#16 py boot <frozen importlib._bootstrap>:2"]
    assert "created in interpreter 1 (own GIL) at a.py:2 in mine (stack: see share #1)" in second
    assert "hint: see share #1" in second
    assert "..." not in text.render(report, full=True)


def test_order_of_importance(symbolizer, tmp_path):
    w = Writer()
    w.process()
    w.interp(2, log.BEGIN)
    for id, (kind, type) in enumerate([("static", "A"), ("immortal", "B"), ("share", "C"), ("stale", "D")], 1):
        w.finding(id, kind, owner=2, type=type, gone=6 if type == "D" else 0)
    w.leak(5, owner=2, bytes=10, type="E")
    w.leak(6, owner=2, type="D", pairs=[(9, 4)])
    w.leak(7, owner=2, bytes=99999, type="F")
    order = [f["object"]["type"] for f in report_of(symbolizer, w.write(tmp_path))["findings"]]
    assert order == ["C", "D", "D", "B", "A", "F", "E"]


# -- what keeps a leak alive -------------------------------------------------------------


class Leaks:
    """A log of leaks in _foo.so and _spam.so: two interpreters that ended, and the main one."""

    def __init__(self, foo, spam, directory):
        self.directory, self.foo, self.spam = directory, foo, spam
        self.w = w = Writer()
        w.process(cwd="/src")
        w.module(str(foo.path), BIAS, build_id=foo.build_id)
        w.module(str(spam.path), 2 * BIAS, build_id=spam.build_id)
        w.interp(1, log.BEGIN, 0)
        for serial in 2, 3:
            w.interp(serial, log.BEGIN, 1)
            w.interp(serial, log.END, 1)
        self.app = w.code("/src/app.py", "register", 10, (4, 12), (4, 14))

    def static(self, name, offset=0):
        return BIAS + self.foo.symbols[name] + offset

    def report(self, symbolizer):
        self.w.exit()
        return report_of(symbolizer, self.w.write(self.directory))

    def one(self, symbolizer):
        """The only leak, and its text without the hint's."""
        report = self.report(symbolizer)
        leak, = report["findings"]
        lines = text.render(report).split("\n\n")[0].splitlines()
        assert lines[-1] == "  hint: " + leak["hint"]
        return leak, lines[:-1]


@pytest.fixture
def leaks(foo, spam, tmp_path):
    return Leaks(foo, spam, tmp_path)


def keeper_hint(name):
    return next(k.hint for k in tables.KEEPERS if k.name == name)


def test_leak_kept_by_a_static(symbolizer, leaks):
    w = leaks.w
    w.leak(1, count=2, bytes=128, kept=(14, 2048), holder=leaks.static("items", 2 * 32 + 16), keeper="static", owner=2,
           origin=leaks.app, type="dict", extra=3)
    w.kept(1, "dict", 10, 1500)
    w.kept(1, "str", 4, 548)
    w.step(1, 1, "value", 3, ("dict", "list", "users", ""))
    w.step(1, 2, "item", 0, ("list", "User", "", ""))
    w.step(1, 3, "memory", 8, ("User", "str", "", ""))
    leak, lines = leaks.one(symbolizer)
    assert re.sub(r"\(\S*/", "(", "\n".join(lines)) == """\
isan: leak #1: 2 objects of type `dict`, 128 bytes, of interpreter 1 (legacy)
  created at app.py:12 in register
  kept alive by static `items[2].objects[1]` of _foo.so (foo.c:3)
  keeps alive: 14 more objects, 2,048 bytes: 10 `dict`, 4 `str`
  the way: static `items[2].objects[1]` -> `dict` ['users'] -> `list` [0] -> `User` -> memory -> `str`"""
    assert leak["hint"] == keeper_hint("static") and leak["extra"] == 3
    holder = leak["holder"]
    assert (holder["kind"], holder["symbol"], holder["line"], holder["path"]) == ("static", "items", 3, "[2].objects[1]")
    assert (holder["thread_local"], holder["tid"]) == (False, None)
    assert leak["kept"]["types"] == [{"type": "dict", "count": 10, "bytes": 1500}, {"type": "str", "count": 4, "bytes": 548}]
    assert leak["way"] == [{"from": "dict", "to": "list", "label": "['users']"}, {"from": "list", "to": "User", "label": "[0]"},
                           {"from": "User", "to": "str", "label": "memory"}]
    assert leak["reasons"] == []


def test_leak_kept_by_a_thread_local(symbolizer, leaks):
    leaks.w.leak(1, holder=2 * BIAS, tls=leaks.spam.symbols["frames"] + 16 + 1, tid=4711, keeper="static", owner=2)
    leak, lines = leaks.one(symbolizer)
    assert re.sub(r"\(\S*/", "(", lines[-1]) == \
        "  kept alive by thread-local static `frames.stack[1]` of _spam.so (spam.c:8) in thread 4711"
    holder = leak["holder"]
    assert (holder["thread_local"], holder["tid"], holder["offset"]) == (True, 4711, leaks.spam.symbols["frames"] + 16)


@pytest.mark.parametrize("edge, at, texts, words", [
    ("item", 3, ("list", "dict", "", ""), "its item [3]"),
    ("value", 3, ("list", "dict", "key", ""), "its value ['key']"),
    ("value", 3, ("list", "dict", "", ""), "its value 3"),
    ("key", 3, ("list", "dict", "", ""), "its key 3"),
    ("attribute", 0, ("list", "dict", "name", ""), "its attribute .name"),
    ("field", 24, ("list", "dict", "", "child"), "its member .child (offset 24)"),
    ("field", 24, ("list", "dict", "", ""), "its member (offset 24)"),
    ("type", 8, ("list", "dict", "", ""), "its type"),
])
def test_leak_kept_by_an_object_of_another_interpreter(symbolizer, leaks, edge, at, texts, words):
    leaks.w.leak(1, keeper="foreign", owner=2)
    leaks.w.step(1, 0, edge, at, texts, from_=dict(address=0x7000, owner=1, origin=leaks.app, serial=9))
    leak, lines = leaks.one(symbolizer)
    assert lines[-1] == "  kept alive by a `list` of interpreter 0 (main), created at app.py:12 in register: " + words
    holder = leak["holder"]
    assert (holder["kind"], holder["file"], holder["line"], holder["owner"]["id"]) == ("foreign", "/src/app.py", 12, 0)
    assert (holder["object"]["type"], holder["object"]["serial"], holder["edge"]) == ("list", 9, edge)
    assert holder["path"] == leak["way"][0]["label"] and leak["hint"] == keeper_hint("foreign")
    assert [frame["function"] for frame in leak["stacks"]["holder"]] == ["register"]


def test_leak_kept_by_an_object_that_was_left_behind_too(symbolizer, leaks):
    w, kept = leaks.w, dict(address=0x7000, owner=2)
    w.leak(1, keeper="static", holder=leaks.static("cache"), bytes=999, **kept)
    w.leak(2, keeper="foreign", owner=3, type="list")
    w.step(2, 0, "value", 0, ("dict", "list", "x", ""), from_=kept)
    report = leaks.report(symbolizer)
    assert report["findings"][1]["holder"]["leak"] == 1
    assert "kept alive by a `dict` of interpreter 1 (legacy): its value ['x'] (it was left behind itself: leak #1, kept" \
        " alive by static `cache` of _foo.so (foo.c:2))" in re.sub(r"\(\S*/", "(", text.render(report))


def test_members_by_their_c_names(symbolizer, leaks):
    """What the type does not tell, debug information does."""
    push = 2 * BIAS + leaks.spam.symbols["push"]
    leaks.w.leak(1, keeper="foreign", owner=2)
    leaks.w.step(1, 0, "field", 24, ("spam.Node", "dict", "", ""), basicsize=56, code=push, from_=dict(owner=1))
    leaks.w.step(1, 1, "field", 16, ("spam.Node", "spam.Row", "", ""), basicsize=56, code=push)
    leaks.w.step(1, 2, "field", 8, ("", "str", "", ""))
    leak, lines = leaks.one(symbolizer)
    assert [step["label"] for step in leak["way"]] == [".links[0].to (offset 24)", ".name (offset 16)", "(offset 8)"]
    assert lines[-1] == "  the way: `spam.Node` .links[0].to (offset 24) -> `spam.Node` .name (offset 16)" \
        " -> memory (offset 8) -> `str`"


def test_a_long_way_is_shortened(symbolizer, leaks):
    leaks.w.leak(1, keeper="static", holder=leaks.static("cache"), owner=2)
    for i in reversed(range(40)):
        leaks.w.step(1, i + 1, "item", i, ("list", "list", "", ""))
    leak, lines = leaks.one(symbolizer)
    assert lines[-1] == "  the way: static `cache` -> %s -> ... 31 steps ... -> %s -> `list`" % tuple(
        " -> ".join("`list` [%d]" % i for i in some) for some in (range(5), range(36, 40)))
    assert len(leak["way"]) == 40


def test_why_the_collector_could_not_clear_a_cycle(symbolizer, leaks):
    w, node = leaks.w, dict(basicsize=56, code=2 * BIAS + leaks.spam.symbols["push"])
    w.leak(1, keeper="cycle", owner=2, type="spam.Node")
    w.reason(1, "no_visit_member", ("spam.Node", "spam.Node", "child"), offset=16, **node)
    w.reason(1, "no_visit_member", ("spam.Node", "", ""), offset=24, **node)
    w.reason(1, "no_visit_member", ("spam.Node", "list", ""), offset=28, **node)
    w.reason(1, "no_visit_type", ("spam.Node", "", ""))
    w.reason(1, "none")
    leak, lines = leaks.one(symbolizer)
    assert leak["reasons"] == [
        "tp_traverse of `spam.Node` does not visit `child` (offset 16), a `spam.Node`",
        "tp_traverse of `spam.Node` does not visit `links[0].to` (offset 24)",
        "tp_traverse of `spam.Node` does not visit the member at offset 28, a `list`",
        "tp_traverse of the heap type `spam.Node` does not visit Py_TYPE(self)"]
    assert lines[-1] == "  kept alive by a cycle the garbage collector cannot clear: " + "; ".join(leak["reasons"])
    assert (leak["hint"], leak["holder"]["kind"]) == (keeper_hint("cycle"), "cycle")


def test_every_reason_is_a_sentence():
    for reason in tables.REASONS:
        assert set(re.findall(r"\{.*?\}", reason.text)) <= {"{type}", "{member}"}


@pytest.mark.parametrize("leak, words", [
    (dict(keeper="reference", extra=2), "kept alive by 2 references that nothing found explains: a missing Py_DECREF"),
    (dict(keeper="cycle"), "kept alive by a cycle the garbage collector cannot clear"),
    (dict(keeper="memory", type="", flags=0, domain="m"), "memory that nothing points at: never freed"),
    (dict(keeper="given_up"), "another interpreter was to free it, and cannot"),
    (dict(keeper="replaced", extra=1), "kept alive by 1 reference: a static that held it has another value now"),
    (dict(keeper="runtime"), "kept alive by the runtime"),
    (dict(keeper="runtime", holder=True), "kept alive by the runtime: static `grid[1][0]` of _foo.so (foo.c:4)"),
    (dict(keeper="unknown", holder=True), "kept alive by static `grid[1][0]` of _foo.so (foo.c:4)"),
])
def test_other_keepers(symbolizer, leaks, leak, words):
    if "holder" in leak:
        leak = dict(leak, holder=leaks.static("grid", 24))
    leaks.w.leak(1, owner=2, **leak)
    found, lines = leaks.one(symbolizer)
    assert re.sub(r"\(\S*/", "(", lines[-1]) == "  " + words
    assert set(found["holder"]) >= {"kind", "module", "symbol", "file", "line", "path"}
    assert found["hint"] == keeper_hint(found["holder"]["kind"])


def test_nothing_known_of_the_keeper(symbolizer, leaks):
    leaks.w.leak(1, owner=2)
    leak, lines = leaks.one(symbolizer)
    assert leak["holder"] is None and leak["hint"] == keeper_hint("unknown") and len(lines) == 2


def test_rounds_of_a_loop_are_one_finding(symbolizer, leaks):
    """A static that each of 50 interpreters puts an object into, wherever CPython got the memory from."""
    w, frozen = leaks.w, log.OBJ_OBJECT | log.OBJ_ORIGIN_STACK
    site = w.code("/src/app.py", "load", 1, (4, 5))
    w.module("/lib/python3/lib-dynload/_x.so", 3 * BIAS)
    for i in range(50):
        serial = 10 + i
        w.interp(serial, log.BEGIN, 1)
        inner = BIAS + leaks.foo.calls("run_string", "_PyEval")
        stack = w.stack([3 * BIAS + 16 * i, inner] if i else [inner - 1], [(site, 1, serial)])
        common = dict(owner=serial, origin=stack, flags=frozen)
        w.finding(100 + i, "static", holder=leaks.static("items", 32 * (i % 4) + 8), current=serial + 1, type="AB"[i % 2],
                  **common)
        w.leak(200 + i, keeper="static", holder=leaks.static("items", 32 * (i % 4) + 8), kept=(2, 100), extra=i % 2, **common)
        w.kept(200 + i, "str", 1, 40)
        w.kept(200 + i, "int" if i else "float", 1, 60)
        w.leak(300 + i, keeper="foreign", type="list", **common)
        w.step(300 + i, 0, "item", i, ("list", "list", "", ""), from_=dict(owner=1, origin=leaks.app))
        w.leak(400 + i, keeper="cycle", type="Node", **common)
        w.reason(400 + i, "no_clear", ("Node", "", ""))
    report = leaks.report(symbolizer)
    found = {(f["kind"], f["object"]["type"]): f for f in report["findings"]}
    assert len(found) == len(report["findings"]) == 4 and [f["count"] for f in report["findings"]] == [50] * 4
    leak = found["leak", "dict"]
    assert (leak["extra"], leak["kept"]["count"], len(leak["owners"])) == (25, 100, 50)
    assert leak["kept"]["types"] == [{"type": "int", "count": 49, "bytes": 49 * 60}, {"type": "str", "count": 50, "bytes": 2000},
                                     {"type": "float", "count": 1, "bytes": 60}]
    assert found["leak", "Node"]["reasons"] == ["`Node` has no tp_clear to break the cycle with"]
    out = re.sub(r"\(\S*/", "(", text.render(report))
    assert "leak #200: 50 objects of type `dict`, 3,200 bytes, of interpreter 9 (legacy) and 49 more" in out
    assert "static `items[0].objects[0]` (and 3 more elements of it) of _foo.so (foo.c:3)" in out
    assert "holds an `A` of interpreter 9 (legacy) and 49 more" in out and "found" not in out.split("hint")[0]
    assert max(map(len, out.splitlines())) < 400


def test_what_an_interpreter_owned_when_it_was_last_asked(symbolizer, leaks):
    """Told after the findings, and none itself."""
    w = leaks.w
    for look, cached in (1, 5), (2, 3):
        w.leak(10 * look, 0, 0, kept=(9, 900), keeper="interpreter", look=look, type="", owner=2, flags=0)
        w.kept(10 * look, "X", 7, 700)
        w.leak(10 * look + 1, cached, 64 * cached, keeper="static", holder=leaks.static("items"), look=look, owner=2, type="dict")
        w.leak(10 * look + 2, 1, 48, keeper="cycle", look=look, owner=2, type="list")
        w.leak(10 * look + 3, 30, 480, residue=2, keeper="runtime", look=look, owner=2, type="", flags=0)
    report = leaks.report(symbolizer)
    assert report["findings"] == [] and {group["look"] for group in report["owned"]} == {2}
    out = text.render(report)
    assert re.search(r"interpreter 1 \(legacy\) owned 43 blocks, 1,620 bytes, when it was last asked:\n"
                     r"  CPython's own: 30 blocks, 480 bytes\n"
                     r"  kept alive by itself: 9 objects, 900 bytes: 7 `X`\n"
                     r"  kept alive by static `items.*` of .*: 3 objects of type `dict`, 192 bytes\n"
                     r"  kept alive by a cycle of garbage, for the next collection: 1 object of type `list`, 48 bytes\n", out), out
    assert "SUMMARY: isan: no findings" in out


def test_two_variables_are_two_findings(symbolizer, leaks):
    w = leaks.w
    for id, name in (1, "cache"), (2, "grid"):
        w.finding(id, "static", owner=2, holder=leaks.static(name))
        w.leak(10 + id, owner=2, holder=leaks.static(name), keeper="static")
    # Variables of the same name in two modules are two.
    other = leaks.foo.copy(leaks.directory / "_bar.so")
    w.module(str(other), 5 * BIAS, build_id=leaks.foo.build_id)
    w.leak(13, owner=2, holder=5 * BIAS + leaks.foo.symbols["cache"], keeper="static")
    assert len(leaks.report(symbolizer)["findings"]) == 5


def test_static_types(symbolizer, leaks):
    w = leaks.w
    for id, owner, current in (1, 2, 3), (2, 3, 1):
        address = leaks.static("items", 32)
        w.finding(id, "static", owner=owner, current=current, holder=address, address=address, type="spam.Type",
                  flags=log.OBJ_STATIC_TYPE)
    w.finding(3, "static", owner=2, current=3, holder=leaks.static("cache"), address=leaks.static("cache"), type="other.Type",
              flags=log.OBJ_STATIC_TYPE, used=w.stack([], [(leaks.app + 5, 1, 3)]))
    report = leaks.report(symbolizer)
    first, second = re.sub(r"\(\S*/", "(", text.render(report)).split("\n\n")[:2]
    assert first.splitlines()[0] == "isan: static #1: static type `spam.Type`, `items[1].id` of _foo.so (foo.c:3), is used" \
        " by interpreter 1 (legacy) and 2 more"
    assert second.splitlines()[:2] == [
        "isan: static #3: static type `other.Type`, `cache` of _foo.so (foo.c:2), is used"
        " by interpreter 1 (legacy) and interpreter 2 (legacy)",
        "  found at app.py:14 in register"]
    assert len(report["findings"]) == 2
    for finding in report["findings"]:
        assert finding["fate"] is None
        assert finding["object"]["static_type"] and "PyType_FromModuleAndSpec" in finding["hint"]
    assert "created" not in first + second and "freed" not in first + second


def test_what_a_static_type_holds(symbolizer, program, tmp_path):
    (tmp_path / "t.c").write_text("struct type { long head[3]; void *tp_name, *tp_dict; }; struct type a, b[2];")
    run("gcc", "-g", "-fPIC", "-shared", tmp_path / "t.c", "-o", tmp_path / "t.so")
    symbols = Built(tmp_path / "t.so").symbols
    w = Writer()
    w.process()
    w.module(str(tmp_path / "t.so"), BIAS)
    w.interp(2, log.BEGIN)
    w.leak(1, owner=2, keeper="static", holder=BIAS + symbols["a"] + 32)
    w.leak(2, owner=2, keeper="static", holder=BIAS + symbols["b"] + 40 + 16)
    hints = [f["hint"] for f in report_of(symbolizer, w.write(tmp_path))["findings"]]
    assert "PyType_FromModuleAndSpec" in hints[0] and hints[1] == keeper_hint("static")


def test_residue_tells_what_keeps_it(symbolizer, leaks):
    w = leaks.w
    w.leak(1, count=3, kept=(4, 99), owner=2, holder=leaks.static("cache"), keeper="static", residue=3)
    w.kept(1, "str", 4, 99)
    w.leak(2, owner=2, keeper="reference", extra=1, type="set")
    report = report_of(symbolizer, w.write(leaks.directory), residue_of=lambda log: {"legacy": {("set", "", ""): 1}})
    assert report["findings"] == []
    brief, full = (text.render(report, show_residue=show).split("\n\n")[0].splitlines() for show in (False, True))
    assert len(brief) == 1 and brief[0].startswith("CPython's own residue: 8 blocks, 227 bytes per interpreter")
    assert [re.sub(r"\(\S*/", "(", line) for line in full[1:]] == [
        "  3 objects of type `dict`, 64 bytes, of interpreter 1 (legacy), kept alive by static `cache` of _foo.so (foo.c:2),"
        " keeps alive: 4 more objects, 99 bytes: 4 `str` [runtime]",
        "  1 object of type `set`, 64 bytes, of interpreter 1 (legacy), kept alive by 1 reference that nothing found explains:"
        " a missing Py_DECREF [measured]"]


# -- missing debug information -------------------------------------------------------------


@pytest.fixture
def dpkg(tmp_path, monkeypatch):
    """Stands in for dpkg: dpkg(packages) -> the calls made of it."""
    def fake(packages):
        (tmp_path / "bin").mkdir()
        path = tmp_path / "bin" / "dpkg"
        path.write_text("#!%s\nimport sys\nopen(%r, 'a').write(' '.join(sys.argv[1:]) + '\\n')\nknown = %r\n"
                        "for name in sys.argv[2:]:\n    if name in known: print(known[name] + ': ' + name)\nsys.exit(1)\n"
                        % (sys.executable, str(tmp_path / "calls"), packages))
        path.chmod(0o755)
        monkeypatch.setenv("PATH", "%s:%s" % (path.parent, os.environ["PATH"]))
        return tmp_path / "calls"
    return fake


def test_what_to_install(dpkg):
    names = {"/usr/bin/python3.13": "python3.13-minimal", "/usr/lib/libpython3.14.so.1.0": "libpython3.14:amd64",
             "/lib/x/libz.so.1": "zlib1g:amd64, zlib1g:i386", "/usr/lib/a.so": "diversion by x from"}
    calls = dpkg(names)
    paths = ["/usr/bin/python3.13", "/usr/lib/libpython3.14.so.1.0", "/usr/lib/x/libz.so.1", "/usr/lib/a.so", "/home/m.so",
             "/odd/[x]*.so", "linux-vdso.so.1", "-x"]
    assert packages.advice(paths) == {
        "/usr/bin/python3.13": "install python3.13-dbg", "/usr/lib/libpython3.14.so.1.0": "install python3.14-dbg",
        "/usr/lib/x/libz.so.1": "install zlib1g-dbg or zlib1g-dbgsym",
        **dict.fromkeys(paths[3:], "build it with -g")}
    assert len(calls.read_text().splitlines()) == 1


def test_without_dpkg(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert packages.advice(["/usr/bin/python3.13"]) == {"/usr/bin/python3.13": "build it with -g"}


def test_modules_without_names_are_noted_once(symbolizer, foo, spam, tmp_path, dpkg):
    bare, fully = foo.copy(tmp_path / "_bare.so"), foo.copy(tmp_path / "_python.so")
    frames, members = foo.copy(tmp_path / "_frames.so"), spam.copy(tmp_path / "_members.so")
    for path in bare, fully, frames, members:
        run("strip", path)
    dpkg({str(fully): "python3.13-minimal"})
    w = Writer()
    w.process()
    for i, path in enumerate((foo.path, bare, fully, frames, members), 1):
        w.module(str(path), i * BIAS)
    w.interp(2, log.BEGIN)
    cache, use = foo.symbols["cache"], foo.symbols["use_cache"] + 4
    for id, base in (1, 1), (2, 2), (3, 2), (4, 3):
        w.leak(id, owner=2, holder=base * BIAS + cache + id % 2, keeper="static", type="T%d" % id)
    w.finding(5, "share", owner=2, used=w.stack([4 * BIAS + use, 2 * BIAS + use]))
    w.leak(6, owner=2, keeper="cycle")
    w.reason(6, "no_visit_member", ("spam.Node", "", ""), basicsize=56, offset=16, code=5 * BIAS + spam.symbols["push"])
    w.exit(1)
    report = report_of(symbolizer, w.write(tmp_path))
    says = " has no debug information, so that names and lines are missing: "
    assert report["notes"] == [{"pid": None, "text": text} for text in (
        "%s%sbuild it with -g" % (bare, says), "%s%sbuild it with -g" % (frames, says),
        "%s%sbuild it with -g" % (members, says), "%s%sinstall python3.13-dbg" % (fully, says))]
    # What there is instead of a name.
    assert re.search(r"kept alive by a static in \.bss of _bare\.so \(_bare\.so\+0x[0-9a-f]+\)", text.render(report))


# -- damaged logs ------------------------------------------------------------------------


def damaged(tmp_path, content):
    path = tmp_path / "isan.1.log"
    path.write_bytes(content)
    return log.read([path])[0]


def test_foreign_and_short_files(tmp_path):
    assert "not a log" in damaged(tmp_path, b"hello").errors[0][1]
    assert "not a log" in damaged(tmp_path, b"\0" * 9999).errors[0][1]
    whole = Writer().bytes()
    assert "within its header" in damaged(tmp_path, whole[:100]).errors[0][1]
    assert "format 7" in damaged(tmp_path, whole[:8] + b"\7" + whole[9:]).errors[0][1]


def test_torn_and_cut_logs_keep_what_came_before(foo, tmp_path):
    w = story(foo)
    end = w.tail
    whole = w.bytes()
    torn = damaged(tmp_path, w.bytes(end + 64) + b"\0" * 64)
    assert torn.torn == end and not torn.errors and len(torn.findings) == 2
    cut = damaged(tmp_path, whole[:-20])
    assert cut.errors[0][0] < end and "ends within this record" in cut.errors[0][1] and len(cut.findings) == 1
    # A record whose writer died: type 0, size known.
    dead = Writer()
    dead.process()
    dead.record(log.NONE, b"\xff" * 40)
    dead.note("after")
    assert damaged(tmp_path, dead.bytes()).notes == ["after"]
    wrong = Writer()
    wrong.note("before")
    at = wrong.tail
    wrong.data += b"\1\0\0\0\5\0\0\0" + b"\0" * 8
    broken = damaged(tmp_path, wrong.bytes())
    assert broken.errors == [(at, "a record gives 5 as its size")] and broken.notes == ["before"]
    assert damaged(tmp_path, whole[:16] + b"\xff" * 8 + whole[24:]).errors
    assert damaged(tmp_path, whole[:16] + b"\xf8" + b"\xff" * 6 + b"\x3f" + whole[24:]).errors


def test_records_that_lie_are_errors_with_their_offset(tmp_path):
    for kind, body in ((log.FINDING, b"\xff" * 100), (log.STACK, b"\1\0\0\0\xff\xff\xff\xff"), (log.NOTE, b"endless!"),
                       (log.CODE, b"\xff" * 40), (log.LEAK, b"\xff" * 100), (log.INTERP, b"\xff" * 32), (77, b"")):
        w = Writer()
        w.process()
        at = w.tail
        w.record(kind, body)
        w.note("after")
        read = damaged(tmp_path, w.bytes())
        assert [offset for offset, _ in read.errors] == [at] and read.notes == ["after"]


def test_random_damage_never_breaks_the_report(symbolizer, foo, tmp_path):
    w = story(foo)
    w.leak(4, owner=2, keeper="foreign", holder=BIAS + 8, tls=9, tid=3, kept=(2, 9))
    for position, edge in enumerate(log.EDGES):
        w.step(4, position, edge, 24, ("A", "B", "label", ""), basicsize=32, code=BIAS + foo.symbols["deep"])
    w.kept(4, "C", 2, 9)
    for reason in tables.REASONS:
        w.reason(4, reason.name, ("A", "B", ""), basicsize=32, offset=16, code=BIAS + foo.symbols["deep"])
    whole = w.bytes()
    random_ = random.Random(1)
    for _ in range(150):
        broken = bytearray(whole)
        for _ in range(random_.choice((1, 5, 50))):
            broken[random_.randrange(log.HEADER, len(broken))] = random_.choice((0, 1, 127, 255, random_.randrange(256)))
        (tmp_path / "isan.1.log").write_bytes(broken)
        report = report_of(symbolizer, tmp_path / "isan.1.log")
        text.render(report, show_residue=True)
        json.loads(json_.render(report))


# -- isan report and isan run ----------------------------------------------------------------

# Stands in for the recorder: writes a log where ISAN_OPTIONS says.
PROGRAM = """\
import os, signal, sys, time
sys.path[:0] = {path!r}
from helpers.log_writer import Writer
from pathlib import Path
what = sys.argv[1]
directory = Path(dict(o.split("=") for o in os.environ["ISAN_OPTIONS"].split(":"))["log_path"])
w = Writer(pid=os.getpid())
w.process()
if what == "find":
    w.finding(1, "share")
if what != "nothing":
    w.write(directory)
if what == "options":
    print(os.environ["ISAN_OPTIONS"], os.environ.get("LD_PRELOAD"))
if what == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(33))
    print("ready", flush=True)
    time.sleep(30)
if what == "die":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture
def isan(tmp_path, program):
    """Runs isan's command line with a stand-in for the libraries."""
    (tmp_path / "program.py").write_text(PROGRAM.format(path=tree.PYTHON_PATH))
    (tmp_path / "empty.c").write_text("")
    run("gcc", "-shared", "-fPIC", tmp_path / "empty.c", "-o", tmp_path / "libisan.so.0")
    (tmp_path / "isan.py").write_text(
        "import sys\nfrom pathlib import Path\nsys.path[:0] = %r\n"
        "import argparse, importlib\nfrom helpers.product import Problem, launch, symbols\n"
        "launch.LIBRARY = %r\nsymbols.Symbolizer.__init__.__defaults__ = (%r, '')\n"
        "command = importlib.import_module(%r + sys.argv[1])\nparser = argparse.ArgumentParser()\n"
        "command.add_arguments(parser)\n"
        "try:\n    sys.exit(command.main(parser.parse_args(sys.argv[2:])))\n"
        "except Problem as problem:\n    print('isan:', problem, file=sys.stderr)\n    sys.exit(2)\n"
        % (tree.PYTHON_PATH, str(tmp_path / "libisan.so.0"), str(program), tree.COMMANDS))
    # Out of the way of `import isan`.
    (tmp_path / "isan.py").rename(tmp_path / "drive.py")

    def start(*args, **more):
        env = dict(os.environ, XDG_CACHE_HOME=str(tmp_path / "cache"))
        env.pop("ISAN_OPTIONS", None)
        env.update(more)
        return subprocess.Popen([sys.executable, str(tmp_path / "drive.py"), *map(str, args)], env=env, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def finish(*args, **more):
        process = start(*args, **more)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    finish.start = start
    finish.program = [sys.executable, str(tmp_path / "program.py")]
    return finish


def test_run_reports_and_chooses_the_status(isan, tmp_path):
    status, _, err = isan("run", *isan.program, "find", "3")
    assert status == 86 and "share #1" in err and err.endswith("SUMMARY: isan: 1 finding (1 share) in 1 process\n")
    assert isan("run", *isan.program, "find", "3", ISAN_OPTIONS="exitcode=0")[0] == 3
    assert isan("run", *isan.program, "find", "3", ISAN_OPTIONS="exitcode=7")[0] == 7
    status, _, err = isan("run", *isan.program, "clean", "5")
    assert status == 5 and "no findings" in err
    assert isan("run", *isan.program, "die", "0")[0] == 128 + signal.SIGKILL
    status, _, err = isan("run", *isan.program, "nothing", "0")
    assert status == 2 and "nothing was checked" in err


def test_run_keeps_the_users_options_and_logs(isan, tmp_path):
    kept = tmp_path / "some" / "logs"
    status, out, err = isan("run", "--log", kept, "--", *isan.program, "options", "0",
                            ISAN_OPTIONS="origin=native:quarantine=3", LD_PRELOAD=str(tmp_path / "libisan.so.0"))
    options, preload = out.split()
    assert options == "origin=native:quarantine=3:log_path=%s:exitcode=0" % kept
    assert preload == ":".join([str(tmp_path / "libisan.so.0")] * 2)
    assert len(list(kept.glob("isan.*.log"))) == 1
    # Logs of earlier runs are not this run's.
    isan("run", "--log", kept, *isan.program, "find", "0")
    status, _, err = isan("run", *isan.program, "clean", "0", ISAN_OPTIONS="log_path=%s" % kept)
    assert status == 0 and len(list(kept.glob("isan.*.log"))) == 3
    status, _, err = isan("run", "--log", tmp_path, *isan.program, "clean", "0", ISAN_OPTIONS="log_path=%s" % kept)
    assert status == 2 and len(err.splitlines()) == 1 and "leave one of them out" in err


def test_run_passes_signals_on(isan):
    process = isan.start("run", *isan.program, "wait", "0")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 33 and "SUMMARY" in err


def test_run_says_what_is_wrong(isan, tmp_path):
    (tmp_path / "plain.py").write_text("")
    (tmp_path / "file").write_text("")
    for args, words in ((["nosuchprogram"], "cannot find nosuchprogram"), ([tmp_path / "plain.py"], "not executable"),
                        (["--log", tmp_path / "file" / "x", *isan.program, "clean", "0"], "cannot write logs"),
                        (["--log", "a:b", *isan.program, "clean", "0"], "colon"),
                        (["--version", "3.13", *isan.program, "clean", "0"], "--flavor")):
        status, _, err = isan("run", *args)
        assert status == 2 and words in err and len(err.splitlines()) == 1


def test_run_replaces_python(isan, tmp_path):
    fake = tmp_path / "mypython"
    fake.write_text("#!/bin/sh\necho \"$@\"\nexit 2\n")
    fake.chmod(0o755)
    assert isan("run", "--python", fake, "--", "python3", "-c", "x")[1] == "-c x\n"
    assert isan("run", "--python", fake, "--", "script.py", "a")[1] == "script.py a\n"
    assert isan("run", "--python", fake, "--", "-m", "mod")[1] == "-m mod\n"


def test_report_command(isan, foo, tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    w = story(foo)
    w.process(hexversion=0)             # no Python to measure the residue of
    path = w.write(logs)
    status, out, err = isan("report", logs)
    assert status == 86 and "SUMMARY: isan: 3 findings" in out and err == ""
    status, out, _ = isan("report", "--format", "json", "-o", tmp_path / "r.json", path)
    assert status == 86 and out == "" and len(json.loads((tmp_path / "r.json").read_text())["findings"]) == 3
    assert isan("report", logs, PYTHONIOENCODING="ascii")[0] == 86
    assert isan("report", tmp_path / "missing")[0] == 2
    (tmp_path / "none").mkdir()
    status, _, err = isan("report", tmp_path / "none")
    assert status == 2 and "there is no isan.*.log" in err
    foreign = tmp_path / "foreign"
    foreign.write_text("x" * 5000)
    status, out, err = isan("report", foreign)
    assert status == 2 and out == "" and str(foreign) in err and "not a log of isan" in err
    status, out, err = isan("report", foreign, path)
    assert status == 2 and "share #1" in out and str(foreign) in err
    path.write_bytes(path.read_bytes()[:-20])
    status, out, err = isan("report", path)
    assert status == 2 and "share #1" in out and "offset" in err
    clean = Writer()
    clean.process()
    clean.exit()
    path = clean.write(tmp_path)
    assert isan("report", path)[0] == 0
    assert isan("report", "--if-any", path) == (0, "", "")
    assert "share #1" in isan("report", "--if-any", logs)[1]
