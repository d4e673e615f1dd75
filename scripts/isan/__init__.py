"""The isan command line."""
import os

__version__ = "0.1.0"

# The tree this package is part of: a checkout, PREFIX/lib/isan, or what a wheel (scripts/wheel.py) puts into the package.
_HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(_HERE, "root")
if not os.path.isdir(ROOT):
    ROOT = os.path.dirname(os.path.dirname(_HERE))


class Problem(Exception):
    """Wrong usage or a missing prerequisite: one sentence that says what to
    do, printed without a traceback, exit status 2."""
