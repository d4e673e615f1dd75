"""Writes logs in the format of libisan.so (runtime/base/log_format.h), for the tests of the reporter."""

import itertools
import struct

from helpers.product import log, tables

# Addresses of the objects for which a test gives none.
ADDRESSES = itertools.count(0x7f0000001000, 0x100)


def strings(*texts):
    return b"".join((t if isinstance(t, bytes) else t.encode()) + b"\0" for t in texts)


def linetable(*entries):
    """co_linetable of (code units, line) pairs after a first line; line None: no location."""
    out, previous = bytearray(), entries[0]
    for units, line in entries[1:]:
        while units > 0:
            some = min(units, 8)
            if line is None:
                out.append(0x80 | 15 << 3 | some - 1)
            else:
                out.append(0x80 | 13 << 3 | some - 1)
                delta, previous = line - previous, line
                value = (-delta << 1 | 1) if delta < 0 else delta << 1
                while value > 63:
                    out.append(value & 63 | 64)
                    value >>= 6
                out.append(value)
            units -= some
    return bytes(out)


class Writer:
    def __init__(self, pid=100, ppid=1, parent="", parent_tail=0, start=0):
        self.header = dict(pid=pid, ppid=ppid, start=start, parent=parent, parent_tail=parent_tail)
        self.data = bytearray()
        self.dropped = 0
        self.next_site, self.next_stack = 1, 1

    @property
    def tail(self):
        return log.HEADER + len(self.data)

    def record(self, kind, body):
        body += b"\0" * (-len(body) % 8)
        self.data += struct.pack("=II", kind, 8 + len(body)) + body

    def process(self, exe="/usr/bin/python3", cwd="/src", flavor="fast", options="", argv=("python3",),
                hexversion=0x030d05f0):
        self.record(log.PROCESS, struct.pack("=II", hexversion, len(argv))
                    + strings(exe, cwd, flavor, options, *argv))

    def module(self, path, bias=0x10000000, size=0x100000, build_id=""):
        self.record(log.MODULE, struct.pack("=QQQ", bias, bias, bias + size) + strings(path, build_id))

    def code(self, file, function, first, *lines):
        """Returns the site of its first code unit; lines: (units, line)."""
        table, text = linetable(first, *lines), strings(file, function)
        base, units = self.next_site, sum(n for n, _ in lines)
        self.next_site += units
        self.record(log.CODE, struct.pack("=IIiIII", base, units, first, len(table), len(text), 0) + text + table)
        return base

    def stack(self, native=(), python=()):
        """python: (site, entry?, interpreter serial)."""
        id, self.next_stack = self.next_stack, self.next_stack + 1
        self.record(log.STACK, struct.pack("=IHH", id, len(native), len(python)) + struct.pack("=%dQ" % len(native), *native)
                    + b"".join(struct.pack("=IHHII", site, entry, 0, interp, 0) for site, entry, interp in python))
        return id

    def interp(self, serial, event, kind=2, id=None, time=0, stack=0, tid=1):
        self.record(log.INTERP, struct.pack("=IHHqQII", serial, event, kind, serial - 1 if id is None else id, time,
                                            tid, stack))

    @staticmethod
    def object(address=None, size=64, serial=0, owner=0, origin=0, flags=log.OBJ_OBJECT, maker=0):
        return struct.pack("=QQIIIIII", address or next(ADDRESSES), size, serial, owner, origin, flags, maker, 0)

    def finding(self, id, kind, access="incref", count=1, current=0, holder=0, used=0, gone=0, type="dict", time=0,
                tid=1, number=0, **object):
        kinds = [k.name for k in tables.KINDS]
        self.record(log.FINDING, struct.pack("=IHHQQII", id, kinds.index(kind), tables.ACCESSES.index(access), count,
                                             time, tid, current)
                    + self.object(**object) + struct.pack("=QQIIIIII", holder, 0, 0, 0, used, gone, number, 0) + strings(type))

    def leak(self, id, count=1, bytes=64, kept=(0, 0), holder=0, residue=0, domain="o", pairs=(), type="dict",
             keeper="unknown", extra=0, tls=0, tid=0, look=0, number=0, **object):
        text = strings(type)
        keepers = [k.name for k in tables.RETAINERS]
        self.record(log.LEAK, struct.pack("=IHHQQQQQ", id, residue, keepers.index(keeper), count, bytes, *kept, extra)
                    + self.object(**object) + struct.pack("=QQIIIIIIII", holder, tls, tid, 0, len(pairs), ord(domain), len(text), look, number, 0)
                    + text + b"\0" * (-len(text) % 8) + b"".join(struct.pack("=II", *p) for p in pairs))

    def step(self, leak, position, edge, offset=0, texts=("", "", "", ""), basicsize=0, code=0, from_=None, to=None):
        """texts: type of from, of to, label, member; from_, to: arguments of object()."""
        self.record(log.STEP, struct.pack("=II", leak, position) + self.object(**(from_ or {})) + self.object(**(to or {}))
                    + struct.pack("=IIQQ", log.EDGES.index(edge), basicsize, offset, code) + strings(*texts))

    def kept(self, leak, type, count, bytes):
        self.record(log.KEPT, struct.pack("=IIQQ", leak, 0, count, bytes) + strings(type))

    def reason(self, leak, reason, texts=("", "", ""), basicsize=0, offset=0, code=0):
        """texts: type, type of what the member refers to, member."""
        reasons = [r.name for r in tables.REASONS]
        self.record(log.REASON, struct.pack("=IIIIQQ", leak, reasons.index(reason), basicsize, 0, offset, code)
                    + strings(*texts))

    def place(self, finding, role, stack=0, tid=0, interp=0, amount=0, flags=0, text=""):
        roles = [p.name for p in tables.PLACES]
        self.record(log.PLACE, struct.pack("=IHHIIIIq", finding, roles.index(role), flags, stack, tid, interp, 0, amount)
                    + strings(text))

    def crash(self, signal=11, address=0, stack=0, current=0):
        self.record(log.CRASH, struct.pack("=iiQIIII", signal, 1, address, stack, current, 1, 0))

    def exit(self, time=0):
        self.record(log.EXIT, struct.pack("=Q", time))

    def behind(self, finding, *way):
        self.record(log.BEHIND, struct.pack("=II6I", finding, len(way), *way, *[0] * (6 - len(way))))

    def ignored(self, reason, count):
        self.record(log.IGNORED, struct.pack("=Q", count) + strings(reason))

    def note(self, text):
        self.record(log.NOTE, strings(text))

    def bytes(self, tail=None):
        h = self.header
        head = struct.pack("=8sIIQQIIQQ1024s", log.MAGIC, log.VERSION, log.HEADER, tail or self.tail, self.dropped,
                           h["pid"], h["ppid"], h["start"], h["parent_tail"], h["parent"].encode())
        return head.ljust(log.HEADER, b"\0") + bytes(self.data)

    def write(self, directory, name=None):
        path = directory / (name or "isan.%d.log" % self.header["pid"])
        path.write_bytes(self.bytes())
        return path
