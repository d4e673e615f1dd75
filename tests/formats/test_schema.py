"""isan's schema describes its JSON.  Run.report (helpers/programs.py) checks the reports on real programs against it, too."""
import copy
import json

import jsonschema
import pytest

from helpers.product import baseline, json_, tables
from helpers.report_schema import validate, validator
from helpers.sample_report import sample_report


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    report = sample_report(tmp_path_factory.mktemp("schema"), suppressed="free:*  # known\n")
    baseline.compare(report, "b.json", {"x": {"fingerprint": "x", "kind": "share", "headline": "y"},
                                        report["findings"][0]["fingerprint"]: {}})
    return json.loads(json_.render(report))


def test_every_kind_of_finding(report):
    validate(report)
    assert {f["kind"] for f in report["findings"] + report["suppressed"]} == {kind.name for kind in tables.KINDS}
    assert report["owned"] and report["residue"] and report["crashes"] and report["gone"] and report["notes"]
    assert {f["holder"]["kind"] for f in report["findings"] if f["kind"] == "leak" and f["holder"]} == {
        "static", "foreign", "cycle", "reference", "memory", "given_up", "replaced"}


def test_hostile_names(tmp_path):
    validate(json.loads(json_.render(sample_report(tmp_path, hostile=True))))


def test_kinds_are_those_of_the_table():
    assert set(validator().schema["definitions"]["kind"]["enum"]) == {kind.name for kind in tables.KINDS}


@pytest.mark.parametrize("keys,value", [
    (("findings", 0, "kind"), "crash"), (("findings", 0, "fingerprint"), "xyz"), (("findings", 0, "count"), "3"),
    (("findings", 0, "color"), 3), (("findings", 0, "stacks", "created"), None), (("processes", 0, "pid"), None),
    (("interpreters", 0, "kind"), "other"), (("extra",), 1),
])
def test_wrong_values_are_refused(report, keys, value):
    broken = copy.deepcopy(report)
    inner = broken
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(broken)


def test_every_key_is_required(report):
    for key in report:
        with pytest.raises(jsonschema.ValidationError):
            validate({name: value for name, value in report.items() if name != key})
