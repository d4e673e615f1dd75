"""From logs to a report: symbols, merging, pairing, order.

The report is the dictionary that the JSON renderer prints; the other renderers
read it and nothing else.
"""

import collections
import os
import re

from . import log as logs_
from . import fingerprints, packages, phrases, suppressions, tables
from .fingerprints import users

KINDS = {kind.name: kind for kind in tables.KINDS}
KEEPERS = {keeper.name: keeper for keeper in tables.KEEPERS}
STATES = {state.access: state for state in tables.STATES}
REASONS = {reason.name: reason for reason in tables.REASONS}
STATIC_TYPE = ("a static type is used by several interpreters",
               "Make it a heap type of each interpreter with PyType_FromModuleAndSpec, and keep it in module state."
               " See \"Isolating Extension Modules\", docs.python.org/3/howto/isolating-extensions.html")
# By whether the two interpreters of a race have one GIL: title and hint.
RACES = {
    "different": (KINDS["race"].title, KINDS["race"].hint),
    "same": ("two threads accessed the same memory without synchronisation, at least one of them writing, though their"
             " interpreters have one GIL",
             "One of the two did not hold the GIL: take it (PyGILState_Ensure, PyEval_RestoreThread) before the access, move"
             " the access out of Py_BEGIN_ALLOW_THREADS, or protect the memory with a lock or an atomic."),
    "none": ("two threads accessed the same memory without synchronisation, at least one of them writing",
             "The GIL does not protect what a thread outside any interpreter accesses: use a lock or an atomic."),
}
RACES[None] = RACES["none"][0], KINDS["race"].hint
# What is wrong now, before what will be, before what was left behind.
RANK = {name: rank for rank, names in enumerate((
    ("stale", "free", "race", "share"), ("immortal", "gilstate"), ("static",), ("leak",))) for name in names}
DOMAINS = {"r": "PyMem_RawMalloc", "m": "PyMem_Malloc", "o": "PyObject_Malloc"}

_EVAL = re.compile(r"(_PyEval_EvalFrameDefault|_TAIL_CALL_\w+)(\.|$)")
# Whose inlined body the check sits in; the finding's `access` says as much.
_REFCOUNT = re.compile(r"_?Py_X?(INCREF|DECREF|NewRef|SETREF|CLEAR|SET_REFCNT)\w*$|isan_")
_C_LIBRARY = re.compile(r"(libc|libpthread|ld-linux.*|libpython3.*)\.so")
_PYTHON = re.compile(r"python3[.\d]*[a-z]*$")      # as it is installed; another is known by its evaluation loop
_OUR_LIBRARY = re.compile(r"libisan\.so")
# Names that are the implementation's in C and C++: what a container of the C++ library is made of.
_RESERVED = re.compile(r"\._[A-Z_].*")
# What a static type holds since PyType_Ready() (Include/cpython/object.h).
_TYPE_FIELD = re.compile(r"\.tp_\w+$")
# Objects/typeobject.c: those of every class made in Python, which say nothing about its instances.
_ANY_CLASS = re.compile(r"subtype_(dealloc|traverse|clear)(\.|$)")


def interp_name(id, kind):
    return "interpreter %s (%s)" % (id, {"main": "main", "legacy": "legacy", "own-gil": "own GIL"}[kind])


