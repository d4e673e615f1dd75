"""Objects that are shared or left behind on purpose.

Each rule of runtime/detect/rules.inc, each residue rule of runtime/core/kinds.inc and the RAW domain has a case that it
excuses, and a similar one that it does not.
"""
import pytest

from helpers.programs import VERSIONS, holder_of, line_of, places, who

# The first interpreter makes an object and keeps it; an extension hands it to the second.
HAND_OVER = """
first, second = Interpreter(KIND), Interpreter(KIND)
first.run("import sys, attr_borrowed as m\\nclass Class: pass\\nkept = " + OBJECT + "\\nm.store(kept)")
second.run("import attr_borrowed as m\\ndef take(object): pass\\nm.pass_to(take)")
second.end()
first.end()
"""


def shared(target, kind, expression):
    return target.run(HAND_OVER, KIND=kind, OBJECT=expression)


# --- rule: immortal --------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["isolated", "legacy"])
@pytest.mark.parametrize("type, immortal, mortal", [
    ("int", "5", "10 ** 20"), ("type", "int", "Class"), ("tuple", "()", "(10 ** 20,)"), ("str", "'a'", "'ab' * len(sys.path)"),
])
def test_immortal(target, kind, type, immortal, mortal):
    assert shared(target, kind, immortal).healthy()
    run = shared(target, kind, mortal)
    assert run.status == 86
    for access in "incref", "decref":
        (trap, *_) = run.findings("share", access=access, type=type)
        assert who(trap["owner"])[0] == 1 and who(trap["current"])[0] == 2


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_immortal_list(target, kind):
    """Interpreters with one GIL may share it; interpreters with a GIL each may both change it at a time."""
    run = target.run("""
        first, second = Interpreter(KIND), Interpreter(KIND)
        first.run("import ctypes, attr_borrowed as m\\nkept = [1]\\n"
                  "ctypes.c_uint32.from_address(id(kept)).value = 0xf0000000\\nm.store(kept)")
        second.run("import attr_borrowed as m\\nm.pass_to(lambda list: list.sort())")
        os.kill(os.getpid(), 9)
    """.replace("first,", "import os\n        first,", 1), KIND=kind)
    assert bool(run.findings("share", type="list")) == (kind == "isolated"), run.err


@pytest.mark.parametrize("ended", [False, True])
def test_immortal_object_of_an_ended_interpreter(target, ended):
    """hasattr() takes no reference, so only the access itself shows."""
    run = target.run("""
        import os
        first, second = Interpreter("isolated"), Interpreter("isolated")
        first.run("import ctypes, attr_borrowed as m\\nclass Thing: x = 1\\nkept = Thing()\\n"
                  "ctypes.c_uint32.from_address(id(kept)).value = 0xf0000000\\nm.store(kept)")
        if ENDED:
            first.end()
        second.run("import attr_borrowed as m\\nm.hasattr('x')")
        os.kill(os.getpid(), 9)
    """, ENDED=ended)
    found = run.findings("share", "stale", type="Thing")
    assert {finding["kind"] for finding in found} == ({"stale"} if ended else set()), run.err


def test_none(target):
    assert shared(target, "isolated", "None").healthy()


def test_immortal_on_the_heap(target):
    """An interpreter makes names in the code that it compiles immortal.  Access to an attribute takes no reference, so only
    the rule excuses it."""
    script = HAND_OVER.replace("def take(object): pass\\nm.pass_to(take)", "m.getattr('__class__')")
    run = target.run(script, KIND="isolated", OBJECT=IMMORTAL_NAME)
    assert run.findings("share", "stale") == []         # there is a leak: the extension's static keeps it
    run = target.run(script, KIND="isolated", OBJECT=MORTAL_NAME)
    assert run.status == 86 and run.findings("share", access="attribute", type="str")


# --- rule: interned ----------------------------------------------------------------------

INTERNED, NOT_INTERNED = "sys.intern('in' + str(10 ** 20))", "'in' + str(10 ** 20)"


