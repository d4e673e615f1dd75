"""Logs that are cut off, torn or wrong: an error with its offset, and a report on the rest."""
import json
import random

from helpers.log_writer import Writer
from helpers.product import json_, log, tables, text
from helpers.sample_log import BIAS, report_of, sample_log


def damaged(tmp_path, content):
    path = tmp_path / "isan.1.log"
    path.write_bytes(content)
    return log.read([path])[0]


def test_foreign_and_short_files(tmp_path):
    assert "not a log" in damaged(tmp_path, b"hello").errors[0][1]
    assert "not a log" in damaged(tmp_path, b"\0" * 9999).errors[0][1]
    whole = Writer().bytes()
    assert "within its header" in damaged(tmp_path, whole[:100]).errors[0][1]
    assert "format 7" in damaged(tmp_path, whole[:8] + b"\7" + whole[9:]).errors[0][1]


def test_torn_and_cut_logs_keep_the_records_before(foo, tmp_path):
    w = sample_log(foo)
    end = w.tail
    whole = w.bytes()
    torn = damaged(tmp_path, w.bytes(end + 64) + b"\0" * 64)
    assert torn.torn == end and not torn.errors and len(torn.findings) == 2
    cut = damaged(tmp_path, whole[:-20])
    assert cut.errors[0][0] < end and "ends within this record" in cut.errors[0][1] and len(cut.findings) == 1
    # Its writer died while it wrote the record: type 0, size known.
    dead = Writer()
    dead.process()
    dead.record(log.NONE, b"\xff" * 40)
    dead.note("after")
    assert damaged(tmp_path, dead.bytes()).notes == ["after"]
    wrong = Writer()
    wrong.note("before")
    at = wrong.tail
    wrong.data += b"\1\0\0\0\5\0\0\0" + b"\0" * 8
    broken = damaged(tmp_path, wrong.bytes())
    assert broken.errors == [(at, "a record gives 5 as its size")] and broken.notes == ["before"]
    assert damaged(tmp_path, whole[:16] + b"\xff" * 8 + whole[24:]).errors
    assert damaged(tmp_path, whole[:16] + b"\xf8" + b"\xff" * 6 + b"\x3f" + whole[24:]).errors


def test_wrong_records_are_errors_with_their_offset(tmp_path):
    for kind, body in ((log.FINDING, b"\xff" * 100), (log.STACK, b"\1\0\0\0\xff\xff\xff\xff"), (log.NOTE, b"endless!"),
                       (log.CODE, b"\xff" * 40), (log.LEAK, b"\xff" * 100), (log.INTERP, b"\xff" * 32), (77, b"")):
        w = Writer()
        w.process()
        at = w.tail
        w.record(kind, body)
        w.note("after")
        read = damaged(tmp_path, w.bytes())
        assert [offset for offset, _ in read.errors] == [at] and read.notes == ["after"]


def test_random_damage_never_breaks_the_report(symbolizer, foo, tmp_path):
    w = sample_log(foo)
    w.leak(4, owner=2, keeper="foreign", holder=BIAS + 8, tls=9, tid=3, kept=(2, 9))
    for position, edge in enumerate(log.EDGES):
        w.step(4, position, edge, 24, ("A", "B", "label", ""), basicsize=32, code=BIAS + foo.symbols["deep"])
    w.kept(4, "C", 2, 9)
    for reason in tables.REASONS:
        w.reason(4, reason.name, ("A", "B", ""), basicsize=32, offset=16, code=BIAS + foo.symbols["deep"])
    whole = w.bytes()
    random_ = random.Random(1)
    for _ in range(150):
        broken = bytearray(whole)
        for _ in range(random_.choice((1, 5, 50))):
            broken[random_.randrange(log.HEADER, len(broken))] = random_.choice((0, 1, 127, 255, random_.randrange(256)))
        (tmp_path / "isan.1.log").write_bytes(broken)
        report = report_of(symbolizer, tmp_path / "isan.1.log")
        text.render(report, show_residue=True)
        json.loads(json_.render(report))


def test_module_of_an_address(tmp_path):
    """The newest module before the record; for a record of a constructor, written before its module is, the first later one."""
    w = Writer()
    offsets = [w.tail]
    for path in "/lib/first.so", "/lib/second.so":
        w.module(path)
        offsets.append(w.tail)
        w.note("between")
    read = damaged(tmp_path, w.bytes())
    assert [read.module(0x10000010, offset).path for offset in offsets] == ["/lib/first.so", "/lib/first.so", "/lib/second.so"]
    assert read.module(0x20000000, offsets[-1]) is None