class _Builder:
    def __init__(self, symbolizer):
        self.symbolizer = symbolizer
        self.interpreters = set()       # modules with an evaluation loop
        self.nameless = set()           # modules where a name was looked for in vain

    # -- frames -------------------------------------------------------------

    def interp(self, log, serial):
        interp = log.interps.get(serial)
        if interp is None:
            return None
        return {"id": interp.id, "name": interp_name(interp.id, interp.kind), "kind": interp.kind,
                "serial": serial}

    def python_frame(self, log, site, interp=None):
        place = log.site(site)
        if place is None:
            return {"kind": "python", "function": None, "file": None, "line": None, "start": None,
                    "interpreter": interp}
        function, file, line, start = place
        return {"kind": "python", "function": function, "file": file, "line": line, "start": start,
                "interpreter": interp}

    def native_frames(self, log, address, offset, exact):
        """The frames of one address: one, or several where calls were inlined."""
        module = log.module(address, offset)
        plain = {"kind": "native", "function": None, "file": None, "line": None, "start": None,
                 "module": module.path if module else None, "address": address,
                 "offset": address - module.bias if module else None, "inlined": False}
        # A return address is behind its call, perhaps already on the next line.
        found = self.symbolizer.code(module, address if exact else address - 1) if module else []
        return [dict(plain, inlined=i + 1 < len(found), **frame) for i, frame in enumerate(
            {k: f.get(k) for k in ("function", "file", "line", "start")} for f in found)] or [plain]

    def stack(self, log, id, ours=False, creator=0):
        """The frames of a stack, innermost first, Python frames in the place
        of the evaluation loop's."""
        if not id:
            return []
        owner, stack = log.stack(id)
        if stack is None:
            return []
        python = [self.python_frame(log, f.site, self.interp(log, f.interp or creator)) for f in stack.python]
        entries = [f.flags & logs_.FRAME_ENTRY for f in stack.python]
        frames, done = [], 0
        for i, address in enumerate(stack.native):
            some = self.native_frames(owner, address, stack.offset, i == 0)
            if any(_EVAL.match(f["function"] or "") for f in some):
                self.interpreters.add(some[0]["module"])
                before = done
                while done < len(python) and (done == before or not entries[done - 1]):
                    done += 1
                # No Python frame left: the loop was entered, but the frame is
                # not there yet or already gone.  Keep what is known.
                frames += python[before:done] or some
            else:
                frames += some
        frames += python[done:]
        return frames if ours else self.without_ours(frames)

    @staticmethod
    def without_ours(frames):
        first = 0
        for i, frame in enumerate(frames):
            if frame["kind"] == "python":
                break
            name = os.path.basename(frame["module"] or "")
            if _OUR_LIBRARY.match(name) or frame["inlined"] and _REFCOUNT.match(frame["function"] or ""):
                first = i + 1
            elif not _C_LIBRARY.match(name):    # which calls us back (dl_iterate_phdr)
                break
        return [f for f in frames[first:] if not _OUR_LIBRARY.match(os.path.basename(f.get("module") or ""))]

    def own(self, module):
        """Whether a module is CPython's, or beneath it; when all stacks are known."""
        name = os.path.basename(module)
        return (module in self.interpreters or "/lib-dynload/" in module
                or bool(_C_LIBRARY.match(name) or _PYTHON.match(name) or _OUR_LIBRARY.match(name)))

    def mark(self, frames):
        """Tell CPython's own frames from the user's."""
        for frame in frames:
            frame["cpython"] = ((frame["file"] or "").startswith("<frozen ") if frame["kind"] == "python"
                                else self.own(frame["module"] or ""))

    # -- the pieces of a finding ------------------------------------------------

    def created(self, log, object):
        if not object.origin:
            return []
        if object.flags & logs_.OBJ_ORIGIN_STACK:
            return self.stack(log, object.origin, creator=object.maker or object.owner)
        return [self.python_frame(log, object.origin, self.interp(log, object.maker or object.owner))]

    @staticmethod
    def thing(object, type):
        return {"type": type or None, "address": object.address, "serial": object.serial or None,
                "size": object.size, "python": bool(object.flags & logs_.OBJ_OBJECT),
                "freed": bool(object.flags & logs_.OBJ_FREED),
                "interned": bool(object.flags & logs_.OBJ_INTERNED),
                "recycled": bool(object.flags & logs_.OBJ_RECYCLED),
                "static_type": bool(object.flags & logs_.OBJ_STATIC_TYPE)}

    def holder(self, log, holder, offset, id):
        """The variable that holds the object of this finding, or None."""
        address, thread_local = holder.address, bool(holder.tls)
        if not address:
            return None
        way = next(iter(log.of("behind", id)), None)
        module = log.module(address, offset)
        found = {"kind": "static", "module": module.path if module else None, "symbol": None, "file": None,
                 "line": None, "path": None, "section": None, "address": address,
                 "offset": holder.tls - 1 if thread_local else address - module.bias if module else None,
                 "thread_local": thread_local, "tid": holder.tid if thread_local else None, "atomic": False,
                 "behind": way.hops if way else 0, "indirect": way is not None}
        if module:
            names = (self.symbolizer.tls(module, holder.tls - 1, *(way.at if way else ())) if thread_local
                     else self.symbolizer.data(module, address, *(way.at if way else ())))
            for key in ("symbol", "file", "line", "section"):
                found[key] = names.get(key)
            found["path"], found["atomic"] = names.get("element"), names.get("atomic", False)
            if way and names.get("followed") == way.hops:
                found["behind"] = 0
            elif way and found["path"]:
                found["path"] = _RESERVED.sub("", found["path"]) or None
            if not found["file"]:
                self.nameless.add(module.path)
        return found

    def keeper(self, log, leak, steps):
        """What keeps a leak alive, or None if nothing is known."""
        found, kind = self.holder(log, leak.holder, leak.offset, leak.id), leak.keeper
        if kind == "unknown" and found:
            kind = "static"
        if not found:
            if kind == "unknown":
                return None
            found = dict.fromkeys(("kind", "module", "symbol", "file", "line", "path", "section", "address", "offset"))
        found["kind"] = kind
        if steps and steps[0].position == 0:
            # An object; build() adds where it was made.
            step = steps[0]
            found.update(object=self.thing(step.from_, step.from_type), owner=self.interp(log, step.from_.owner),
                         edge=step.edge, path=self.label(log, step), leak=None)
        return found

    def member(self, log, record):
        """The name of the member of an object at record.at, or None."""
        if record.member:
            return record.member
        module = log.module(record.code, record.offset) if record.code and record.basicsize else None
        if not module or any(_ANY_CLASS.match(f.get("function") or "")
                             for f in self.symbolizer.code(module, record.code)):
            return None
        name = self.symbolizer.member(module, record.code, record.basicsize, record.at)
        if not name:
            self.nameless.add(module.path)
        return name

    def label(self, log, step):
        """What an object calls the reference of this step."""
        if step.edge == "item":
            return "[%d]" % step.at
        if step.edge == "value" and step.label:
            return "['%s']" % step.label
        if step.edge == "attribute" and step.label:
            return "." + step.label
        if step.edge in ("key", "value", "attribute"):
            return "%s %d" % (step.edge, step.at)
        if step.edge == "field":
            name = self.member(log, step)
            return (".%s " % name if name else "") + "(offset %d)" % step.at
        return step.edge

    def reason(self, log, r):
        """Why the garbage collector could not clear a cycle, a sentence."""
        name = self.member(log, r) if r.at else None
        member = "`%s` (offset %d)" % (name, r.at) if name else "the member at offset %d" % r.at
        if r.target:
            member += ", a `%s`" % r.target
        return REASONS[r.reason].text.replace("{member}", member).replace("{type}", "`%s`" % r.type)

    def life(self, log, serial):
        """When and where an interpreter ended, if it did."""
        interp = log.interps.get(serial)
        if not interp or not interp.ended:
            return None, []
        # Py_EndInterpreter is still on the stack when finalisation begins.
        return interp.ended, (interp.finalizing and self.stack(log, interp.finalizing.stack)
                              or self.stack(log, interp.ended.stack))

    def common(self, log, kind, access, id, type, object, holder, count, number):
        return {
            "kind": kind, "access": access, "id": id, "fingerprint": None, "baseline": None, "title": KINDS[kind].title, "headline": None,
            "object": self.thing(object, type),
            "owner": self.interp(log, object.owner), "maker": self.interp(log, object.maker), "current": None,
            "holder": holder,
            "stacks": {"created": self.created(log, object)},
            "paired": [], "count": count, "pid": log.pid, "process": log.number,
            "numbers": [{"pid": log.pid, "number": number}] if number else [], "hint": KINDS[kind].hint,
        }

    def trap(self, log, f):
        finding = self.common(log, f.kind, f.access, f.id, f.type, f.object,
                              self.holder(log, f.holder, f.offset, f.id), f.count, f.number)
        finding["current"] = self.interp(log, f.current)
        finding["stacks"]["used"] = self.stack(log, f.used)
        finding["tid"], finding["time_ns"] = f.tid, f.time
        event, where = self.life(log, f.object.owner)
        finding["owner_ended_ns"] = event.time if event else None
        if f.kind == "gilstate":
            # The function of the C API, not an object's type.
            finding["function"], finding["object"]["type"] = f.type, None
            finding["hint"] = STATES[f.access].hint
        if (f.kind == "stale" or f.access == "ended") and where:
            finding["stacks"]["ended"] = where
        places = log.of("places", f.id)
        if f.kind == "immortal":
            finding.update(self.immortal(log, places))
            places = [p for p in places if p.stack]
        finding["places"] = [self.place(log, p) for p in places]
        if f.kind == "immortal" and places:     # seen by whom
            finding["suspects"] = [{"module": module, "old_abi": False} for module in sorted(
                {place["stack"][0].get("module") or "" for place in finding["places"] if place["stack"]})]
        if f.gone:
            finding["fate"] = "leaked"
        elif f.object.flags & logs_.OBJ_FREED:
            finding["fate"] = "freed"
        elif f.kind == "stale":
            finding["fate"] = "leaked"      # there it still was
        elif f.kind == "gilstate":
            finding["fate"] = None
        elif event and "leaks=0" not in log.options.split(":"):
            finding["fate"] = "freed"       # or it would be among the leaks
        else:
            finding["fate"] = None
        if f.kind == "race":
            finding["gil"] = self.gil(finding)
            finding["title"], finding["hint"] = RACES[finding["gil"]]
            finding["fate"] = None
        if f.object.flags & logs_.OBJ_STATIC_TYPE:
            finding["title"], finding["hint"] = STATIC_TYPE
            finding["fate"] = None              # it is there as long as its module
            if finding["holder"] and finding["holder"]["path"]:
                # The type itself, not the first of its own members.
                finding["holder"]["path"] = finding["holder"]["path"].split(".ob_base")[0] or None
        return finding

    def place(self, log, p):
        return {"role": p.role, "interpreter": self.interp(log, p.interp), "tid": p.tid or None,
                "write": bool(p.flags & logs_.PLACE_WRITE), "atomic": bool(p.flags & logs_.PLACE_ATOMIC),
                "free": bool(p.flags & logs_.PLACE_FREE), "detached": bool(p.flags & logs_.PLACE_DETACHED),
                "unknown": bool(p.flags & logs_.PLACE_UNKNOWN),
                "amount": p.amount, "text": p.text or None, "stack": self.stack(log, p.stack)}

    def immortal(self, log, places):
        """What was changed, by how much, when, and what was loaded by then."""
        looks = {p.role: p for p in places if p.role in ("since", "until")}
        begin, end = (looks[role].amount if role in looks else None for role in ("since", "until"))
        return {
            "changes": _largest_first({"object": p.text, "amount": p.amount, "mortal": bool(p.flags & logs_.PLACE_MORTAL)}
                                      for p in places if p.role == "changed" and not p.stack),
            "suspects": [{"module": p.text, "old_abi": bool(p.flags & logs_.PLACE_OLD_ABI)}
                         for p in places if p.role == "suspect"],
            "since": looks["since"].text if begin is not None else None,
            "until": looks["until"].text if end is not None else None,
            "lived": [self.interp(log, interp.serial) for interp in log.interps.values()
                      if begin is not None and end is not None and interp.began and interp.began.time <= end
                      and not (interp.ended and interp.ended.time < begin)],
        }

    @staticmethod
    def gil(race):
        """Whether the accesses of a race have one GIL: "same", "different", "none": a thread had no interpreter;
        None: not known."""
        accesses = [place for place in race["places"] if place["role"] == "access"]
        who = [place["interpreter"] for place in accesses]
        if len(who) < 2 or any(place["unknown"] for place in accesses):
            return None
        if not all(who):
            return "none"
        gils = {interp["serial"] if interp["kind"] == "own-gil" else 0 for interp in who}
        return "different" if len(gils) > 1 else "same"

    @staticmethod
    def all_atomic(log, finding):
        """Rule atomic_variable: stores of an atomic variable are no race, though to the processor they may be like any
        other (statics=watch, runtime/detect/race_stores.c).  ThreadSanitizer can tell."""
        holder, widest = finding["holder"], 16
        return (finding["kind"] == "race" and log.flavor != "tsan" and holder is not None and holder["atomic"]
                and all(place["amount"] <= widest for place in finding["places"]))

    def leak(self, log, l):
        steps = log.of("steps", l.id)
        leak = self.common(log, "leak", "none", l.id, l.type, l.object, self.keeper(log, l, steps), l.count, l.number)
        leak["bytes"], leak["domain"], leak["extra"] = l.bytes, DOMAINS.get(l.domain), l.extra
        leak["kept"] = {"count": l.kept, "bytes": l.kept_bytes, "types": [
            {"type": k.type or None, "count": k.count, "bytes": k.bytes} for k in log.of("kept", l.id)]}
        leak["way"] = [{"from": s.from_type or None, "to": s.to_type or None, "label": self.label(log, s)}
                       for s in steps]
        leak["reasons"] = [self.reason(log, r) for r in log.of("reasons", l.id) if REASONS[r.reason].text]
        if leak["holder"]:
            in_type = leak["holder"]["address"] is not None and _TYPE_FIELD.search(leak["holder"]["path"] or "")
            leak["hint"] = STATIC_TYPE[1] if in_type else KEEPERS[leak["holder"]["kind"]].hint
            if "object" in leak["holder"]:
                leak["stacks"]["holder"] = self.created(log, steps[0].from_)
        else:
            leak["hint"] = KEEPERS["unknown"].hint
        leak["look"] = l.look or None
        leak["residue"] = None
        if l.residue:
            rule = tables.RESIDUES[l.residue]
            leak["residue"] = {"rule": rule.name, "reason": rule.reason}
        return leak

    def owned(self, log):
        """What interpreters owned when they were last asked, as leaks are told; the most bytes first."""
        last = {}
        for l in log.owned.values():
            last[l.object.owner] = max(last.get(l.object.owner, 0), l.look)
        groups = [self.leak(log, l) for l in log.owned.values() if last[l.object.owner] == l.look]
        return sorted(groups, key=lambda g: (g["owner"]["serial"] if g["owner"] else 0,
                                             -g["bytes"] - g["kept"]["bytes"]))


