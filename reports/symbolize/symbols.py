"""Addresses to lines and variables, by asking isan-symbolize."""
import json
import os
import re
import subprocess

from ... import ROOT

PROGRAM = os.path.join(ROOT, "build", "libexec", "isan-symbolize")


class Missing(Exception):
    """The symbolizer cannot be used. The text says what to do."""


def _escape(path):
    return path.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


class Symbolizer:
    """An isan-symbolize process, started with the first question. It remembers the answers."""

    def __init__(self, program=PROGRAM, debuginfo_path=""):
        self._known = {}
        self.errors = {}            # module path -> why it has no symbols
        self.bare = {}              # module path -> module, for those without debug information
        self._command = [os.fspath(program)] + ["--debuginfo-path=" + debuginfo_path] * bool(debuginfo_path)
        self._process = None

    def close(self):
        if self._process:
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()
            self._process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _ask(self, what, module, *numbers):
        key = what, module.path, module.build_id, numbers
        if key in self._known:
            return self._known[key]
        if not self._process:
            try:
                # The user preloads libraries for the program under test, not for this one.
                env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
                self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
            except OSError as error:
                raise Missing("cannot run %s (%s): build it with make" % (self._command[0], error.strerror))
        request = "\t".join([what, _escape(module.path), module.build_id.replace("\t", "")]
                            + ["%x" % (n % 2 ** 64) for n in numbers])
        self._process.stdin.write(request.encode("utf-8", "surrogateescape") + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise Missing("%s stopped answering" % self._command[0])
        answer = json.loads(line)
        if "error" in answer:
            self.errors.setdefault(module.path, answer["error"])
        elif not answer["debug"]:
            self.bare[module.path] = module
        self._known[key] = answer
        return answer

    def code(self, module, address):
        """Frames at a run-time address, innermost first; none if unreadable."""
        return self._ask("code", module, address - module.bias).get("frames", [])

    def data(self, module, address, *path):
        """The variable at a run-time address; with `path`, the element that its pointers lead to.

        path: the offset of each pointer in the memory that the one before it points at. The answer's fields, or {}.
        """
        return self._variable(self._ask("data", module, address - module.bias, *path))

    def tls(self, module, offset, *path):
        """The same for a thread-local variable."""
        return self._variable(self._ask("tls", module, offset, *path))

    @staticmethod
    def _variable(answer):
        if "error" in answer:
            return {}
        return dict(answer, symbol=demangled(answer["symbol"])) if answer.get("symbol") else answer

    def member(self, module, code, size, offset):
        """The C name of the member at an offset of objects of this size; None if debug information does not tell.

        code: a function of their type.
        """
        return self._ask("member", module, code - module.bias, size, offset).get("member")

    def statics(self, module):
        """(variables, imports) of a file.

        variables: the statics that hold objects, may hold objects or are objects, as debug information has them
        (symbolize/protocol.h describes the fields); none are known without it. Addresses are the file's. imports: the
        names of Python's C API that the file takes from elsewhere.
        """
        answer = self._ask("statics", module)
        return answer.get("statics", []), answer.get("imports", [])


def demangled(symbol):
    """A C++ variable's symbol as source code has it, such as a::b for _ZN1a1bE; any other symbol unchanged.

    Itanium C++ ABI, <nested-name> of <source-name>s.
    """
    if symbol.startswith("_ZN") and symbol.endswith("E"):
        rest = symbol[3:-1]
    else:
        rest = symbol[2:] if symbol.startswith("_Z") else ""
    names = []
    while rest:
        length = re.match(r"L?(\d+)", rest)        # L: local to its file
        end = length.end() + int(length[1]) if length else 0
        if not length or end > len(rest):
            return symbol
        names.append(rest[length.end():end])
        rest = rest[end:]
    return "::".join("(anonymous namespace)" if name.startswith("_GLOBAL__N_") else name for name in names) or symbol
