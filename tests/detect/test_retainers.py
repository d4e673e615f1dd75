"""Retainers of leaked objects: the retainer, the path from it, and the objects that the leak keeps alive."""
import pytest

from helpers.programs import holder_of, line_of, who

SCRIPT = """
    import importlib
    module = importlib.import_module(MODULE)
    shelf = [None] * 4
    module.use_shelf(shelf)
    interpreter = Interpreter("legacy")
    interpreter.run('''if True:
        import NAME as module
        class Plain: pass
        class Ring: pass
        class Owned: pass
        class Put: pass
        def plain(): module.take(Plain())
        def ring():
            ring = Ring()
            ring.me = ring
            module.take(ring)
            module.take(ring)
        def put():
            put = Put()
            put.data = {"a": [1.5, Plain()]}
            if module.__name__ == "keepers_clean":
                module.use_shelf([None] * 4)
            module.put(put)
        CALLS
    '''.replace("NAME", MODULE).replace("CALLS", CALLS))
    module.leave_shelf()
    interpreter.end()
"""


@pytest.mark.parametrize("calls", ["plain()", "ring()", "put()", "module.take_memory()", "module.own(Owned())",
                                   "module.headed()"])
def test_healthy(every, calls):
    assert every.run(SCRIPT, MODULE="keepers_clean", CALLS=calls).healthy()


def leaks(every, calls):
    run = every.run(SCRIPT, MODULE="keepers", CALLS=calls)
    return run, run.findings("leak")


def test_missing_decref(every):
    run, (leak,) = leaks(every, "plain()")
    assert (leak["object"]["type"], leak["count"], leak["extra"]) == ("Plain", 1, 1)
    assert leak["holder"]["kind"] == "reference" and leak["holder"]["module"] is None
    assert "Py_DECREF" in leak["hint"] and "kept alive by 1 reference" in run.err


def test_missing_decref_of_an_object_in_a_cycle(every):
    _, (leak,) = leaks(every, "ring()")
    assert (leak["object"]["type"], leak["count"], leak["extra"]) == ("Ring", 1, 2)
    assert leak["holder"]["kind"] == "reference"


def test_object_of_another_interpreter(every):
    _, (leak,) = leaks(every, "put()")
    holder = leak["holder"]
    assert (leak["object"]["type"], leak["count"], holder["kind"]) == ("Put", 1, "foreign")
    assert (holder["object"]["type"], who(holder["owner"])) == ("list", (0, "main"))
    kept = {entry["type"]: entry["count"] for entry in leak["kept"]["types"]}
    assert kept["Plain"] == kept["list"] == kept["float"] == 1
    assert sum(entry["count"] for entry in leak["kept"]["types"]) == leak["kept"]["count"]


def test_memory(every):
    _, found = leaks(every, "module.take_memory()")
    assert sorted((leak["domain"], leak["object"]["size"], leak["holder"]["kind"]) for leak in found) == [
        ("PyMem_Malloc", 400, "memory"), ("PyMem_RawMalloc", 512, "memory")]


def test_memory_that_refers_to_an_object(every):
    _, (leak,) = leaks(every, "module.own(Owned())")
    assert (leak["domain"], leak["object"]["size"], leak["holder"]["kind"]) == ("PyMem_Malloc", 608, "memory")
    assert "Owned" in {entry["type"] for entry in leak["kept"]["types"]}


def test_memory_known_by_a_pointer_behind_its_header(every):
    _, (leak,) = leaks(every, "module.take(module.headed())")
    assert (leak["object"]["type"], leak["holder"]["kind"]) == ("PyCapsule", "reference")
    assert 704 in {entry["bytes"] for entry in leak["kept"]["types"]}


CYCLE = """
    interpreter = Interpreter("legacy")
    interpreter.run('''if True:
        import keepers
        from cycle_unseen import Keeper
        names = {}
        exec("def function(): pass", names)
        keeper = names["keeper"] = Keeper(names["function"])
        keepers.CALL(keeper)
        del names, keeper
    '''.replace("CALL", CALL))
    interpreter.end()
"""


def test_static_that_borrows_is_not_blamed(every):
    leak = every.run(CYCLE, CALL="borrow").one("leak")
    assert (leak["object"]["type"], leak["holder"]["kind"], holder_of(leak)) == ("cycle_unseen.Keeper", "cycle", None)
    assert "has no Py_TPFLAGS_HAVE_GC" in leak["reasons"][0]


def test_static_that_owns_is_blamed(every):
    leak = every.run(CYCLE, CALL="use_shelf").one("leak")
    assert (leak["object"]["type"], leak["holder"]["kind"]) == ("cycle_unseen.Keeper", "static")
    assert holder_of(leak) == ("shelf", "keepers.c", line_of("keepers.c", "static PyObject *shelf;"))


# The second import replaces the first one's dictionary in a static, or puts its own into module state.
RENEWED = """
    first, second = Interpreter("isolated"), Interpreter("isolated")
    for interpreter in first, second:
        interpreter.run(f"import {MODULE}")
    first.end()
    second.end()
"""


def test_value_that_was_replaced(either):
    run = either.run(RENEWED, MODULE="cache_renewed")
    static = run.one("static")
    old, new = sorted(run.findings("leak", type="dict"), key=lambda leak: who(leak["owner"]))
    assert (who(old["owner"])[0], old["count"], old["holder"]["kind"], old["paired"]) == (1, 1, "replaced", [static["id"]])
    assert (who(new["owner"])[0], new["holder"]["kind"]) == (2, "static") and "Py_XSETREF" in old["hint"]
    assert f"kept alive by 1 reference: a static that held it (static #{static['id']}) has another value now" in run.err


def test_values_of_each_interpreter(either):
    assert either.run(RENEWED, MODULE="cache_state").healthy()


# A list or dictionary of the main interpreter refers to an object of interpreter 1, or has only a word equal to its address.
SEEN = """
    import keepers, os
    reader, writer = os.pipe()
    shelf = [None] * 4
    keepers.use_shelf(shelf)
    interpreter = Interpreter("legacy")
    interpreter.run(f'''if True:
        import keepers, os
        class Put: pass
        put = Put()
        keepers.take(put)
        if {PUT}:
            keepers.put(put)
        os.write({writer}, str(id(put)).encode())
        del put
    ''')
    keepers.leave_shelf()
    address = int(os.read(reader, 100))
    kept = eval(THEN)
    interpreter.end()
"""


@pytest.mark.parametrize("put, then, kind", [
    (True, "None", "foreign"), (True, "shelf.__delitem__(slice(2, None))", "reference"),
    (False, "{1.5: 0, address: 1}", "reference"),
], ids=["item", "deleted", "hash"])
def test_words_that_are_no_references(every, put, then, kind):
    """Stale items behind the end of a list, and the hash of an int, are no references."""
    leak, = [leak for leak in every.run(SEEN, PUT=put, THEN=then).findings("leak") if leak["object"]["type"] == "Put"]
    assert leak["holder"]["kind"] == kind