def _largest_first(changes):
    return sorted(changes, key=lambda change: -abs(change["amount"]))


def _called(frames):
    """The function of the C API that the innermost frame of the user's has called, if it is in the stack."""
    user = next((i for i, f in enumerate(frames) if not f["cpython"]), 0)
    native = user and frames[user]["kind"] == frames[user - 1]["kind"] == "native"
    return frames[user - 1]["function"] if native else None


# -- residue -------------------------------------------------------------------


def residue_key(leak):
    """What a group of an empty interpreter's leaks is known by: type,
    "file:function" of its innermost Python frame, and "module:variable" of
    the static that holds it, lest one in an extension pass for CPython's."""
    python = [f for f in leak["stacks"]["created"]
              if f["kind"] == "python" and f["file"] and f["interpreter"] == leak["owner"]]
    holder = leak["holder"]
    return (leak["object"]["type"] or "",
            "%s:%s" % (python[0]["file"], python[0]["function"]) if python else "",
            "%s:%s" % (os.path.basename(holder["module"] or ""), holder["symbol"])
            if holder and holder["address"] is not None else "")


def subtract_residue(leaks, measured):
    """Split leaks into the user's and CPython's own.  measured: kind of
    interpreter -> {key: count}; what is above the measured count is the user's."""
    users, own = [], []
    left = {}
    for leak in leaks:
        if leak["residue"]:
            own.append(leak)
            continue
        owner = leak["owner"]
        key = residue_key(leak)
        if not owner or key not in measured.get(owner["kind"], {}):
            users.append(leak)
            continue
        allowance = (leak["process"], owner["serial"]) + key
        left.setdefault(allowance, measured[owner["kind"]][key])
        covered = min(leak["count"], left[allowance])
        if leak["paired"]:      # nothing trapped while the empty ones were measured
            covered = 0
        left[allowance] -= covered
        each = leak["bytes"] // max(leak["count"], 1)
        if covered:
            all_of_it = covered == leak["count"]
            own.append(dict(leak, count=covered, bytes=leak["bytes"] if all_of_it else each * covered,
                            kept=leak["kept"] if all_of_it else {"count": 0, "bytes": 0, "types": []},
                            residue={"rule": "measured", "reason": "an empty interpreter leaves as much"}))
        if covered < leak["count"]:
            users.append(dict(leak, count=leak["count"] - covered, bytes=leak["bytes"] - each * covered))
    return users, own


