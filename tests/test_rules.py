"""What is shared or left behind on purpose: each rule of runtime/rules.inc, each residue rule of runtime/kinds.inc
and the RAW domain, on both sides of its border."""
import pytest

from subject import holder_of, line_of, places, who

# The first interpreter makes an object and keeps it; the second is handed it by an extension.
HAND_OVER = """
first, second = Interpreter(KIND), Interpreter(KIND)
first.run("import sys, attr_borrowed as m\\nclass Class: pass\\nkept = " + OBJECT + "\\nm.store(kept)")
second.run("import attr_borrowed as m\\ndef take(object): pass\\nm.pass_to(take)")
second.end()
first.end()
"""


def shared(subject, kind, expression):
    return subject.run(HAND_OVER, KIND=kind, OBJECT=expression)


# --- rule: immortal --------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["isolated", "legacy"])
@pytest.mark.parametrize("type, immortal, mortal", [
    ("int", "5", "10 ** 20"), ("type", "int", "Class"), ("tuple", "()", "(10 ** 20,)"), ("str", "'a'", "'ab' * len(sys.path)"),
])
def test_immortal(subject, kind, type, immortal, mortal):
    assert shared(subject, kind, immortal).healthy()
    run = shared(subject, kind, mortal)
    assert run.status == 86
    for access in "incref", "decref":
        (trap, *_) = run.findings("share", access=access, type=type)
        assert who(trap["owner"])[0] == 1 and who(trap["current"])[0] == 2


def test_none(subject):
    assert shared(subject, "isolated", "None").healthy()


def test_immortal_on_the_heap(subject):
    """Names in code are made immortal by the interpreter that compiles it; looking at one's attribute takes no
    reference, so that only the rule stands between it and a finding."""
    script = HAND_OVER.replace("def take(object): pass\\nm.pass_to(take)", "m.getattr('__class__')")
    run = subject.run(script, KIND="isolated", OBJECT="(lambda: a_name_in_code).__code__.co_names[0]")
    assert run.findings("share", "stale") == []         # the extension's static keeping it is a leak all the same
    run = subject.run(script, KIND="isolated", OBJECT="'not a name ' * len(sys.path)")
    assert run.status == 86 and run.findings("share", access="attribute", type="str")


# --- rule: interned ----------------------------------------------------------------------

INTERNED, NOT_INTERNED = "sys.intern('in' + str(10 ** 20))", "'in' + str(10 ** 20)"


def test_interned(subject):
    assert shared(subject, "legacy", INTERNED).healthy()
    for kind, expression in ("legacy", NOT_INTERNED), ("isolated", INTERNED), ("isolated", NOT_INTERNED):
        run = shared(subject, kind, expression)
        assert run.status == 86 and run.findings("share", type="str", access="incref")
        assert [finding for finding in run.findings() if finding["object"]["type"] != "str"] == []


# --- rule: scope -----------------------------------------------------------------------------

SINGLE_PHASE = """
first, second = Interpreter("legacy"), Interpreter("legacy")
first.run("import " + MODULE)
second.run(f"import {MODULE}" + USE)
second.end()
first.end()
"""


def single_phase(subject, module, use):
    return subject.run(SINGLE_PHASE, MODULE=module, USE=f"\n{module}.shared.append(None)" if use else "")


@pytest.mark.parametrize("module", ["single_copy", "_testsinglephase"])
def test_copied_by_the_runtime(subject, module):
    run = single_phase(subject, module, use=False)
    assert [finding for finding in run.findings() if any(
        frame["function"] == "reload_singlephase_extension" for frame in finding["stacks"]["used"])] == []


def test_copied_by_the_runtime_and_used(subject):
    run = single_phase(subject, "single_copy", use=True)
    assert run.status == 86
    (trap, *_) = run.findings("share", type="list", access="incref")
    assert who(trap["current"]) == (2, "legacy") and who(trap["owner"])[0] in (0, 1)


def test_copied_by_the_extension(subject):
    """Code of the extension that the runtime calls while it copies is user code all the same."""
    assert single_phase(subject, "single_init_clean", use=True).healthy()
    run = single_phase(subject, "single_init", use=False)
    assert run.status == 86
    (trap, *_) = [finding for finding in run.findings("share", type="list")
                  if places(finding["stacks"]["used"], "single_init.c")]
    # It is first run in the main interpreter, to see what kind of module it is.
    assert (trap["access"], trap["count"], who(trap["owner"]), who(trap["current"])) \
        == ("incref", 2, (0, "main"), (1, "legacy"))
    assert holder_of(trap) == ("list", "single_init.c", line_of("single_init.c", "static PyObject *list;"))
    assert places(trap["stacks"]["used"], "single_init.c") == [line_of("single_init.c", "PyModule_AddObjectRef")]