def test_interned(target):
    assert shared(target, "legacy", INTERNED).healthy()
    for kind, expression in ("legacy", NOT_INTERNED), ("isolated", INTERNED), ("isolated", NOT_INTERNED):
        run = shared(target, kind, expression)
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


def single_phase(target, module, use):
    return target.run(SINGLE_PHASE, MODULE=module, USE=f"\n{module}.shared.append(None)" if use else "")


@pytest.mark.parametrize("module", ["single_copy", "_testsinglephase"])
def test_copied_by_the_runtime(target, module):
    run = single_phase(target, module, use=False)
    assert [finding for finding in run.findings() if any(
        frame["function"] == "reload_singlephase_extension" for frame in finding["stacks"]["used"])] == []


def test_copied_by_the_runtime_and_used(target):
    run = single_phase(target, "single_copy", use=True)
    assert run.status == 86
    (trap, *_) = run.findings("share", type="list", access="incref")
    assert who(trap["current"]) == (2, "legacy") and who(trap["owner"])[0] in (0, 1)


def test_copied_by_the_extension(target):
    """The rule does not cover functions of the extension that the runtime calls while it copies a module."""
    assert single_phase(target, "single_init_clean", use=True).healthy()
    run = single_phase(target, "single_init", use=False)
    assert run.status == 86
    (trap, *_) = [finding for finding in run.findings("share", type="list")
                  if places(finding["stacks"]["used"], "single_init.c")]
    # CPython runs the module's init function in the main interpreter first, to find out what kind of module it is.
    assert (trap["access"], trap["count"], who(trap["owner"]), who(trap["current"])) \
        == ("incref", 2, (0, "main"), (1, "legacy"))
    assert holder_of(trap) == ("list", "single_init.c", line_of("single_init.c", "static PyObject *list;"))
    assert places(trap["stacks"]["used"], "single_init.c") == [line_of("single_init.c", "PyModule_AddObjectRef")]


# --- rules about objects in statics ----------------------------------------------------------

STORED = ("stored", "attr_borrowed.c", line_of("attr_borrowed.c", "static PyObject *stored;"))
KEPT = ("kept", "dealloc_wrong.c", line_of("dealloc_wrong.c", "static PyObject *kept;"))
IMMORTAL_NAME, MORTAL_NAME = "(lambda: a_name_in_code).__code__.co_names[0]", "'not a name ' * len(sys.path)"


def statics(target, kind, module, store, ended=False):
    """The findings about the statics of a module: type of the object, static, whether the object has been freed.

    The first interpreter has stored an object there; the second only imports the module.
    """
    run = target.run("""
        first, second = Interpreter(KIND), Interpreter(KIND)
        first.run(f"import sys, {MODULE} as m\\n{STORE}")
        if ENDED:
            first.end()
        second.run(f"import {MODULE}")
        second.end()
        if not ENDED:
            first.end()
    """, KIND=kind, MODULE=module, STORE=store, ENDED=ended)
    found = run.findings("static")
    assert run.report["crashes"] == [] and bool(run.status) == bool(run.findings())
    assert all((finding["owner"]["id"], finding["count"]) in ((0, 1), (1, 1)) for finding in found)
    return [(finding["object"]["type"], holder_of(finding), finding["object"]["freed"]) for finding in found]


def test_static_that_holds_an_immortal_object(target):
    def hold(name, ended=False):
        return statics(target, "isolated", "attr_borrowed", f"kept = {name}\nm.store(kept)", ended)
    assert hold(IMMORTAL_NAME) == []
    assert hold(MORTAL_NAME) == [("str", STORED, False)]
    # An immortal object ends with its interpreter, too, if CPython frees it then.
    assert hold(IMMORTAL_NAME, ended=True) == {"3.13": [], "3.14": [("str", STORED, True)]}[target.version]


