"""One step of `isan check`, in the Python under test (3.11 to 3.14).

It imports the module in interpreters and has it exercised there. isan/check/run.py starts it and reads the events that
it writes. It imports as little as it can, and in other interpreters than the main one only built-in modules, because
isan also sees what it loads.
"""
import importlib.machinery
import os.path
import posix
import sys
import threading
from posix import write

try:
    import _interpreters
except ImportError:                 # before 3.13
    import _xxsubinterpreters as _interpreters

HERE = os.path.dirname(os.path.abspath(__file__))

# The code that an interpreter runs. It writes an event before each action, so that the last one is what crashed or
# hung.
TASK = """\
def _task():
    import posix, sys
    def tell(*event):
        posix.write({fd}, (ascii(event) + "\\n").encode())
    tell("begin", {number}, {phase!r})
    sys.path[:], sys.argv = {path!r}, [{file!r}]
    try:
        if {force}:
            import _imp
            _imp._override_multi_interp_extensions_check(-1)
        if {phase!r} == "import":
            for name in [{module!r}] * bool({module!r}) + {given!r}["names"]:
                if name not in sys.modules:     # its package has not imported it in this interpreter
                    tell("importing", {number}, name)
                    __import__(name)
        else:
            exec(compile({source!r}, {file!r}, "exec"), dict(
                __name__="__main__", __file__={file!r},
                isan_check=dict({given!r}, phase={phase!r}, tell=lambda what, *more: tell(what, {number}, *more))))
    except BaseException as error:
        if not isinstance(error, SystemExit) or error.code:
            return tell("failed", {number}, {phase!r}, type(error).__name__, str(error))
    tell("done", {number}, {phase!r})
_task()
"""


class Step:
    def __init__(self, job):
        self.job, self.count, self.lock = job, 0, threading.Lock()

    def tell(self, *event):
        write(self.job["fd"], (ascii(event) + "\n").encode())

    def task(self, number, phase):
        job = self.job
        source, file = (job["source"], job["file"]) if phase in ("import", "exercise") else self.reach
        return TASK.format(fd=job["fd"], number=number, phase=phase, path=sys.path, module=job["module"],
                           source=source, file=file, given=job["given"],
                           force=bool(job["force"] and number and job["kind"] == "isolated"))

    def create(self):
        kind = self.job["kind"]
        with self.lock:
            self.count += 1
            number = self.count
        id = _interpreters.create(kind) if hasattr(_interpreters, "exec") else _interpreters.create(
            isolated=kind == "isolated")
        return number, id

    def run(self, interpreter, phase):
        number, id = interpreter
        source = self.task(number, phase)
        if hasattr(_interpreters, "exec"):
            failed = _interpreters.exec(id, source)
            if failed is not None:
                raise SystemExit(failed.errdisplay)
        else:
            _interpreters.run_string(id, source)

    def end(self, interpreter):
        self.tell("begin", interpreter[0], "end")
        _interpreters.destroy(interpreter[1])
        self.tell("done", interpreter[0], "end")

    def phases(self):
        """What is done in an interpreter. Without a module, to compare with, that is the import of the others alone."""
        return ("import", "exercise") if self.job["module"] else ("import",)

    # -- steps -------------------------------------------------------------------

    def main(self):
        exec(self.task(0, "import"), {"__name__": "isan_check"})
        sys.path.insert(0, HERE)
        from check_target_tried import Tried
        sys.path.remove(HERE)
        with Tried() as tried:
            exec(self.task(0, "exercise"), {"__name__": "isan_check"})
        try:
            counts = tried.counts(self.job["given"])
        except Exception:       # the verdict does not depend on the counts
            return
        self.tell("tried", 0, counts)

    def sequential(self):
        """One interpreter that ends before the next begins; then two that overlap."""
        phases = self.phases()
        one = self.create()
        for phase in phases:
            self.run(one, phase)
        self.end(one)
        two, three = self.create(), self.create()
        for phase in phases:
            for interpreter in two, three:
                self.run(interpreter, phase)
        if self.job["module"] and self.job["kind"] == "isolated":
            self.compare(two, three)
        self.end(two)
        for phase in phases[1:]:
            self.run(three, phase)
        self.end(three)

    def compare(self, one, other):
        """Tell which objects both interpreters reach from the module."""
        file = os.path.join(HERE, "check_target_reach.py")
        with open(file, encoding="utf-8") as stream:
            self.reach = stream.read(), file
        try:
            self.job["given"]["addresses"] = posix.memfd_create("isan check")
        except (AttributeError, OSError) as error:      # the C library or the kernel has none, or a sandbox forbids it
            return self.tell("failed", 0, "hold", type(error).__name__, str(error))
        for phase, interpreter in ("hold", one), ("compare", other), ("release", one):
            self.run(interpreter, phase)

    def parallel(self):
        """Twice: all interpreters import at a time, then all exercise, then all end."""
        phases = self.phases()
        barrier = threading.Barrier(self.job["interpreters"])
        failures = []

        def thread():
            try:
                for _ in range(2):
                    interpreter = self.create()
                    for phase in phases:
                        barrier.wait()
                        self.run(interpreter, phase)
                    barrier.wait()
                    self.end(interpreter)
            except BaseException as error:
                failures.append(error)
                barrier.abort()

        threads = [threading.Thread(target=thread) for _ in range(self.job["interpreters"])]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        for error in failures:
            if not isinstance(error, threading.BrokenBarrierError):
                raise error

    def list_extensions(self):
        """Tell which extensions the module consists of, and what they declare.

        A single-phase extension is in sys.modules as soon as it has been created (Python/import.c,
        _PyImport_FixupExtensionObject, finish_singlephase_extension). The others get there later.
        """
        loader = importlib.machinery.ExtensionFileLoader
        create = loader.create_module
        seen = {}

        def create_module(self, spec):
            sys.modules.pop(spec.name, None)
            frame = sys._getframe(1)
            while frame and frame.f_code.co_filename.startswith("<frozen importlib"):
                frame = frame.f_back
            importer = frame.f_globals.get("__name__") if frame else None
            made = create(self, spec)
            seen[spec.name] = [spec.name, spec.origin, spec.name in sys.modules, importer]
            return made

        name, left_out = self.job["module"], set(self.job["given"]["skip"])
        loader.create_module = create_module
        try:
            __import__(name)
            module = sys.modules[name]
            spec = getattr(module, "__spec__", None)
            self.tell("module", getattr(spec, "origin", None))
            # A package may not need some of its extensions, or load them later.
            for name in extensions_of(module):
                if name not in sys.modules:
                    if name in left_out or {"test", "tests"} & set(name.replace("_", ".").split(".")):
                        why = "its import ends the process" if name in left_out else "it is for tests"
                        self.tell("unloaded", name, why)
                        continue
                    self.tell("importing", 0, name)
                    try:
                        __import__(name)
                    except Exception as error:
                        self.tell("unloaded", name, "%s: %s" % (type(error).__name__, error))
        except BaseException as error:
            return self.tell("failed", 0, "import", type(error).__name__, str(error))
        finally:
            loader.create_module = create
        name = module.__name__
        if isinstance(getattr(spec, "loader", None), loader) and name not in seen:      # loaded before
            seen[name] = [name, spec.origin, None, None]
        for name, origin, single, importer in seen.values():
            if name in sys.modules:
                self.tell("extension", name, origin, importer, *declared(name, origin, single))


