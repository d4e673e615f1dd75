"""The findings for each bug of tests/ext; there are none for its healthy twin."""
import pytest

from helpers.programs import holder_of, in_static, line_of, places, used_by, who

KINDS = pytest.mark.parametrize("kind", ["isolated", "legacy"])
REPORTED_AS = {"isolated": "own-gil", "legacy": "legacy"}


def interpreter(number, kind):
    """An interpreter in the form of who(), with the number that users see."""
    return number, REPORTED_AS[kind]


def check_static(run, kind, holder, source, created, freed=False, **wanted):
    """The only finding about a static: a scan made it when the second interpreter could use the first one's object."""
    static = run.one("static", **wanted)
    assert (static["access"], static["count"], static["object"]["freed"]) == ("none", 1, freed)
    assert (who(static["owner"]), who(static["current"])) == (interpreter(1, kind), interpreter(2, kind))
    assert holder_of(static) == holder
    assert places(static["stacks"]["created"], source) == created
    return static


# --- cache_static: an object in a static ---------------------------------------------

CACHE_HOLDER = ("cache", "cache_static.c", line_of("cache_static.c", "static PyObject *cache;"))


@KINDS
def test_object_in_a_static(target, kind):
    run = target.run("""
        first, second, third = (Interpreter(KIND) for _ in range(3))
        first.run("import cache_static; cache_static.cache['first'] = 1")
        second.run("import cache_static")
        first.end()
        third.run("import cache_static")
        third.end()
        second.end()
    """, KIND=kind)
    assert run.status == 86

    created = line_of("cache_static.c", "PyDict_New")
    used = line_of("cache_static.c", "return PyModule_AddObjectRef")
    traps = [finding for finding in run.findings("share", "stale", access="incref")
             if places(finding["stacks"]["used"], "cache_static.c")]
    assert [(trap["kind"], trap["object"]["type"], who(trap["owner"]), who(trap["current"])) for trap in traps] == [
        ("share", "dict", interpreter(1, kind), interpreter(2, kind)),
        ("stale", "dict", interpreter(1, kind), interpreter(3, kind)),
    ]
    for trap in traps:
        assert holder_of(trap) == CACHE_HOLDER
        assert places(trap["stacks"]["created"], "cache_static.c") == [created]
        assert places(trap["stacks"]["used"], "cache_static.c") == [used]
        assert (trap["count"], trap["fate"], trap["object"]["freed"]) == (1, "leaked", False)

    # The second interpreter's import is enough for that finding.
    static = check_static(run, kind, CACHE_HOLDER, "cache_static.c", [created], type="dict")

    # The dictionary outlives the first interpreter: a leak, paired with the findings about it.
    leak = run.one("leak", type="dict")
    assert (who(leak["owner"]), leak["current"], leak["access"]) == (interpreter(1, kind), None, "none")
    assert (leak["count"], leak["bytes"], leak["residue"]) == (1, leak["object"]["size"], None)
    assert holder_of(leak) == CACHE_HOLDER
    assert places(leak["stacks"]["created"], "cache_static.c") == [created]
    assert leak["paired"] == sorted(finding["id"] for finding in run.findings("share", "stale", "free", "static", type="dict"))
    for finding in *traps, static:
        assert (finding["paired"], finding["fate"]) == ([leak["id"]], "leaked")
        assert finding["object"]["serial"] == leak["object"]["serial"]
    assert [frame["function"] for frame in traps[1]["stacks"]["ended"] if frame["kind"] == "python"][-1] == "<module>"


@KINDS
def test_object_in_module_state(target, kind):
    run = target.run("""
        first, second, third = (Interpreter(KIND) for _ in range(3))
        for interpreter in first, second:
            interpreter.run("import cache_state; cache_state.cache['x'] = 1")
        first.end()
        third.run("import cache_state; cache_state.cache['x'] = 1")
        third.end()
        second.end()
    """, KIND=kind)
    assert run.healthy()