def test_static_that_holds_an_interned_string(target):
    def hold(kind, string, ended=False):
        return statics(target, kind, "dealloc_wrong", f"m.make(lambda: {string})", ended)
    assert hold("legacy", INTERNED) == []
    for kind, string, ended in (("legacy", NOT_INTERNED, False), ("isolated", INTERNED, False), ("legacy", INTERNED, True)):
        assert hold(kind, string, ended) == [("str", KEPT, False)]


def test_definition_that_holds_a_copy(target):
    """A PyModuleDef holds a copy of the module's dictionary, which the main interpreter makes to find out the module's kind."""
    assert statics(target, "legacy", "single_kept", "") == []
    holder = ("kept", "single_kept.c", line_of("single_kept.c", "static PyObject *kept;"))
    assert statics(target, "legacy", "single_kept", "m.keep()") == [("dict", holder, False)]


def test_static_type(target):
    """The type is one finding; its contents are none."""
    holder = ("thing", "type_static.c", line_of("type_static.c", "} thing = {"))
    assert statics(target, "legacy", "type_static", "") == [("type_static.Thing", holder, False)]
    assert statics(target, "legacy", "type_static", "assert m.keep()") \
        == [("type_static.Thing", holder, False), ("tuple", holder, False)]


SEQUENCE = """
first, second, third = Interpreter(KIND), Interpreter(KIND), Interpreter(KIND)
first.run(IMPORT)
if ENDED:
    first.end()
second.run(IMPORT + STORE)
third.end()
second.end()
if not ENDED:
    first.end()
"""


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_static_that_another_could_have_reached(target, kind):
    """An interpreter that has ended before the store cannot find the object."""
    names = {"KIND": kind, "IMPORT": "import attr_borrowed as m\n", "STORE": "kept = []\nm.store(kept)"}
    assert target.run(SEQUENCE, ENDED=True, **names).healthy()
    static = target.run(SEQUENCE, ENDED=False, **names).one("static", type="list")
    assert (who(static["owner"])[0], who(static["current"])[0], holder_of(static)) == (2, 1, STORED)


# --- rules for stock Pythons: one_heap, one_table, interned_table, last_interned, recycled ------------

def frees(run):
    return sorted(((finding["access"], finding["object"]["type"]) for finding in run.findings("free")), key=str)


def test_one_heap(stock):
    """Before 3.12 any interpreter may free memory, but not objects, of another."""
    one = stock.hexversion < (3, 12)
    assert frees(stock.run(ELSEWHERE, KIND="legacy", PREFIX="")) == ([] if one else [("free", None), ("realloc", None)])
    run = stock.run(ELSEWHERE_OBJECT, KIND="legacy")
    assert frees(run) == [("dealloc", "Kept")]


@pytest.mark.parametrize("object, type", [
    ("type_static.Thing.method", "method_descriptor"), ("Slot.x", "member_descriptor"), ("type_static.Thing.__mro__", "tuple"),
])
def test_one_table(stock, object, type):
    """Before 3.12 interpreters share the methods of static types; not those of other types, nor other objects of a type."""
    run = stock.run("""
        first, second = Interpreter("legacy"), Interpreter("legacy")
        code = "import boundary_static, type_static\\nclass Slot: __slots__ = ('x',)\\nboundary_static.appended(" + OBJECT + ")"
        first.run(code)
        second.run(code)
        second.end()
        first.end()
    """, OBJECT=object)
    holder = ("kept_appended", "boundary_static.c", line_of("boundary_static.c", "*kept_appended;"))
    found = run.findings("share", "static", type=type)
    excused = stock.hexversion < (3, 12) and type == "method_descriptor"
    assert sorted(finding["kind"] for finding in found) == ([] if excused else ["share", "static"])
    assert all(holder_of(finding) == holder for finding in found)


MANY = """
first, second = Interpreter(KIND), Interpreter(KIND)
for interpreter, n in (first, 1), (second, 2):
    interpreter.run(f"import sys, cache_static\\nfor n in range({n * COUNT}): {DO}")
second.end()
first.end()
"""