def extensions_of(package):
    """The names of the extensions below a package."""
    import os
    for directory in getattr(package, "__path__", ()):
        for at, directories, files in os.walk(directory):
            directories.sort()
            for file in sorted(files):
                name = file.partition(".")[0]
                if file[len(name):] in importlib.machinery.EXTENSION_SUFFIXES and name.isidentifier():
                    inside = os.path.relpath(at, directory)
                    with open(os.path.join(at, file), "rb") as stream:
                        if init_of(name).encode() in stream.read():
                            yield ".".join([package.__name__, *([] if inside == "." else inside.split(os.sep)), name])


def init_of(name):
    """PEP 489."""
    return "PyInit_" + name if name.isascii() else "PyInitU_" + name.encode("punycode").decode().replace("-", "_")


def declared(name, origin, single):
    """What an extension declares, and the size of its module state, or None: single-phase, or not known.

    Last the offset in the file of a single-phase definition, or None.
    """
    try:
        import ctypes
    except ImportError:
        return "single-phase" if single else "multi-phase", None, None
    if single:
        return "single-phase", None, offset_of(single_phase_definition(sys.modules[name]))
    function = getattr(ctypes.PyDLL(origin), init_of(name.rpartition(".")[2]))
    function.restype = ctypes.c_void_p
    address = function()
    if single is None:      # what the function returned is a definition or a module
        kind = ctypes.cast(address + tuple.__itemsize__, ctypes.POINTER(ctypes.c_void_p))[0]
        if ctypes.cast(kind, ctypes.py_object).value.__name__ != "moduledef":
            return "single-phase", None, offset_of(single_phase_definition(sys.modules[name]))
    size, _, support = definition(address)
    return support, size, None


def single_phase_definition(module):
    """The address of a module's PyModuleDef, or None."""
    import ctypes
    function = ctypes.pythonapi.PyModule_GetDef
    function.restype, function.argtypes = ctypes.c_void_p, [ctypes.py_object]
    return function(module) if isinstance(module, type(sys)) else None


def offset_of(address):
    """The offset of a static from the start of its file in memory (dladdr(3)), or None."""
    import ctypes
    found = (ctypes.c_void_p * 4)()         # Dl_info; its second member is the start
    if not address or not ctypes.CDLL(None).dladdr(ctypes.c_void_p(address), found):
        return None
    return address - found[1]


def definition(address):
    """Reads a PyModuleDef: (size of the module state, whether it has slots, what a multi-phase module declares)."""
    import ctypes

    # Include/moduleobject.h: PyModuleDef_Base is an object and three words. Then follow m_name, m_doc, m_size,
    # m_methods and m_slots.
    word = tuple.__itemsize__
    words = ctypes.cast(address + object.__basicsize__ + 3 * word, ctypes.POINTER(ctypes.c_ssize_t))
    size, slots = words[2], words[4]
    if sys.version_info < (3, 12):      # there is no slot for more
        return size, bool(slots), "multi-phase"
    support = 1         # without the slot (Objects/moduleobject.c)
    slot = slots
    while slot:
        kind = ctypes.cast(slot, ctypes.POINTER(ctypes.c_int))[0]
        if not kind:
            break
        if kind == 3:   # Py_mod_multiple_interpreters
            support = ctypes.cast(slot, ctypes.POINTER(ctypes.c_ssize_t))[1]
        slot += 2 * word
    return size, bool(slots), ("main-only", "shared-gil", "own-gil")[support]


def limit_memory(more):
    """Let the process use so much more than it uses now. Most of what it uses now is isan's shadow."""
    import resource
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used + more if hard < 0 else min(used + more, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main():
    job = eval(sys.argv[1], {"__builtins__": {}})      # a literal that check/run.py has made
    sys.argv[:] = [job["file"]]
    sys.path[:0] = job["path"]
    step = Step(job)
    limit_memory(job["memory"])
    step.tell("begin", 0, "start")
    getattr(step, job["step"])()
    step.tell("end")


if __name__ == "__main__":
    main()