# --- the RAW domain is the process's -----------------------------------------------------------

ELSEWHERE = """
first, second = Interpreter(KIND), Interpreter(KIND)
for use in "release", "grow":
    first.run(f"import free_wrong; free_wrong.{PREFIX}alloc()")
    second.run(f"import free_wrong; free_wrong.{PREFIX}{use}()")
second.run(f"free_wrong.{PREFIX}release()")
second.end()
first.end()
"""


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_raw_memory(subject, kind):
    assert subject.run(ELSEWHERE, KIND=kind, PREFIX="raw_").healthy()
    run = subject.run(ELSEWHERE, KIND=kind, PREFIX="")
    assert sorted(finding["access"] for finding in run.findings("free")) == ["free", "realloc"]


# --- residue: process ------------------------------------------------------------------------------

def residue(run, rule):
    """The interpreters that left something by this rule."""
    return {who(left["owner"])[0] for left in run.report["residue"] if left["residue"]["rule"] == rule}


def test_item_in_a_queue(subject):
    run = subject.run("""
        from interpreters import queues
        queue = queues().create()
        sender = Interpreter()
        sender.run(f'''
            from interpreters import queues
            queues().Queue({queue.id}).put("text " * 1000)
        ''')
        sender.end()
    """)
    assert residue(run, "process") == {1}
    # 3.13 loses one block when it clears the item of a sender that ended: _queueitem_clear_data() means
    # XID_IGNORE_EXC | XID_FREE, and has & (Modules/_interpqueuesmodule.c).
    lost = {"3.13": [("leak", "PyMem_RawMalloc", 1)], "3.14": []}[subject.version]
    assert [(finding["kind"], finding["domain"], finding["count"]) for finding in run.findings()] == lost


def test_raw_memory_of_an_extension(subject):
    run = subject.run("""
        sender = Interpreter()
        sender.run("import free_wrong; free_wrong.raw_alloc(112); free_wrong.raw_alloc(112)")
        sender.end()
    """)
    assert run.status == 86
    leaks = run.findings("leak")
    assert [(leak["domain"], leak["count"], leak["bytes"], who(leak["owner"])) for leak in leaks] \
        == 2 * [("PyMem_RawMalloc", 1, 112, (1, "own-gil"))]
    holder = ("raw_block", "free_wrong.c", line_of("free_wrong.c", "FAMILY(raw,"))
    assert sorted(map(holder_of, leaks), key=bool) == [None, holder]


# --- residue: interned -------------------------------------------------------------------------------

INTERNED_STRING = "sys.intern('in' + str(n))"
LEFT = """
interpreter = Interpreter(KIND)
interpreter.run(f'''
    import sys, dealloc_wrong
    for n in 10 ** 20, 10 ** 21:
        dealloc_wrong.make(lambda: {STRING})
''')
interpreter.end()
"""
KEPT = ("kept", "dealloc_wrong.c", line_of("dealloc_wrong.c", "static PyObject *kept;"))


def left(subject, kind, string):
    """An extension loses its reference to one string and holds another in a static."""
    return subject.run(LEFT, KIND=kind, STRING=string)


def test_interned_strings_left(subject):
    # In the main interpreter's dictionary of them: there for all that come.  A static is an extension's own doing.
    run = left(subject, "legacy", INTERNED_STRING)
    assert residue(run, "interned") == {1}
    assert [(leak["kind"], holder_of(leak)) for leak in run.findings()] == [("leak", KEPT)]
    # In a dictionary that is gone: what CPython made immortal stays (3.13), what an extension lost is its leak.
    run = left(subject, "isolated", INTERNED_STRING)
    assert residue(run, "interned") == {"3.13": {1}, "3.14": set()}[subject.version]
    assert sorted((leak["kind"], str(holder_of(leak))) for leak in run.findings(type="str")) \
        == [("leak", str(KEPT)), ("leak", "None")]
    assert len(run.findings()) == 2


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_strings_left(subject, kind):
    run = left(subject, kind, "'in' + str(n)")
    assert [leak["kind"] for leak in run.findings(type="str")] == ["leak", "leak"]
    assert len(run.findings()) == 2