# -- the report ------------------------------------------------------------------


def _together(finding):
    """What is kept of each finding that is merged into one."""
    holder = finding["holder"]
    return (("owners", finding["owner"]), ("currents", finding["current"]), ("pids", finding["pid"]),
            ("processes", finding["process"]), ("elements", holder and (holder["path"] if holder["symbol"] else holder["offset"])))


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
    """A difference at the end of one process and at that of another."""
    changes = {}
    for change in first["changes"] + finding["changes"]:
        total = changes.setdefault(change["object"], dict(change, amount=0))
        total["amount"] += change["amount"]
        total["mortal"] |= change["mortal"]
    first["changes"] = _largest_first(changes.values())
    first["places"] += finding["places"]
    first["suspects"] += [suspect for suspect in finding["suspects"]
                          if suspect["module"] not in [known["module"] for known in first["suspects"]]]
    for key in ("since", "until"):
        first[key] = first[key] or finding[key]
    first["lived"] = first["lived"] or finding["lived"]


def _merge(findings):
    """One of each identity; returns them and old id -> kept id."""
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


def _variable(finding):
    """What a finding's variable is known by; None: it has none."""
    holder = finding["holder"]
    if not holder or holder["address"] is None or not holder["symbol"]:
        return None
    return finding["process"], holder["module"], holder["symbol"], bool(holder["thread_local"])


