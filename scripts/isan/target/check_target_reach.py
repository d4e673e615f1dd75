"""What a module reaches, for `isan check`: run in each own-GIL interpreter after the exercise.

Interpreters with GILs of their own may share only objects that never change: those that are immortal and immutable, and
what CPython itself shares. check_target.py runs this in two interpreters that are alive at the same time. The first
one ("hold") writes the addresses of all objects that it reaches from the module, and keeps the objects, so that no
address can become that of another object. The second one ("compare") does the same and tells what both reach. Then
the first one lets go ("release").

Only built-in modules are imported, because isan also sees what this loads.
"""
import gc
import sys

STATIC_BUILTIN, HEAPTYPE = 1 << 1, 1 << 9       # Include/object.h, tp_flags
TOLD = 500              # how many objects of single-phase modules are told one by one, and how many others
MODULE, FUNCTION = type(sys), type(lambda: None)
BUILTIN, METHOD, CLASS_METHOD = type(len), type(str.join), type(dict.__dict__["fromkeys"])
CYTHON = "cython_function_or_method"            # the type of Cython's functions
# Objects of these types cannot change. Their items are looked at, too.
IMMUTABLE = {id(one) for one in (
    object, type(None), bool, type(...), type(NotImplemented), int, str, bytes, float, complex, tuple, frozenset, range,
    slice, type(compile("", "", "exec")))}
flags_of = type.__dict__["__flags__"].__get__
dict_of_type = type.__dict__["__dict__"].__get__
module_of_type = type.__dict__["__module__"].__get__
name_of_type = type.__dict__["__name__"].__get__
mro_of_type = type.__dict__["__mro__"].__get__
dict_of_module = MODULE.__dict__["__dict__"].__get__


def is_immortal(thing):
    """Since 3.12 the lower half of an immortal object's count is negative (Include/refcount.h, _Py_IsImmortal)."""
    return bool(sys.getrefcount(thing) & 1 << 31)


def is_type(thing):
    """isinstance() would ask the object for its __class__, and so run code of the module."""
    return issubclass(type(thing), type)


def is_method(thing):
    """`in` would compare types with ==, and so run code of a metaclass."""
    return type(thing) is METHOD or type(thing) is CLASS_METHOD


def made_in(thing):
    """The name of the module that a type, a function or an instance's type says it is of, or ""."""
    kind, of = type(thing), thing
    if is_method(thing):
        of = thing.__objclass__
    elif kind is BUILTIN and not thing.__module__ and is_type(thing.__self__):
        of = thing.__self__         # a static method
    elif kind is not BUILTIN and kind is not FUNCTION and not is_type(thing):
        of = kind
    try:
        name = module_of_type(of) if is_type(of) else of.__module__
    except AttributeError:          # the name in a PyType_Spec may have no dot
        return ""
    return name if type(name) is str else ""


class Reach:
    """All objects that are reached from the modules that belong to a module, each with the one that leads to it.

    given: "module", "names" (its extensions), "single" (the single-phase extensions that are loaded with it).
    """

    def __init__(self, given):
        self.tops = {name.partition(".")[0] for name in [given["module"], *given["names"]]}
        self.names, self.single = given["names"], given["single"]
        loaded = {name: module for name, module in sys.modules.items() if issubclass(type(module), MODULE)}
        own = {name: module for name, module in loaded.items() if name.partition(".")[0] in self.tops}
        self.others = {name: module for name, module in loaded.items() if name not in own and name != "builtins"}
        # What single-phase modules lead to comes first, so that it is known as theirs.
        roots = sorted(own, key=lambda name: (name not in self.single, name))
        mine = {id(module) for module in own.values()}
        # The namespaces of other modules lead to everything.
        self.closed = {id(sys.modules)}
        for module in loaded.values():
            if id(module) not in mine:
                self.closed |= {id(module), id(dict_of_module(module))}
        self.objects, self.parents, self.seen, self.roots, self.walked = [], [], set(), {}, 0
        for name in roots:
            if id(own[name]) not in self.seen:
                self.roots[len(self.objects)] = name
                self.reach(own[name], None)
            self.walk()

    def reach(self, thing, parent):
        if id(thing) not in self.seen:
            self.seen.add(id(thing))
            self.objects.append(thing)
            self.parents.append(parent)

    def walk(self):
        while self.walked < len(self.objects):
            for one in self.referents(self.objects[self.walked]):
                self.reach(one, self.walked)
            self.walked += 1

    def referents(self, thing):
        if id(thing) in self.closed:
            return ()
        if not is_type(thing):
            return [type(thing), *gc.get_referents(thing)]
        if flags_of(thing) & (STATIC_BUILTIN | HEAPTYPE) == STATIC_BUILTIN:
            return ()           # each interpreter has a dictionary of it (Objects/typeobject.c, lookup_tp_dict)
        # type_traverse() in Objects/typeobject.c visits heap types only; a type's dictionary is behind a proxy.
        found = gc.get_referents(thing) if flags_of(thing) & HEAPTYPE else list(mro_of_type(thing))
        found += gc.get_referents(dict_of_type(thing))
        return found + type.__subclasses__(thing) if self.is_own(thing) else found

    def is_own(self, thing):
        return made_in(thing).partition(".")[0] in self.tops

    def other(self, at, is_mine):
        """The other module that an object comes of, or None. is_mine(thing): whether it is in a file of the module.

        Types and functions say of which module they are. If that module has another object here, it is the module's own
        doing that it holds this one. What they lead to, such as a type's dictionary, is of the same module.
        """
        while at is not None:
            thing = self.objects[at]
            thing = thing.__objclass__ if is_method(thing) else thing
            if self.is_own(thing) or is_mine(thing):
                return None
            if is_type(thing) or type(thing) is BUILTIN:
                name = made_in(thing)
                static = is_type(thing) and not flags_of(thing) & HEAPTYPE
                return name if name in self.others and (static or any(
                    one is thing for one in dict_of_module(self.others[name]).values())) else None
            at = self.parents[at]
        return None

    def path(self, at):
        """How Python code gets to an object."""
        steps = []
        while self.parents[at] is not None:
            parent = self.parents[at]
            step = self.step(self.objects[parent], self.objects[at], self.parents[parent])
            last = not steps and is_type(self.objects[parent]) and type(self.objects[at]) is dict
            steps.append(".__dict__" if last and not step else step)
            at = parent
        return self.roots[at] + "".join(reversed(steps))

    def step(self, parent, thing, above):
        if type(parent) is dict:
            key = next((key for key, value in parent.items() if value is thing), None)
            if type(key) is str:
                whose = type(None if above is None else self.objects[above])
                return "." + key if issubclass(whose, (MODULE, type)) else "[%r]" % key
        if is_type(parent):        # of a static type only the dictionary's items are referents
            key = next((key for key, value in dict_of_type(parent).items() if value is thing), None)
            return "." + key if type(key) is str else ""
        if type(parent) is list or type(parent) is tuple:
            return "[%d]" % next(i for i, value in enumerate(parent) if value is thing)
        return ""

    def copied_from(self, at):
        """The single-phase module that an object comes of, or None."""
        name = made_in(self.objects[at])
        while name not in self.single and self.parents[at] is not None:
            at = self.parents[at]
        name = name if name in self.single else self.roots.get(at)
        return name if name in self.single else None

    def counted(self):
        """(functions and methods written in C, types) of the module, by id.

        They say that they are the module's, or an extension has them in its namespace.
        """
        spaces = [dict_of_module(sys.modules[name]).values() for name in self.names if name in sys.modules]
        named = {id(one) for space in spaces for one in space
                 if not (is_type(one) and flags_of(one) & STATIC_BUILTIN)}
        mine = [one for one in self.objects if id(one) in named or self.is_own(one)]
        types = {id(one) for one in mine if is_type(one)}
        functions = {id(one) for one in mine if type(one) is BUILTIN or name_of_type(type(one)) == CYTHON}
        return functions | {id(one) for one in self.objects
                            if is_method(one) and id(one.__objclass__) in types}, types


