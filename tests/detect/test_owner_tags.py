"""Owner tags are exact: for each way to create an object, in each kind of interpreter, for many interpreters."""
import ast
import json
import os
import subprocess
import sys

import pytest

from ext.build import build
from helpers.tree import OBJECT_CREATION, SOAK, TESTS

WAYS = [node.name for node in ast.parse(OBJECT_CREATION.read_text()).body
        if isinstance(node, ast.FunctionDef) and not node.args.args]

pytestmark = pytest.mark.parametrize("version", ["3.13", "3.14"])


@pytest.fixture
def run(flavor_python, version, tmp_path):
    """run(program, ...) -> its output, under isan; there must be no finding."""
    def run(*program, options="", timeout=120):
        done = subprocess.run(
            [flavor_python("fast", version), *map(str, program)], capture_output=True, text=True, timeout=timeout,
            env={**os.environ, "ISAN_OPTIONS": f"log_path={tmp_path / 'log'}:{options}", "PYTHONPATH": str(TESTS)})
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout
    return run


@pytest.fixture
def findings(isan, tmp_path):
    """findings() -> the findings of all processes so far, without leaks, of which CPython has its own; or only those."""
    def findings(kind=None):
        done = subprocess.run([isan, "report", "--format", "json", tmp_path / "log"], capture_output=True, text=True)
        assert done.returncode in (0, 86), done.stderr
        return [f for f in json.loads(done.stdout)["findings"] if (f["kind"] == kind if kind else f["kind"] != "leak")]
    return findings


@pytest.mark.parametrize("way", WAYS)
def test_way(way, run):
    said = [line.split() for line in run(OBJECT_CREATION, way).splitlines()]
    assert [kind for kind, _ in said] == ["main", "legacy", "isolated"]
    assert len({slot for _, slot in said}) == 3


# Objects that an interpreter's garbage collector tracks, and objects reachable from them, as lines of a file: address,
# reference count, whether it is an interned str, type.
REACH = """
def reach(path):
    import gc, sys
    seen, todo = {}, gc.get_objects()
    while todo:
        o = todo.pop()
        if id(o) not in seen:
            seen[id(o)] = o
            todo.extend(gc.get_referents(o))
    with open(path, "w") as file:
        for o in seen.values():
            interned = isinstance(o, str) and sys._is_interned(o)
            file.write(f"{id(o)} {sys.getrefcount(o)} {interned:d} {type(o).__qualname__}\\n")
    return seen
"""
# Checks the tags of those objects from outside, with the rules of runtime/detect/rules.inc.
WALK = """
from helpers import owner_tags as tags
IMMORTAL = 1 << 30

def walk(path, mine, share=()):
    '''`share`: the slots of the interpreters it shares interned strings with.'''
    maps, n, wrong = tags.mapped(), 0, []
    for line in open(path):
        address, references, interned, type = line.rstrip().split(" ", 3)
        address, references, n = int(address), int(references), n + 1
        word = tags.word(address)
        if word == 0:
            where = [name for start, end, _, name in maps if start <= address < end]
            is_static = where[0].startswith("/") or references >= IMMORTAL and where[0] == ""
            if not is_static or references < IMMORTAL:
                wrong.append(("no tag", type, references, where))
        elif not word & tags.OBJECT:
            wrong.append(("no mark", type, hex(word)))
        elif word & 0xffff != mine and not (interned == "1" and word & 0xffff in share):
            wrong.append(("of slot", word & 0xffff, "not", mine, type))
        elif tags.Block(address).objects != [address]:
            wrong.append(("not alone in its block", type))
    return n, wrong
"""

INTERPRETERS_AT_ONCE = REACH + WALK + """
import _interpreters, sys, tempfile, threading
directory = tempfile.mkdtemp(dir=sys.argv[1])
MAIN = tags.slot(id(tags))
work = '''
import collections, json, re
class A: pass
kept = [[A() for _ in range(50)], re.compile("a(b|c)+"), json.loads('{"a": [1.5, "x", null]}'), collections.Counter("abc")]
kept[0][0].x = kept
'''
kinds = ["isolated", "legacy"] * 3
interpreters = [_interpreters.create(kind) for kind in kinds]
failed = []

def fill(i):
    failed.append(_interpreters.exec(interpreters[i], REACH + work + f"seen = reach({directory!r} + '/{i}')"))

exec(work)
threads = [threading.Thread(target=fill, args=(i,)) for i in range(len(kinds))]
for t in threads: t.start()
in_thread = []
for t in threads: t.join()
assert failed == [None] * len(kinds), failed
own = threading.Thread(target=lambda: in_thread.append(reach(directory + "/main")))
own.start(); own.join()
slots = [tags.slot([int(line.split()[0]) for line in open(f"{directory}/{i}") if line.split()[2:] == ["0", "list"]][0])
         for i in range(len(kinds))]
assert len({MAIN, *slots}) == 1 + len(kinds), slots
share = {MAIN, *slots[1::2]}
n, wrong = walk(directory + "/main", MAIN, share)
assert n > 10_000 and not wrong, (n, wrong[:20])
for i, kind in enumerate(kinds):
    n, wrong = walk(f"{directory}/{i}", slots[i], share if kind == "legacy" else ())
    assert n > 5000 and not wrong, (kind, n, wrong[:20])
for i in interpreters: _interpreters.destroy(i)
"""


