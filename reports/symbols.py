"""Addresses to lines and variables, by asking isan-symbolize."""

import json
import os
import subprocess

from .tables import ROOT

PROGRAM = ROOT / "build" / "libexec" / "isan-symbolize"


class Missing(Exception):
    """The symbolizer is not there; the text says what to do."""


def _escape(path):
    return path.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


class Symbolizer:
    def __init__(self, program=PROGRAM):
        self._known = {}
        self.errors = {}            # module path -> why it has no symbols
        self._program = os.fspath(program)
        self._process = None

    def close(self):
        if self._process:
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()
            self._process = None

    __enter__ = lambda self: self
    __exit__ = lambda self, *_: self.close()

    def _ask(self, what, module, vaddr):
        key = what, module.path, module.build_id, vaddr
        if key in self._known:
            return self._known[key]
        if not self._process:
            try:
                # What is preloaded into the user's programs is not meant for this one.
                env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
                self._process = subprocess.Popen([self._program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                                 env=env)
            except OSError as error:
                raise Missing("cannot run %s (%s): build it with make" % (self._program, error.strerror))
        request = "%s\t%s\t%s\t%x\n" % (what, _escape(module.path), module.build_id.replace("\t", ""), vaddr)
        self._process.stdin.write(request.encode("utf-8", "surrogateescape"))
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise Missing("%s stopped answering" % self._program)
        answer = json.loads(line)
        if "error" in answer:
            self.errors.setdefault(module.path, answer["error"])
        self._known[key] = answer
        return answer

    def code(self, module, address):
        """Frames at a run-time address, innermost first; none if unreadable."""
        return self._ask("code", module, (address - module.bias) % 2 ** 64).get("frames", [])

    def data(self, module, address):
        """What lies at a run-time address: the answer's fields, or {}."""
        answer = self._ask("data", module, (address - module.bias) % 2 ** 64)
        return {} if "error" in answer else answer
