"""The names of references between objects of the system's Python; builds/test_layout.py has other releases."""
from helpers import reference_names
from helpers.programs import SYSTEM


def test_reference_names(tmp_path):
    reference_names.check(SYSTEM, tmp_path)