def test_frames_of_python_and_of_each_interpreter(target):
    """The stack of a use crosses interpreters; each frame names its own."""
    run = target.run("""
        def importer():
            import cache_static                             # here
        interpreters = Interpreter(), Interpreter()
        for interpreter in interpreters:
            interpreter.run(importer)                       # main
        for interpreter in interpreters:
            interpreter.end()
    """)
    trap = next(finding for finding in run.findings("share", access="incref")
                if places(finding["stacks"]["used"], "cache_static.c"))
    lines = run.path.read_text().splitlines()
    here, main = (next(n for n, line in enumerate(lines, 1) if line.endswith(comment)) for comment in ("# here", "# main"))
    frames = [frame for frame in trap["stacks"]["used"] if frame["file"] == str(run.path)]
    assert [(frame["line"], who(frame["interpreter"])) for frame in frames if frame["function"] in ("<module>", "importer")][-2:] \
        == [(here, (2, "own-gil")), (main, (0, "main"))]


# --- exc_static: a borrowed type in a static -------------------------------------------

EXC_HOLDER = ("error", "exc_static.c", line_of("exc_static.c", "static PyObject *error;"))
FAIL = """
try:
    module.fail()
except BaseException:
    pass
"""


@KINDS
def test_exception_class_in_a_static(target, kind):
    run = target.run("""
        first, second = Interpreter(KIND), Interpreter(KIND)
        first.run("import exc_static as module" + FAIL)
        second.run("import exc_static as module" + FAIL)
        second.end()
        first.end()
    """, KIND=kind, FAIL=FAIL)
    assert run.status == 86
    traps = [finding for finding in run.findings("share", type="type")
             if places(finding["stacks"]["used"], "exc_static.c") == [line_of("exc_static.c", "PyErr_SetString")]]
    assert traps and {"incref"} <= {trap["access"] for trap in traps}
    for trap in traps:
        assert (who(trap["owner"]), who(trap["current"])) == (interpreter(1, kind), interpreter(2, kind))
    mine = [trap for trap in traps if trap["holder"]]
    assert mine
    created = [line_of("exc_static.c", "PyErr_NewException")]
    for trap in mine:
        assert holder_of(trap) == EXC_HOLDER
        assert places(trap["stacks"]["created"], "exc_static.c") == created
    static = check_static(run, kind, EXC_HOLDER, "exc_static.c", created, type="type")
    assert {static["object"]["serial"]} == {trap["object"]["serial"] for trap in mine}


@KINDS
def test_freed_exception_class(target, kind):
    """The owner has ended and freed the class.  The quarantine keeps its memory, so its use is a finding and no crash."""
    run = target.run("""
        first, second = Interpreter(KIND), Interpreter(KIND)
        first.run("import exc_static")
        first.end()
        second.run("import exc_static as module" + FAIL)
        second.end()
    """, KIND=kind, FAIL=FAIL)
    assert run.status == 86, run.err
    assert run.report["crashes"] == []
    created = [line_of("exc_static.c", "PyErr_NewException")]
    traps = [finding for finding in run.findings("stale", type="type")
             if places(finding["stacks"]["used"], "exc_static.c") == [line_of("exc_static.c", "PyErr_SetString")]]
    assert traps
    for trap in traps:
        assert (who(trap["owner"]), who(trap["current"])) == (interpreter(1, kind), interpreter(2, kind))
        assert (holder_of(trap), trap["object"]["freed"], trap["fate"]) == (EXC_HOLDER, True, "freed")
        assert places(trap["stacks"]["created"], "exc_static.c") == created
    check_static(run, kind, EXC_HOLDER, "exc_static.c", created, freed=True, type="type")
    assert run.findings("leak") == []


