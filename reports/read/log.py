"""Reads a log. runtime/base/log_format.h describes the format; keep the two together.

A log comes from a process that may have died at any instruction, or from someone else's machine, so the reader trusts
nothing in it. What cannot be read becomes an entry in `errors` with its offset in the file; all before it is kept.
"""
import bisect
import errno
import os
import stat
import struct

from . import linetable, records
from .records import BEGIN, END, FINALIZING, HEAD, HEADER, MAGIC, NONE, RECORD, VERSION, Damaged, Interp, text_of


class Log:
    def __init__(self, path):
        self.path = os.fspath(path)
        self.name = os.path.basename(self.path)
        self.errors = []            # (offset, sentence)
        self.valid = False          # the header was readable
        self.pid = self.ppid = 0
        self.number = None          # index of its process in the report; set by model.build
        self.start = 0
        self.dropped = 0
        self.torn = None            # offset of the record that the writer died in
        self.parent_name, self.parent_tail = "", 0
        self.parent = None          # Log, set by link()
        self.exe = self.cwd = self.flavor = self.options = ""
        self.argv = []
        self.hexversion = 0
        self.exit_time = None
        self.modules, self.codes, self.events = [], [], []
        self.stacks, self.findings, self.leaks, self.owned = {}, {}, {}, {}
        self.steps, self.kept, self.reasons, self.places, self.behind = [], [], [], [], []
        self.crashes, self.notes, self.ignored = [], [], []
        self.offsets = {}           # ("code", base) etc.

    # -- reading ----------------------------------------------------------

    def error(self, offset, sentence):
        self.errors.append((offset, sentence))

    def read(self):
        fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "this is not a regular file")
            head = file.read(HEADER)
            if len(head) < HEADER or head[:8] != MAGIC:
                self.error(0, "this is not a log of isan" if head[:8] != MAGIC
                           else "the log ends within its header")
                return self
            (_, version, size, tail, self.dropped, self.pid, self.ppid, self.start, self.parent_tail,
             parent) = HEAD.unpack_from(head)
            if version != VERSION or size != HEADER:
                self.error(8, "this log has format %d; this isan reads format %d" % (version, VERSION))
                return self
            self.valid = True
            # The name of a file beside this one, never a path to elsewhere.
            self.parent_name = text_of(parent.split(b"\0")[0])
            if os.path.basename(self.parent_name) != self.parent_name:
                self.error(64, "the parent's log is given as a path")
                self.parent_name = ""
            # Not mapped into memory: a file that is cut short during the read must not kill this process.
            room = os.fstat(fd).st_size
            data = head + file.read(max(min(tail, room) - HEADER, 0))
        self._records(data, tail)
        return self

    def _records(self, data, tail):
        at = HEADER
        if tail < HEADER or tail % 8:
            self.error(16, "the header gives %d as its length" % tail)
            return
        while at < tail:
            if at + RECORD.size > len(data):
                # Records that were reserved, and got no room, are counted in `dropped`.
                if not self.dropped:
                    self.error(at, "the log ends here, %d bytes are missing" % (tail - at))
                return
            kind, size = RECORD.unpack_from(data, at)
            if size == 0:
                self.torn = at
                return
            if size < RECORD.size or size % 8 or at + size > tail:
                self.error(at, "a record gives %d as its size" % size)
                return
            if at + size > len(data):
                self.error(at, "the log ends within this record")
                return
            if kind != NONE:
                try:
                    records.add(self, kind, at, data[at + RECORD.size:at + size])
                except (Damaged, struct.error) as error:
                    self.error(at, "a record of type %d cannot be read (%s)" % (kind, error))
            at += size

    def narrow(self, keep):
        """Keep only the findings for which keep(number, leak) is true.

        number: by which the process itself knows the finding, 0 for a leak that a rule explains. leak: whether the
        finding is a leak.
        """
        self.findings = {f.id: f for f in self.findings.values() if keep(f.number, False)}
        self.leaks = {l.id: l for l in self.leaks.values() if keep(l.number, True)}

    # -- looking things up, in this log and in what it inherited through fork ----------

    def ancestry(self):
        """(log, end): all of this log, then each ancestor's up to the fork."""
        log, end, seen = self, float("inf"), set()
        while log and log.path not in seen:
            yield log, end
            seen.add(log.path)
            log, end = log.parent, log.parent_tail

    def index(self):
        """Prepare the look-ups. For when all logs have been read and linked."""
        codes, modules, self.interps = {}, [], {}
        if not self.exe and self.parent:    # a fork is the same program
            self.parent.index()
            for name in ("exe", "cwd", "flavor", "options", "argv", "hexversion"):
                setattr(self, name, getattr(self.parent, name))
        for log, end in reversed(list(self.ancestry())):
            for code in log.codes:
                if log.offsets["code", code.base] < end:
                    codes[code.base] = code
            if log is not self:
                # Loaded before the fork, so before any record of this log.
                modules += [m._replace(offset=0) for m in log.modules if m.offset < end]
            for i, event in enumerate(log.events):
                if log.offsets["event", i] >= end:
                    continue
                interp = self.interps.get(event.serial)
                if interp is None or event.event == BEGIN:
                    interp = self.interps[event.serial] = Interp(event.serial, event.id, event.kind)
                setattr(interp, {BEGIN: "began", FINALIZING: "finalizing", END: "ended"}[event.event], event)
        # Records that tell more of a finding of this log; steps in the order of their path.
        self._of = {"steps": {}, "kept": {}, "reasons": {}, "places": {}, "behind": {}}
        for table, by_finding in self._of.items():
            for item in getattr(self, table):
                by_finding.setdefault(item.finding if table in ("places", "behind") else item.leak, []).append(item)
        for steps in self._of["steps"].values():
            steps.sort(key=lambda step: step.position)
        self._bases = sorted(codes)
        self._codes = codes
        self.known_modules = modules + self.modules
        self._lines = {}
        return self

    def _inherited(self, table, id):
        for log, end in self.ancestry():
            item = getattr(log, table).get(id)
            if item is not None and item.offset < end:
                return log, item
        return None, None

    def stack(self, id):
        """(log, Stack). Look its addresses up in that log."""
        return self._inherited("stacks", id)

    def finding(self, id):
        return self._inherited("findings", id)

    def of(self, table, id):
        """The records of this finding in a table: "steps", "kept", "reasons", "places" or "behind"."""
        return self._of[table].get(id, [])

    def site(self, site):
        """(function, file, line, first line) of a place in Python code, or None."""
        if site not in self._lines:
            at = bisect.bisect_right(self._bases, site) - 1
            code = self._codes[self._bases[at]] if site and at >= 0 else None
            if code is None or site - code.base >= code.units:
                self._lines[site] = None
            else:
                self._lines[site] = (code.function, code.file,
                                     linetable.line_of(code.table, code.first, site - code.base), code.first)
        return self._lines[site]

    def module(self, address, offset):
        """The module an address belonged to when the record at offset was written.

        A module is recorded when dlopen(3) has returned. A finding in one of its constructors comes before that: then it
        is the first module recorded later that has the address.
        """
        later = None
        for module in reversed(self.known_modules):
            if module.start <= address < module.end:
                if module.offset < offset:
                    return module
                later = module
        return later


