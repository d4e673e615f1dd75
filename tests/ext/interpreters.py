"""Interpreters, with one interface for all releases; imported by programs that tests run under isan."""
import marshal
import textwrap

try:
    import _interpreters
except ImportError:                 # before 3.13
    import _xxsubinterpreters as _interpreters


class Interpreter:
    """An interpreter.  If code that it runs fails, the program fails.

    Kinds are "isolated" (a GIL of its own, from 3.12 on) and "legacy".
    """

    def __init__(self, kind="isolated"):
        if hasattr(_interpreters, "exec"):
            self.id = _interpreters.create(kind)
        else:
            self.id = _interpreters.create(isolated=kind == "isolated")

    def run(self, code):
        """Run source, or a function without arguments; the code of a function keeps its file and lines."""
        code = textwrap.dedent(code) if isinstance(code, str) else code
        if hasattr(_interpreters, "exec"):
            failed = _interpreters.exec(self.id, code)
            if failed is not None:
                raise SystemExit(failed.errdisplay)
        else:
            if not isinstance(code, str):
                code = "import marshal; exec(marshal.loads(%r))" % marshal.dumps(code.__code__)
            _interpreters.run_string(self.id, code)

    def end(self):
        _interpreters.destroy(self.id)


def queues():
    """A module with create() and Queue(id) of _interpqueues."""
    try:
        from concurrent.interpreters import _queues     # PEP 734, 3.14
        return _queues
    except ImportError:
        from test.support.interpreters import queues
        return queues


class channels:
    """The functions of channels, before 3.13."""
    def __getattr__(self, name):
        if hasattr(_interpreters, "channel_" + name):
            return getattr(_interpreters, "channel_" + name)
        import _xxinterpchannels    # 3.12
        return getattr(_xxinterpchannels, name)
