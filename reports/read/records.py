"""The records of a log, as runtime/base/log_format.h describes them: their layouts, and how each is added to a Log."""
import collections
import struct

from . import c_tables

MAGIC, VERSION, HEADER = b"ISANLOG1", 4, 4096
(NONE, PROCESS, MODULE, CODE, STACK, INTERP, FINDING, LEAK, CRASH, EXIT, NOTE, STEP, KEPT, REASON, PLACE, IGNORED,
 BEHIND) = range(17)
FRAME_ENTRY = 1
OBJ_OBJECT, OBJ_FREED, OBJ_ORIGIN_STACK, OBJ_INTERNED, OBJ_RECYCLED, OBJ_STATIC_TYPE = 1, 2, 4, 8, 16, 32
PLACE_WRITE, PLACE_ATOMIC, PLACE_DETACHED, PLACE_UNKNOWN, PLACE_FREE = 1, 2, 4, 8, 16
PLACE_MORTAL, PLACE_OLD_ABI = 32, 64
INTERP_KINDS = ("main", "legacy", "own-gil")
BEGIN, FINALIZING, END = 1, 2, 3
STATES = {state.access for state in c_tables.STATES}
# malloc domain as recorded -> as the report has it.
DOMAINS = {ord(letter): letter for letter in "rmo"}
EDGES = ("field", "item", "key", "value", "attribute", "type", "memory")

HEAD = struct.Struct("=8sIIQQIIQQ1024s")
RECORD = struct.Struct("=II")
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
    "Leak", "offset id residue retainer count bytes kept kept_bytes extra object holder domain look number pairs type")
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


# -- one function for each type of record ------------------------------------------------


def _add_process(log, offset, body):
    log.hexversion, argc = _process.unpack_from(body)
    words = _strings(body[_process.size:], 4 + argc)
    log.exe, log.cwd, log.flavor, log.options = words[:4]
    log.argv = words[4:4 + argc]


def _add_module(log, offset, body):
    bias, start, end = _module.unpack_from(body)
    path, build_id = _strings(body[_module.size:], 2)[:2]
    log.modules.append(Module(offset, bias, start, end, path, build_id))


def _add_code(log, offset, body):
    base, units, first, table_size, text_size, _ = _code.unpack_from(body)
    file, function = _strings(body[_code.size:_code.size + text_size], 2)[:2]
    begin = _code.size + text_size
    if begin + table_size > len(body):
        raise Damaged("its line table is cut off")
    log.offsets["code", base] = offset
    log.codes.append(Code(base, units, first, body[begin:begin + table_size], file, function))


def _add_stack(log, offset, body):
    id, n_native, n_python = _stack.unpack_from(body)
    frames = _stack.size + 8 * n_native
    if frames + _frame.size * n_python > len(body):
        raise Damaged("its frames are cut off")
    native = struct.unpack_from("=%dQ" % n_native, body, _stack.size)
    python = []
    for i in range(n_python):
        site, flags, _, interp, _ = _frame.unpack_from(body, frames + i * _frame.size)
        python.append(Frame(site, flags, interp))
    log.stacks[id] = Stack(offset, native, python)


def _add_interp(log, offset, body):
    serial, event, interp_kind, id, time, tid, stack = _interp.unpack_from(body)
    if event not in (BEGIN, FINALIZING, END) or interp_kind >= len(INTERP_KINDS):
        raise Damaged("event %d, kind %d" % (event, interp_kind))
    log.offsets["event", len(log.events)] = offset
    log.events.append(Event(serial, event, INTERP_KINDS[interp_kind], id, time, tid, stack))


def _add_finding(log, offset, body):
    f = _finding.unpack_from(body)
    if f[1] >= len(c_tables.KINDS) or f[2] >= len(c_tables.ACCESSES):
        raise Damaged("kind %d, access %d" % (f[1], f[2]))
    what, access = c_tables.KINDS[f[1]].name, c_tables.ACCESSES[f[2]]
    if what == "leak" or (what == "gilstate") != (access in STATES):
        raise Damaged("kind %s, access %s" % (what, access))
    log.findings[f[0]] = Finding(
        offset, f[0], what, access, *f[3:7], Object(*f[7:15]),
        Holder(*f[15:19]), *f[19:], _strings(body[_finding.size:], 1)[0])


