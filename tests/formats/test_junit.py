"""JUnit XML: failed, passed and skipped cases, with stable names."""
import xml.etree.ElementTree as ET

import pytest

from helpers.product import baseline, junit
from helpers.sample_report import Logs, sample_report


def suite_of(report):
    suite, = ET.fromstring(junit.render(report).encode())
    cases = suite.findall("testcase")
    for attribute, tag in ("failures", "failure"), ("errors", "error"), ("skipped", "skipped"):
        assert int(suite.get(attribute)) == len(suite.findall("testcase/" + tag))
    assert int(suite.get("tests")) == len(cases) and len({(c.get("classname"), c.get("name")) for c in cases}) == len(cases)
    return suite


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return sample_report(tmp_path_factory.mktemp("junit"))


def test_findings_fail(report):
    suite = suite_of(report)
    failures = suite.findall("testcase/failure")
    assert [failure.get("type") for failure in failures] == [f["kind"] for f in report["findings"]]
    share, = [c for c in suite if c.get("name", "").startswith("share: dict in static cache used in eggs_use [")]
    assert share.get("classname") == "isan.eggs"
    assert share[0].get("message") == "interpreter 2 (own GIL) increfs a `dict` that belongs to interpreter 1 (own GIL)"
    assert "hint: Keep the object in module state" in share[0].text and "#1   C eggs_make" in share[0].text
    # Each case is complete: it refers to no other for its stack or hint.
    assert not any("see share #" in failure.text or "see static #" in failure.text for failure in failures)
    assert all("hint: " in failure.text for failure in failures)


def test_programs_pass_or_crash(report):
    suite = suite_of(report)
    program, = suite.findall("testcase[@classname='isan.programs']")
    assert program.get("name") == "python3 app.py (Python 3.13.5, fast)" and float(program.get("time")) == 0.9
    assert "SIGSEGV" in program.find("error").get("message") and "eggs_use" in program.find("error").text
    assert float(suite.get("time")) == 0.9


def test_a_clean_run_has_passed(tmp_path):
    logs = Logs(tmp_path)
    logs.begin()
    logs.end()
    case, = suite_of(logs.report())
    assert (case.get("name"), list(case)) == ("python3 app.py (Python 3.13.5, fast)", [])


def test_known_and_suppressed_are_skipped(tmp_path):
    report = sample_report(tmp_path, suppressed="race:*  # counted roughly\n")
    first, second = report["findings"][:2]
    known = {first["fingerprint"]: {}, "gone": {"fingerprint": "gone", "kind": "free", "headline": "went\x1b"}}
    baseline.compare(report, "b.json", known)
    suite = suite_of(report)
    skipped = {c.get("name").partition(":")[0]: c.find("skipped").get("message") for c in suite if c.find("skipped") is not None}
    assert "counted roughly" in skipped["race"] and skipped[first["kind"]].startswith("in the baseline: ")
    assert suite.find("system-out").text == "gone: free: went\\x1b\n"
    assert int(suite.get("failures")) == len(report["findings"]) - 1


def test_hostile_names(tmp_path):
    text = junit.render(sample_report(tmp_path, hostile=True))
    assert all(c == "\n" or c.isprintable() for c in text) and "<script" not in text
    suite_of(sample_report(tmp_path, hostile=True))


def test_damaged_logs_are_errors(tmp_path):
    logs = Logs(tmp_path)
    logs.begin()
    logs.end()
    (tmp_path / "foreign.log").write_bytes(b"x" * 5000)
    logs.paths.append(tmp_path / "foreign.log")
    error, = suite_of(logs.report()).findall("testcase[@classname='isan.logs']/error")
    assert error.get("message") == "this is not a log of isan"
