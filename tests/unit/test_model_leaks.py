"""The report on leaks: what keeps an object alive, the path to it, and what is counted as one leak."""
import re

import pytest

from helpers.compiled import Built, run
from helpers.log_writer import Writer
from helpers.product import log, tables, text
from helpers.sample_log import BIAS, report_of


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
        """The only leak, and the lines of its text without the hint."""
        report = self.report(symbolizer)
        leak, = report["findings"]
        lines = text.render(report).split("\n\n")[0].splitlines()
        assert lines[-1] == "  hint: " + leak["hint"]
        return leak, lines[:-1]


@pytest.fixture
def leaks(foo, spam, tmp_path):
    return Leaks(foo, spam, tmp_path)


def keeper_hint(name):
    return next(k.hint for k in tables.RETAINERS if k.name == name)


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


def test_leak_kept_by_another_leaked_object(symbolizer, leaks):
    w, kept = leaks.w, dict(address=0x7000, owner=2)
    w.leak(1, keeper="static", holder=leaks.static("cache"), bytes=999, **kept)
    w.leak(2, keeper="foreign", owner=3, type="list")
    w.step(2, 0, "value", 0, ("dict", "list", "x", ""), from_=kept)
    report = leaks.report(symbolizer)
    assert report["findings"][1]["holder"]["leak"] == 1
    assert "kept alive by a `dict` of interpreter 1 (legacy): its value ['x'] (it was left behind itself: leak #1, kept" \
        " alive by static `cache` of _foo.so (foo.c:2))" in re.sub(r"\(\S*/", "(", text.render(report))


def test_members_by_their_c_names(symbolizer, leaks):
    """Debug information names members that the type object does not."""
    push = 2 * BIAS + leaks.spam.symbols["push"]
    leaks.w.leak(1, keeper="foreign", owner=2)
    leaks.w.step(1, 0, "field", 24, ("spam.Node", "dict", "", ""), basicsize=56, code=push, from_=dict(owner=1))
    leaks.w.step(1, 1, "field", 16, ("spam.Node", "spam.Row", "", ""), basicsize=56, code=push)
    leaks.w.step(1, 2, "field", 8, ("", "str", "", ""))
    leak, lines = leaks.one(symbolizer)
    assert [step["label"] for step in leak["way"]] == [".links[0].to (offset 24)", ".name (offset 16)", "(offset 8)"]
    assert lines[-1] == "  the way: `spam.Node` .links[0].to (offset 24) -> `spam.Node` .name (offset 16)" \
        " -> memory (offset 8) -> `str`"


def test_a_long_path_is_shortened(symbolizer, leaks):
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


def test_reasons_have_known_placeholders():
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
def test_other_retainers(symbolizer, leaks, leak, words):
    if "holder" in leak:
        leak = dict(leak, holder=leaks.static("grid", 24))
    leaks.w.leak(1, owner=2, **leak)
    found, lines = leaks.one(symbolizer)
    assert re.sub(r"\(\S*/", "(", lines[-1]) == "  " + words
    assert set(found["holder"]) >= {"kind", "module", "symbol", "file", "line", "path"}
    assert found["hint"] == keeper_hint(found["holder"]["kind"])


def test_unknown_retainer(symbolizer, leaks):
    leaks.w.leak(1, owner=2)
    leak, lines = leaks.one(symbolizer)
    assert leak["holder"] is None and leak["hint"] == keeper_hint("unknown") and len(lines) == 2


def test_rounds_of_a_loop_are_one_finding(symbolizer, leaks):
    """Each of 50 interpreters puts an object into one static; C stacks of the allocation differ."""
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


def test_objects_owned_when_the_program_last_asked(symbolizer, leaks):
    """They come after the findings, and are no findings."""
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


def test_hint_for_an_object_in_a_static_type(symbolizer, program, tmp_path):
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


def test_residue_names_its_retainer(symbolizer, leaks):
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
