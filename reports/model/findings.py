"""Findings that were made while the program ran: all kinds but leaks."""
from ..read import records
from .kinds import KINDS, RACES, STATES, STATIC_TYPE
from .variables import Variables


class Findings(Variables):
    """Makes findings from records."""

    def life(self, log, serial):
        """(event, stack) of an interpreter's end; (None, []) if it has not ended."""
        interp = log.interps.get(serial)
        if not interp or not interp.ended:
            return None, []
        # Py_EndInterpreter is still on the stack when finalisation begins.
        return interp.ended, (interp.finalizing and self.stack(log, interp.finalizing.stack)
                              or self.stack(log, interp.ended.stack))

    def common(self, log, kind, access, id, type, object, holder, count, number):
        """What findings of all kinds have."""
        return {
            "kind": kind, "access": access, "id": id, "fingerprint": None, "baseline": None,
            "title": KINDS[kind].title, "headline": None,
            "object": self.thing(object, type),
            "owner": self.interp(log, object.owner), "maker": self.interp(log, object.maker), "current": None,
            "holder": holder,
            "stacks": {"created": self.created(log, object)},
            "paired": [], "count": count, "pid": log.pid, "process": log.number,
            "numbers": [{"pid": log.pid, "number": number}] if number else [], "hint": KINDS[kind].hint,
        }

    def trap(self, log, f):
        """A finding of any kind but leak."""
        finding = self.common(log, f.kind, f.access, f.id, f.type, f.object,
                              self.holder(log, f.holder, f.offset, f.id), f.count, f.number)
        finding["current"] = self.interp(log, f.current)
        finding["stacks"]["used"] = self.stack(log, f.used)
        finding["tid"], finding["time_ns"] = f.tid, f.time
        event, where = self.life(log, f.object.owner)
        finding["owner_ended_ns"] = event.time if event else None
        if f.kind == "gilstate":
            # What was recorded as the type is the function of the C API.
            finding["function"], finding["object"]["type"] = f.type, None
            finding["hint"] = STATES[f.access].hint
        if (f.kind == "stale" or f.access == "ended") and where:
            finding["stacks"]["ended"] = where
        places = log.of("places", f.id)
        if f.kind == "immortal":
            finding.update(self.immortal(log, places))
            places = [p for p in places if p.stack]
        finding["places"] = [self.place(log, p) for p in places]
        if f.kind == "immortal" and places:     # the changes were seen, and so were the modules that made them
            finding["suspects"] = [{"module": module, "old_abi": False} for module in sorted(
                {place["stack"][0].get("module") or "" for place in finding["places"] if place["stack"]})]
        finding["fate"] = fate_of(log, f, event)
        if f.kind == "race":
            finding["gil"] = gil_of(finding)
            finding["title"], finding["hint"] = RACES[finding["gil"]]
        if f.object.flags & records.OBJ_STATIC_TYPE:
            finding["title"], finding["hint"] = STATIC_TYPE
            if finding["holder"] and finding["holder"]["path"]:
                # The type itself, not the first of its own members.
                finding["holder"]["path"] = finding["holder"]["path"].split(".ob_base")[0] or None
        return finding

    def place(self, log, p):
        return {"role": p.role, "interpreter": self.interp(log, p.interp), "tid": p.tid or None,
                "write": bool(p.flags & records.PLACE_WRITE), "atomic": bool(p.flags & records.PLACE_ATOMIC),
                "free": bool(p.flags & records.PLACE_FREE), "detached": bool(p.flags & records.PLACE_DETACHED),
                "unknown": bool(p.flags & records.PLACE_UNKNOWN),
                "amount": p.amount, "text": p.text or None, "stack": self.stack(log, p.stack)}

    def immortal(self, log, places):
        """Which objects' counts were changed, by how much and when, and which extensions were loaded by then."""
        looks = {p.role: p for p in places if p.role in ("since", "until")}
        begin, end = (looks[role].amount if role in looks else None for role in ("since", "until"))
        return {
            "changes": largest_first(
                {"object": p.text, "amount": p.amount, "mortal": bool(p.flags & records.PLACE_MORTAL)}
                for p in places if p.role == "changed" and not p.stack),
            "suspects": [{"module": p.text, "old_abi": bool(p.flags & records.PLACE_OLD_ABI)}
                         for p in places if p.role == "suspect"],
            "since": looks["since"].text if begin is not None else None,
            "until": looks["until"].text if end is not None else None,
            "lived": [self.interp(log, interp.serial) for interp in log.interps.values()
                      if begin is not None and end is not None and interp.began and interp.began.time <= end
                      and not (interp.ended and interp.ended.time < begin)],
        }


def fate_of(log, f, ended):
    """What became of a finding's object: "leaked", "freed", or None if that is not known or does not apply.

    ended: the event of the end of its owner, or None.
    """
    if f.kind == "race" or f.object.flags & records.OBJ_STATIC_TYPE:    # a static type is there as long as its module
        return None
    if f.gone:
        return "leaked"
    if f.object.flags & records.OBJ_FREED:
        return "freed"
    if f.kind == "stale":
        return "leaked"         # it was there after its owner had ended
    if f.kind != "gilstate" and ended and "leaks=0" not in log.options.split(":"):
        return "freed"          # else it would be among the leaks
    return None


def gil_of(race):
    """Which GILs the two threads of a race had.

    "same", "different", "none" (a thread had no interpreter), or None (not known).
    """
    accesses = [place for place in race["places"] if place["role"] == "access"]
    who = [place["interpreter"] for place in accesses]
    if len(who) < 2 or any(place["unknown"] for place in accesses):
        return None
    if not all(who):
        return "none"
    gils = {interp["serial"] if interp["kind"] == "own-gil" else 0 for interp in who}
    return "different" if len(gils) > 1 else "same"


def is_all_atomic(log, finding):
    """Rule atomic_variable: stores into an atomic variable are no race.

    With statics=watch (runtime/detect/race_stores.c) isan cannot see which stores are atomic, so the type of the
    variable decides. ThreadSanitizer can, and its findings stay.
    """
    holder, widest = finding["holder"], 16
    return (finding["kind"] == "race" and log.flavor != "tsan" and holder is not None and holder["atomic"]
            and all(place["amount"] <= widest for place in finding["places"]))


def largest_first(changes):
    return sorted(changes, key=lambda change: -abs(change["amount"]))
