"""Suppressions: findings that are known and are to stay out of the report."""
from .files import ASK, Malformed, Suppression, of_cpython, read
from .matching import is_of_cpython, matches, names, split

__all__ = ["ASK", "Malformed", "Suppression", "is_of_cpython", "matches", "names", "of_cpython", "read", "split"]
