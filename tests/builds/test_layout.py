"""The layout of CPython, and the names of references in it, in each stock Python but the system's (unit/test_layout.py)."""
import pytest

from helpers import layout, reference_names
from helpers.programs import STOCK

RELEASES = pytest.mark.parametrize("name", STOCK[1:])


@RELEASES
def test_layout(name, python_of, tmp_path):
    layout.check(python_of(name), tmp_path)


@RELEASES
def test_shared_layout(name, python_of, tmp_path):
    layout.check_shared(python_of(name), tmp_path)


@RELEASES
def test_reference_names(name, python_of, tmp_path):
    reference_names.check(python_of(name), tmp_path)