def test_all_objects_of_interpreters_alive_at_once(run, findings, tmp_path):
    run("-c", REACH_SOURCE(INTERPRETERS_AT_ONCE), tmp_path)
    assert findings() == []


def REACH_SOURCE(program):
    """A program that gives REACH to other interpreters."""
    return f"REACH = {REACH!r}\n{program}"


A_THOUSAND = WALK + """
import _interpreters, sys, tempfile, os
count, isolated = int(sys.argv[2]), int(sys.argv[3])
path = tempfile.mkdtemp(dir=sys.argv[1]) + "/objects"
MAIN = tags.slot(id(tags))
code = '''
import gc, posix
class A: pass
kept = [A() for _ in range(20)] + [[], {}, 1.5 * len(gc.__name__), object(), bytes(700)]
kept += gc.get_objects()
def tell(fd):
    posix.write(fd, b"".join(id(o).to_bytes(8, "little") for o in kept))
'''
interpreters = []
for i in range(count):
    interpreters.append(_interpreters.create("isolated" if i < isolated else "legacy"))
    assert _interpreters.exec(interpreters[-1], code) is None
slots, objects = {MAIN}, 0
for i in interpreters:
    fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_RDWR)
    assert _interpreters.exec(i, f"tell({fd})") is None
    os.lseek(fd, 0, 0)
    words = [tags.word(address) for address in memoryview(os.read(fd, 1 << 26)).cast("Q")]
    os.close(fd)
    mine = words[0] & 0xffff
    assert mine not in slots and mine
    slots.add(mine)
    objects += len(words)
    # Static types, which the collector knows too, have no tag.
    assert {word & 0xffff for word in words} <= {mine, 0}, {word & 0xffff for word in words}
    assert all(word & tags.OBJECT for word in words if word)
    assert sum(word == 0 for word in words) < len(words) // 20
print(len(slots) - 1, objects, flush=True)
os._exit(0)         # to end them one after the other would take minutes
"""


def test_a_thousand_interpreters_alive_at_once(run, findings, tmp_path):
    slots, objects = run("-c", A_THOUSAND, tmp_path, 1000, 24, timeout=170).split()
    assert int(slots) == 1000 and int(objects) > 1_000_000
    assert findings() == []


# Each interpreter leaks an object, takes one from a static and ends.  Its own
# objects must have a tag that no leaked one has.
REUSE = """
import _interpreters, sys, os
from helpers import owner_tags as tags
directory, kind, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
MAIN = tags.slot(id(tags))
code = '''
import sys, posix
sys.path.insert(0, DIRECTORY)
import cache_static, leak_ref
leaked = leak_ref.make_object()
mine = [[] for _ in range(30)]
posix.write(FD, b"".join(id(o).to_bytes(8, "little") for o in [leaked, *mine]))
CODE
'''
leaked, live, used = [], [], set()
for i in range(count):
    read, write = os.pipe()
    program = code.replace("DIRECTORY", repr(directory)).replace("FD", str(write))
    # Another line each time, so that each is a finding of its own.
    program = program.replace("CODE", "\\n" * (i if i % 20 == 0 else 1) + "x = cache_static.cache; x.get(1); del x")
    live.append(_interpreters.create(kind))
    failed = _interpreters.exec(live[-1], program)
    assert failed is None, failed.errdisplay
    first, *mine = memoryview(os.read(read, 4096)).cast("Q")
    os.close(read); os.close(write)
    slots = {tags.slot(address) for address in mine}
    assert len(slots) == 1 and not slots & {0, MAIN}, slots
    used |= slots
    of_ended = [address for address, interpreter in leaked if interpreter not in live]
    for address in of_ended:
        assert tags.slot(address) not in slots, "what an ended interpreter leaked is taken for a new one's"
        assert tags.word(address) & tags.OBJECT
    leaked.append((first, live[-1]))
    if len(live) == 3:
        _interpreters.destroy(live.pop(0))
for interpreter in live:
    _interpreters.destroy(interpreter)
print(len(used), max(used), flush=True)
"""


