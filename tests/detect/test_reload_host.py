"""A plug-in host loads and unloads the same extension many times: one finding, with a count."""
import subprocess

import pytest

from helpers.programs import holder_of, line_of

ROUNDS = 50
HOST = """
    for number in range(ROUNDS):
        interpreter = Interpreter(KIND)
        interpreter.run("import MODULE; MODULE.cache['names'] = [number for number in range(20)]")
        interpreter.end()
"""


def rounds(python, module, kind="legacy"):
    return python.run(HOST.replace("MODULE", module), KIND=kind, ROUNDS=ROUNDS)


def check_rounds(run):
    holder = ("caches", "cache_renewed.c", line_of("cache_renewed.c", "} caches;"))
    leak = run.one("leak")
    assert (leak["count"], len(leak["owners"]), leak["object"]["type"]) == (ROUNDS, ROUNDS, "dict")
    assert (leak["holder"]["kind"], holder_of(leak), leak["holder"]["path"]) == ("static", holder, ".newest")
    assert {"type": "list", "count": ROUNDS} == {key: value for key, value in next(
        kept for kept in leak["kept"]["types"] if kept["type"] == "list").items() if key != "bytes"}
    static = run.one("static")
    assert (static["count"], holder_of(static), len(static["owners"])) == (ROUNDS - 1, holder, ROUNDS - 1)
    assert run.findings() == [static, leak], run.err
    text = subprocess.run([run.isan, "report", run.log], stdout=subprocess.PIPE, text=True).stdout
    assert f"{ROUNDS} objects of type `dict`" in text and f"and {ROUNDS - 1} more\n" in text
    assert "kept alive by static `caches.newest` of cache_renewed." in text


def test_leaky_extension(stock):
    check_rounds(rounds(stock, "cache_renewed"))


def test_leaky_extension_in_the_fast_interpreter(target):
    check_rounds(rounds(target, "cache_renewed"))


@pytest.mark.parametrize("kind", ["legacy", "isolated"])
def test_healthy_extension(stock, kind):
    assert rounds(stock, "cache_state", kind).healthy()


def test_healthy_extension_in_the_fast_interpreter(target):
    assert rounds(target, "cache_state").healthy()


def test_leaks_held_by_an_earlier_leak(target):
    """All rounds use one dictionary.  It is one leak, with the variable; the lists of later rounds refer to that leak."""
    run = target.run("""
        for number in range(4):         # as many as its table has room for
            interpreter = Interpreter("legacy")
            interpreter.run("import cache_static; cache_static.cache[%d] = []" % number)
            interpreter.end()
    """)
    (cache,), (lists,) = run.findings("leak", type="dict"), run.findings("leak", type="list")
    assert (holder_of(cache)[0], cache["count"], len(run.findings("static"))) == ("cache", 1, 1)
    assert (lists["count"], lists["holder"]["kind"], lists["holder"]["leak"]) == (3, "foreign", cache["id"])
