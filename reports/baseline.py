"""A saved report (isan report --format json) as the baseline of another.

Findings that the baseline has are known; findings that only the baseline has are gone. What interpreters do with the
object in a static may differ from run to run. The bug is the static: if that is known, so is what comes of it.
"""
import json

from .fingerprints import variable

_COMES_OF_IT = ("share", "stale", "free")
_KEPT = ("fingerprint", "kind", "headline")


class Unusable(Exception):
    """A file is no baseline. The sentence names it."""


def read(path):
    """The findings of a saved report: fingerprint -> what a report says of one that is gone."""
    return _findings(path, _load(path))


def read_check(path):
    """(findings, verdicts) of what `isan check --format json` has saved.

    Each finding has the module that was `checked`; the verdicts are by module.
    """
    saved = _load(path)
    modules = saved.get("modules") if isinstance(saved, dict) else None
    if not isinstance(modules, list) or not all(
            isinstance(m, dict) and isinstance(m.get("name"), str) for m in modules):
        raise Unusable("%s is nothing that isan check has saved: save it with isan check --format json" % path)
    found = {}
    for module in modules:
        for fingerprint, finding in _findings(path, module).items():
            found[fingerprint] = dict(finding, checked=module["name"])
    return found, {module["name"]: module.get("verdict") for module in modules}


def _load(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        try:
            return json.load(file)
        except (ValueError, RecursionError) as error:
            raise Unusable("%s is no saved report (%s): save one with isan report --format json -o FILE" % (
                path, error))


def _findings(path, saved):
    findings = saved.get("findings") if isinstance(saved, dict) else None
    if not isinstance(findings, list) or not all(
            isinstance(f, dict) and all(isinstance(f.get(key), str) for key in _KEPT) for f in findings):
        raise Unusable("%s is no report of this isan's: save one with isan report --format json -o FILE" % path)
    return {f["fingerprint"]: dict({key: f[key] for key in _KEPT}, variable=variable(f)) for f in findings}


def knows(saved):
    """A function that says whether the saved report has a finding."""
    variables = {one["variable"] for one in saved.values() if one.get("kind") == "static" and one.get("variable")}
    return lambda f: f["fingerprint"] in saved or f["kind"] in _COMES_OF_IT and variable(f) in variables


def gone(saved, seen):
    """The saved findings, but for those with a fingerprint in `seen`."""
    return [{key: value for key, value in saved[fingerprint].items() if key != "variable"}
            for fingerprint in saved if fingerprint not in seen]


def compare(report, path, saved):
    """Mark each finding "new" or "known", put the new ones first, and list those that are gone.

    A finding that is suppressed now is not gone.
    """
    known = knows(saved)
    for finding in report["findings"]:
        finding["baseline"] = "known" if known(finding) else "new"
    report["findings"].sort(key=lambda finding: finding["baseline"] == "known")
    seen = {finding["fingerprint"] for finding in report["findings"] + report["suppressed"]}
    report["baseline"] = path
    report["gone"] = gone(saved, seen)


def is_new(finding):
    """Whether a finding fails the run. Without a baseline all do."""
    return finding["baseline"] != "known"
