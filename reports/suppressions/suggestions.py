"""Lines for a file of suppressions, one for each finding of a report.

Only a person can say why a finding may be left out. The lines ask for the reason, and are refused until it is given.
"""
from ..baseline import is_new
from ..fingerprints import module_name, users
from .files import ASK

PARTS = 3       # of a pattern: enough to distinguish a finding from others


def _quoted(name):
    """A pattern that matches a name: fnmatch's specials and + in brackets, ? for characters that a line cannot have."""
    return "".join("[%s]" % c if c in "*?[+" else c if c.isprintable() and not c.isspace() else "?" for c in name)


def _module(path):
    """A pattern for a module, whichever Python it is built for."""
    name = module_name(path)
    return _quoted(name) if path.endswith(name) else _quoted(name[:-len("so")]) + "*so"


def pattern(f):
    """A pattern that matches this finding, and others as little as possible; None: the finding has no names."""
    holder, stacks = f["holder"] or {}, [f["stacks"].get("used", []), f["stacks"]["created"]]
    frames = [users(stack) for stack in stacks if stack]
    accesses = [users(place["stack"]) for place in f.get("places", ()) if place["role"] == "access" and place["stack"]]
    if holder.get("symbol"):
        names = [_quoted(holder["symbol"])] + [_module(holder["module"])] * bool(holder.get("module"))
    elif f.get("suspects"):
        names = [_module(suspect["module"]) for suspect in f["suspects"] if suspect["module"]]
    else:
        names = [_quoted(name) for name in (
            f["object"]["type"] or f.get("domain"), f.get("function"),
            *(change["object"] for change in f.get("changes", ())),
            *(frame["function"] for frame in frames + accesses if frame)) if name]
        names += [_module(frame["module"]) for frame in frames if frame.get("module") and not frame["cpython"]]
    return "+".join(list(dict.fromkeys(names))[:PARTS]) or None


def render(report):
    lines = {}
    for f in filter(is_new, report["findings"]):
        said = "# %s #%d: %s" % (f["kind"], f["id"], f["headline"])
        found = pattern(f)
        line = found and "%s:%s  # %s" % (f["kind"], found, ASK)
        lines.setdefault(line, []).append(said if line else said + ": it has no names to go by")
    return "".join("%s\n%s" % ("\n".join(said), line + "\n" if line else "") for line, said in lines.items())
