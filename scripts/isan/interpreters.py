"""Further interpreters of this process, with one interface for Python 3.11 to 3.14."""
import sys
import tempfile

try:
    import _interpreters
except ImportError:                 # before 3.13
    import _xxsubinterpreters as _interpreters

OWN_GIL = sys.version_info >= (3, 12)       # whether there are such interpreters (PEP 684)
KINDS = {"own-gil": "own GIL", "legacy": "legacy"}
DEFAULT = "own-gil" if OWN_GIL else "legacy"


# The task itself writes out exceptions: _interpreters.exec() of 3.13 leaks the memory of their descriptions
# (Python/crossinterp.c, _PyXI_excinfo_InitFromException), and earlier releases say little.
TASK = """\
def _isan_task():
    try:
        exec(compile({source!r}, "<string>", "exec"), globals())
    except BaseException as error:
        import posix, traceback
        lines = traceback.format_exception(type(error), error, error.__traceback__.tb_next)
        data = "".join(lines).encode(errors="backslashreplace")
        while data:
            data = data[posix.write({fd}, data):]
_isan_task()
del _isan_task
"""


class Failed(Exception):
    """Code in an interpreter raised an exception, or the interpreter could not be ended. The text says which."""


class Interpreter:
    """A fresh interpreter, of kind "own-gil" or "legacy" (it shares the main one's GIL).

    It gets the sys.path of the interpreter that makes it. run(source) runs code in its __main__, where names stay from
    one call to the next, and raises Failed. end() ends it; further calls do nothing.
    """

    def __init__(self, kind=DEFAULT):
        if kind not in KINDS:
            raise ValueError("kind is own-gil or legacy, not %r" % (kind,))
        if kind == "own-gil" and not OWN_GIL:
            raise ValueError("Python %d.%d has no interpreters with GILs of their own: use 3.12 or newer, or kind"
                             " legacy" % sys.version_info[:2])
        self.kind = kind
        if hasattr(_interpreters, "exec"):
            self.id = _interpreters.create("isolated" if kind == "own-gil" else "legacy")
        else:
            self.id = _interpreters.create(isolated=kind == "own-gil")
        self.run("import sys\nsys.path[:] = %r\ndel sys\n" % (sys.path,))

    def run(self, source):
        __tracebackhide__ = True        # pytest shows the caller, not this function
        if self.id is None:
            raise Failed("the interpreter has been ended")
        with tempfile.TemporaryFile() as data:
            task = TASK.format(source=source, fd=data.fileno())
            if hasattr(_interpreters, "exec"):
                failed = _interpreters.exec(self.id, task)
                if failed is not None:
                    raise Failed(failed.formatted)
            else:
                try:
                    _interpreters.run_string(self.id, task)
                except _interpreters.RunFailedError as error:
                    raise Failed(str(error)) from None
            data.seek(0)
            text = data.read().decode().rstrip()
        if text:
            raise Failed(text)

    def end(self):
        if self.id is not None:
            id, self.id = self.id, None
            try:
                _interpreters.destroy(id)
            except RuntimeError as error:       # a thread of it still runs
                raise Failed("it could not be ended: %s" % error) from None
