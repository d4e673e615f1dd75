"""For the programs the tests run under isan: interpreters, in one way for all releases."""
import textwrap

import _interpreters


class Interpreter:
    """An interpreter; what it runs fails the program if it fails."""

    def __init__(self, kind="isolated"):
        self.id = _interpreters.create(kind)

    def run(self, code):
        """Run source, or a function without arguments, which keeps its file and lines."""
        failed = _interpreters.exec(self.id, textwrap.dedent(code) if isinstance(code, str) else code)
        if failed is not None:
            raise SystemExit(failed.errdisplay)

    def end(self):
        _interpreters.destroy(self.id)


def queues():
    """The module with create() and Queue(id) of _interpqueues."""
    try:
        from concurrent.interpreters import _queues     # PEP 734, 3.14
        return _queues
    except ImportError:
        from test.support.interpreters import queues
        return queues
