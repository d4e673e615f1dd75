"""Leaks in unmodified Pythons: which of the objects is reported as the leak, and which it only keeps alive."""
import pytest

# A function's globals refer to a keeper, which refers to the function; a static leads to a weak reference to it.
CYCLE = """
    interpreter = Interpreter("legacy")
    interpreter.run('''if True:
        import cache_static, weakref
        from MODULE import Keeper
        names = {}
        exec("def function(): pass", names)
        names["keeper"] = Keeper(names["function"])
        cache_static.cache["weak"] = weakref.ref(names["function"])
        del names
    ''')
    interpreter.end()
"""


def test_cycle_that_the_collector_cannot_see(stock):
    run = stock.run(CYCLE.replace("MODULE", "cycle_unseen"))
    leak = run.one("leak", type="cycle_unseen.Keeper")
    assert leak["count"] == 1 and leak["kept"]["count"] >= 3        # the function, its globals and their table
    assert [finding["object"]["type"] for finding in run.findings() if finding is not leak] == ["dict"]
    run = stock.run(CYCLE.replace("MODULE", "cycle_seen"))
    assert [finding["object"]["type"] for finding in run.findings()] == ["dict"]


def test_attributes_go_with_their_instance(stock):
    run = stock.run("""
        interpreter = Interpreter("legacy")
        interpreter.run('''if True:
            import cache_static
            class Plain: pass
            for number in range(30):        # in 3.11 each has room for one less (init_inline_values)
                plain = cache_static.cache[number] = Plain()
                plain.first, plain.second = ["first"], ["second"]
        ''')
        interpreter.end()
    """)
    leak, = run.findings()
    assert (leak["object"]["type"], leak["holder"]["symbol"]) == ("dict", "cache")


@pytest.mark.parametrize("module", ["cache_state", "cache_static"])
def test_subclasses_of_static_types(stock, module):
    """Before 3.12 that is shared by all interpreters, and grows in any of them; a dictionary of an extension is not."""
    run = stock.run("""
        first, second = Interpreter("legacy"), Interpreter("legacy")
        for interpreter in first, second:
            interpreter.run("import MODULE; MODULE.cache.update((str(type(str(i), (), {})), i) for i in range(1000))")
        first.end()
        second.end()
    """.replace("MODULE", module))
    if module == "cache_state":
        assert run.healthy()
    else:
        assert run.findings("leak", type="dict")
