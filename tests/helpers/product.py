"""Modules of isan that tests import.  When a module moves, this is the only file of the tests to change."""
from types import SimpleNamespace

import generate_c_tables
from isan import Problem, __version__, launch, residue
from isan import cli as command
from isan.check import formats as verdicts
from isan.check import store as results
from isan.cli import doctor
from isan.pythons import anchors, progress, sources
from isan.pythons import build_key, find_python, tsan_compiler, views_dir
from isan.pythons.releases import FLAVORS
from isan.reports import baseline, fingerprints, model, packages, suppressions, timeline
from isan.reports.formats import html, junit, markdown, sarif, text
from isan.reports.formats import json as json_
from isan.reports.read import c_tables, linetable, records
from isan.reports.read import log as log_
from isan.reports.suppressions import matching, suggestions
from isan.reports.symbolize import symbols

# The log with its records, the tables with the parser that makes them, all about the CPythons that isan builds.
log = SimpleNamespace(**{**vars(records), **vars(log_)})
tables = SimpleNamespace(**vars(c_tables), rows=generate_c_tables.rows)
pythons = SimpleNamespace(**{**vars(progress), **vars(anchors), **vars(sources)}, FLAVORS=FLAVORS, build_key=build_key,
                          find_python=find_python, tsan_compiler=tsan_compiler, views_dir=views_dir)

__all__ = ["Problem", "__version__", "baseline", "command", "doctor", "fingerprints", "html", "json_", "junit", "launch",
           "linetable", "log", "markdown", "matching", "model", "packages", "pythons", "residue", "results", "sarif",
           "suggestions", "suppressions", "symbols", "tables", "text", "timeline", "verdicts"]
