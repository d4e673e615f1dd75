"""isan-symbolize: names, lines and members from debug information."""
import json
import os
import random
import shutil
import subprocess

import pytest

from helpers import tree
from helpers.compiled import CPP, CPP_OBJECT, HEAD, Built, run
from helpers.product import log, pythons
from helpers.product import symbols as symbols_
from helpers.sample_log import BIAS


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
    """clang splits a static struct of which the program uses only some members."""
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
    """Variables and members that are atomic, std::atomic among them, and their neighbours, which are not."""
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
    assert unknown["offset"] == spam.symbols["frames"] + 8                  # from the start of the block


def test_members_of_objects(program, spam):
    push, hatch = spam.symbols["push"], spam.symbols["hatch"]
    ask_member = lambda *a: ask(program, member(spam.path, *a))[0]["member"]
    assert [ask_member(push, 56, at) for at in (16, 24, 32, 40)] == ["name", "links[0].to", "links[0].weight", "links[1].to"]
    # The other source file has another type of that size.
    assert [ask_member(hatch, 56, at) for at in (16, 24)] == ["title", "w[0]"]
    # No code address selects a source file: only names on which both agree.
    assert ask_member(0, 56, 16) is None and [ask_member(0, 40, at) for at in (24, 32)] == ["first", None]
    assert ask_member(push, 40, 32) == "second" and ask_member(hatch, 40, 32) == "other"
    # The only type of that size, in any source file; a subtype's first member is its base.
    assert ask_member(hatch, 48, 40) == "extra" and ask_member(hatch, 48, 32) == "row.second"
    # No struct of that size, no object, between members, outside.
    assert [ask_member(push, *a) for a in ((8, 0), (64, 16), (56, 20), (56, 56), (56, 1 << 40))] == [None] * 5


def test_members_after_link_time_optimisation(program, spam, tmp_path):
    """Link-time optimisation puts code into other units of debug information than types."""
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
def test_separate_debug_files_have_all_names(program, foo, spam, tmp_path, how):
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
    # No names if the debug file is missing.
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
    # A path with all separators of the protocol.
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
    """The symbolizer dies on one module, and still answers for others."""
    protocol = next(path for path in tree.SYMBOLIZE if path.name == "protocol.c")
    source = protocol.read_text()
    before = "    struct module *module = module_open("
    marked = source.replace(before, "    if (strstr(request.path, \"deadly\")) abort();\n" + before)
    assert marked != source
    (tmp_path / "protocol.c").write_text(marked)
    sources = [tmp_path / "protocol.c", *(path for path in tree.SYMBOLIZE if path != protocol)]
    run("gcc", "-std=gnu11", "-w", "-I", tree.ROOT, *sources, "-ldw", "-lelf", "-o", tmp_path / "s")
    answers = ask(tmp_path / "s", data(foo.path, foo.symbols["cache"]), code("/deadly", 0), code("/deadly", 8),
                  data(foo.path, foo.symbols["cache"]))
    assert [a.get("symbol") for a in answers] == ["cache", None, None, "cache"]
    assert "crashed" in answers[1]["error"] and answers[1] == answers[2]


def test_missing_symbolizer_says_what_to_do(tmp_path):
    with pytest.raises(symbols_.Missing, match="make"):
        symbols_.Symbolizer(tmp_path / "nothing").data(log.Module(0, 0, 0, 1, "/x", ""), 0)
