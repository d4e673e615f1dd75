"""The test extensions compile without a warning, and work in a single interpreter, the healthy ones and those with bugs."""
import subprocess
import sys

import pytest

from ext.build import build
from helpers.tree import EXT

# Code for each module that shows no bug, since only one interpreter runs it.
CACHE = "mod.cache['key'] = 1; assert mod.cache == {'key': 1} and mod.get() is mod.cache"
EXC = """
try:
    mod.fail()
except mod.Error as error:
    assert str(error) == "failed as asked"
else:
    assert False
"""
DEALLOC = """
import weakref
class Kept: pass
refs = []
def factory():
    kept = Kept()
    refs.append(weakref.ref(kept))
    return kept
mod.make(factory)
assert refs[0]() is not None
mod.drop()
assert refs[0]() is None
mod.drop()
"""
LEAK = """
import sys
assert mod.use_block() == 1
assert sys.getrefcount(mod.make_object()) == {references} + sys.getrefcount([]) - 1
"""
FREE = """
for prefix in "", "obj_", "raw_":
    alloc, grow, release = (getattr(mod, prefix + name) for name in ("alloc", "grow", "release"))
    alloc(); grow(); release()
    alloc(1000); grow(100000); grow(10); release()
    for function in grow, release:
        try:
            function()
        except RuntimeError as error:
            assert str(error) == "there is no block: allocate one first"
        else:
            assert False
"""
ATTR = """
def refused(error, function, *arguments):
    try:
        function(*arguments)
    except error:
        return True
    return False

assert refused(RuntimeError, mod.getattr, "x") and refused(RuntimeError, mod.pass_to, print)
class Plain:
    def method(self): self.calls = getattr(self, "calls", 0) + 1
    def method_one(self, value): self.value = value
plain, thing = Plain(), mod.Thing()
gets = [mod.getattr, mod.getattr_string, mod.getattr_generic]
finds = [mod.getattr_optional, mod.getattr_optional_string, mod.hasattr, mod.hasattr_string,
         mod.hasattr_error, mod.hasattr_error_string]
calls = [mod.call_method, mod.call_method_no_args, mod.call_method_object_args]
sets = [mod.setattr, mod.setattr_string, mod.setattr_generic]
dels = [mod.delattr, mod.delattr_string]

for stored, present in (plain, "x"), (thing, "object"), (thing, "number"), (thing, "computed"):
    mod.store(stored)
    for set in sets:
        set(present, 3)
        assert getattr(stored, present) == 3
    assert all(get(present) is None and refused(AttributeError, get, "missing") for get in gets)
    assert all(find(present) is True and find("missing") is False for find in finds)
    assert all(call("method") is None and refused(AttributeError, call, "missing") for call in calls)
    mod.call_method_one_arg("method_one", 4)
    assert mod.getattr_type("method") is None and refused(AttributeError, mod.getattr_type, "missing")
    assert mod.is_instance(type(stored)) is True and mod.is_instance(int) is False
assert plain.calls == 3 and plain.value == 4

for stored, present in (plain, "x"), (thing, "object"):
    mod.store(stored)
    for delete in dels:
        setattr(stored, present, 5)
        delete(present)
        assert not hasattr(stored, present)
mod.store(plain)
assert mod.get_dict() is None and mod.pass_to(lambda passed: passed is plain)
mod.store(thing)
assert refused(TypeError, mod.delattr, "number")
assert refused(AttributeError, mod.get_dict)
thing.object = thing            # a cycle, for traverse and clear
"""

REFCOUNTS = """
import sys
op = object()
before = sys.getrefcount(op)
assert mod.spin(op, 5) is None and mod.all(op, 5) is True
assert sys.getrefcount(op) == before
"""

KEPT = """
import sys
class Kept:
    def __call__(self): return "called"
for name in "appended", "passed", "built", "got", "iterated", "asked", "increfed", "decrefed", "called", "dropped":
    kept, function = Kept(), getattr(mod, name)
    assert function(kept) is None
    before = sys.getrefcount(kept)
    result = function(None)
    assert result == {"called": "called", "passed": (None, kept), "built": {"key": (1.5, kept)}}.get(name), (name, result)
    del result
    assert sys.getrefcount(kept) == before - (name == "dropped")
"""

ADDRESS = """
assert mod.same() == (1, 1, 1, 1)
assert mod.path("name") == b"name"
"""

SWITCH = """
kept, added = object(), set()
assert mod.stay(added, kept) is None and added == {kept}
added.clear()
assert mod.cross(added, kept) is None and added == {kept}
"""

THREADS = """
import _ctypes
assert mod.copies > 1
assert mod.run(_ctypes.__file__.replace("%", "%%")) is None
"""

PARTS = "assert (mod.use(mod.text), mod.use(0), mod.number) == (1, 0, 1 << 20)"
SINGLE = "assert mod.shared == []; mod.shared.append(mod)"

KEEPER = """
kept = []
keeper = mod.Keeper(kept)
import sys
assert sys.getrefcount(kept) == 3
del keeper
assert sys.getrefcount(kept) == 2
"""

SHELF = """
shelf = [None] * 4
mod.use_shelf(shelf)
mod.put("kept")
assert shelf == [None, None, "kept", None]
mod.leave_shelf()
import sys
kept = []
mod.take(kept), mod.own(kept), mod.take_memory()
assert sys.getrefcount(kept) == {references}
"""

TRAVERSE = """
import weakref
for type in mod.Node, mod.Member, mod.Memory, mod.Type, mod.Untracked, mod.Clear, mod.Plain, mod.Bare:
    node, child = type(), type()
    seen = weakref.ref(child)
    node.adopt(child)
    node.hold(child)
    assert node.child is child is seen()
    del child, node
    assert seen() is None
assert mod.Derived(key=1) == {"key": 1}
"""