def test_table_of_interned_strings(stock):
    """The interpreter that finds the table full makes it larger.  The same in a dictionary that a static holds is a finding."""
    run = stock.run(MANY.replace("import sys, cache_static", "import sys; kept = []"), KIND="legacy", COUNT=50_000,
                    DO="kept.append(sys.intern('in' + str(n)))")
    assert run.healthy()
    run = stock.run(MANY, KIND="legacy", COUNT=2000, DO="cache_static.cache[sys.intern('in' + str(n))] = None")
    assert bool(frees(run)) == (stock.hexversion >= (3, 12)) and set(frees(run)) <= {("free", None)}


LAST = """
import dealloc_wrong
class Late:
    def __del__(self, drop=dealloc_wrong.drop):
        drop()
other = Interpreter("legacy")
other.run(f"import dealloc_wrong; dealloc_wrong.make(lambda: {OBJECT})")
other.end()
late = Late()
if NOW:
    del late
"""


@pytest.mark.parametrize("object, now, expected", [
    (NOT_INTERNED, False, []), (NOT_INTERNED, True, [("dealloc", "str")]), ("bytearray(9)", False, [("dealloc", "bytearray")]),
], ids=["at the end", "before", "no string"])
def test_strings_freed_at_the_end(stock, object, now, expected):
    """The main interpreter frees strings of another one when it ends."""
    assert frees(stock.run(LAST, OBJECT=object, NOW=now)) == expected


def test_interned_strings_freed_at_the_end(stock):
    """CPython itself frees them there, from 3.14 on."""
    run = left(stock, "legacy", INTERNED_STRING)
    assert frees(run) == [] and [(leak["kind"], holder_of(leak)) for leak in run.findings()] == [("leak", KEPT)]


@pytest.mark.parametrize("options", ["", "origin=none"])
def test_recycled(stock, options):
    """An extension gives objects to another interpreter: a set, which has no free list, and a float, which has one."""
    run = stock.run("import boundary_switch\nboundary_switch.cross(set(), float('1.5'))", options)
    told = stock.hexversion >= (3, 13) and options == ""
    assert {finding["object"]["type"] for finding in run.findings("share")} == {"set"} | ({"float"} if told else set())


@pytest.mark.parametrize("options", ["", "origin=none"])
def test_recycled_and_held(stock, options):
    run = stock.run("""
        first, second = Interpreter("legacy"), Interpreter("legacy")
        first.run("import boundary_static; boundary_static.appended(float('1.5'))")
        second.run("import boundary_static; boundary_static.appended(None)")
        second.end()
        first.end()
    """, options)
    share = run.one("share", type="float", access="argument")
    assert holder_of(share) == ("kept_appended", "boundary_static.c", line_of("boundary_static.c", "*kept_appended;"))


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


ELSEWHERE_OBJECT = """
first, second = Interpreter(KIND), Interpreter(KIND)
first.run("import dealloc_wrong\\nclass Kept: pass\\ndealloc_wrong.make(Kept)")
second.run("import dealloc_wrong; dealloc_wrong.drop()")
second.end()
first.end()
"""


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_raw_memory(target, kind):
    assert target.run(ELSEWHERE, KIND=kind, PREFIX="raw_").healthy()
    run = target.run(ELSEWHERE, KIND=kind, PREFIX="")
    assert sorted(finding["access"] for finding in run.findings("free")) == ["free", "realloc"]


# --- residue: process ------------------------------------------------------------------------------

def residue(run, rule):
    """The interpreters with residue by this rule."""
    return {who(left["owner"])[0] for left in run.report["residue"] if left["residue"]["rule"] == rule}


