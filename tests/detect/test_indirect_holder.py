"""Statics that lead to an object through memory: the report names the static and the path, and no static by mistake."""
import os
import re

from ext.build import build
from helpers.product import log
from helpers.programs import line_of, who

# Number of the place, the variable with the path from it, whether the path has memory without a name, the line.
PLACES = {
    "behind.c": [
        (0, "table->buckets[5]->value", False, "} *table;"),
        (1, "items[3]", False, "static PyObject **items;"),
        (2, "hooks.first->next->function", False, "} hooks;"),
        (3, "handle", True, "static void *handle;"),
        (4, "mine->value", False, "static __thread struct entry *mine;"),
        (5, "grid.rows[2].value", False, "} grid;"),
        (6, "chain", True, "} *chain;"),
    ],
    "behind_cxx.cc": [
        (0, "shop::by_name", True, "by_name;"),
        (1, "shop::by_number", True, "by_number;"),
        (2, "shop::row", True, "row(4);"),
        (3, "shop::box", True, "box(new Box"),
    ],
}
EACH = {(source.split(".")[0], place[0]): (source, *place[1:]) for source, places in PLACES.items() for place in places}
RAW = "behind", 5                       # in memory of PyMem_*, which is a leak itself

KEEP = """
    objects = ["bytearray(9)", "set()", "1.5j", "object()", "property()", "range(3, 99)", "KeyError()", "bytes(50)",
               "staticmethod(9)", "classmethod(9)", "OSError()"]       # what has no free list, each a type of its own
    first, second = Interpreter("isolated"), Interpreter("isolated")
    first.run("\\n".join(f"import {module}; {module}.keep({which}, {object})"
                         for (module, which), object in zip(PLACES, objects, strict=True)))
    second.run("\\n".join(f"import {module}; {module}.keep({which}, None)" if USED else f"import {module}"
                          for module, which in PLACES))
    first.end()
    second.end()
"""


def named(finding):
    holder = finding["holder"]
    return (holder["symbol"] + (holder["path"] or ""), bool(holder["behind"]), os.path.basename(holder["file"]),
            holder["line"])


def places(each):
    return {(variable, behind, source, line_of(source, line)) for source, variable, behind, line in each.values()}


def test_leaks(either):
    run = either.run(KEEP, PLACES=list(EACH), USED=False)
    leaks = run.findings("leak")
    source, _, behind, line = EACH[RAW]
    assert {named(leak) for leak in leaks} == places({**EACH, RAW: (source, "grid.rows", behind, line)})
    assert len(leaks) == len(EACH) == len(run.report["findings"])
    assert {(leak["holder"]["kind"], who(leak["owner"])[0]) for leak in leaks} == {("static", 1)}
    assert "kept alive by static `table->buckets[5]->value` of " in run.err
    assert re.search("kept alive by memory that static `shop::by_name` of .* leads to", run.err)


def test_uses(either):
    """Another interpreter drops the last reference."""
    run = either.run(KEEP, PLACES=list(EACH), USED=True)
    freed = run.findings("free", access="dealloc")
    assert {named(finding) for finding in freed} == places(EACH) and len(freed) == len(EACH)
    assert {(who(finding["owner"])[0], who(finding["current"])[0]) for finding in freed} == {(1, 2)}
    assert all(named(finding) in places(EACH) for finding in run.findings("share"))
    leaks = run.findings("leak", python=True)
    assert len(leaks) == len(EACH) and {leak["holder"]["kind"] for leak in leaks} == {"given_up"}
    assert re.search(r"another interpreter was to free it, and cannot \(free #\d+\)", run.err)


def test_cleared(either):
    """m_free clears all variables."""
    extensions = either.make_directory("ext")
    for source in PLACES:
        build(source, either.python, extensions, [*either.cflags[:0 if either.stock else None], "-DCLEARED"])
    assert either.run(KEEP, extensions=extensions, PLACES=list(EACH), USED=False).healthy()


MANY = """
    first, second = Interpreter("isolated"), Interpreter("isolated")
    for which in WHICH:
        first.run(f"import behind; behind.keep(1, type('T{which}', (), {{}})())")
        second.run("import behind; behind.keep(1, None)")
    first.end()
    second.end()
"""


def cut_short(run, name):
    """Of the findings about a type, does the log say that the search for the static was cut short?"""
    recorded, = log.read(log.logs_in(run.log))
    return {bool(finding.holder.flags & 1) for finding in recorded.findings.values() if finding.type == name}


def test_cut_short(either):
    """The time for searches is limited: the last of many findings names no static, but is known by the same fingerprint."""
    alone, last = (either.run(MANY, WHICH=which) for which in ([250], list(range(251))))
    one, other = (run.one("free", type="T250") for run in (alone, last))
    assert (one["holder"]["symbol"], one["holder"]["indirect"], other["holder"]) == ("items", True, None)
    assert one["fingerprint"] == other["fingerprint"]
    assert cut_short(alone, "T250") == {False} and cut_short(last, "T250") == {True}
    assert cut_short(last, "T0") == {False}
