"""Interpreters beside the one that runs, made in one way with Python 3.11 to 3.14."""
import sys

try:
    import _interpreters
except ImportError:                 # before 3.13
    import _xxsubinterpreters as _interpreters

OWN_GIL = sys.version_info >= (3, 12)       # whether there are such interpreters (PEP 684)
KINDS = {"own-gil": "own GIL", "legacy": "legacy"}
DEFAULT = "own-gil" if OWN_GIL else "legacy"


class Failed(Exception):
    """What an interpreter ran raised an exception, or it could not be ended: the text of that."""


class Interpreter:
    """A fresh interpreter: of kind "own-gil" or "legacy" (which shares the main one's GIL), with the sys.path of the
    one that makes it.

    run(source) runs code in its __main__, whose names stay from one call to the next, and raises Failed; end() ends it,
    once.
    """

    def __init__(self, kind=DEFAULT):
        if kind not in KINDS:
            raise ValueError("kind is own-gil or legacy, not %r" % (kind,))
        if kind == "own-gil" and not OWN_GIL:
            raise ValueError("Python %d.%d has no interpreters with GILs of their own: use 3.12 or newer, or kind legacy"
                             % sys.version_info[:2])
        self.kind = kind
        if hasattr(_interpreters, "exec"):
            self.id = _interpreters.create("isolated" if kind == "own-gil" else "legacy")
        else:
            self.id = _interpreters.create(isolated=kind == "own-gil")
        self.run("import sys\nsys.path[:] = %r\ndel sys\n" % (sys.path,))

    def run(self, source):
        if self.id is None:
            raise Failed("the interpreter has been ended")
        if hasattr(_interpreters, "exec"):
            failed = _interpreters.exec(self.id, source)
            if failed is not None:
                raise Failed(failed.errdisplay or failed.formatted)
        else:
            try:
                _interpreters.run_string(self.id, source)
            except _interpreters.RunFailedError as error:
                raise Failed(str(error)) from None

    def end(self):
        if self.id is not None:
            id, self.id = self.id, None
            try:
                _interpreters.destroy(id)
            except RuntimeError as error:       # a thread of it still runs
                raise Failed("it could not be ended: %s" % error) from None
