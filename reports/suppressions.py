"""Suppressions: what is known and is to stay out of the report.

A file of them has a line for each, `kind:pattern  # reason`.  The pattern is
fnmatch's, and one name of the finding must match it: a module (its path or its
file's name), a function of a stack, the variable (`name`, or `name.member[2]`
where that is known), the type.  Of PART+PART each part must match a name.  There
are no spaces in a pattern: ? stands for one, [+] for a plus.

What is known of CPython itself comes with isan, a file for each release.  It
must not hide what is wrong with an extension: see is_of_cpython().
"""

import collections
import fnmatch
import functools
import os
import re

from . import tables

_LINE = re.compile(r"(\w+):(\S+)\s+#\s*(\S.*)")
ASK = "WHY?"        # in place of a reason, where none was given yet (suggest.py)
_KINDS = [kind.name for kind in tables.KINDS]

Suppression = collections.namedtuple("Suppression", "file line kind pattern reason ours")


class Malformed(Exception):
    """A sentence that names the file and line."""


@functools.lru_cache(None)
def read(path, ours=False):
    """The suppressions of a file; ours: about CPython, and came with isan."""
    found = []
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line)
            if not match:
                raise Malformed("%s:%d: write kind:pattern  # reason" % (path, number))
            if match[1] not in _KINDS:
                raise Malformed("%s:%d: there is no kind %s; give one of %s" % (path, number, match[1], ", ".join(_KINDS)))
            if match[3].startswith(ASK):
                raise Malformed("%s:%d: say why, in place of %s" % (path, number, ASK))
            found.append(Suppression(path, number, *match.groups(), ours))
    return found


def of_cpython(log):
    """Those that came with isan for the Python of a log: the races of its tsan flavour."""
    path = tables.ROOT / "reports" / ("cpython-%d.%d.supp" % (log.hexversion >> 24, log.hexversion >> 16 & 255))
    return read(os.fspath(path), True) if log.flavor == "tsan" and path.exists() else []


# -- matching ----------------------------------------------------------------------


def names(finding):
    """What a pattern is matched against, the variable first and modules last."""
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
    """Whether it is this one's, by its kind and the names among which each part must match one."""
    return suppression.kind == finding["kind"] and all(
        any(match(name) for name in among) for match in _parts(suppression.pattern))


def is_of_cpython(finding, own):
    """Whether only CPython itself can be to blame; own(module): is it CPython's?

    A variable must be one of CPython's own, and what accesses it must be code of
    CPython's: type_ready() writes the tp_flags of an extension's static type as well
    as of its own, and an extension may write to PyLong_Type.  Memory that was
    allocated is nobody's by its address: no extension may be involved at all.
    """
    holder = finding["holder"]
    stacks = [place["stack"] for place in finding.get("places", ()) if place["role"] == "access"] \
        or [finding["stacks"].get("used", [])]

    def foreign(frame):
        return frame["kind"] == "native" and not own(frame["module"] or "")

    if holder and holder["address"] is not None and not own(holder["module"] or ""):
        return False
    if holder and holder["address"] is not None and not finding["object"]["size"]:
        # memcpy() and the like of ThreadSanitizer are in the executable, without a line.
        return all(stack and not foreign(
            next((frame for frame in stack if frame["file"] or foreign(frame)), stack[0])) for stack in stacks)
    return all(stacks) and not any(foreign(frame) for stack in [*stacks, finding["stacks"]["created"]] for frame in stack)


def split(findings, suppressions_of, own):
    """Those that stay, and those that do not, each with "suppression": the first that matches."""
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
