"""Files of suppressions.

A line is `kind:pattern  # reason`. The pattern is fnmatch's, and one name of the finding must match it: a module (its
path, or the name of its file), a function of a stack, the variable (`name`, or `name.member[2]` where that is known),
the type. In PART+PART each part must match a name. Patterns have no spaces: ? stands for one, [+] for a plus.

Known races of CPython itself come with isan, in a file for each release. These must not hide what is wrong with an
extension: see is_of_cpython() in matching.py.
"""
import collections
import functools
import os
import re

from ..read import c_tables

_LINE = re.compile(r"(\w+):(\S+)\s+#\s*(\S.*)")
ASK = "WHY?"        # stands for a reason that is still to be given (suggestions.py)
_KINDS = [kind.name for kind in c_tables.KINDS]

Suppression = collections.namedtuple("Suppression", "file line kind pattern reason ours")


class Malformed(Exception):
    """A line cannot be understood. The sentence names the file and the line."""


@functools.lru_cache(None)
def read(path, ours=False):
    """The suppressions of a file. ours: the file came with isan, and is about CPython itself."""
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
                raise Malformed("%s:%d: there is no kind %s; give one of %s" % (
                    path, number, match[1], ", ".join(_KINDS)))
            if match[3].startswith(ASK):
                raise Malformed("%s:%d: say why, in place of %s" % (path, number, ASK))
            found.append(Suppression(path, number, *match.groups(), ours))
    return found


def of_cpython(log):
    """The suppressions that come with isan for the Python of a log: known races of its tsan flavor."""
    name = "cpython-%d.%d.supp" % (log.hexversion >> 24, log.hexversion >> 16 & 255)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    return read(path, True) if log.flavor == "tsan" and os.path.exists(path) else []