def logs_in(path):
    """The logs a command-line argument names: a file, or a directory of them."""
    if not os.path.isdir(path):
        return [path]
    names = [n for n in os.listdir(path) if n.startswith("isan.") and n.endswith(".log")]
    if not names:
        raise FileNotFoundError("there is no isan.*.log in %s" % path)
    return [os.path.join(path, n) for n in names]


def read(paths):
    """Read logs, oldest first, and link each to the log of the process that it was forked from.

    A parent's log is read as well if it lies beside the child's.
    """
    logs = {}
    for path in paths:
        key = os.path.realpath(path)
        if key not in logs:
            logs[key] = Log(path)
            try:
                logs[key].read()
            except OSError as error:
                logs[key].error(0, error.strerror or str(error))
    wanted = list(logs.values())
    queue = list(wanted)
    while queue:
        log = queue.pop()
        if not log.parent_name:
            continue
        key = os.path.realpath(os.path.join(os.path.dirname(log.path), log.parent_name))
        if key not in logs:
            try:
                logs[key] = Log(key).read()
            except OSError as error:
                log.error(64, "the log of the process it was forked from, %s, cannot be read (%s), so places recorded"
                          " before the fork are missing" % (log.parent_name, error.strerror))
                continue
            queue.append(logs[key])
        if any(ancestor is log for ancestor, _ in logs[key].ancestry()):
            log.error(64, "the log of the process it was forked from, %s, is one of its descendants'" % log.parent_name)
            continue
        log.parent = logs[key]
    for log in logs.values():
        log.index()
    return sorted(wanted, key=lambda log: (log.start, log.pid, log.name))