def test_item_in_a_queue(target):
    run = target.run("""
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
    # 3.13 loses one block when it clears the item of a sender that has ended: _queueitem_clear_data() has & where
    # XID_IGNORE_EXC | XID_FREE is meant (Modules/_interpqueuesmodule.c).
    lost = {"3.13": [("leak", "PyMem_RawMalloc", 1)], "3.14": []}[target.version]
    assert [(finding["kind"], finding["domain"], finding["count"]) for finding in run.findings()] == lost


def test_raw_memory_of_an_extension(target):
    run = target.run("""
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


def left(target, kind, string):
    """An extension loses its reference to one string, and keeps another string in a static."""
    return target.run(LEFT, KIND=kind, STRING=string)


def test_interned_strings_left(target):
    # Strings in the main interpreter's dictionary stay for later interpreters; a string in a static is the extension's leak.
    run = left(target, "legacy", INTERNED_STRING)
    assert residue(run, "interned") == {1}
    assert [(leak["kind"], holder_of(leak)) for leak in run.findings()] == [("leak", KEPT)]
    # The dictionary is gone: strings that CPython made immortal stay (3.13), and the string that the extension lost is a leak.
    run = left(target, "isolated", INTERNED_STRING)
    assert residue(run, "interned") == {"3.13": {1}, "3.14": set()}[target.version]
    assert sorted((leak["kind"], str(holder_of(leak))) for leak in run.findings(type="str")) \
        == [("leak", str(KEPT)), ("leak", "None")]
    assert len(run.findings()) == 2


def test_interned_string_in_a_cache_of_the_main_interpreter(either):
    """The type cache keeps the name of a lookup (Objects/typeobject.c, update_cache), here one that another interpreter has
    interned.  The cache keeps no names that are not interned."""
    run = either.run("""
        import sys
        interpreter = Interpreter("legacy")
        interpreter.run("import sys; sys.kept = sys.intern('never' + str(10 ** 20))")
        getattr(int, sys.intern("never" + str(10 ** 20)), None)
        interpreter.end()
    """)
    assert run.findings() == [], run.err


def test_interned_string_of_another_dictionary_in_that_cache(target):
    """An own-GIL interpreter has its own dictionary of interned strings, so its names must not be in the main one's cache."""
    run = target.run("""
        import declare
        interpreter = Interpreter("isolated")
        interpreter.run("import sys, declare; declare.put(sys.intern('never' + str(10 ** 20)))")
        declare.use(lambda name: getattr(int, name, None))
        declare.forget()
        interpreter.end()
    """)
    leak = run.one("leak", type="str")
    assert leak["holder"]["path"].split("[")[0].endswith("type_cache.hashtable"), run.err


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_strings_left(target, kind):
    run = left(target, kind, "'in' + str(n)")
    assert [leak["kind"] for leak in run.findings(type="str")] == ["leak", "leak"]
    assert len(run.findings()) == 2


# --- residue: runtime, one_heap, tracemalloc -----------------------------------------------------------------

def test_left_in_the_runtime(stock):
    """Before 3.12 the list of single-phase extensions is a static of CPython; objects in an extension's static are leaks."""
    run = stock.run("""
        interpreter = Interpreter("legacy")
        interpreter.run("import single_copy, dealloc_wrong\\ndealloc_wrong.make(lambda: (1.5, []))")
        interpreter.end()
    """)
    assert residue(run, "runtime") == ({1} if stock.hexversion < (3, 12) else set())
    assert [(leak["object"]["type"], holder_of(leak)) for leak in run.findings("leak")] == [("tuple", KEPT)]


def test_left_in_the_one_heap(stock):
    """The table of interned strings is residue; memory in an extension's static, and lost memory, is a leak."""
    run = stock.run("""
        interpreter = Interpreter("legacy")
        interpreter.run("import sys\\nkept = [sys.intern('in' + str(n)) for n in range(50_000)]")
        interpreter.run("import free_wrong; free_wrong.alloc(5000); free_wrong.alloc(5000)")
        interpreter.end()
    """)
    rule = "one_heap" if stock.hexversion < (3, 12) else "interned"
    assert [who(left["owner"]) for left in run.report["residue"]
            if left["residue"]["rule"] == rule and left["bytes"] > 1 << 20] == [(1, "legacy")]
    holder = ("mem_block", "free_wrong.c", line_of("free_wrong.c", "FAMILY(mem,"))
    leaks = run.findings()
    assert [(leak["kind"], leak["domain"], leak["bytes"]) for leak in leaks] == 2 * [("leak", "PyMem_Malloc", 5008)]
    assert sorted(map(holder_of, leaks), key=bool) == [None, holder]


@pytest.mark.parametrize("stock", [version + "-plain" for version in VERSIONS], indirect=True)     # before 3.12 see test_stock.py, test_ways_to_start_python
def test_left_while_tracemalloc_is_on(stock):
    """Raw memory and names of files are residue; memory that only an extension has is a leak."""
    script = """
        import tracemalloc
        if START:
            tracemalloc.start()
        interpreter = Interpreter("legacy")
        interpreter.run("import free_wrong, dealloc_wrong\\nfree_wrong.raw_alloc(112); free_wrong.alloc(112)")
        interpreter.run("dealloc_wrong.make(lambda: 'text' * len(dealloc_wrong.__name__))")
        interpreter.end()
    """
    lasting = [("PyMem_Malloc", None), ("PyObject_Malloc", "str")]
    for start, rules, leaks in (True, {1}, lasting), (False, set(), [("PyMem_RawMalloc", None)] + lasting):
        run = stock.run(script, START=start)
        assert residue(run, "tracemalloc") == rules
        assert sorted((leak["domain"], leak["object"]["type"]) for leak in run.findings()) == sorted(leaks, key=str)


# --- memory of the process: an object in it belongs to the interpreter that creates it ---

# The process ends without ending its interpreters: a pool of theirs may outlive them.
CREATE = """
import os
first, second = Interpreter(KIND), Interpreter(KIND)
for _ in range(2):
    for interpreter in first, second:
        interpreter.run("import raw_objects as m\\nobject = m." + CALL + "()\\ndel object")
"""


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
@pytest.mark.parametrize("call", ["detached", "pooled"])
def test_object_in_raw_memory(either, kind, call):
    assert either.run(CREATE + "print('done')\nos.kill(os.getpid(), 9)\n", KIND=kind, CALL=call).report["findings"] == []


def test_memory_of_objects_in_raw_memory_is_freed(either):
    """300,000 objects of 64 bytes in memory that was allocated without the GIL took 29 MB, for good."""
    run = either.run("""
        import raw_objects, resource
        raw_objects.detached()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(300_000):
            raw_objects.detached()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8000)
    """)
    assert run.out == "True\n" and run.healthy()


def test_free_list_of_interpreters_with_one_allocator(target):
    run = target.run(CREATE + "print('done')\nos.kill(os.getpid(), 9)\n", KIND="legacy", CALL="shared_list")
    assert run.report["findings"] == [], run.err


def test_freed_memory_in_a_free_list(target):
    """It is quarantined: the next interpreter's object in it is a use of what was freed."""
    run = target.run("""
        first, second = Interpreter("legacy"), Interpreter("legacy")
        first.run("import raw_objects as m\\nobject = m.shared_list()\\ndel object\\nm.leave_freed()")
        first.end()
        second.run("import raw_objects as m\\nobject = m.shared_list()\\ndel object")
    """)
    found = run.findings("stale")
    assert found and {(finding["object"]["freed"], who(finding["owner"])[0], who(finding["current"])[0]) for finding in found} == {
        (True, 1, 2)}, run.err


def test_free_list_of_interpreters_with_an_allocator_each(target):
    run = target.run(CREATE, KIND="isolated", CALL="shared_list")
    found = run.findings("free", type="raw_objects.Listed", access="dealloc")
    assert found and who(found[0]["owner"])[0] == 1 and who(found[0]["current"])[0] == 2, run.err


def test_address_that_is_only_compared(either):
    run = either.run("""
        first, second = Interpreter(), Interpreter()
        for interpreter in first, second:
            interpreter.run("import raw_objects as m\\nm.is_same([])")
        first.end()
        second.end()
    """)
    assert run.healthy()
