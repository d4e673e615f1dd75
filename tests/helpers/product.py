"""The modules of isan that tests call: the only file of the tests to change when one of them moves."""
from isan import Problem, __main__ as command, __version__, doctor, pythons, residue, results, verdicts
from reports import (baseline, fingerprints, html, json_, junit, linetable, log, markdown, model, packages, sarif, story, suggest,
                     suppressions, symbols, tables, text)

__all__ = ["Problem", "__version__", "baseline", "command", "doctor", "fingerprints", "html", "json_", "junit", "linetable", "log",
           "markdown", "model", "packages", "pythons", "residue", "results", "sarif", "story", "suggest", "suppressions", "symbols",
           "tables", "text", "verdicts"]