@KINDS
def test_exception_class_in_module_state(target, kind):
    run = target.run("""
        first, second, third = (Interpreter(KIND) for _ in range(3))
        first.run("import exc_state as module" + FAIL)
        second.run("import exc_state as module" + FAIL)
        first.end()
        third.run("import exc_state as module" + FAIL)
        third.end()
        second.end()
    """, KIND=kind, FAIL=FAIL)
    assert run.healthy()


# --- free_wrong: memory of another interpreter --------------------------------------------

def macro_line(prefix):
    return line_of("free_wrong.c", f"FAMILY({prefix},")


@KINDS
@pytest.mark.parametrize("ended", [False, True])
def test_memory_freed_elsewhere(target, kind, ended):
    """Blocks of both domains of an interpreter, small and large, freed and resized."""
    run = target.run("""
        import sys
        first, second = Interpreter(KIND), Interpreter(KIND)
        for prefix, size in ("", 100), ("obj_", 100), ("", 5000), ("obj_", 5000):
            for use in "release", "grow":
                owner = Interpreter(KIND) if ENDED else first
                owner.run(f"import free_wrong; free_wrong.{prefix}alloc({size})")
                if ENDED:
                    owner.end()
                second.run(f"import free_wrong\\ndef {prefix}{use}_{size}(): free_wrong.{prefix}{use}()\\n{prefix}{use}_{size}()")
                if use == "grow":                       # what it gave them is their own
                    second.run(f"free_wrong.{prefix}release()")
        second.end()
        first.end()
    """, KIND=kind, ENDED=ended)
    assert run.status == 86 and run.report["crashes"] == []
    traps = run.findings("free")
    assert len(traps) == 8 and run.findings("share", "stale") == []
    for number, (family, size, use) in enumerate(
            (family, size, use) for size in (100, 5000) for family in ("mem", "obj") for use in ("release", "grow")):
        prefix = "" if family == "mem" else "obj_"
        (trap,) = [trap for trap in traps if used_by(trap, f"{prefix}{use}_{size}")]
        assert trap["access"] == {"release": "free", "grow": "realloc"}[use]
        assert (trap["object"]["type"], trap["object"]["python"]) == (None, False)
        assert size <= trap["object"]["size"] < size + 16
        owner = number + 3 if ended else 1
        assert (who(trap["owner"]), who(trap["current"])) == (interpreter(owner, kind), interpreter(2, kind))
        assert holder_of(trap) == (f"{family}_block", "free_wrong.c", macro_line(family))
        assert places(trap["stacks"]["used"], "free_wrong.c") == [macro_line(family)]
        assert trap["count"] == 1
    # isan refuses to free a block in an interpreter with another allocator, so the block stays.
    leaks = run.findings("leak")
    if kind == "isolated":
        assert sum(leak["count"] for leak in leaks if leak["paired"]) == 8
        for trap in traps:
            (paired,) = trap["paired"]
            assert trap["id"] in next(leak for leak in leaks if leak["id"] == paired)["paired"]


@KINDS
def test_memory_freed_by_its_owner(target, kind):
    run = target.run("""
        code = '''
            import free_wrong
            for prefix in "", "obj_", "raw_":
                for size in 100, 5000:
                    getattr(free_wrong, prefix + "alloc")(size)
                    getattr(free_wrong, prefix + "grow")(2 * size)
                    getattr(free_wrong, prefix + "release")()
        '''
        first, second = Interpreter(KIND), Interpreter(KIND)
        first.run(code)
        second.run(code)
        first.end()
        second.end()
    """, KIND=kind)
    assert run.healthy()


# --- dealloc_wrong: the last reference ------------------------------------------------------

MAKE = "import MODULE as m\nclass Kept: pass\nm.make(Kept)"


