"""Stacks: from addresses and code units of a log to frames with names and lines."""
import os
import re

from ..read import records
from .kinds import interp_name

_EVAL = re.compile(r"(_PyEval_EvalFrameDefault|_TAIL_CALL_\w+)(\.|$)")
# Functions that the check is inlined into. The finding's `access` says what they do.
_REFCOUNT = re.compile(r"_?Py_X?(INCREF|DECREF|NewRef|SETREF|CLEAR|SET_REFCNT)\w*$|isan_")
_C_LIBRARY = re.compile(r"(libc|libpthread|ld-linux.*|libpython3.*)\.so")
_PYTHON = re.compile(r"python3[.\d]*[a-z]*$")      # by its usual name; others are known by their evaluation loop
_OUR_LIBRARY = re.compile(r"libisan\.so")


class Frames:
    """Makes the frames of a report."""

    def __init__(self, symbolizer):
        self.symbolizer = symbolizer
        self.interpreters = set()       # modules with an evaluation loop
        self.nameless = set()           # modules in which a name was not found

    def interp(self, log, serial):
        interp = log.interps.get(serial)
        if interp is None:
            return None
        return {"id": interp.id, "name": interp_name(interp.id, interp.kind), "kind": interp.kind,
                "serial": serial}

    def python_frame(self, log, site, interp=None):
        place = log.site(site)
        if place is None:
            return {"kind": "python", "function": None, "file": None, "line": None, "start": None,
                    "interpreter": interp}
        function, file, line, start = place
        return {"kind": "python", "function": function, "file": file, "line": line, "start": start,
                "interpreter": interp}

    def native_frames(self, log, address, offset, exact):
        """The frames of one address: several where calls were inlined."""
        module = log.module(address, offset)
        plain = {"kind": "native", "function": None, "file": None, "line": None, "start": None,
                 "module": module.path if module else None, "address": address,
                 "offset": address - module.bias if module else None, "inlined": False}
        # A return address is after its call, and perhaps on the next line already.
        found = self.symbolizer.code(module, address if exact else address - 1) if module else []
        return [dict(plain, inlined=i + 1 < len(found), **frame) for i, frame in enumerate(
            {k: f.get(k) for k in ("function", "file", "line", "start")} for f in found)] or [plain]

    def stack(self, log, id, ours=False, creator=0):
        """The frames of a stack, innermost first. Python frames replace those of the evaluation loop."""
        if not id:
            return []
        owner, stack = log.stack(id)
        if stack is None:
            return []
        python = [self.python_frame(log, f.site, self.interp(log, f.interp or creator)) for f in stack.python]
        entries = [f.flags & records.FRAME_ENTRY for f in stack.python]
        frames, done = [], 0
        for i, address in enumerate(stack.native):
            some = self.native_frames(owner, address, stack.offset, i == 0)
            if any(_EVAL.match(f["function"] or "") for f in some):
                self.interpreters.add(some[0]["module"])
                before = done
                while done < len(python) and (done == before or not entries[done - 1]):
                    done += 1
                # No Python frame is left: the loop was entered, but its frame is not there yet or gone already.
                # Keep the native one.
                frames += python[before:done] or some
            else:
                frames += some
        frames += python[done:]
        return frames if ours else self.without_ours(frames)

    @staticmethod
    def without_ours(frames):
        """Drop the innermost frames that are isan's, and those that a check was inlined into."""
        first = 0
        for i, frame in enumerate(frames):
            if frame["kind"] == "python":
                break
            name = os.path.basename(frame["module"] or "")
            if _OUR_LIBRARY.match(name) or frame["inlined"] and _REFCOUNT.match(frame["function"] or ""):
                first = i + 1
            elif not _C_LIBRARY.match(name):    # the C library calls isan back (dl_iterate_phdr)
                break
        return [f for f in frames[first:] if not _OUR_LIBRARY.match(os.path.basename(f.get("module") or ""))]

    def own(self, module):
        """Whether a module is CPython's, or a library that CPython is built on. For when all stacks have been made."""
        name = os.path.basename(module)
        return (module in self.interpreters or "/lib-dynload/" in module
                or bool(_C_LIBRARY.match(name) or _PYTHON.match(name) or _OUR_LIBRARY.match(name)))

    def mark(self, frames):
        """Mark the frames of CPython's own."""
        for frame in frames:
            frame["cpython"] = ((frame["file"] or "").startswith("<frozen ") if frame["kind"] == "python"
                                else self.own(frame["module"] or ""))
