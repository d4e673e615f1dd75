"""SARIF: it is valid by the official schema, within GitHub's limits, and has the findings."""
import copy
import functools
import gzip
import json
import re

import jsonschema
import pytest

from helpers.product import baseline, sarif, tables
from helpers.sample_report import Logs, sample_report
from helpers import npm_package

# Microsoft's npm package with the schema.  Its licence allows no copy in this repository.
PACKAGE, FILE = "@microsoft/jest-sarif@1.0.0-beta.0", "lib/schemas/sarif-2.1.0-rtm.5.json"
SHA256 = "2d99159ae54a3eea97f81781cff48780548657c35949f4b7f25e99a2ba4de4f8"


@functools.lru_cache(None)
def validator():
    schema = json.loads((npm_package.unpacked(PACKAGE, {FILE: SHA256}) / FILE).read_bytes())
    jsonschema.Draft4Validator.check_schema(schema)
    return jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())


def rendered(report, *arguments, **more):
    log = json.loads(sarif.render(report, *arguments, **more))
    validator().validate(log)
    return log["runs"][0]


def test_the_schema_refuses():
    """The schema finds errors, so that its silence proves something."""
    log = {"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "isan"}}, "results": [{"message": {"text": "x"}}]}]}
    validator().validate(log)
    for key, value in ("level", "bad"), ("locations", {}), ("colour", "red"):
        broken = copy.deepcopy(log)
        broken["runs"][0]["results"][0][key] = value
        with pytest.raises(jsonschema.ValidationError):
            validator().validate(broken)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp("made")
    report = sample_report(directory)
    return report, rendered(report, directory)


def by_id(run, id):
    result, = [r for r in run["results"] if r.get("properties", {}).get("id") == id]
    return result


def test_every_kind_is_a_rule_and_a_result(made):
    report, run = made
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [kind.name for kind in tables.KINDS] + ["crash"]
    assert {r["ruleId"] for r in run["results"]} == {rule["id"] for rule in rules}
    assert all(rules[r["ruleIndex"]]["id"] == r["ruleId"] for r in run["results"])
    assert all(rule["help"]["text"] and rule["helpUri"].startswith("https://docs.python.org/") for rule in rules if "docs." in rule["help"]["text"])
    assert sorted(r["partialFingerprints"]["isan/v1"] for r in run["results"] if r["ruleId"] != "crash") == sorted(
        f["fingerprint"] for f in report["findings"])


def test_a_result(made):
    report, run = made
    share = by_id(run, 1)
    # The file is below the root, so GitHub shows the place of the use.
    physical = share["locations"][0]["physicalLocation"]
    assert physical == {"artifactLocation": {"uri": "src/eggs.c", "uriBaseId": "%SRCROOT%"}, "region": {"startLine": 23}}
    assert share["locations"][0]["logicalLocations"] == [
        {"name": "eggs_use", "kind": "function", "fullyQualifiedName": "eggs.so:eggs_use"}]
    assert (share["level"], share["occurrenceCount"]) == ("error", 3)
    assert share["message"]["text"].startswith(
        "interpreter 2 (own GIL) increfs a `dict` that belongs to interpreter 1 (own GIL);"
        " created in interpreter 1 (own GIL) ([src/eggs.c:13](1)); stored in static `cache` of eggs.so ([src/eggs.c:4](2));")
    (flow,), = [f["threadFlows"] for f in share["codeFlows"]]
    assert [step["kinds"] for step in flow["locations"]] == [["created"], ["stored"], ["used"], ["left"]]
    assert [step["location"].get("physicalLocation", {}).get("region", {}).get("startLine") for step in flow["locations"]] == [13, 4, 23, None]
    assert flow["locations"][3]["location"]["message"]["text"].startswith("outlived interpreter 1 (own GIL): leak #20")
    assert [frame["location"]["logicalLocations"][0]["name"] for frame in share["stacks"][0]["frames"]][:2] == ["PyDict_SetItem", "eggs_make"]
    stale = by_id(run, 27)
    assert [step["kinds"][0] for step in stale["codeFlows"][0]["threadFlows"][0]["locations"]][:4] == ["created", "stored", "ended", "used"]
    # The two threads of a race; the variable of a static.
    race, static = by_id(run, 4), by_id(run, 2)
    assert [flow["locations"][-1]["location"]["physicalLocation"]["region"]["startLine"] for flow in race["codeFlows"][0]["threadFlows"]] == [23, 13]
    assert static["locations"][0]["physicalLocation"]["region"]["startLine"] == 4 and static["level"] == "warning"
    crash, = [r for r in run["results"] if r["ruleId"] == "crash"]
    assert "SIGSEGV" in crash["message"]["text"] and crash["locations"][0]["physicalLocation"]["region"]["startLine"] == 23


def test_elsewhere(made, tmp_path):
    """Files outside the root have absolute paths."""
    run = rendered(made[0], tmp_path)
    assert by_id(run, 1)["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].startswith("file:///")
    assert "%SRCROOT%" in run["originalUriBaseIds"]


def test_notes_and_errors_of_the_report(made):
    invocation, other = made[1]["invocations"]
    said = [n["message"]["text"] for n in invocation["toolExecutionNotifications"]]
    assert "a note" in said and any("2 records could not be recorded" in text for text in said)
    assert other["exitSignalNumber"] == 11


def test_suppressed_and_known(tmp_path):
    report = sample_report(tmp_path, suppressed="share:dict  # held by eggs alone\n")
    assert "held by eggs alone" not in json.dumps(rendered(report, tmp_path))
    saved = {f["fingerprint"]: {"fingerprint": f["fingerprint"], "kind": "x", "headline": "x"} for f in report["findings"][:3]}
    baseline.compare(report, "b.json", dict(saved, gone={"fingerprint": "gone", "kind": "share", "headline": "went"}))
    run = rendered(report, tmp_path, suppressed=True)
    assert [r.get("baselineState") for r in run["results"] if r["ruleId"] != "crash" and "suppressions" not in r] == \
        ["new"] * (len(report["findings"]) - 3) + ["unchanged"] * 3
    hidden = by_id(run, 1)
    assert hidden["suppressions"][0]["justification"] == "held by eggs alone" and hidden["suppressions"][0]["status"] == "accepted"
    assert hidden["suppressions"][0]["location"]["physicalLocation"]["region"]["startLine"] == 1
    assert run["properties"]["gone"] == 1 and "went" not in json.dumps(run)


def test_hostile_names(tmp_path):
    run = rendered(sample_report(tmp_path, hostile=True), tmp_path)
    assert all(c.isprintable() for c in json.dumps(run, ensure_ascii=False))
    messages, uris = [], []

    def walk(value):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
            if key == "message":
                messages.append(inner["text"])
            uris.extend([inner] * (key == "uri"))
            walk(inner)

    walk(run)
    assert any("alert(1)" in text for text in messages) and not any("](http" in text for text in messages)
    assert uris and all(re.fullmatch(r"[\w/.%~:-]+", uri) for uri in uris)


def test_limits(tmp_path, monkeypatch):
    report = sample_report(tmp_path)
    end = next(f for f in report["findings"] if f["access"] == "end")
    end["places"] = end["places"][:1] * 3000         # threads that were still there
    run = rendered(report, tmp_path)
    assert max(len(r["locations"]) + len(r.get("relatedLocations", ())) for r in run["results"]) <= 100
    assert max(sum(len(t["locations"]) for t in r["codeFlows"][0]["threadFlows"]) for r in run["results"] if "codeFlows" in r) <= 1000
    assert all(len(rule["properties"]["tags"]) <= 10 for rule in run["tool"]["driver"]["rules"])
    monkeypatch.setattr(sarif, "RESULTS", 5)
    run = rendered(report, tmp_path)
    assert len(run["results"]) == 5 and run["properties"]["left_out"] == len(report["findings"]) + 1 - 5
    for most in 12000, 4000:
        fitted = sarif._fit({"$schema": sarif.SCHEMA, "version": "2.1.0", "runs": [sarif._Sarif(report, tmp_path).run(False)]}, most)
        assert len(gzip.compress(fitted.encode(), 6)) <= most
        validator().validate(json.loads(fitted))
    assert json.loads(sarif._fit({"runs": [run]}, 10))["runs"][0]["results"] == []      # it has an end


def test_nothing_found(tmp_path):
    logs = Logs(tmp_path)
    logs.begin()
    logs.end()
    run = rendered(logs.report(), tmp_path)
    assert run["results"] == [] and len(run["tool"]["driver"]["rules"]) == len(tables.KINDS) + 1
