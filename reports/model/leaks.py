"""Leaks: what an interpreter left behind, and what living ones owned when they were asked."""
import re

from ..read import c_tables
from .findings import Findings
from .kinds import DOMAINS, RETAINERS, REASONS, STATIC_TYPE

# What PyType_Ready() gives a static type (Include/cpython/object.h).
_TYPE_FIELD = re.compile(r"\.tp_\w+$")


class Leaks(Findings):
    """Makes leaks from records, and so all findings of a log."""

    def leak(self, log, l):
        """A group of blocks that an interpreter left behind."""
        steps = log.of("steps", l.id)
        leak = self.common(log, "leak", "none", l.id, l.type, l.object, self.retainer(log, l, steps), l.count, l.number)
        leak["bytes"], leak["domain"], leak["extra"] = l.bytes, DOMAINS.get(l.domain), l.extra
        leak["kept"] = {"count": l.kept, "bytes": l.kept_bytes, "types": [
            {"type": k.type or None, "count": k.count, "bytes": k.bytes} for k in log.of("kept", l.id)]}
        leak["way"] = [{"from": s.from_type or None, "to": s.to_type or None, "label": self.label(log, s)}
                       for s in steps]
        leak["reasons"] = [self.reason(log, r) for r in log.of("reasons", l.id) if REASONS[r.reason].text]
        if leak["holder"]:
            in_type = leak["holder"]["address"] is not None and _TYPE_FIELD.search(leak["holder"]["path"] or "")
            leak["hint"] = STATIC_TYPE[1] if in_type else RETAINERS[leak["holder"]["kind"]].hint
            if "object" in leak["holder"]:
                leak["stacks"]["holder"] = self.created(log, steps[0].from_)
        else:
            leak["hint"] = RETAINERS["unknown"].hint
        leak["look"] = l.look or None
        leak["residue"] = None
        if l.residue:
            rule = c_tables.RESIDUES[l.residue]
            leak["residue"] = {"rule": rule.name, "reason": rule.reason}
        return leak

    def owned(self, log):
        """What interpreters owned when they were last asked, in the form of leaks; the most bytes first."""
        last = {}
        for l in log.owned.values():
            last[l.object.owner] = max(last.get(l.object.owner, 0), l.look)
        groups = [self.leak(log, l) for l in log.owned.values() if last[l.object.owner] == l.look]
        return sorted(groups, key=lambda g: (g["owner"]["serial"] if g["owner"] else 0,
                                             -g["bytes"] - g["kept"]["bytes"]))
