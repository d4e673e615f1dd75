"""Tables that the reporter reads from C sources, and the line tables of code objects."""
import sys
from pathlib import Path

import pytest

from helpers.log_writer import linetable
from helpers.product import tables
from helpers.product import linetable as linetable_


def test_tables_are_the_c_tables():
    assert [k.name for k in tables.KINDS][:2] == ["share", "stale"] and tables.KINDS[-1].name == "leak"
    assert tables.ACCESSES[0] == "none" and tables.RESIDUES[0].name == "none"
    assert tables.OPTIONS["exitcode"].default == 86 and tables.OPTIONS["origin"].choices == ("none", "python", "native")
    with pytest.raises(ValueError):
        list(tables.rows("ISAN_KIND x"))
    assert list(tables.rows('/* x, ( */ ISAN_A(b, "c, (d" /* e */ " \\"f", -1)')) == [
        ("ISAN_A", ["b", 'c, (d "f', "-1"])]


def test_line_tables_of_the_log_writer():
    table = linetable(10, (3, 10), (9, 500), (2, None), (1, 7))
    assert [linetable_.line_of(table, 10, u) for u in (0, 2, 3, 11, 12, 13, 14, 15)] == [10, 10, 500, 500, None, None, 7, None]
    assert linetable_.line_of(table[:3], 10, 5) is None and linetable_.line_of(b"\xe8\x7f\x7f", 1, 0) is None and linetable_.line_of(b"", 1, 0) is None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="this Python's code objects have no location table")
def test_line_tables_of_this_python():
    import argparse
    import types
    todo, seen = [f.__code__ for f in vars(argparse.ArgumentParser).values() if isinstance(f, types.FunctionType)], 0
    todo.append(compile(Path(argparse.__file__).read_text(), "argparse.py", "exec"))
    while todo:
        c = todo.pop()
        todo += [k for k in c.co_consts if isinstance(k, types.CodeType)]
        for unit, (line, *_) in enumerate(c.co_positions()):
            assert linetable_.line_of(c.co_linetable, c.co_firstlineno, unit) == line
            seen += 1
    assert seen > 1000
