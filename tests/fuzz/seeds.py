"""Write the seeds of the fuzzer: DIRECTORY/log/*, one for each kind of record and report."""
import sys
from pathlib import Path

from fuzz_log import RAW, SHORT, short
from helpers import log_writer
from helpers.product import log, tables


def base(**header):
    w = log_writer.Writer(**header)
    w.process(options="origin=native")
    w.module("/lib/_foo.so", 0x1000, 0x1000)
    site = w.code("a.py", "f", 5, (2, 6), (3, None), (1, 9))
    w.interp(1, log.BEGIN, 0, 0)
    w.interp(2, log.BEGIN, 2, 1)
    stack = w.stack([0x1010, 0x1021, 0x1033], [(site, 1, 2), (site + 3, 0, 1)])
    return w, site, stack


def logs():
    for kind in tables.KINDS:
        if kind.name == "leak":
            continue
        w, site, stack = base()
        w.finding(1, kind.name, "ensure" if kind.name == "gilstate" else "incref", current=1, holder=0x1010, used=stack, serial=3,
                  owner=2, origin=site)
        for role in tables.PLACES:
            w.place(1, role.name, stack, 4, 2, -3, 7, "int 5")
        w.interp(2, log.END, 2, 1, 77, stack)
        w.exit(99)
        yield kind.name, w.bytes()
    for keeper in tables.RETAINERS:
        w, site, stack = base(parent="isan.9.log", parent_tail=5000)
        w.leak(7, 3, 99, (2, 44), holder=0x1020, pairs=[(3, 1)], keeper=keeper.name, extra=2, tls=9, tid=4, serial=3, owner=2)
        for position, edge in enumerate(log.EDGES):
            w.step(7, position, edge, 24, ("dict", "list", "label", ""), 56, 0x1010)
        w.kept(7, "str", 2, 44)
        for reason in tables.REASONS:
            w.reason(7, reason.name, ("Node", "list", ""), 56, 16, 0x1020)
        w.interp(2, log.FINALIZING, 2, 1, 70)
        w.interp(2, log.END, 2, 1, 77, stack)
        yield "leak-" + keeper.name, w.bytes()
    w, site, stack = base()
    w.leak(7, look=1, serial=3, owner=2, keeper="static")
    w.crash(11, 4096, stack, 2)
    w.note("a note")
    w.ignored("a reason", 3)
    yield "crash", w.bytes()


if __name__ == "__main__":
    directory = Path(sys.argv[1]) / "log"
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in logs():
        (directory / name).write_bytes(short(content))
    (directory / "raw").write_bytes(RAW + content[:SHORT] + content[log.HEADER:])
