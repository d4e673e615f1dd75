"""What identifies a finding: in one report, and from one report to the next.

`identity` decides which records of the logs are one finding. It counts lines from the start of their function, since
two places in one function are two bugs. `fingerprint` must outlive edits, rebuilds and other machines. So it has no
line, no address, no serial and no directory: only the kind, the access, and names of modules, functions, variables and
types. Findings of one report that are alike in all of these are numbered, in the order of their lines.
"""
import hashlib
import os
import re

# What a build adds to the names of functions (GCC, clang), and to those of extensions (PEP 3149).
_CLONE = re.compile(r"\.(?:isra|part|constprop|cold|lto_priv|llvm|localalias)\b.*")
_ABI_TAG = re.compile(r"\.(?:cpython-\d+\w*(?:-[\w-]+)?|abi3)(?=\.so$)")
_OFFSET = re.compile(r"(?<=\S) \(offset \d+\)$")


def users(frames):
    """The innermost frame that is not CPython's own; if there is none, the innermost."""
    return next((f for f in frames if not f["cpython"]), frames[0] if frames else None)


def module_name(path):
    """The file name of a module, without the tag of the Python that it is built for."""
    return _ABI_TAG.sub("", os.path.basename(path or ""))


def _place(frame, lines):
    function = _CLONE.sub("", frame["function"] or "")
    if not lines:
        return [function, os.path.basename(frame["file"] or "") if frame["kind"] == "python"
                else "CPython" if frame["cpython"] else module_name(frame["module"])]
    line = frame["line"] - frame["start"] if frame["line"] and frame["start"] else frame["line"]
    return [function, os.path.basename(frame["file"] or "") or module_name(frame.get("module")), line]


def _may_be_missed(holder):
    """Whether this depends on a search through memory, which may not find the variable: its time is limited."""
    return holder.get("indirect") or ("object" not in holder and holder["kind"] in ("unknown", "reference", "memory"))


def _holder(finding, lines):
    """What holds the object, without what differs from one round of a loop to the next."""
    holder = finding["holder"]
    if holder is None or not lines and _may_be_missed(holder):
        return None
    parts = [holder["kind"]]
    if holder["address"] is not None:       # all elements of an array are one, and all variables without a name
        # The way through memory may depend on keys and hashes, so the path ends at the first pointer.
        path = "" if holder.get("behind") else re.sub("->.*", "", holder["path"] or "")
        parts += [module_name(holder["module"]), holder["symbol"] or holder["section"],
                  holder["symbol"] and re.sub(r"\[\d+\]", "[]", path)]
    if "object" in holder:
        label = holder["path"] if holder["edge"] in ("attribute", "field") else None
        maker = users(finding["stacks"].get("holder", []))
        parts += [holder["object"]["type"], holder["edge"], label and _OFFSET.sub("", label),
                  maker and _place(maker, lines)]
    return parts


def variable(finding):
    """(module, symbol) of the static that a finding is about; None if it is about none, or one without a name."""
    holder = finding.get("holder")
    if not isinstance(holder, dict) or holder.get("address") is None or not holder.get("symbol"):
        return None
    return module_name(holder.get("module")), holder["symbol"]


def _parts(finding, lines):
    holder = finding["holder"]
    parts = [finding["kind"], finding["access"], _holder(finding, lines)]
    if finding["kind"] == "race":                   # one for each variable, however many places access it
        parts.append(finding["gil"])
        if finding["object"]["size"] or not holder or not holder["symbol"]:     # not the variable itself
            parts += [finding["object"]["type"], sorted(
                str(_place(users(place["stack"]), lines)) for place in finding["places"]
                if place["role"] == "access" and place["stack"])]
    elif finding["kind"] == "static" and holder:    # one for each variable, however many objects it holds
        parts += [finding["object"]["static_type"], not holder["symbol"] and finding["object"]["type"]]
    elif finding["kind"] == "immortal":             # one for each culprit, however many objects it changes
        parts += [sorted(module_name(suspect["module"]) for suspect in finding["suspects"])]
    else:
        parts += [finding["object"]["type"] or finding.get("function"), finding.get("domain"),
                  [finding[who] and finding[who]["kind"] for who in ("owner", "current")]]
        for name in ("created", "used"):
            frames = finding["stacks"].get(name, [])
            # CPython can make one object in several ways, with and without a free list. So its own innermost frame
            # counts in the stack of the use only.
            parts.append([_place(f, lines) for f in frames[:name == "used"] + [users(frames)] * bool(frames)
                          + [f for f in frames if f["kind"] == "python"][:1]])
    return parts


def identity(finding):
    return repr(_parts(finding, True))


def digest(parts):
    """16 hexadecimal digits."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def assign(findings):
    """Give each finding its `fingerprint`: 16 hexadecimal digits, and -2, -3, ... where several are alike."""
    alike = {}
    for finding in findings:
        base = digest(_parts(finding, False))
        alike.setdefault(base, {}).setdefault(_order(identity(finding)), []).append(finding)
    for base, by_identity in alike.items():
        for number, key in enumerate(sorted(by_identity), 1):
            for finding in by_identity[key]:
                finding["fingerprint"] = base if number == 1 else "%s-%d" % (base, number)


def _order(identity):
    """A key that sorts line 9 before line 10."""
    return re.sub(r"\d+", lambda number: number[0].zfill(12), identity)