@KINDS
@pytest.mark.parametrize("ended, instrumented", [(False, True), (True, True), (False, False)])
def test_object_deallocated_elsewhere(target, uninstrumented, kind, ended, instrumented):
    run = target.run("""
        first, second = Interpreter(KIND), Interpreter(KIND)
        first.run(MAKE)
        if ENDED:
            first.end()
        second.run("import dealloc_wrong; dealloc_wrong.drop()")
        second.end()
        if not ENDED:
            first.end()
    """, MAKE=MAKE.replace("MODULE", "dealloc_wrong"), KIND=kind, ENDED=ended,
        options="origin=native", extensions=None if instrumented else uninstrumented)
    assert run.status == 86 and run.report["crashes"] == []
    trap = run.one("free", "share", "stale", type="Kept")
    assert (trap["kind"], trap["access"], trap["count"]) == ("free", "dealloc", 1)
    assert (who(trap["owner"]), who(trap["current"])) == (interpreter(1, kind), interpreter(2, kind))
    assert trap["holder"] is None       # Py_CLEAR has set the static to NULL already
    assert places(trap["stacks"]["used"], "dealloc_wrong.c") == [line_of("dealloc_wrong.c", "Py_CLEAR(kept)")]
    created = [line_of("dealloc_wrong.c", "PyObject_CallNoArgs")]
    assert places(trap["stacks"]["created"], "dealloc_wrong.c") == created
    # A scan found the object in the static earlier, when the second interpreter could use it.
    holder = ("kept", "dealloc_wrong.c", line_of("dealloc_wrong.c", "static PyObject *kept;"))
    static = check_static(run, kind, holder, "dealloc_wrong.c", created, type="Kept")
    # isan refused the deallocation in the wrong interpreter, so the object outlives its owner.
    leak = run.one("leak", type="Kept")
    assert (leak["paired"], who(leak["owner"])) == (sorted([static["id"], trap["id"]]), interpreter(1, kind))
    assert trap["paired"] == static["paired"] == [leak["id"]]


@pytest.fixture(scope="session")
def uninstrumented(target):
    """The extension without isan's header, as in a release build: its reference counts are not checked."""
    return target.extension("dealloc_wrong.c", instrumented=False)


@KINDS
def test_object_deallocated_by_its_owner(target, kind):
    run = target.run("""
        first, second = Interpreter(KIND), Interpreter(KIND)
        for interpreter in first, second:
            interpreter.run(MAKE)
        first.run("m.drop()")
        first.end()
        second.end()
    """, MAKE=MAKE.replace("MODULE", "dealloc_state"), KIND=kind)
    assert run.healthy()


# --- attr_borrowed: every attribute function has its test in test_attributes.py ----------------

ATTR_HOLDER = ("stored", "attr_borrowed.c", line_of("attr_borrowed.c", "static PyObject *stored;"))


@KINDS
def test_attribute_of_a_borrowed_object(target, kind):
    run = target.run("""
        first, second = Interpreter(KIND), Interpreter(KIND)
        first.run("import attr_borrowed as m; thing = m.Thing(); thing.number = 1; m.store(thing)")
        second.run("import attr_borrowed as m; m.getattr_generic('number')")
        second.end()
        first.end()
    """, KIND=kind)
    check_attribute(run, kind, "share", "attr_borrowed.Thing", freed=False)


@KINDS
def test_attribute_of_a_freed_object(target, kind):
    """The object's type is not freed: CPython would follow pointers of a freed type to its bases.  The attribute is a number
    in the object, so that its access takes no reference."""
    run = target.run("""
        first, second = Interpreter(KIND), Interpreter(KIND)
        first.run("import attr_borrowed as m; thing = complex(1, 2); m.store(thing)")
        first.end()
        second.run("import attr_borrowed as m; m.getattr_generic('real')")
        second.end()
    """, KIND=kind)
    check_attribute(run, kind, "stale", "complex", freed=True)
    assert {(finding["kind"], finding["access"]) for finding in run.findings()} == {("stale", "attribute"), ("static", "none")}


