"""Which Python the tests use as their subject."""
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def subject(flavor="plain"):
    """Path of a CPython 3.13 or newer: ISAN_TEST_PYTHON, else the newest one built here.

    A test that needs one fails without it, since a run that left these tests
    out would look like one that passed them.
    """
    if chosen := os.environ.get("ISAN_TEST_PYTHON"):
        return chosen
    built = [path for path in (ROOT / "build/python").glob(f"*-{flavor}/bin/python3.*")
             if re.fullmatch(r"python3\.\d+", path.name)]
    assert built, (f"no {flavor} CPython has been built: run `make python FLAVOR={flavor}`, "
                   "or set ISAN_TEST_PYTHON to a CPython 3.13 or newer")
    return str(max(built, key=lambda path: [int(n) for n in re.findall(r"\d+", path.parent.parent.name)]))
