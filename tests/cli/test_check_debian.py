"""isan check on extensions of Debian 12's packages, in Debian's Python.  docs/check.md explains the verdicts."""
import os

import pytest

from helpers.programs import release
from helpers.check_command import Check, outcomes

# Module -> verdict, and the statics that decided it: the symbol, or else the type of the object in it.  For markupsafe,
# brotli, netifaces, xxhash and hiredis these were compared with the sources.
VERDICTS = {
    # C: the exception class, a module, a Python class.
    "ujson": ("unsafe", {"JSONDecodeError"}),
    "hiredis": ("unsafe", {"mod_hiredis"}),
    "markupsafe": ("unsafe", {"a type"}),
    "simplejson": ("unsafe", {"a type"}),
    # C: static types, or nothing.
    "xxhash": ("legacy", {"static type xxhash.xxh%s" % name for name in ("32", "64", "3_64", "3_128")}),
    "netifaces": ("legacy", set()),
    # C++.
    "brotli": ("unsafe", {"a type"}),
    "kiwisolver": ("unsafe", {"kiwisolver::" + name for name in (
        "Constraint::TypeObject", "Expression::TypeObject", "Solver::TypeObject", "Term::TypeObject", "Variable::TypeObject",
        "strength::TypeObject", "BadRequiredStrength", "DuplicateConstraint", "DuplicateEditVariable", "UnknownConstraint",
        "UnknownEditVariable", "UnsatisfiableConstraint")}),
    # Cython.
    "yaml": ("main", set()),
    # pybind11.
    "gemmi": ("unsafe", set()),
    # cffi, and what it needs.
    "bcrypt": ("legacy", set()),
    # Rust, PyO3.
    "cryptography.hazmat.bindings._rust": ("main", set()),
}


def debian_12():
    return release("/usr/bin/python3") == "3.11"


of_debian_12 = pytest.mark.skipif(not debian_12(), reason="the versions that Debian 12 has are known here, in its Python 3.11")


@pytest.fixture(scope="module")
def check(target_of):
    return Check(target_of("system"), "--timeout", "10", *VERDICTS)


def name_of(finding):
    if finding["object"]["static_type"]:
        return "static type " + finding["object"]["type"]
    return finding["holder"]["symbol"] or "a " + finding["object"]["type"]


@pytest.mark.parametrize("name", VERDICTS)
def test_verdict(check, name):
    module, (verdict, statics) = check.modules[name], VERDICTS[name]
    if not debian_12():
        assert module["verdict"] in ("own-gil", "legacy", "main", "unsafe"), module["reasons"]
        return
    assert module["extensions"], f"{name} is not there, or without its extension: {module['reasons']}"
    assert module["verdict"] == verdict, (module["reasons"], module["findings"])
    found = [finding for finding in module["findings"] if finding["kind"] == "static"]
    assert {name_of(finding) for finding in found} == statics
    mine = {extension["file"] for extension in module["extensions"]}
    assert {finding["holder"]["module"] for finding in found} <= mine


@of_debian_12
def test_why_they_refuse(check):
    assert [reason.partition(" (")[2].partition(" - ")[0] for name in ("yaml", "cryptography.hazmat.bindings._rust")
            for reason in check.modules[name]["reasons"]] == [
        "ImportError: Interpreter change detected",
        "ImportError: PyO3 modules may only be initialized once per interpreter process)"]


@of_debian_12
def test_pybind11_takes_the_gil_of_the_main_interpreter(check):
    """Its import deadlocks: it waits for the GIL that its own thread holds (pybind11's gil_scoped_acquire, PyGILState_Ensure)."""
    module = check.modules["gemmi"]
    assert outcomes(module)["legacy"] == "hung"
    assert module["reasons"][0].startswith("legacy: hangs while importing it, at gemmi.")
    assert [(finding["kind"], finding["access"]) for finding in module["findings"]] == [("gilstate", "ensure")]


@of_debian_12
def test_findings_of_other_modules_do_not_count(check):
    module = check.modules["bcrypt"]
    assert (module["verdict"], module["findings"]) == ("legacy", [])
    others = [os.path.basename(other["module"] or "").partition(".")[0] for other in module["other_findings"]]
    assert "_cffi_backend" in others


def test_exit_status(check):
    assert check.status == 86, check.err