def _pair_races(findings):
    """Races with what else was found about their variable or object."""
    about = {}
    for f in findings:
        for key in {_variable(f), f["object"]["serial"] and (f["process"], f["object"]["serial"])} - {None}:
            about.setdefault(key, []).append(f)
    for some in about.values():
        for race in (f for f in some if f["kind"] == "race"):
            for other in some:
                if other is not race:
                    race["paired"].append(other["id"])
                    other["paired"].append(race["id"])


def _ordered(findings):
    """Stories in order of weight, the traps of one object and its leak together."""
    by_id = {f["id"]: f for f in findings}
    same_object = {}
    for f in findings:
        if f["object"]["serial"]:
            same_object.setdefault((f["process"], f["object"]["serial"]), []).append(f["id"])
    stories, seen = [], set()
    for finding in sorted(findings, key=lambda f: (RANK[f["kind"]], f["id"])):
        if finding["id"] in seen:
            continue
        story, queue = [], [finding["id"]]
        while queue:
            id = queue.pop()
            if id in seen or id not in by_id:
                continue
            seen.add(id)
            story.append(by_id[id])
            queue += by_id[id]["paired"] + same_object.get((by_id[id]["process"], by_id[id]["object"]["serial"]), [])
        story.sort(key=lambda f: (f["kind"] == "leak", RANK[f["kind"]], f["id"]))
        stories.append(story)
    # Leaks without a trap: the largest first.
    stories.sort(key=lambda s: (RANK[s[0]["kind"]], -s[0].get("bytes", 0)))
    return [f for story in stories for f in story]