def check_attribute(run, kind, trapped, type, freed):
    assert run.status == 86 and run.report["crashes"] == []
    traps = run.findings("share", "stale", access="attribute", type=type)
    assert traps
    for trap in traps:
        assert trap["kind"] == trapped
        assert (who(trap["owner"]), who(trap["current"])) == (interpreter(1, kind), interpreter(2, kind))
        assert holder_of(trap) == ATTR_HOLDER
        assert places(trap["stacks"]["used"], "attr_borrowed.c") == [
            line_of("attr_borrowed.c", "BY_NAME(getattr_generic,")]
        assert (trap["fate"], trap["object"]["freed"]) == ("freed", freed)
    static = check_static(run, kind, ATTR_HOLDER, "attr_borrowed.c", [], freed, type=type)
    assert {static["object"]["serial"]} == {trap["object"]["serial"] for trap in traps}


@KINDS
def test_attribute_of_an_own_object(target, kind):
    """All accesses use the same static, and no other interpreter finds an object in it."""
    run = target.run("""
        first, second = Interpreter(KIND), Interpreter(KIND)
        for interpreter in first, second:
            interpreter.run('''
                import attr_borrowed as m
                thing = m.Thing()
                thing.number = 1
                m.store(thing)
                m.getattr_generic("number")
                m.forget()
            ''')
        second.end()
        first.end()
    """, KIND=kind)
    assert run.healthy()


# --- leak_ref: a lost reference and a lost block ---------------------------------------------

@KINDS
def test_lost_reference_and_block(target, kind):
    run = target.run("""
        first, second = Interpreter(KIND), Interpreter(KIND)
        for interpreter in first, second:
            interpreter.run('''
                import leak_ref
                for _ in range(3):
                    leak_ref.make_object()
                    leak_ref.use_block()
            ''')
            interpreter.end()
    """, "origin=native", KIND=kind)
    assert run.status == 86
    objects, block = run.one("leak", type="list"), run.one("leak", python=False)
    for leak in objects, block:         # the same leak in two interpreters is one finding
        assert (leak["count"], [who(owner) for owner in leak["owners"]]) == (6, [interpreter(1, kind), interpreter(2, kind)])
        assert (leak["access"], in_static(leak), leak["paired"]) == ("none", False, [])
        assert leak["bytes"] == 6 * leak["object"]["size"]
    assert (objects["domain"], block["domain"]) == ("PyObject_Malloc", "PyMem_Malloc")
    assert block["object"]["size"] == 64
    assert places(objects["stacks"]["created"], "leak_ref.c") == [line_of("leak_ref.c", "PyList_New(0)")]
    assert places(block["stacks"]["created"], "leak_ref.c") == [line_of("leak_ref.c", "PyMem_Malloc(64)")]
    assert len(run.report["findings"]) == 2


@KINDS
def test_nothing_lost(target, kind):
    run = target.run("""
        first, second = Interpreter(KIND), Interpreter(KIND)
        for interpreter in first, second:
            interpreter.run("import leak_clean; leak_clean.make_object(); leak_clean.use_block()")
        first.end()
        second.end()
    """, KIND=kind)
    assert run.healthy()


# --- one finding for each place ------------------------------------------------------------------

def test_uses_at_one_site_are_one_finding(target):
    run = target.run("""
        first, second = Interpreter(), Interpreter()
        first.run("import attr_borrowed as m; thing = m.Thing(); thing.number = 1; m.store(thing)")
        second.run('''
            import attr_borrowed as m
            def once():
                m.getattr("number")
            def two():
                m.getattr("number")
                m.getattr("number")
            for _ in range(1000):
                once()
            two()
        ''')
        second.end()
        first.end()
    """)
    traps = [finding for finding in run.findings("share", type="attr_borrowed.Thing", access="attribute")
             if finding["stacks"]["used"][0]["function"] == "PyObject_GetAttr"]
    once, two = ([trap for trap in traps if used_by(trap, function)] for function in ("once", "two"))
    assert [trap["count"] for trap in once] == [1000]
    assert [trap["count"] for trap in two] == [1, 1]
    assert {trap["object"]["serial"] for trap in once + two} == {once[0]["object"]["serial"]}