@pytest.mark.parametrize("kind", ["legacy", "isolated"])
def test_a_slot_is_reused_only_if_no_leaked_object_has_it(kind, run, findings, flavor_python, version, tmp_path):
    for extension in "cache_static.c", "leak_ref.c":
        build(extension, flavor_python("fast", version), tmp_path)
    used, highest = map(int, run("-c", REUSE, tmp_path, kind, 120, options="slots=8:quarantine=1").split())
    assert used > 3 and highest < 8
    found = [f for f in findings() if f["object"]["type"] == "dict"]
    assert found
    # The first interpreter made the dict, and ends while two others live.
    first = [f for f in found if f["kind"] == "share"]
    assert {f["owner"]["id"] for f in first} <= {1}
    assert all(f["current"]["id"] in (2, 3) for f in first)
    stale = [f for f in found if f["kind"] == "stale"]
    assert {f["owner"]["id"] for f in stale} == {1, -1}
    assert len([f for f in stale if f["owner"]["id"] == -1]) >= 4
    # The second interpreter's import is enough for a finding; a holder that is gone makes no new one.
    statics = [f for f in found if f["kind"] == "static"]
    assert [(f["owner"]["id"], f["current"]["id"]) for f in statics] == [(1, 2)]
    assert len(first) + len(stale) + len(statics) == len(found)


QUARANTINE = """
import _interpreters, sys
from helpers import owner_tags as tags
held = []
for i in range(3):
    for kind in "legacy", "isolated":
        interpreter = _interpreters.create(kind)
        assert _interpreters.exec(interpreter, "class A: pass\\nkept = [A() for _ in range(20000)]") is None
        _interpreters.destroy(interpreter)
        held.append(sum(tags.Block(address).size for address, word in tags.blocks() if word & tags.FREED))
print(*held)
"""


@pytest.mark.parametrize("budget", [0, 1, 32])
def test_quarantine_keeps_to_its_budget(budget, run):
    held = list(map(int, run("-c", QUARANTINE, options=f"quarantine={budget}").split()))
    if budget == 0:
        assert held == [0] * len(held)
    else:
        assert max(held) > min(budget << 20, 16 << 20) - (64 << 10)
        assert held == sorted(held) or budget == 1
        assert all(n <= budget << 20 for n in held), held


LATE_USE = """
import _interpreters, sys
code = f"import sys; sys.path.insert(0, {sys.argv[1]!r}); import attr_borrowed\\n"
a, b = _interpreters.create(sys.argv[2]), _interpreters.create(sys.argv[2])
assert _interpreters.exec(a, code + "class Thing: x = 1\\nattr_borrowed.store(thing := Thing())") is None
_interpreters.destroy(a)
failed = _interpreters.exec(b, code + "attr_borrowed.hasattr('x')")
assert failed is None, failed.errdisplay
_interpreters.destroy(b)
"""


@pytest.mark.parametrize("kind", ["legacy", "isolated"])
def test_use_of_a_freed_object_of_an_ended_interpreter(kind, run, findings, flavor_python, version, tmp_path):
    build("attr_borrowed.c", flavor_python("fast", version), tmp_path)
    run("-c", LATE_USE, tmp_path, kind)
    found = [f for f in findings() if f["object"]["type"] == "Thing"]
    assert [f["object"]["freed"] for f in found if f["kind"] == "static"] == [True]
    assert {f["kind"] for f in found} == {"static", "stale"}
    assert {(f["owner"]["id"], f["current"]["id"]) for f in found} == {(1, 2)}


# With four slots the slot of an ended interpreter is soon needed again.
NO_DESCRIPTORS = """
import _interpreters, os, resource, sys
code = f"import sys; sys.path.insert(0, {sys.argv[1]!r}); import declare\\n"
a = _interpreters.create()
assert _interpreters.exec(a, code + "declare.put(bytearray(100))") is None
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
limit, descriptors = 64, []
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit if sys.argv[2] == "hard" else hard))
try:
    while True:
        descriptors.append(os.dup(0))
except OSError:
    pass
_interpreters.destroy(a)
for descriptor in descriptors:
    os.close(descriptor)
for _ in range(8):
    b = _interpreters.create()
    failed = _interpreters.exec(b, code + "declare.use(len)")
    assert failed is None, failed.errdisplay
    _interpreters.destroy(b)
"""


@pytest.mark.parametrize("limit", ["soft", "hard"])
def test_end_without_a_free_descriptor(limit, run, findings, flavor_python, version, tmp_path):
    """isan reads /proc/self/maps to count what an interpreter has left.  It raises the soft limit for that.  Where it cannot,
    the slot is not given to another interpreter."""
    build("declare.c", flavor_python("fast", version), tmp_path)
    run("-c", NO_DESCRIPTORS, tmp_path, limit, options="slots=4")
    owners = {f["owner"]["id"] for f in findings() if f["object"]["type"] == "bytearray"}
    assert owners == {1}
    assert ("bytearray" in {f["object"]["type"] for f in findings("leak")}) == (limit == "soft")


def test_soak(flavor_python, version):
    done = subprocess.run(
        [sys.executable, SOAK, "--python", flavor_python("fast", version), "--count", "150"],
        capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "flat: isan's own memory" in done.stdout