class Images:
    """The files that the process has mapped."""

    def __init__(self):
        import posix
        fd, text = posix.open("/proc/self/maps", posix.O_RDONLY), b""
        while True:
            part = posix.read(fd, 1 << 16)
            if not part:
                break
            text += part
        posix.close(fd)
        self.program, self.maps, last, before = posix.readlink("/proc/self/exe"), [], None, None
        for line in text.decode("utf-8", "surrogateescape").splitlines():
            span, _, _, _, _, *path = line.split(None, 5)
            start, end = (int(number, 16) for number in span.split("-"))
            # The memory without a name right after that of a file is the file's .bss.
            last = path[0] if path and path[0][0] == "/" else last if not path and start == before else None
            before = end
            self.maps.append((start, end, last))

    def file_of(self, address):
        return next((file for start, end, file in self.maps if start <= address < end), None)

    def of_cpython(self, address, files):
        """Whether an address is in static storage of CPython or its standard library, and not in these files."""
        file = self.file_of(address)
        return bool(file) and file not in files and (
            file == self.program or "/lib-dynload/" in file or file.rpartition("/")[2].startswith("libpython3"))


def compare(given, tell, owner, reach, others):
    """Tell which objects are in reach here and belong to another interpreter, or are in reach there, too."""
    here, images, shared, told, by_others = owner([]), Images(), 0, {}, {}

    def is_mine(thing):
        return owner(thing) < 0 and images.file_of(id(thing)) in given["files"]

    for at, thing in enumerate(reach.objects):
        whose = owner(thing)
        if id(thing) not in others and whose in (-1, here):
            continue
        static = is_type(thing) and not flags_of(thing) & HEAPTYPE
        if static and flags_of(thing) & STATIC_BUILTIN or id(type(thing)) in IMMUTABLE and is_immortal(thing) \
                or whose < 0 and images.of_cpython(id(thing), given["files"]):
            continue
        single = reach.copied_from(at)
        other = reach.other(at, is_mine) if static or single is None else None
        if other:
            by_others[other] = by_others.get(other, 0) + 1
            continue
        shared += 1
        told[single is None] = told.get(single is None, 0) + 1
        if told[single is None] <= TOLD:
            tell("shared", {"path": reach.path(at), "type": name_of_type(type(thing)), "static_type": static,
                            "owner": None if whose < 0 else whose, "single_phase": single})
    tell("compared", len(reach.objects), shared, by_others)


def main(given):
    import posix
    import __main__
    import _isan                # added by libisan.so
    tell, fd = given["tell"], given["addresses"]
    _isan.ignore_begin("isan check compares what interpreters hold")
    try:
        if given["phase"] == "release":
            del __main__.isan_check_reach
            return
        reach = Reach(given)
        if given["phase"] == "hold":
            __main__.isan_check_reach = reach
            posix.write(fd, b"".join(id(one).to_bytes(8, "little") for one in reach.objects))
        else:
            data = posix.pread(fd, posix.fstat(fd).st_size, 0)
            others = {int.from_bytes(data[i:i + 8], "little") for i in range(0, len(data), 8)}
            compare(given, tell, _isan.owner, reach, others)
            del reach, others
    finally:
        _isan.ignore_end()


if "isan_check" in globals():
    main(globals()["isan_check"])
