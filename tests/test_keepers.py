"""What keeps alive what an interpreter left: the keeper, the way from it, and what is kept."""
import pytest

from subject import Subject, who

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


@pytest.fixture(scope="session", params=["system", "plain-3.13", "plain-3.14", "fast-3.13"])
def python(request, isan, flavor_python, tmp_path_factory):
    """Stock Pythons, and an instrumented one."""
    flavor, _, version = request.param.partition("-")
    if flavor == "system":
        return Subject(isan, "/usr/bin/python3", tmp_path_factory.mktemp, stock=True)
    return Subject(isan, flavor_python(flavor, version), tmp_path_factory.mktemp, version, stock=flavor == "plain")


@pytest.mark.parametrize("calls", ["plain()", "ring()", "put()", "module.take_memory()", "module.own(Owned())",
                                   "module.headed()"])
def test_healthy(python, calls):
    assert python.run(SCRIPT, MODULE="keepers_clean", CALLS=calls).healthy()


def leaks(python, calls):
    run = python.run(SCRIPT, MODULE="keepers", CALLS=calls)
    return run, run.findings("leak")


def test_missing_decref(python):
    run, (leak,) = leaks(python, "plain()")
    assert (leak["object"]["type"], leak["count"], leak["extra"]) == ("Plain", 1, 1)
    assert leak["holder"]["kind"] == "reference" and leak["holder"]["module"] is None
    assert "Py_DECREF" in leak["hint"] and "kept alive by 1 reference" in run.err


def test_missing_decref_of_an_object_in_a_cycle(python):
    _, (leak,) = leaks(python, "ring()")
    assert (leak["object"]["type"], leak["count"], leak["extra"]) == ("Ring", 1, 2)
    assert leak["holder"]["kind"] == "reference"


def test_object_of_another_interpreter(python):
    _, (leak,) = leaks(python, "put()")
    holder = leak["holder"]
    assert (leak["object"]["type"], leak["count"], holder["kind"]) == ("Put", 1, "foreign")
    assert (holder["object"]["type"], who(holder["owner"])) == ("list", (0, "main"))
    kept = {entry["type"]: entry["count"] for entry in leak["kept"]["types"]}
    assert kept["Plain"] == kept["list"] == kept["float"] == 1
    assert sum(entry["count"] for entry in leak["kept"]["types"]) == leak["kept"]["count"]


def test_memory(python):
    _, found = leaks(python, "module.take_memory()")
    assert sorted((leak["domain"], leak["object"]["size"], leak["holder"]["kind"]) for leak in found) == [
        ("PyMem_Malloc", 400, "memory"), ("PyMem_RawMalloc", 512, "memory")]


def test_memory_that_refers_to_an_object(python):
    _, (leak,) = leaks(python, "module.own(Owned())")
    assert (leak["domain"], leak["object"]["size"], leak["holder"]["kind"]) == ("PyMem_Malloc", 608, "memory")
    assert "Owned" in {entry["type"] for entry in leak["kept"]["types"]}


def test_memory_known_by_a_pointer_behind_its_header(python):
    _, (leak,) = leaks(python, "module.take(module.headed())")
    assert (leak["object"]["type"], leak["holder"]["kind"]) == ("PyCapsule", "reference")
    assert 704 in {entry["bytes"] for entry in leak["kept"]["types"]}
