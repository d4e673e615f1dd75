"""One finding for the observations of one bug, in one process or in several."""
import collections

from .. import fingerprints
from .findings import largest_first


def _together(finding):
    """(list of the merged finding, what this finding adds to it)."""
    holder = finding["holder"]
    element = holder and (holder["path"] if holder["symbol"] else holder["offset"])
    return (("owners", finding["owner"]), ("currents", finding["current"]), ("pids", finding["pid"]),
            ("processes", finding["process"]), ("elements", element))


def _add_leak(first, leak):
    for key in ("bytes", "extra"):
        first[key] += leak[key]
    types = {}
    for one in first["kept"]["types"] + leak["kept"]["types"]:
        total = types.setdefault(one["type"], {"type": one["type"], "count": 0, "bytes": 0})
        for key in ("count", "bytes"):
            total[key] += one[key]
    first["kept"] = {"count": first["kept"]["count"] + leak["kept"]["count"],
                     "bytes": first["kept"]["bytes"] + leak["kept"]["bytes"],
                     "types": sorted(types.values(), key=lambda t: -t["bytes"])}
    first["way"] = first["way"] or leak["way"]
    first["reasons"] += [reason for reason in leak["reasons"] if reason not in first["reasons"]]


def _add_immortal(first, finding):
    """Add up the differences that were seen at the ends of several processes."""
    changes = {}
    for change in first["changes"] + finding["changes"]:
        total = changes.setdefault(change["object"], dict(change, amount=0))
        total["amount"] += change["amount"]
        total["mortal"] |= change["mortal"]
    first["changes"] = largest_first(changes.values())
    first["places"] += finding["places"]
    first["suspects"] += [suspect for suspect in finding["suspects"]
                          if suspect["module"] not in [known["module"] for known in first["suspects"]]]
    for key in ("since", "until"):
        first[key] = first[key] or finding[key]
    first["lived"] = first["lived"] or finding["lived"]


def merge(findings):
    """Merge findings of one identity. Returns them, and a dictionary from each id to the one that was kept."""
    kept, renamed = {}, {}
    for finding in findings:
        first = kept.setdefault(fingerprints.identity(finding), finding)
        renamed[finding["id"]] = first["id"]
        if first is finding:
            for key, value in _together(finding):
                finding[key] = [] if value in (None, "") else [value]
            continue
        first["count"] += finding["count"]
        if "bytes" in finding:
            _add_leak(first, finding)
        if "changes" in finding:
            _add_immortal(first, finding)
        if first.get("fate") != "leaked" and finding.get("fate") == "leaked":
            first["fate"] = "leaked"
        for key, value in _together(finding):
            if value not in (None, "", *first[key]):
                first[key].append(value)
        first["numbers"] += finding["numbers"]
        first["paired"] += finding["paired"]
    return list(kept.values()), renamed


def merge_suppressed(findings, given):
    """(suppressed findings, merged; all suppressions that were given, each with the number of findings it left out)."""
    findings = merge(findings)[0]
    counts = collections.Counter(f["suppression"] for f in findings)
    for f in findings:
        f["suppression"] = f["suppression"]._asdict()
        f["paired"] = []
    return findings, [dict(s._asdict(), count=counts[s]) for s in dict.fromkeys(given)]
