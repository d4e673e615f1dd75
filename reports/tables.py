"""The tables in runtime/*.inc, which are C and the only source of these facts."""

import ast
import collections
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|[A-Za-z0-9_|.+-]+|[(),]|\S')

Kind = collections.namedtuple("Kind", "name title hint")
State = collections.namedtuple("State", "access hint")
Place = collections.namedtuple("Place", "name text")
Residue = collections.namedtuple("Residue", "name reason")
Keeper = collections.namedtuple("Keeper", "name hint")
Reason = collections.namedtuple("Reason", "name text")
Option = collections.namedtuple("Option", "type name default choices least most help")


def rows(text):
    """Yield (macro, arguments) for every MACRO(argument, ...) in C source."""
    tokens = _TOKEN.findall(re.sub(r"/\*.*?\*/|^#.*?$", " ", text, flags=re.S | re.M))
    at = 0
    while at < len(tokens):
        macro, at = tokens[at], at + 1
        if not re.match(r"ISAN_[A-Z]+$", macro) or at >= len(tokens) or tokens[at] != "(":
            raise ValueError("expected ISAN_NAME(...), found %r" % macro)
        arguments, at = [""], at + 1
        while tokens[at] != ")":
            if tokens[at] == ",":
                arguments.append("")
            elif tokens[at].startswith('"'):    # adjacent literals join, as in C
                arguments[-1] += ast.literal_eval(tokens[at])
            else:
                arguments[-1] += tokens[at]
            at += 1
        at += 1
        yield macro, arguments


def _read(name):
    return list(rows((ROOT / "runtime" / name).read_text(encoding="utf-8")))


def _option(macro, a):
    kind = macro[len("ISAN_"):].lower()
    if kind == "num":
        return Option(kind, a[0], int(a[1]), (), int(a[2]), int(a[3]), a[4])
    if kind == "enum":
        return Option(kind, a[0], a[1], tuple(a[2].split("|")), None, None, a[3])
    if kind == "bool":
        return Option(kind, a[0], int(a[1]), ("0", "1"), 0, 1, a[2])
    return Option(kind, a[0], a[1], (), None, None, a[2])


_kinds = _read("core/kinds.inc")
KINDS = [Kind(*a) for macro, a in _kinds if macro == "ISAN_KIND"]
ACCESSES = [a[0] for macro, a in _kinds if macro == "ISAN_ACCESS"]
STATES = [State(*a) for macro, a in _kinds if macro == "ISAN_STATE"]
PLACES = [Place(*a) for macro, a in _kinds if macro == "ISAN_PLACE"]
RESIDUES = [Residue(*a) for macro, a in _kinds if macro == "ISAN_RESIDUE"]
KEEPERS = [Keeper(*a) for macro, a in _kinds if macro == "ISAN_RETAINER"]
REASONS = [Reason(*a) for macro, a in _kinds if macro == "ISAN_REASON"]
OPTIONS = {a[0]: _option(macro, a) for macro, a in _read("base/options.inc")}
