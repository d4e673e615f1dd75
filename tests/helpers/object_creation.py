"""The ways CPython makes an object, each checked for the owner tag it gets.

    PYTHONPATH=tests python tests/helpers/object_creation.py WAY      under an instrumented Python

runs one of the functions below in the main interpreter, then in a legacy and
in an isolated one.  tests/detect/test_owner_tags.py runs them all.
"""
import asyncio
import contextvars
import ctypes
import gc
import sys
import threading
import types
import weakref

from helpers import owner_tags as tags

api = ctypes.pythonapi
MINE = tags.slot(id(tags))
SIZES = 1, 16, 17, 32, 33, 48, 512, 513, 4096, 100_000, 16382 * 16, 16382 * 16 + 1, 16383 * 16, 1 << 20


def function(name, result, *arguments):
    return ctypes.PYFUNCTYPE(result, *arguments)((name, api))


def rounded(size):
    return max(2 * tags.GRANULE, -(-size // tags.GRANULE) * tags.GRANULE)


def owned(o, before=None, size=None):
    """The object has its tag, and so has its block; `before` bytes come first."""
    block = tags.Block(id(o))
    assert block.slot == MINE, f"{type(o)} has slot {block.slot}, not {MINE}"
    assert {word & 0xffff for word in block.words} == {MINE}, block.words
    assert block.objects == [id(o)], f"{type(o)}: {block.objects}, not {id(o):#x}"
    assert before is None or id(o) - block.start == before, f"{type(o)}: {id(o) - block.start} bytes before it"
    least = id(o) - block.start + (size or type(o).__basicsize__)
    assert least <= block.size, f"{type(o)} of {least} bytes in a block of {block.size}"
    assert not block.flags & (tags.RAW | tags.FREED), hex(block.words[0])
    return block


def memory(address, size, flags=0, slot=None):
    """A block without an object."""
    block = tags.Block(address)
    assert block.start == address and not block.objects, (hex(address), block.objects)
    assert block.slot == (MINE if slot is None else slot), block.slot
    assert block.size == rounded(size), (size, block.size)
    assert block.flags & (tags.RAW | tags.FREED) == flags, hex(block.words[0])
    return block


def static(o):
    assert tags.word(id(o)) == 0, f"{o!r} has the tag {tags.word(id(o)):#x}"


def small_objects():
    kept = [object() for _ in range(1000)] + [2.5 * i for i in range(1000)] + [10**i for i in range(20, 100)]
    for o in kept:
        owned(o, before=0)


def large_objects():
    for size in 600, 5000, 100_000, 1 << 20, 5 << 20:
        owned(bytes(size), before=0, size=size)
        owned("x" * size, before=0, size=size)
        owned((None,) * size, before=16, size=8 * size)


def blocks_of(prefix, flags):
    malloc = function(prefix + "Malloc", ctypes.c_void_p, ctypes.c_size_t)
    calloc = function(prefix + "Calloc", ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
    realloc = function(prefix + "Realloc", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    free = function(prefix + "Free", None, ctypes.c_void_p)
    moved = stayed = 0
    for size in SIZES:
        memory(p := malloc(size), size, flags)
        memory(q := calloc(size, 1), size, flags)
        origin = tags.Block(p).origin
        ctypes.memset(p, 42, size)
        for new in size + 1, 3 * size, 3 * size + 5, size, max(size * 9 // 10, 1), 2 * size:
            old, p = p, realloc(p, new)
            block = memory(p, new, flags)
            assert block.origin == origin, "realloc is no new origin"
            assert ctypes.string_at(p, 1) == b"*"
            if p == old:
                stayed += 1
            else:
                moved += 1
        free(p)
        free(q)
    assert moved > 5 and stayed > 5, (moved, stayed)
    p = realloc(None, 100)
    memory(p, 100, flags)
    free(p)


def mem_domain():
    blocks_of("PyMem_", 0)


def object_domain():
    blocks_of("PyObject_", 0)


def raw_domain():
    blocks_of("PyMem_Raw", tags.RAW)


def freed_memory_has_no_tag():
    for prefix in "PyMem_", "PyObject_", "PyMem_Raw":
        malloc = function(prefix + "Malloc", ctypes.c_void_p, ctypes.c_size_t)
        realloc = function(prefix + "Realloc", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        free = function(prefix + "Free", None, ctypes.c_void_p)
        for size in 1, 33, 64, 512, 5000, 300_000:
            blocks = [malloc(size) for _ in range(200 if size < 10_000 else 20)]
            blocks += [realloc(malloc(2 * size), size) for _ in blocks]
            before = [malloc(size) for _ in blocks]
            blocks += [q for p, q in zip(before, [realloc(p, 5 * size + 100) for p in before]) if p != q]
            places = [p + i for p in blocks for i in range(0, min(tags.Block(p).size, 4 * tags.GRANULE), tags.GRANULE)]
            for p in blocks:
                free(p)
            # Some of it is in use again, by this very loop.
            left = [p for p in places if tags.word(p)]
            assert len(left) <= len(blocks) // 5, (prefix, size, len(left), len(blocks))
            assert not any(tags.word(p) & tags.FREED for p in left)


def lists_that_grow():
    grown, addresses = [], set()
    field = ctypes.c_void_p.from_address(id(grown) + object.__basicsize__ + 8)     # ob_item
    for i in range(100_000):
        grown.append(i)
        if field.value not in addresses or not i & i + 1:
            addresses.add(field.value)
            block = tags.Block(field.value)
            assert (block.start, block.slot, block.objects) == (field.value, MINE, [])
            assert block.size >= 8 * len(grown)
    owned(grown, before=16)
    del grown[50:]
    assert tags.Block(field.value).size < 1000 and tags.Block(field.value).slot == MINE


def strings_that_are_resized():
    bytes_resize = function("_PyBytes_Resize", ctypes.c_int, ctypes.c_void_p)
    new = function("PyBytes_FromStringAndSize", ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ssize_t)
    for size in 3, 20, 100, 1000, 1_000_000:
        for to in size + 1, size + 20, 10 * size, size // 2 + 1:
            cell = ctypes.c_void_p(new(b"x" * size, size))
            assert bytes_resize(ctypes.addressof(cell), to) == 0
            o = ctypes.cast(cell, ctypes.py_object).value
            assert len(o) == to
            owned(o, before=0, size=sys.getsizeof(o))
            api.Py_DecRef(cell)
    s = ""
    for i in range(3000):
        s += "\u1234" if i > 2000 else "x"         # resized in place: the only reference
        if i > 2:
            owned(s, before=0, size=sys.getsizeof(s))
    s = b"".join(bytes([i & 255]) for i in range(5000))
    owned(s, before=0, size=sys.getsizeof(s))


def bytearrays():
    b = bytearray()
    for i in range(5000):
        b.append(i & 255)
        memory_of = (ctypes.c_char * len(b)).from_buffer(b)
        block = tags.Block(ctypes.addressof(memory_of))
        assert block.slot == MINE and block.size >= len(b) and not block.objects
        del memory_of
    owned(b, before=0)


def gc_objects():
    for o in [], {}, set(), (1, []), lambda: 0, iter([]), frozenset([1]), memoryview(b"x"), (i for i in ()):
        if gc.is_tracked(o):
            owned(o, before=16)


def instances():
    class Plain:
        pass

    class Slots:
        __slots__ = "a", "b"

    class SlotsAndWeak:
        __slots__ = "a", "__weakref__"

    class OfInt(int):
        pass

    class OfTuple(tuple):
        pass

    class OfDict(dict):
        pass

    class Many:
        def __init__(self):
            for i in range(100):
                setattr(self, f"a{i}", i)

    owned(Slots(), before=16)
    owned(SlotsAndWeak(), before=32 if SlotsAndWeak.__weakrefoffset__ < 0 else 16)
    for cls in Plain, Many, OfDict:
        o = cls()
        owned(o, before=32)
        o.a = 1                                 # inline values
        owned(o, before=32)
        d = o.__dict__                          # materialised
        owned(d, before=16)
        d["b"] = 2
        r = weakref.ref(o)
        owned(r, before=16)
        owned(o, before=32)
        assert r() is o
        o.__dict__ = {"c": 3}
        owned(o, before=32)
        owned(o.__dict__, before=16)
        kept, o = o.__dict__, None
        owned(kept, before=16)
        owned(d, before=16)
    owned(OfInt(10**30))
    owned(OfTuple(range(100)), size=object.__basicsize__ + 808)
    for i in range(300):
        o = OfTuple(range(i))
        o.x = i
        owned(o, size=tuple.__basicsize__ + 8 * i)


def free_lists():
    """An object that CPython takes from a free list has a new creation site."""
    one = 1.0
    ways = {
        float: (lambda: one * 1.5, lambda: one + 2.5),
        tuple: (lambda: (one, [], 1), lambda: (2, one, [])),
        list: (lambda: [one], lambda: [one, 2]),
        dict: (lambda: {"a": one}, lambda: {one: 2}),
        slice: (lambda: slice(one, 2), lambda: slice(3, one)),
        contextvars.Context: (contextvars.copy_context, lambda: contextvars.copy_context()),
    }
    for cls, (first, second) in ways.items():
        for _ in range(50):
            o = first()
            assert type(o) is cls
            address, origin = id(o), owned(o).origin
            o = None
            o = second()
            block = owned(o)
            if id(o) == address:
                assert block.origin != origin, cls
                break
        else:
            assert cls is slice, f"no {cls} was made again in the same memory"


def generators():
    def generator():
        yield 1

    async def coroutine():
        pass

    async def agen():
        yield 1

    for _ in range(3):
        for make in generator, coroutine, agen:
            o = make()
            owned(o, before=16)
            if make is coroutine:
                o.close()
        g = generator()
        next(g)
        owned(g, before=16)
        owned(g.gi_frame, before=16)

    async def main():
        a = agen()
        n = a.__anext__()
        owned(n, before=16)
        assert await n == 1
        owned(a)
        await a.aclose()
        f = asyncio.get_running_loop().create_future()
        owned(f)
        f.set_result(None)
        t = asyncio.ensure_future(coroutine())
        owned(t)
        await t
    asyncio.run(main())


def var_sized():
    for name, cls, before in ("_PyObject_GC_NewVar", tuple, 16), ("_PyObject_NewVar", bytes, 0):
        new = function(name, ctypes.c_void_p, ctypes.py_object, ctypes.c_ssize_t)
        for n in 3, 30, 300, 300_000:
            address = new(cls, n)
            ctypes.memset(address + tuple.__basicsize__, 0, cls.__itemsize__ * n)
            o = ctypes.cast(address, ctypes.py_object).value
            owned(o, before, cls.__basicsize__ + cls.__itemsize__ * n)
            api.Py_DecRef(ctypes.c_void_p(address))
    new = function("_PyObject_GC_NewVar", ctypes.c_void_p, ctypes.py_object, ctypes.c_ssize_t)
    resize = function("_PyObject_GC_Resize", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ssize_t)
    for n in 3, 30, 300, 300_000:
        for to in n + 1, 2 * n, 20 * n, n - 1:
            address = resize(new(tuple, n), to)
            ctypes.memset(address + tuple.__basicsize__, 0, 8 * to)
            owned(ctypes.cast(address, ctypes.py_object).value, 16, tuple.__basicsize__ + 8 * to)
            api.Py_DecRef(ctypes.c_void_p(address))


def types_modules_code():
    class Class:
        def method(self):
            return super().method

    class Sub(Class, dict):
        __slots__ = "x", "y", "z"

    from _struct import Struct
    for o in Class, Sub, Struct, type("T", (), {}), types.SimpleNamespace, types.GenericAlias(list, int), list[int]:
        if o is not types.SimpleNamespace:      # a static type
            owned(o)
    for o in Class, Sub, Struct, type("T", (), {}):
        owned(o.__mro__)
        owned(vars(o))
    for o in types.ModuleType("m"), sys, gc, ctypes, sys.modules, sys.modules["builtins"]:
        owned(o)
    code = compile("def f(x, *, y=[]):\n    return x\nz = [f(i) for i in ()]\n", "m.py", "exec")
    names = {}
    exec(code, names)
    for o in code, code.co_consts, names["f"], names["f"].__code__, names["f"].__kwdefaults__, names:
        owned(o)
    for o in Class.method, Class().method, len, [].append, property(), classmethod(len), str.join.__get__("x"):
        owned(o)
    owned((lambda: code).__closure__[0])


def exceptions():
    for _ in range(20):                         # MemoryError has a free list
        # An error, its frame and this list are a cycle.  It is broken here, before the collector runs: if errors pile up,
        # the free list runs out, and CPython raises a MemoryError inside the interpreter's state (Objects/exceptions.c).
        error, caught = None, []
        for provoke in "1/0", "[][1]", "{}[1]", "bytearray(1 << 62)", "nothing", "len.nothing", "def":
            try:
                eval(provoke)
            except Exception as error:
                caught.append(error)
        assert len(caught) == 7
        for error in caught:
            owned(error)
            owned(error.__traceback__)
            owned(error.__traceback__.tb_frame)
            if error.args:                      # () is static
                owned(error.args)
        owned(ExceptionGroup("g", caught))
        caught.clear()


def static_objects():
    # A constant b"x" that is read from a .pyc file is an object of its own (Python/marshal.c).
    for o in (None, True, False, ..., NotImplemented, 0, 1, -5, 255, "", "a", b"", "x".encode(), (), int, type, object, str,
              dict, ValueError, type(None), types.FunctionType):
        static(o)


def threads():
    def work():
        kept = []
        for i in range(500):
            kept += [[i], {"i": i}, (i, kept), float(i), str(i) * 50, object(), bytes(600)]
        for o in kept:
            owned(o)
        done.append(kept)

    done = []
    running = [threading.Thread(target=work) for _ in range(4)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert len(done) == 4
    for kept in done:
        for o in kept:
            owned(o)


WAYS = {name: f for name, f in dict(globals()).items()
        if isinstance(f, types.FunctionType) and f.__module__ == __name__ and not f.__code__.co_argcount}

if __name__ == "__main__":
    import _interpreters
    way = sys.argv[1]
    WAYS[way]()
    print("main", MINE, flush=True)
    for kind in "legacy", "isolated":
        interpreter = _interpreters.create(kind)
        failed = _interpreters.exec(interpreter, f"""
from helpers import object_creation
object_creation.WAYS[{way!r}]()
print({kind!r}, object_creation.MINE, flush=True)
""")
        _interpreters.destroy(interpreter)
        if failed is not None:
            sys.exit(f"in an interpreter that is {kind}: {failed.errdisplay}")
