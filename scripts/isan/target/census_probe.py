"""What the import of a module makes, for `isan census`, in the Python under test (3.11 to 3.14).

isan/census/imports.py runs it as  python -S -P census_probe.py (DESCRIPTOR, MODULE, PATH...)  under isan. It writes
events to the descriptor, a line each: ("creating", name, file or None) for each extension or built-in module;
("failed", type, text); or ("imported",), ("made", facts) for each module that MODULE stands for, and ("end",).

It sees only what is made after it has started. So it imports almost nothing before the module, and also watches what
`site` imports, .pth files included.
"""
import sys
from posix import write

HEAPTYPE = 1 << 9               # Include/object.h, Py_TPFLAGS_HEAPTYPE
TP_NAME = 3 * 8                 # Include/cpython/object.h, PyTypeObject
TP_SIZE = 51 * 8                # up to tp_vectorcall, after which there are no pointers
DEF_SIZE = 13 * 8               # Include/moduleobject.h, PyModuleDef

bootstrap, external = sys.modules["_frozen_importlib"], sys.modules["_frozen_importlib_external"]
of_type = {name: type.__dict__[name].__get__
           for name in ("__flags__", "__name__", "__qualname__", "__module__", "__dict__")}


def types():
    """All types that are ready: PyType_Ready() enters each with its base (Objects/typeobject.c, add_subclass)."""
    found, todo = {}, [object]
    while todo:
        one = todo.pop()
        if id(one) not in found:
            found[id(one)] = one
            todo += type.__subclasses__(one)
    return found


class Census:
    """Which types appear while a module is created and executed, without those of modules that it imports."""

    def __init__(self, tell):
        self.tell, self.known, self.at = tell, types(), [None]
        self.made = {}          # module -> types that appeared
        self.single = {}        # module -> whether it was in sys.modules as soon as it was created
        self.files = {}

    def settle(self):
        now = types()
        if self.at[-1] is not None:
            self.made[self.at[-1]] += [one for number, one in now.items() if number not in self.known]
        self.known.update(now)      # keeps the types alive, so that no other type gets their addresses

    def within(self, name, call, *arguments):
        if self.at[-1] is None and name is None:    # Python code importing Python code
            return call(*arguments)
        self.settle()
        self.at.append(name)
        try:
            return call(*arguments)
        finally:
            self.settle()
            self.at.pop()

    def watch(self):
        """Wrap the functions of an import.

        The import of a module that is not there yet calls importlib's _find_and_load (Python/import.c,
        import_find_and_load). Methods of the loaders then do the work.
        """
        find_and_load = bootstrap._find_and_load
        bootstrap._find_and_load = lambda name, import_: self.within(None, find_and_load, name, import_)
        for loader, wrap in (external.ExtensionFileLoader, lambda f: f), (bootstrap.BuiltinImporter, staticmethod):
            loader.create_module = wrap(self.creating(loader.create_module))
            loader.exec_module = wrap(self.executing(loader.exec_module))

    def creating(self, create):
        def create_module(*arguments):
            spec = arguments[-1]
            self.made.setdefault(spec.name, [])
            self.files[spec.name] = None if spec.origin == "built-in" else spec.origin
            self.tell("creating", spec.name, self.files[spec.name])
            module = self.within(spec.name, create, *arguments)
            # Multi-phase modules get there later (Python/import.c, _PyImport_FixupExtensionObject,
            # finish_singlephase_extension).
            self.single[spec.name] = spec.name in sys.modules
            return module
        return create_module

    def executing(self, execute):
        def exec_module(*arguments):
            spec = getattr(arguments[-1], "__spec__", None)
            name = getattr(spec, "name", None)
            return self.within(name if name in self.made else None, execute, *arguments)
        return exec_module


