"""The order of a report, and what of it an empty interpreter leaves, too."""
from helpers.product import model


def finding(id, kind, serial=0, paired=(), process=0, **more):
    return dict(id=id, kind=kind, object={"serial": serial}, paired=list(paired), process=process, **more)


def ids(*findings):
    return [f["id"] for f in model.order.ordered(list(findings))]


def test_what_is_wrong_now_comes_first_and_what_was_left_last():
    assert ids(finding(1, "leak"), finding(2, "static"), finding(3, "gilstate"), finding(4, "share"), finding(5, "race")
               ) == [4, 5, 3, 2, 1]


def test_findings_about_one_object_stay_together_and_its_leak_is_last():
    assert ids(finding(1, "static"), finding(2, "static", 7), finding(3, "leak", 7), finding(4, "share", 7),
               finding(5, "gilstate")) == [4, 2, 3, 5, 1]
    # Serials are numbers of one process.
    assert ids(finding(1, "static"), finding(2, "static", 7, process=1), finding(4, "share", 7)) == [4, 1, 2]


def test_a_leak_stays_with_the_findings_it_is_paired_with():
    assert ids(finding(1, "gilstate"), finding(2, "share"), finding(3, "leak", paired=[2])) == [2, 1, 3]
    assert ids(finding(1, "gilstate"), finding(2, "share", paired=[3]), finding(3, "leak", paired=[2])) == [2, 3, 1]
    # One that was left out of the report changes nothing.
    assert ids(finding(1, "share", paired=[99]), finding(2, "share")) == [1, 2]


def test_the_largest_of_the_leaks_without_other_findings_comes_first():
    assert ids(finding(1, "leak", bytes=10), finding(2, "leak", bytes=30), finding(3, "leak", bytes=20)) == [2, 3, 1]


def leak(count, bytes=None, type="dict", paired=(), kind="legacy", serial=2, process=0, residue=None):
    return {"object": {"type": type}, "stacks": {"created": []}, "owner": {"kind": kind, "serial": serial},
            "holder": None, "count": count, "bytes": 10 * count if bytes is None else bytes, "paired": list(paired),
            "process": process, "residue": residue, "kept": {"count": 1, "bytes": 1, "types": []}}


MEASURED = {"legacy": {("dict", "", ""): 3}}


def counts(leaks, measured=MEASURED):
    """The counts of what is the user's, and of what is CPython's own."""
    users, own = model.residue.subtract_residue(leaks, measured)
    return [(one["count"], one["bytes"]) for one in users], [(one["count"], one["bytes"]) for one in own]


def test_as_much_as_an_empty_interpreter_leaves_is_not_the_users():
    assert counts([leak(3)]) == ([], [(3, 30)])
    assert counts([leak(2)]) == ([], [(2, 20)])
    assert counts([leak(5)]) == ([(2, 20)], [(3, 30)])


def test_what_an_empty_interpreter_does_not_leave_is_the_users():
    assert counts([leak(3, type="list")]) == ([(3, 30)], [])
    assert counts([leak(3, kind="own-gil")]) == ([(3, 30)], [])
    assert counts([leak(3)], {}) == ([(3, 30)], [])


def test_the_measured_count_is_for_each_interpreter_once():
    assert counts([leak(2), leak(2)]) == ([(1, 10)], [(2, 20), (1, 10)])
    assert counts([leak(3), leak(3, serial=3), leak(3, process=1)]) == ([], [(3, 30)] * 3)


def test_a_leak_that_another_finding_is_about_is_the_users():
    assert counts([leak(2, paired=[1]), leak(3)]) == ([(2, 20)], [(3, 30)])


def test_what_the_recorder_knows_as_residue_takes_nothing_of_the_count():
    assert counts([leak(9, residue={"rule": "x"}), leak(3)]) == ([], [(9, 90), (3, 30)])


def test_a_part_has_its_share_of_the_bytes_and_keeps_nothing():
    users, own = model.residue.subtract_residue([leak(4, bytes=100)], MEASURED)
    assert own[0]["bytes"] == 75 and own[0]["kept"] == {"count": 0, "bytes": 0, "types": []}
    assert users[0]["bytes"] == 25 and users[0]["kept"]["count"] == 1
