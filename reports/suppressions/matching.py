"""Which suppression, if any, a finding is left out for."""
import fnmatch
import functools
import os
import re


def names(finding):
    """The names that a pattern is matched against, the variable first and modules last."""
    holder, found, modules = finding["holder"], [], []
    if holder:
        if holder.get("symbol"):
            found += [holder["symbol"], holder["symbol"] + (holder["path"] or "")]
        modules.append(holder.get("module"))
    found += [finding["object"]["type"] or finding.get("domain"), finding.get("function")]
    found += [change["object"] for change in finding.get("changes", ())]
    modules += [suspect["module"] for suspect in finding.get("suspects", ())]
    for frames in [*finding["stacks"].values(), *(place["stack"] for place in finding.get("places", ()))]:
        found += [frame["function"] for frame in frames]
        modules += [frame.get("module") for frame in frames]
    modules = [name for name in dict.fromkeys(modules) if name]
    return [name for name in dict.fromkeys(found + [os.path.basename(name) for name in modules] + modules) if name]


@functools.lru_cache(None)
def _parts(pattern):
    return [re.compile(fnmatch.translate(part)).match for part in re.split(r"\+(?!\])", pattern)]


def matches(suppression, finding, among):
    """Whether a suppression applies to a finding: by its kind, and if each part matches one of the names `among`."""
    return suppression.kind == finding["kind"] and all(
        any(match(name) for name in among) for match in _parts(suppression.pattern))


def is_of_cpython(finding, own):
    """Whether only CPython itself can be to blame. own(module): whether a module is CPython's.

    A variable must be one of CPython's own, and all code that accesses it must be CPython's: type_ready() also writes
    the tp_flags of an extension's static type, and an extension may write to PyLong_Type. The address of allocated
    memory does not tell its owner, so there no extension may be involved at all.
    """
    holder = finding["holder"]
    stacks = [place["stack"] for place in finding.get("places", ()) if place["role"] == "access"] \
        or [finding["stacks"].get("used", [])]

    def foreign(frame):
        return frame["kind"] == "native" and not own(frame["module"] or "")

    if holder and holder["address"] is not None and not own(holder["module"] or ""):
        return False
    if holder and holder["address"] is not None and not finding["object"]["size"]:
        # ThreadSanitizer's memcpy() and the like are in the executable and have no line.
        return all(stack and not foreign(
            next((frame for frame in stack if frame["file"] or foreign(frame)), stack[0])) for stack in stacks)
    return all(stacks) and not any(
        foreign(frame) for stack in [*stacks, finding["stacks"]["created"]] for frame in stack)


def split(findings, suppressions_of, own):
    """(findings that stay, findings that are left out: each with the first "suppression" that matches)."""
    stay, gone = [], []
    for finding in findings:
        suppressions = suppressions_of(finding)
        among = names(finding) if suppressions else ()
        for suppression in suppressions:
            if matches(suppression, finding, among) and (not suppression.ours or is_of_cpython(finding, own)):
                finding["suppression"] = suppression
                gone.append(finding)
                break
        else:
            stay.append(finding)
    return stay, gone
