"""From the records of logs to the report; build() in report.py has the stages."""
from .kinds import KINDS, RETAINERS, RACES, RANK, REASONS, STATES, STATIC_TYPE
from .report import build
from .residue import residue_key, subtract_residue

__all__ = ["RETAINERS", "KINDS", "RACES", "RANK", "REASONS", "STATES", "STATIC_TYPE", "build", "residue_key",
           "subtract_residue"]
