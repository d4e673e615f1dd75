"""Saved reports as baselines: what is known, new and gone, and files that are no baseline."""
import json

import pytest

from helpers.product import baseline


def finding(fingerprint, kind="share", variable=None):
    holder = None if variable is None else {"kind": "static", "module": "/x/spam.so", "symbol": variable, "address": 1,
                                            "section": ".data", "path": ""}
    return {"fingerprint": fingerprint, "kind": kind, "headline": "headline of " + fingerprint, "holder": holder}


def save(path, *findings):
    path.write_text(json.dumps({"findings": list(findings)}))
    return str(path)


def compare(path, saved, now, suppressed=()):
    report = {"findings": list(now), "suppressed": list(suppressed)}
    saved = baseline.read(save(path / "saved.json", *saved))
    baseline.compare(report, "saved.json", saved)
    return ([(f["fingerprint"], f["baseline"]) for f in report["findings"]],
            [f["fingerprint"] for f in report["gone"]])


def test_new_findings_come_first_and_gone_ones_are_listed(tmp_path):
    assert compare(tmp_path, [finding("a"), finding("b")], [finding("b"), finding("c")]) == (
        [("c", "new"), ("b", "known")], ["a"])


def test_a_finding_that_is_suppressed_now_is_not_gone(tmp_path):
    assert compare(tmp_path, [finding("a")], [], [finding("a")]) == ([], [])


def test_what_comes_of_a_known_static_is_known(tmp_path):
    saved = [finding("a", "static", "cache")]
    now = [finding("b", kind, "cache") for kind in ("share", "stale", "free")]
    assert compare(tmp_path, saved, now)[0] == [("b", "known")] * 3
    for other in finding("b", "share", "table"), finding("b", "leak", "cache"), finding("b", "share"):
        assert compare(tmp_path, saved, [other])[0] == [("b", "new")]
    # Its other uses are not known because one of them is.
    assert compare(tmp_path, [finding("a", "share", "cache")], [finding("b", "share", "cache")])[0] == [("b", "new")]


def test_only_new_findings_fail_the_run():
    assert baseline.is_new({"baseline": "new"}) and baseline.is_new({"baseline": None})
    assert not baseline.is_new({"baseline": "known"})


@pytest.mark.parametrize("text", ["", "{", "[" * 100000, "null", "[]", "{}", '{"findings": 1}', '{"findings": [1]}',
                                  '{"findings": [{"fingerprint": "a", "kind": 1, "headline": ""}]}'])
def test_a_file_that_is_no_report_is_unusable(tmp_path, text):
    path = tmp_path / "saved.json"
    path.write_text(text)
    with pytest.raises(baseline.Unusable, match="saved.json"):
        baseline.read(str(path))
