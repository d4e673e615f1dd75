"""The isan command line."""
import os

__version__ = "0.1.0"

# The tree this package is part of: a checkout, or PREFIX/lib/isan.
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Problem(Exception):
    """Wrong usage or a missing prerequisite: one sentence that says what to
    do, printed without a traceback, exit status 2."""
