"""Reads a log.  runtime/base/log_format.h describes the format; keep the two together.

A log comes from a process that may have died at any instruction, or from
someone else's machine, so nothing in it is believed: what cannot be read is an
entry in `errors` that names the offset in the file, and what came before it
is kept.
"""

import bisect
import collections
import errno
import os
import stat
import struct

from . import linetable, tables

MAGIC, VERSION, HEADER = b"ISANLOG1", 4, 4096
(NONE, PROCESS, MODULE, CODE, STACK, INTERP, FINDING, LEAK, CRASH, EXIT, NOTE, STEP, KEPT, REASON, PLACE, IGNORED,
 BEHIND) = range(17)
FRAME_ENTRY = 1
OBJ_OBJECT, OBJ_FREED, OBJ_ORIGIN_STACK, OBJ_INTERNED, OBJ_RECYCLED, OBJ_STATIC_TYPE = 1, 2, 4, 8, 16, 32
PLACE_WRITE, PLACE_ATOMIC, PLACE_DETACHED, PLACE_UNKNOWN, PLACE_FREE = 1, 2, 4, 8, 16
PLACE_MORTAL, PLACE_OLD_ABI = 32, 64
INTERP_KINDS = ("main", "legacy", "own-gil")
BEGIN, FINALIZING, END = 1, 2, 3
STATES = {state.access for state in tables.STATES}
EDGES = ("field", "item", "key", "value", "attribute", "type", "memory")

_header = struct.Struct("=8sIIQQIIQQ1024s")
_rec = struct.Struct("=II")
_process = struct.Struct("=II")
_module = struct.Struct("=QQQ")
_code = struct.Struct("=IIiIII")
_stack = struct.Struct("=IHH")
_frame = struct.Struct("=IHHII")
_interp = struct.Struct("=IHHqQII")
_object = "QQIIIIII"
_holder = "QQII"
_finding = struct.Struct("=IHHQQII" + _object + _holder + "IIII")
_leak = struct.Struct("=IHHQQQQQ" + _object + _holder + "IIIIII")
_step = struct.Struct("=II" + _object + _object + "IIQQ")
_kept = struct.Struct("=IIQQ")
_reason = struct.Struct("=IIIIQQ")
_place = struct.Struct("=IHHIIIIq")
_crash = struct.Struct("=iiQIIII")
_exit = struct.Struct("=Q")
_pair = struct.Struct("=II")
_ignored = struct.Struct("=Q")
_behind = struct.Struct("=II6I")

Module = collections.namedtuple("Module", "offset bias start end path build_id")
Code = collections.namedtuple("Code", "base units first table file function")
Stack = collections.namedtuple("Stack", "offset native python")
Frame = collections.namedtuple("Frame", "site flags interp")
Event = collections.namedtuple("Event", "serial event kind id time tid stack")
Object = collections.namedtuple("Object", "address size serial owner origin flags maker pad")
Finding = collections.namedtuple(
    "Finding", "offset id kind access count time tid current object holder used gone number pad type")
Holder = collections.namedtuple("Holder", "address tls tid flags")
Leak = collections.namedtuple(
    "Leak", "offset id residue keeper count bytes kept kept_bytes extra object holder domain look number pairs type")
Step = collections.namedtuple(
    "Step", "offset leak position from_ to edge basicsize at code from_type to_type label member")
Kept = collections.namedtuple("Kept", "leak count bytes type")
Reason = collections.namedtuple("Reason", "offset leak reason basicsize at code type target member")
Place = collections.namedtuple("Place", "offset finding role flags stack tid interp amount text")
Behind = collections.namedtuple("Behind", "finding hops at")
Crash = collections.namedtuple("Crash", "offset signal code address stack current tid")


class Damaged(Exception):
    """This record makes no sense."""


class Interp:
    """An interpreter's life, as far as it was recorded."""

    def __init__(self, serial, id, kind):
        self.serial, self.id, self.kind = serial, id, kind
        self.began = self.finalizing = self.ended = None    # Events


def text_of(data):
    """Names are bytes of any kind; what is not UTF-8 stays recognisable."""
    return data.decode("utf-8", "surrogateescape")


def _strings(data, least):
    parts = data.split(b"\0")[:-1]
    if len(parts) < least:
        raise Damaged("a string of it does not end")
    return [text_of(part) for part in parts]


