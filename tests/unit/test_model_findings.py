"""The report on findings, crashes and residue, from logs written here."""
import json
import re

import pytest

from helpers.compiled import Built, run
from helpers.log_writer import Writer
from helpers.product import json_, log, text
from helpers.sample_log import BIAS, report_of, sample_log


def test_share_stale_and_leak_of_one_object(symbolizer, foo, tmp_path):
    w = sample_log(foo)
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


def test_places_of_a_finding_are_in_the_report(symbolizer, foo, tmp_path):
    w = sample_log(foo)
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
    """The log of a race between two interpreters; kinds and interps: their kinds and serials."""
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
    """The report distinguishes races under one GIL, under two, and with a thread that has no interpreter."""
    w = racing(foo, kinds, flags, interps, holder=BIAS + foo.symbols["cache"], size=0, type="")
    report = report_of(symbolizer, w.write(tmp_path))
    race, = report["findings"]
    assert race["gil"] == gil
    out = text.render(report)
    assert f"isan: race #1: {who} static `cache`" in out and f"  {why}" in out
    assert ("Own-GIL interpreters run" in out) == (gil in ("different", None))
    assert ("without its GIL, wrote" in out) == bool(flags[0] & log.PLACE_DETACHED)


def test_races_are_one_for_each_variable(symbolizer, foo, tmp_path):
    """The places of the accesses and the element do not count.  A race under one GIL and one under two GILs are two."""
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
    """The report names an object and the static that leads to it, or a block by its size."""
    w = racing(foo, (2, 2), owner=2, serial=7, size=64, holder=BIAS + foo.symbols["cache"])
    w.leak(2, owner=2, serial=7)
    report = report_of(symbolizer, w.write(tmp_path))
    out = text.render(report)
    assert "interpreters 1 and 2 (own GIL) write a `dict` of interpreter 1 (own GIL) in static `cache` of " in out
    assert "  about the same object: leak #2\n" in out
    w = racing(foo, (2, 2), (1, 0), size=48, type="")
    assert "interpreter 1 (own GIL) writes and interpreter 2 (own GIL) reads 48 bytes of memory\n" in text.render(
        report_of(symbolizer, w.write(tmp_path)))


def test_static_that_points_at_a_freed_object(symbolizer, foo, tmp_path):
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
    paths = [sample_log(foo, pid=100 + i, start=i, extra_lines=i).write(tmp_path) for i in range(3)]
    report = report_of(symbolizer, *paths)
    # The same findings, although all lines have moved.
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


def test_a_forked_child_refers_to_records_of_its_parent(symbolizer, foo, tmp_path):
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

    report = report_of(symbolizer, path)        # the reporter finds the parent's log
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


def test_parent_must_be_a_log_in_the_same_directory(tmp_path):
    child = Writer(parent="../isan.1.log", parent_tail=5000)
    assert "path" in log.read([child.write(tmp_path)])[0].errors[0][1]
    looped = Writer(pid=7, parent="isan.7.log", parent_tail=5000)
    looped.process()
    (_, error), = log.read([looped.write(tmp_path)])[0].errors
    assert "one of its descendants" in error


def test_a_module_applies_to_the_records_after_it(symbolizer, foo, tmp_path):
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


def test_frames_of_isan_are_left_out(symbolizer, foo, tmp_path):
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
    # Code of the main interpreter made it for the new interpreter, so that the measure does not have its line.
    created = w.stack([], [(site, 1, 1)])
    w.leak(7, type="set", owner=3, origin=created, flags=log.OBJ_OBJECT | log.OBJ_ORIGIN_STACK)
    measured["own-gil"]["set", "", ""] = 1
    w.interp(1, log.BEGIN, 0)
    report = report_of(symbolizer, w.write(tmp_path), residue_of=lambda log: measured)
    leaks = {(f["object"]["type"], f["count"], f["bytes"]) for f in report["findings"] if f["kind"] == "leak"}
    assert leaks == {("dict", 3, 192), ("tuple", 2, 128), ("list", 1, 64)}     # an object of a finding is never residue
    assert sorted((l["residue"]["rule"], l["count"]) for l in report["residue"]) == [
        ("interned", 100), ("measured", 1), ("measured", 2), ("measured", 10)]
    assert "CPython's own residue: 56 blocks, 3,616 bytes per interpreter (mean of 2) (isan report" \
        in text.render(report)
    assert "100 objects of type `str`" in text.render(report, show_residue=True)


def test_long_stacks_are_shortened_and_printed_once(symbolizer, foo, tmp_path):
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
