"""The layout of CPython, against the headers of the system's Python; builds/test_layout.py has other releases."""
from helpers import layout
from helpers.programs import SYSTEM


def test_layout(tmp_path):
    layout.check(SYSTEM, tmp_path)


def test_shared_layout(tmp_path):
    layout.check_shared(SYSTEM, tmp_path)