class Log:
    def __init__(self, path):
        self.path = os.fspath(path)
        self.name = os.path.basename(self.path)
        self.errors = []            # (offset, sentence)
        self.valid = False          # the header was readable
        self.pid = self.ppid = 0
        self.number = None          # of its process in the report (model.build)
        self.start = 0
        self.dropped = 0
        self.torn = None            # offset at which the writer died
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
        self.offsets = {}           # ("code", base) etc. -> offset, for the border of a fork

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
             parent) = _header.unpack_from(head)
            if version != VERSION or size != HEADER:
                self.error(8, "this log has format %d; this isan reads format %d" % (version, VERSION))
                return self
            self.valid = True
            # The name of a file beside this one, never a path to elsewhere.
            self.parent_name = text_of(parent.split(b"\0")[0])
            if os.path.basename(self.parent_name) != self.parent_name:
                self.error(64, "the parent's log is given as a path")
                self.parent_name = ""
            # Not mapped: a file cut short while we read it must not kill us.
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
            if at + _rec.size > len(data):
                # Room that was reserved but not to be had is counted in `dropped`.
                if not self.dropped:
                    self.error(at, "the log ends here, %d bytes are missing" % (tail - at))
                return
            kind, size = _rec.unpack_from(data, at)
            if size == 0:
                self.torn = at
                return
            if size < _rec.size or size % 8 or at + size > tail:
                self.error(at, "a record gives %d as its size" % size)
                return
            if at + size > len(data):
                self.error(at, "the log ends within this record")
                return
            if kind != NONE:
                try:
                    self._record(kind, at, data[at + _rec.size:at + size])
                except (Damaged, struct.error) as error:
                    self.error(at, "a record of type %d cannot be read (%s)" % (kind, error))
            at += size

    def _record(self, kind, offset, body):
        if kind == PROCESS:
            self.hexversion, argc = _process.unpack_from(body)
            words = _strings(body[_process.size:], 4 + argc)
            self.exe, self.cwd, self.flavor, self.options = words[:4]
            self.argv = words[4:4 + argc]
        elif kind == MODULE:
            bias, start, end = _module.unpack_from(body)
            path, build_id = _strings(body[_module.size:], 2)[:2]
            self.modules.append(Module(offset, bias, start, end, path, build_id))
        elif kind == CODE:
            base, units, first, table_size, text_size, _ = _code.unpack_from(body)
            file, function = _strings(body[_code.size:_code.size + text_size], 2)[:2]
            begin = _code.size + text_size
            if begin + table_size > len(body):
                raise Damaged("its line table is cut off")
            self.offsets["code", base] = offset
            self.codes.append(Code(base, units, first, body[begin:begin + table_size], file, function))
        elif kind == STACK:
            id, n_native, n_python = _stack.unpack_from(body)
            frames = _stack.size + 8 * n_native
            if frames + _frame.size * n_python > len(body):
                raise Damaged("its frames are cut off")
            native = struct.unpack_from("=%dQ" % n_native, body, _stack.size)
            python = []
            for i in range(n_python):
                site, flags, _, interp, _ = _frame.unpack_from(body, frames + i * _frame.size)
                python.append(Frame(site, flags, interp))
            self.stacks[id] = Stack(offset, native, python)
        elif kind == INTERP:
            serial, event, interp_kind, id, time, tid, stack = _interp.unpack_from(body)
            if event not in (BEGIN, FINALIZING, END) or interp_kind >= len(INTERP_KINDS):
                raise Damaged("event %d, kind %d" % (event, interp_kind))
            self.offsets["event", len(self.events)] = offset
            self.events.append(Event(serial, event, INTERP_KINDS[interp_kind], id, time, tid, stack))
        elif kind == FINDING:
            f = _finding.unpack_from(body)
            if f[1] >= len(tables.KINDS) or f[2] >= len(tables.ACCESSES):
                raise Damaged("kind %d, access %d" % (f[1], f[2]))
            what, access = tables.KINDS[f[1]].name, tables.ACCESSES[f[2]]
            if what == "leak" or (what == "gilstate") != (access in STATES):
                raise Damaged("kind %s, access %s" % (what, access))
            self.findings[f[0]] = Finding(
                offset, f[0], what, access, *f[3:7], Object(*f[7:15]),
                Holder(*f[15:19]), *f[19:], _strings(body[_finding.size:], 1)[0])
        elif kind == LEAK:
            f = _leak.unpack_from(body)
            n_paired, domain, text_size, look, number, _ = f[20:]
            if f[1] >= len(tables.RESIDUES) or f[2] >= len(tables.KEEPERS):
                raise Damaged("residue rule %d, keeper %d" % f[1:3])
            type = _strings(body[_leak.size:_leak.size + text_size], 1)[0] if text_size else ""
            begin = (_leak.size + text_size + 7) & ~7
            if begin + n_paired * _pair.size > len(body):
                raise Damaged("its pairs are cut off")
            pairs = [_pair.unpack_from(body, begin + i * _pair.size) for i in range(n_paired)]
            (self.owned if look else self.leaks)[f[0]] = Leak(
                offset, *f[:2], tables.KEEPERS[f[2]].name, *f[3:8], Object(*f[8:16]), Holder(*f[16:20]),
                {114: "r", 109: "m", 111: "o"}.get(domain, ""), look, number, pairs, type)
        elif kind == CRASH:
            self.crashes.append(Crash(offset, *_crash.unpack_from(body)[:-1]))
        elif kind == EXIT:
            self.exit_time = _exit.unpack_from(body)[0]
        elif kind == STEP:
            f = _step.unpack_from(body)
            if f[18] >= len(EDGES):
                raise Damaged("edge %d" % f[18])
            self.steps.append(Step(offset, *f[:2], Object(*f[2:10]), Object(*f[10:18]), EDGES[f[18]], *f[19:],
                                   *_strings(body[_step.size:], 4)[:4]))
        elif kind == KEPT:
            leak, _, count, size = _kept.unpack_from(body)
            self.kept.append(Kept(leak, count, size, _strings(body[_kept.size:], 1)[0]))
        elif kind == REASON:
            leak, reason, basicsize, _, at, code = _reason.unpack_from(body)
            if reason >= len(tables.REASONS):
                raise Damaged("reason %d" % reason)
            self.reasons.append(Reason(offset, leak, tables.REASONS[reason].name, basicsize, at, code,
                                       *_strings(body[_reason.size:], 3)[:3]))
        elif kind == PLACE:
            f = _place.unpack_from(body)
            if f[1] >= len(tables.PLACES):
                raise Damaged("role %d" % f[1])
            self.places.append(Place(offset, f[0], tables.PLACES[f[1]].name, *f[2:6], f[7],
                                     _strings(body[_place.size:], 1)[0]))
        elif kind == BEHIND:
            finding, hops, *at = _behind.unpack_from(body)
            if hops == 0:
                raise Damaged("a way of no steps")
            self.behind.append(Behind(finding, hops, at[:hops]))
        elif kind == IGNORED:
            count, = _ignored.unpack_from(body)
            self.ignored.append((_strings(body[_ignored.size:], 1)[0], count))
        elif kind == NOTE:
            self.notes.append(_strings(body, 1)[0])
        else:
            raise Damaged("no such type in this format")

    def narrow(self, keep):
        """Only the findings for which keep(number, leak) is true: the number by which the process knows it, 0 for what
        CPython leaves by a rule, and whether it is what an interpreter left behind."""
        self.findings = {f.id: f for f in self.findings.values() if keep(f.number, False)}
        self.leaks = {l.id: l for l in self.leaks.values() if keep(l.number, True)}

    # -- looking things up, in this log and in what a fork inherited --------

    def ancestry(self):
        """(log, end): this log whole, then each ancestor up to the fork."""
        log, end, seen = self, float("inf"), set()
        while log and log.path not in seen:
            yield log, end
            seen.add(log.path)
            log, end = log.parent, log.parent_tail

    def index(self):
        """Prepare the look-ups; after every log is read and linked."""
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
                # Loaded before the fork: before anything of ours.
                modules += [m._replace(offset=0) for m in log.modules if m.offset < end]
            for i, event in enumerate(log.events):
                if log.offsets["event", i] >= end:
                    continue
                interp = self.interps.get(event.serial)
                if interp is None or event.event == BEGIN:
                    interp = self.interps[event.serial] = Interp(event.serial, event.id, event.kind)
                setattr(interp, {BEGIN: "began", FINALIZING: "finalizing", END: "ended"}[event.event], event)
        # Records that tell more of a finding of this log, the way in order.
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
        """(log, Stack): the addresses in it are to be looked up in that log."""
        return self._inherited("stacks", id)

    def finding(self, id):
        return self._inherited("findings", id)

    def of(self, table, id):
        """Of "steps", "kept", "reasons", "places" or "behind" those of this finding."""
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
        """The module an address belonged to when the record at offset was written."""
        for module in reversed(self.known_modules):
            if module.offset < offset and module.start <= address < module.end:
                return module
        return None


def logs_in(path):
    """The logs a command-line argument names: a file, or a directory of them."""
    if not os.path.isdir(path):
        return [path]
    names = [n for n in os.listdir(path) if n.startswith("isan.") and n.endswith(".log")]
    if not names:
        raise FileNotFoundError("there is no isan.*.log in %s" % path)
    return [os.path.join(path, n) for n in names]


def read(paths):
    """Read logs, oldest first, each linked to the log of the process it was
    forked from, which is read as well if it lies beside it."""
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