def _add_leak(log, offset, body):
    f = _leak.unpack_from(body)
    n_paired, domain, text_size, look, number, _ = f[20:]
    if f[1] >= len(c_tables.RESIDUES) or f[2] >= len(c_tables.RETAINERS):
        raise Damaged("residue rule %d, retainer %d" % f[1:3])
    type = _strings(body[_leak.size:_leak.size + text_size], 1)[0] if text_size else ""
    begin = (_leak.size + text_size + 7) & ~7
    if begin + n_paired * _pair.size > len(body):
        raise Damaged("its pairs are cut off")
    pairs = [_pair.unpack_from(body, begin + i * _pair.size) for i in range(n_paired)]
    (log.owned if look else log.leaks)[f[0]] = Leak(
        offset, *f[:2], c_tables.RETAINERS[f[2]].name, *f[3:8], Object(*f[8:16]), Holder(*f[16:20]),
        DOMAINS.get(domain, ""), look, number, pairs, type)


def _add_crash(log, offset, body):
    log.crashes.append(Crash(offset, *_crash.unpack_from(body)[:-1]))


def _add_exit(log, offset, body):
    log.exit_time = _exit.unpack_from(body)[0]


def _add_note(log, offset, body):
    log.notes.append(_strings(body, 1)[0])


def _add_step(log, offset, body):
    f = _step.unpack_from(body)
    if f[18] >= len(EDGES):
        raise Damaged("edge %d" % f[18])
    log.steps.append(Step(offset, *f[:2], Object(*f[2:10]), Object(*f[10:18]), EDGES[f[18]], *f[19:],
                          *_strings(body[_step.size:], 4)[:4]))


def _add_kept(log, offset, body):
    leak, _, count, size = _kept.unpack_from(body)
    log.kept.append(Kept(leak, count, size, _strings(body[_kept.size:], 1)[0]))


def _add_reason(log, offset, body):
    leak, reason, basicsize, _, at, code = _reason.unpack_from(body)
    if reason >= len(c_tables.REASONS):
        raise Damaged("reason %d" % reason)
    log.reasons.append(Reason(offset, leak, c_tables.REASONS[reason].name, basicsize, at, code,
                              *_strings(body[_reason.size:], 3)[:3]))


def _add_place(log, offset, body):
    f = _place.unpack_from(body)
    if f[1] >= len(c_tables.PLACES):
        raise Damaged("role %d" % f[1])
    log.places.append(Place(offset, f[0], c_tables.PLACES[f[1]].name, *f[2:6], f[7],
                            _strings(body[_place.size:], 1)[0]))


def _add_ignored(log, offset, body):
    count, = _ignored.unpack_from(body)
    log.ignored.append((_strings(body[_ignored.size:], 1)[0], count))


def _add_behind(log, offset, body):
    finding, hops, *at = _behind.unpack_from(body)
    if hops == 0:
        raise Damaged("a way of no steps")
    log.behind.append(Behind(finding, hops, at[:hops]))


_ADD = {
    PROCESS: _add_process, MODULE: _add_module, CODE: _add_code, STACK: _add_stack, INTERP: _add_interp,
    FINDING: _add_finding, LEAK: _add_leak, CRASH: _add_crash, EXIT: _add_exit, NOTE: _add_note, STEP: _add_step,
    KEPT: _add_kept, REASON: _add_reason, PLACE: _add_place, IGNORED: _add_ignored, BEHIND: _add_behind,
}


def add(log, kind, offset, body):
    """Add a record to a Log. Raises Damaged or struct.error if the record makes no sense."""
    function = _ADD.get(kind)
    if function is None:
        raise Damaged("no such type in this format")
    function(log, offset, body)