HOLDS = """
import sys
kept = object()
before = sys.getrefcount(kept)
for which in range({places}):
    assert mod.keep(which, kept) is None and mod.keep(which, kept) is None
assert sys.getrefcount(kept) == before + {places}
try:
    mod.keep({places}, kept)
except IndexError:
    pass
else:
    assert False
"""
COUNTS = """
import sys
op = object()
before = sys.getrefcount(op)
for by in 3, -3:
    assert mod.add(op, by) is None
    before += by
    assert sys.getrefcount(op) == before
"""
END = "assert mod.join() is None"
STATES = "assert mod.enter() is mod.each() is mod.hand() is mod.inherit() is None"
NONE = "assert mod.may() is True and mod.now() is None"
WATCH = """
seen = []
mod.watch(None)
mod.watch(lambda: seen.append(1))
assert seen == [1]
"""
RAW = """
for make in mod.detached, mod.pooled, mod.shared_list:
    kept = [make() for _ in range(40)]
    assert len(set(map(id, kept))) == 40
    del kept
    assert make() is not None
assert mod.is_same(mod) is False and mod.is_same(mod) is True
"""
PLACES = {"array": 5, "cxx": 4, "library": 1, "local": 1, "namesake": 1, "struct": 3, "thread": 1, "variable": 1}

RACES = ["atomic", "buffer", "counter", "lazy", "list", "mutex", "once", "released", "state", "thread", "type"]

EXERCISE = {
    "arg_parser": "assert mod.keep('name') is None",
    "attr_borrowed": ATTR,
    "boundary_address": ADDRESS, "boundary_state": KEPT, "boundary_static": KEPT,
    "boundary_switch": SWITCH, "boundary_threads": THREADS,
    "ask": "assert mod.look() == mod.findings() == mod.owner(mod) == -1 and not mod.loaded()",
    "cache_renewed": "mod.cache['key'] = 1; assert mod.cache == {'key': 1}", "cache_state": CACHE, "cache_static": CACHE,
    "cxx_once": "assert mod.try_once() == 'thrown'",
    "cycle_seen": KEEPER, "cycle_unseen": KEEPER,
    "dealloc_state": DEALLOC, "dealloc_wrong": DEALLOC,
    "declare": "mod.put([]); assert mod.take() == mod.share() == -1; mod.use(len); mod.use_array(len); mod.drop()",
    "exc_state": EXC, "exc_static": EXC,
    "free_wrong": FREE,
    "immortal_arithmetic": COUNTS, "immortal_clean": COUNTS, "immortal_stable": COUNTS,
    "gilstate_callback": "mod.watch(None)", "gilstate_end": END, "gilstate_none": NONE, "gilstate_state": WATCH,
    "gilstate_thread": STATES,
    "keepers": SHELF.format(references=4), "keepers_clean": SHELF.format(references=2),
    "leak_clean": LEAK.format(references=1), "leak_ref": LEAK.format(references=2),
    "loads_libraries": "mod.stop(); assert mod.go_on('/nowhere') == 0",
    **{f"race_{name}": "mod.run(1, 10)" for name in RACES},
    **{f"race_{name}": "assert mod.run(1, 3) is None" for name in ("flag", "relaxed", "release", "text")},
    "multi_kept": PARTS + "; assert mod.kept == []", "multi_parts": PARTS, "raw_objects": RAW, "refcounts": REFCOUNTS,
    **dict.fromkeys(("refuses", "second_crash", "second_hang"), ""),
    "datetime_static": "mod.keep(None)",
    "single_class": PARTS + "; assert issubclass(mod.error, Exception)", "single_parts": PARTS,
    "single_copy": SINGLE, "single_init": SINGLE, "single_init_clean": SINGLE,
    "single_kept": "assert mod.keeps() is False; mod.keep(); assert mod.keeps() is True",
    "traverse_right": TRAVERSE, "traverse_wrong": TRAVERSE,
    "behind": HOLDS.format(places=7), "behind_cxx": HOLDS.format(places=4),
    "boundary_unseen": "assert mod.measure([1, 2]) == (2, 1, -1.0)",
    **{f"static_{name}": HOLDS.format(places=places) for name, places in PLACES.items()},
    "static_constructor": "assert len(mod.get()) == 100",
    "type_heap": "assert mod.Thing().method() is None and mod.Thing.__mro__ == (mod.Thing, object)",
    "type_static": "assert mod.keep() is True and mod.Thing.__mro__ == (mod.Thing, object)",
}


@pytest.mark.parametrize("name", sorted({path.stem for path in EXT.glob("*.c*")} | set(EXERCISE)))
@pytest.mark.parametrize("where", ["main", "other"])
def test_extension_in_one_interpreter(name, where, tmp_path, plain):
    build(next(EXT.glob(name + ".c*")).name, plain, tmp_path)
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {name} as mod\n{EXERCISE[name]}\nimport gc; gc.collect()"
    if where == "other":
        kind = ("legacy" if name.startswith("single_")
                or name in ("boundary_switch", "immortal_stable", "race_type", "refuses", "type_static") else "isolated")
        script = f"""
import _interpreters
interpreter = _interpreters.create({kind!r})
failed = _interpreters.exec(interpreter, {script!r})
_interpreters.destroy(interpreter)
if failed is not None:
    raise SystemExit(failed.errdisplay)
"""
    done = subprocess.run([plain, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_build_names_what_is_missing(tmp_path):
    done = subprocess.run([sys.executable, EXT / "build.py", "leak_ref.c", "--python", tmp_path / "python"],
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"build.py: {tmp_path / 'python'} is not there: install it or correct the path.\n"