def _debug_notes(findings, builder):
    """What to install, for the modules of the findings that have no debug information."""
    missing = set(builder.nameless)
    for f in findings:
        for frames in f["stacks"].values():
            user = users(frames)
            if user and user["kind"] == "native" and not user["cpython"]:
                missing.add(user["module"])
    missing &= set(builder.symbolizer.bare)
    return [{"pid": None, "text": "%s has no debug information, so that names and lines are missing: %s" % (path, what)}
            for path, what in sorted(packages.advice(missing).items())]


def _suppressed(findings, given):
    """Suppressed findings, merged, and all suppressions that were given with how many each has left out."""
    findings = _merge(findings)[0]
    counts = collections.Counter(f["suppression"] for f in findings)
    for f in findings:
        f["suppression"] = f["suppression"]._asdict()
        f["paired"] = []
    return findings, [dict(s._asdict(), count=counts[s]) for s in dict.fromkeys(given)]


def build(logs, symbolizer, residue_of=lambda log: {}, merge=True, version="", suppressions_of=lambda log: []):
    """The report of these logs (log.read's).  residue_of(log) gives what an
    empty interpreter of that log's Python leaves, as subtract_residue wants it;
    it is asked only about processes that have leaks.  suppressions_of(log)
    gives the suppressions for its findings."""
    builder = _Builder(symbolizer)
    report = {"isan": version, "baseline": None, "gone": [], "findings": [], "interpreters": [], "process": None, "processes": [],
              "owned": [], "crashes": [], "residue": [], "suppressed": [], "suppressions": [], "ignored": [], "notes": [],
              "errors": [],
              "dropped": 0}
    findings, next_id, ids, suppressions_for = [], 1, {}, {}
    for log in logs:
        # Numbers as the recorder gave them, unless another process took them.
        used = set(ids.values())
        for id in sorted(set(log.findings) | set(log.leaks)):
            ids[log, id] = id if id not in used else max(next_id, *used) + 1
            used.add(ids[log, id])
            next_id = max(used)
    for log in logs:
        report["errors"] += [{"log": log.path, "offset": offset, "text": text} for offset, text in log.errors]
        if not log.valid:
            continue
        log.number = len(report["processes"])
        traps = [trap for trap in (builder.trap(log, f) for f in log.findings.values()) if not builder.all_atomic(log, trap)]
        leaks = [builder.leak(log, l) for l in log.leaks.values()]
        by_id = {f["id"]: f for f in traps + leaks}

        def pair(a, b, log=log):
            if a in by_id and b not in by_id[a]["paired"]:
                by_id[a]["paired"].append(b)

        for f in log.findings.values():
            if f.gone:
                pair(f.id, f.gone)
                pair(f.gone, f.id)
        leak_of = {l.object.serial: l.id for l in log.leaks.values()}
        for l in log.leaks.values():
            for serial, other in l.pairs:
                leak_of[serial] = l.id
                pair(l.id, other)
                pair(other, l.id)
                if other in by_id:
                    by_id[other]["fate"] = "leaked"
        for f in log.findings.values():         # those made after the leak was recorded
            if f.object.serial and f.object.serial in leak_of and f.id in by_id:
                pair(f.id, leak_of[f.object.serial])
                pair(leak_of[f.object.serial], f.id)
                by_id[f.id]["fate"] = "leaked"
        samples = {(l.object.address, l.object.owner): l.id for l in log.leaks.values()}
        for l in log.leaks.values():
            holder, step = by_id[l.id]["holder"], next(iter(log.of("steps", l.id)), None)
            if holder and "object" in holder:       # itself left behind?
                id = samples.get((step.from_.address, step.from_.owner))
                holder["leak"] = ids[log, id] if id is not None and id != l.id else None
        for f in traps + leaks:
            # A pair may be with a finding made before the fork.
            numbers = []
            for id in f["paired"]:
                owner = log if (log, id) in ids else log.finding(id)[0]
                if (owner, id) in ids:
                    numbers.append(ids[owner, id])
            f["paired"] = numbers
            f["id"] = ids[log, f["id"]]
        report["owned"] += builder.owned(log)
        theirs, own = subtract_residue(leaks, residue_of(log) if leaks else {})
        findings += traps + theirs
        given = suppressions_of(log)
        report["suppressions"] += given
        suppressions_for.update((f["id"], given) for f in traps + theirs)
        report["residue"] += own
        process = {"pid": log.pid, "ppid": log.ppid, "executable": log.exe, "cwd": log.cwd, "argv": log.argv,
                   "flavor": log.flavor, "python": _release(log.hexversion), "options": log.options,
                   "started_ns": log.start, "ended_ns": log.exit_time, "log": log.name, "directory": os.path.dirname(log.path),
                   "leaks_checked": "leaks=0" not in log.options.split(":")}
        report["processes"].append(process)
        for interp in log.interps.values():
            report["interpreters"].append(dict(
                builder.interp(log, interp.serial), pid=log.pid, process=log.number,
                began_ns=interp.began.time if interp.began else None,
                ended_ns=interp.ended.time if interp.ended else None))
        for crash in log.crashes:
            report["crashes"].append({
                "signal": crash.signal, "code": crash.code, "address": crash.address, "pid": log.pid,
                "process": log.number,
                "tid": crash.tid, "current": builder.interp(log, crash.current),
                "stack": builder.stack(log, crash.stack, ours=True)})
        report["ignored"] += [{"pid": log.pid, "reason": reason, "count": count} for reason, count in log.ignored]
        report["notes"] += [{"pid": log.pid, "text": note} for note in log.notes]
        if log.torn is not None:
            report["notes"].append({"pid": log.pid, "text": "the process was killed while it recorded; the log ends at"
                                    " offset %d" % log.torn})
        elif not (log.exit_time or log.crashes or log.dropped or log.parent_name):  # forked ones often end with _exit()
            report["notes"].append({"pid": log.pid, "text": "the process was killed, left through _exit(), or is still"
                                    " running: this is what it did until then"})
        report["dropped"] += log.dropped
    report["process"] = report["processes"][0] if report["processes"] else None

    for f in findings + report["residue"] + report["owned"]:
        for frames in [*f["stacks"].values(), *(place["stack"] for place in f.get("places", []))]:
            builder.mark(frames)
        maker = users(f["stacks"].get("holder", []))
        if maker:
            f["holder"].update(file=maker["file"], line=maker["line"])
        if f["access"] == "detached":
            f["function"] = _called(f["stacks"]["used"]) or f["function"]
    for crash in report["crashes"]:
        builder.mark(crash["stack"])
    if not merge:
        return dict(report, findings=findings, suppressions=[])
    _pair_races(findings)
    # Each by itself: of those that are merged one may be an extension's doing.
    findings, suppressed = suppressions.split(findings, lambda f: suppressions_for[f["id"]], builder.own)
    report["suppressed"], report["suppressions"] = _suppressed(suppressed, report["suppressions"])
    findings, renamed = _merge(findings)
    present = {f["id"] for f in findings}
    for f in findings:
        f["paired"] = sorted({renamed.get(id, id) for id in f["paired"]} & present - {f["id"]})
        if f["holder"] and f["holder"].get("leak"):
            other = renamed.get(f["holder"]["leak"])
            f["holder"]["leak"] = other if other in present and other != f["id"] else None
    fingerprints.assign(findings + report["suppressed"])
    report["findings"] = _ordered(findings)
    said = phrases.Phrases(report)
    for f in report["findings"] + report["suppressed"]:
        f["headline"] = said.headline(f)
    report["notes"] += _debug_notes(findings, builder)
    for path, why in sorted(symbolizer.errors.items()):
        if "/" not in path:         # the kernel's vdso is not a file
            continue
        report["notes"].append({"pid": None, "text": "no symbols for %s: %s" % (path, why)})
    return report


def _release(hexversion):
    return "%d.%d.%d" % (hexversion >> 24, hexversion >> 16 & 255, hexversion >> 8 & 255) if hexversion else None