class Reader:
    """Reads types and memory, after the import."""

    def __init__(self):
        import ctypes
        import struct
        import os.path
        self.c, self.struct, self.realpath = ctypes, struct, os.path.realpath
        self.types = types()
        self.api = ctypes.pythonapi
        for name in "PyUnicode_AsUTF8", "PyModule_GetDef", "PyType_GetModule":
            function = getattr(self.api, name)
            function.restype, function.argtypes = ctypes.c_void_p, [ctypes.py_object]
        self.owner = ctypes.CDLL(None).isan_owner
        self.owner.restype, self.owner.argtypes = ctypes.c_longlong, [ctypes.c_void_p]
        self.maps, last = [], None      # (start, end, file); the memory after that of a file is the file's .bss
        with open("/proc/self/maps", errors="surrogateescape") as file:
            for line in file:
                span, _, _, _, _, *path = line.rstrip("\n").split(None, 5)
                start, end = (int(number, 16) for number in span.split("-"))
                last = path[0] if path and path[0].startswith("/") else None if path else last
                self.maps.append((start, end, last))

    def word(self, address):
        return self.c.c_uint64.from_address(address).value

    def kind(self, one):
        """How a type was made, as far as can be seen: (kind, name, module that it is bound to)."""
        name = self.c.string_at(self.word(id(one) + TP_NAME)).decode("utf-8", "backslashreplace")
        if not of_type["__flags__"](one) & HEAPTYPE:
            return "static", name, None
        if self.api.PyUnicode_AsUTF8(of_type["__name__"](one)) == self.word(id(one) + TP_NAME):
            # Objects/typeobject.c, type_new_set_names: the name is that of the object.
            return "called", "%s.%s" % (of_type["__module__"](one), of_type["__qualname__"](one)), None
        try:
            module = self.api.PyType_GetModule(one)
        except TypeError:
            sequence = issubclass(one, tuple) and "n_sequence_fields" in of_type["__dict__"](one)
            return "sequence" if sequence else "unbound", name, None
        return "bound", name, module

    def definition_of(self, module):
        """The address of its PyModuleDef, or None."""
        return self.api.PyModule_GetDef(module) if isinstance(module, type(sys)) else None

    def file_at(self, address):
        """The file that is mapped at an address, or None."""
        return next((file for start, end, file in self.maps if start <= address < end), None)

    def image(self, path):
        """(bias, ranges of memory that stay writable) of a loaded ELF file (elf(5))."""
        with open(path, "rb") as file:
            head = file.read(64)
            offset, = self.struct.unpack_from("<Q", head, 32)
            size, count = self.struct.unpack_from("<HH", head, 54)
            file.seek(offset)
            table = file.read(size * count)
        segments = [self.struct.unpack_from("<IIQQQQQQ", table, size * i) for i in range(count)]
        lowest = min(s[3] for s in segments if s[0] == 1) & -4096           # PT_LOAD
        base = min(start for start, _, file in self.maps if file == path) - lowest
        fixed = [(s[3], s[3] + s[6]) for s in segments if s[0] == 0x6474e552]   # PT_GNU_RELRO
        ranges = []
        for _, flags, _, start, _, _, memory, _ in (s for s in segments if s[0] == 1):
            if flags & 2:                                                   # PF_W
                for low, high in fixed:
                    if low <= start < high:
                        start, memory = high, memory - (high - start)
                ranges.append(((start + 7) & -8, start + memory))
        return base, ranges

    def held(self, base, ranges, without):
        """The words that refer to objects which belong to an interpreter: [(address in the file, type)].

        None: isan does not know this Python.
        """
        if self.owner(id(self.maps)) < 0:
            return None
        found, without = [], {address for low, high in without for address in range(low, high, 8)}
        for start, end in ranges:
            words = (self.c.c_uint64 * ((end - start) // 8)).from_address(base + start)
            for i, value in enumerate(words):
                if value < 4096 or value % 16 or value >> 47 or self.owner(value) < 0:
                    continue
                made_of = self.types.get(self.word(value + 8))
                if made_of is not None and base + start + 8 * i not in without:
                    found.append((start + 8 * i, self.kind(made_of)[1]))
        return found


def facts(reader, census, name, file, definition):
    """What is known of a module that is loaded. file: None if it is built in."""
    module = sys.modules.get(name)
    address = reader.definition_of(module)
    state, slots, declares = definition(address) if address else (None, None, None)
    # With slots it cannot be created in one phase (Objects/moduleobject.c, PyModule_Create2).
    single = not slots and census.single.get(name, True) if address else census.single.get(name)
    image = reader.realpath(file) if file else reader.file_at(address) if address else None
    base, ranges = reader.image(image) if image else (0, [])
    early = name not in census.made
    made = {id(one) for one in census.made.get(name, ())}
    values = {id(value): value for key, value in vars(module).items() if isinstance(value, type) and key[:2] != "__"}
    types_made, ready, without = [], {}, [(address, address + DEF_SIZE)] if address else []
    for one in {**values, **reader.types}.values():
        kind, type_name, bound = reader.kind(one)
        if kind == "static":
            if reader.file_at(id(one)) != image:
                continue
            without.append((id(one), id(one) + TP_SIZE))
            ready[id(one) - base] = type_name if id(one) in reader.types else None
            # No other module can have made a type that is not ready.
            if file or id(one) in made or id(one) not in reader.types:
                types_made.append((kind, type_name, id(one) - base))
            elif bears(type_name, name) and (early or id(one) in values):
                types_made.append(("static?", type_name, id(one) - base))
        elif id(one) in made or bound and bound == id(module) or early and not bound and (
                id(one) in values or bears(type_name, name) and (kind != "called" or type_name.startswith(name + "."))):
            types_made.append((kind, type_name, None))
    return {"name": name, "file": file, "image": image, "state": state, "early": early,
            "declares": "single-phase" if single else declares, "definition": address and address - base,
            "types": sorted(types_made, key=lambda each: each[:2]), "ready": ready,
            "held": reader.held(base, ranges, without)}


def selected(names, wanted):
    """The extensions that a name stands for: itself, those in its package, or its accelerator (_json for json)."""
    return ([name for name in names if name == wanted] or [name for name in names if name.startswith(wanted + ".")]
            or [name for name in names if name.partition(".")[0].strip("_") == wanted.partition(".")[0].strip("_")])


def bears(type_name, name):
    """Whether a type is named after a module: datetime.date after _datetime."""
    prefix, dot, _ = type_name.rpartition(".")
    return (prefix if dot else "builtins").strip("_") == name.strip("_")


def main():
    descriptor, wanted, *path = eval(sys.argv[1], {"__builtins__": {}})     # a literal that census/imports.py has made

    def tell(*event):
        write(descriptor, (ascii(event) + "\n").encode())

    scripts = sys.argv[0].rpartition("/")[0]
    sys.argv[:] = [""]
    census = Census(tell)
    census.watch()
    import site
    site.main()
    sys.path[:0] = path
    try:
        __import__(wanted)
    except BaseException as error:
        return tell("failed", type(error).__name__, str(error))
    tell("imported")
    made = dict(census.files)
    module = sys.modules[wanted]
    spec = getattr(module, "__spec__", None)
    if wanted not in made and (getattr(spec, "origin", None) == "built-in" or isinstance(
            getattr(spec, "loader", None), external.ExtensionFileLoader)):
        made[wanted] = None if spec.origin == "built-in" else spec.origin
    try:
        reader = Reader()
    except ImportError as error:
        return tell("failed", "", "this Python has no ctypes (%s), without which its modules cannot be read" % error)
    sys.path.insert(0, scripts)
    from check_target import definition
    for name in selected([name for name in made if name in sys.modules], wanted):
        tell("made", facts(reader, census, name, made[name], definition))
    tell("end")


main()
