"""Fingerprints: the fields that change them, and the fields that do not."""
import copy

import pytest

from helpers.product import fingerprints
from helpers.shared_list import made, report_of


def test_places_of_one_function_are_told_apart(tmp_path):
    """Lines of one function are numbered in their order; the position of the function does not count."""
    one = report_of(made(12, 9, 100).write(tmp_path))["findings"]
    base = min(f["fingerprint"] for f in one)
    assert [(f["stacks"]["created"][0]["line"], f["fingerprint"]) for f in one] == [
        (12, base + "-2"), (9, base), (100, base + "-3")]
    assert len(base) == 16
    moved = report_of(made(9, 13, edited=300, directory="/elsewhere").write(tmp_path, "isan.2.log"))["findings"]
    assert [f["fingerprint"] for f in moved] == [base, base + "-2"]


@pytest.mark.parametrize("one,other", [
    ("_m.cpython-313-x86_64-linux-gnu.so", "_m.cpython-314d-x86_64-linux-gnu.so"), ("/a/_m.abi3.so", "/b/_m.so"),
    ("_m.cpython-311-darwin.so", "_m.so")])
def test_module_names(one, other):
    assert fingerprints.module_name(one) == fingerprints.module_name(other) == "_m.so"


FINDING = {
    "kind": "share", "access": "incref", "object": {"type": "list", "size": 56, "address": 1, "serial": 2},
    "owner": {"kind": "own-gil", "id": 1, "serial": 2}, "current": {"kind": "legacy", "id": 2, "serial": 3},
    "holder": {"kind": "static", "module": "/a/_m.so", "symbol": "cache", "path": "[3].next", "section": ".bss", "address": 7,
               "file": "/a/m.c", "line": 7},
    "stacks": {"created": [{"kind": "python", "function": "make", "file": "/a/m.py", "line": 3, "start": 1, "cpython": False}],
               "used": [{"kind": "native", "function": "use.isra.0", "file": "/a/m.c", "line": 9, "start": 8, "module": "/a/_m.so",
                         "address": 99, "offset": 9, "cpython": False}]}}


def changed(*keys, to):
    finding = copy.deepcopy(FINDING)
    inner = finding
    for key in keys[:-1]:
        inner = inner[key]
    assert inner[keys[-1]] != to
    inner[keys[-1]] = to
    return finding


def print_of(finding):
    fingerprints.assign([finding])
    return finding["fingerprint"]


@pytest.mark.parametrize("keys,to", [
    (("object", "address"), 5), (("object", "serial"), 5), (("object", "size"), 5), (("owner", "id"), 5), (("owner", "serial"), 5),
    (("holder", "address"), 5), (("holder", "line"), 5), (("holder", "file"), "/b/n.c"), (("holder", "path"), "[8].next"),
    (("holder", "path"), "[3].next->rows[5].value"),
    (("holder", "module"), "/b/_m.cpython-313-x86_64-linux-gnu.so"), (("stacks", "created", 0, "line"), 5),
    (("stacks", "created", 0, "file"), "/b/m.py"), (("stacks", "created", 0, "start"), 2), (("stacks", "used", 0, "line"), 5),
    (("stacks", "used", 0, "file"), None), (("stacks", "used", 0, "address"), 5), (("stacks", "used", 0, "offset"), 5),
    (("stacks", "used", 0, "function"), "use"), (("stacks", "used", 0, "function"), "use.constprop.1"),
])
def test_fields_that_keep_the_fingerprint(keys, to):
    assert print_of(changed(*keys, to=to)) == print_of(copy.deepcopy(FINDING))


@pytest.mark.parametrize("keys,to", [
    (("kind",), "free"), (("access",), "decref"), (("object", "type"), "dict"), (("holder",), None), (("holder", "symbol"), "caches"),
    (("holder", "module"), "/a/_n.so"), (("holder", "path"), "[3].last"), (("owner", "kind"), "legacy"),
    (("stacks", "created", 0, "function"), "made"), (("stacks", "created", 0, "file"), "/a/n.py"),
    (("stacks", "used", 0, "function"), "used"), (("stacks", "used", 0, "module"), "/a/_n.so"),
])
def test_fields_that_change_the_fingerprint(keys, to):
    assert print_of(changed(*keys, to=to)) != print_of(copy.deepcopy(FINDING))


def with_holder(**holder):
    return {**copy.deepcopy(FINDING), "holder": holder or None}


@pytest.mark.parametrize("holder", [
    {**FINDING["holder"], "indirect": True}, {**FINDING["holder"], "indirect": True, "symbol": "caches"},
    {**dict.fromkeys(FINDING["holder"]), "kind": "reference"}, {**dict.fromkeys(FINDING["holder"]), "kind": "memory"}])
def test_a_search_through_memory_is_not_in_a_fingerprint(holder):
    """The searches of a process have a budget: their results depend on earlier searches."""
    assert print_of(with_holder(**holder)) == print_of(with_holder())
    assert fingerprints.identity(with_holder(**holder)) != fingerprints.identity(with_holder())


@pytest.mark.parametrize("holder", [
    {**FINDING["holder"], "indirect": False}, {**FINDING["holder"], "kind": "foreign", "indirect": False},
    {**dict.fromkeys(FINDING["holder"]), "kind": "cycle"},
    {**dict.fromkeys(FINDING["holder"]), "kind": "reference", "edge": "field", "object": {"type": "list"}}])
def test_a_holder_found_without_a_search_is_in_a_fingerprint(holder):
    assert print_of(with_holder(**holder)) != print_of(with_holder())
