"""The recorder's tables of kinds, accesses, hints and options, which the log refers to by number.

make generates the module with their contents from C (scripts/generate_c_tables.py).
"""
import collections

from ... import ROOT, Problem

try:
    from ... import _c_tables
except ImportError:
    raise Problem("%s is not built: run make first" % ROOT) from None

Kind = collections.namedtuple("Kind", "name title hint")
State = collections.namedtuple("State", "access hint")
Place = collections.namedtuple("Place", "name text")
Residue = collections.namedtuple("Residue", "name reason")
Retainer = collections.namedtuple("Retainer", "name hint")
Reason = collections.namedtuple("Reason", "name text")
Option = collections.namedtuple("Option", "type name default choices least most help")

KINDS = [Kind(*row) for row in _c_tables.KINDS]
ACCESSES = _c_tables.ACCESSES
STATES = [State(*row) for row in _c_tables.STATES]
PLACES = [Place(*row) for row in _c_tables.PLACES]
RESIDUES = [Residue(*row) for row in _c_tables.RESIDUES]
RETAINERS = [Retainer(*row) for row in _c_tables.RETAINERS]
REASONS = [Reason(*row) for row in _c_tables.REASONS]
OPTIONS = {row[1]: Option(*row) for row in _c_tables.OPTIONS}
