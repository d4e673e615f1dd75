"""The report as text: what happened, where, and what to do about it."""

import os
import re
import signal

from . import tables
from .model import users

_VERBS = {
    "none": "uses", "incref": "increfs", "decref": "decrefs", "attribute": "accesses an attribute of",
    "argument": "passes the C API", "return": "gets from the C API", "dealloc": "deallocates", "free": "frees",
    "realloc": "resizes",
}
# What an object's reference is called, before its label.
_REFERENCES = {"item": "item", "value": "value", "attribute": "attribute", "field": "member"}
_DONE = {"dealloc": "deallocated", "free": "freed", "realloc": "resized"}
PLACES = {place.name: place.text for place in tables.PLACES}
_COLORS = {"kind": "1;31", "title": "1", "dim": "2", "name": "36"}


def escape(text):
    """Names come from the program under test: nothing in them may reach the
    terminal as anything but text."""
    out = []
    for c in text:
        if c.isprintable():
            out.append(c)
        elif 0xdc80 <= ord(c) <= 0xdcff:
            out.append("\\x%02x" % (ord(c) & 0xff))
        elif ord(c) < 0x100:
            out.append("\\x%02x" % ord(c))
        else:
            out.append("\\u%04x" % ord(c))
    return "".join(out)


def plural(n, one, many=None):
    return "%s %s" % (format(n, ","), one if n == 1 else many or one + "s")


def _article(word):
    return "an" if word[:1].lower() in tuple("aeiou") else "a"


class _Text:
    def __init__(self, report, color, full):
        self.report, self.color, self.full = report, color, full
        self.printed = {}           # stack -> finding under which it is
        self.hinted = {}            # hint -> finding with it
        self.lines = []
        self.cwd = (report["process"] or {}).get("cwd") or None
        self.by_id = {f["id"]: f for f in report["findings"]}
        self.several = len({p["pid"] for p in report["processes"]}) > 1

    def paint(self, what, text):
        return "\x1b[%sm%s\x1b[0m" % (_COLORS[what], text) if self.color else text

    def say(self, text=""):
        self.lines.append(text)

    # -- phrases -----------------------------------------------------------------

    def file(self, path):
        if self.cwd and path.startswith(self.cwd.rstrip("/") + "/"):
            path = path[len(self.cwd.rstrip("/")) + 1:]
        return escape(path if path.startswith("<") else os.path.normpath(path))

    def place(self, thing):
        """file:line, or what there is instead."""
        if thing["file"]:
            return self.file(thing["file"]) + (":%d" % thing["line"] if thing["line"] else "")
        if thing.get("module"):
            return "%s+0x%x" % (escape(os.path.basename(thing["module"])), thing["offset"])
        return "0x%x" % thing["address"] if thing.get("address") else "?"

    def where(self, frame):
        if frame["kind"] == "python" and frame["file"] is None:
            return "Python code that was not recorded"
        return self.place(frame) + (" in " + escape(frame["function"]) if frame["function"] else "")

    @staticmethod
    def who(interp):
        return interp["name"] if interp else "a thread without an interpreter"

    @staticmethod
    def whose(interp):
        return interp["name"] if interp else "an unknown interpreter"

    def thing(self, finding, article=True):
        object = finding["object"]
        if object["type"] and object["python"]:
            name = "`%s`" % escape(object["type"])
            return (_article(object["type"]) + " " + name) if article else name
        return plural(object["size"], "byte") + " of memory"

    def several_interps(self, interps):
        """A few by name: a host may have ended thousands."""
        names = [self.whose(interp) for interp in interps]
        if len(names) > 2:
            return "%s and %d more" % (names[0], len(names) - 1)
        return " and ".join(names)

    def variable(self, holder):
        """What a static is called, without its module and place."""
        kind = "thread-local static" if holder["thread_local"] else "static"
        if holder["symbol"]:
            return "%s `%s%s`" % (kind, escape(holder["symbol"]), escape(holder["path"] or ""))
        return "a " + kind + (" in " + escape(holder["section"]) if holder["section"] else "")

    def holder(self, holder, elements=()):
        text = self.variable(holder)
        if len(elements) > 1:
            text += (" (and %s of it)" % plural(len(elements) - 1, "more element") if holder["symbol"]
                     else ", with %s there" % plural(len(elements) - 1, "more that has no name", "more that have no names"))
        if holder["module"]:
            text += " of " + escape(os.path.basename(holder["module"]))
        if holder["file"] or not holder["symbol"]:
            text += " (%s)" % self.place(holder)
        return text + (" in thread %d" % holder["tid"] if holder["tid"] else "")

    def object_holding(self, f):
        """The object that refers to a leak, where it is, and how it does."""
        holder = f["holder"]
        thing = self.thing(holder)
        text = "%s of %s" % (thing, self.whose(holder["owner"]))
        created = f["stacks"].get("holder")
        if created:
            text += ", created at " + self.where(users(created))
        what, label = _REFERENCES.get(holder["edge"]), escape(holder["path"])
        text += ": its %s" % ("%s %s" % (what, label) if what and not label.startswith(what) else label)
        if holder["leak"] in self.by_id:
            other = self.by_id[holder["leak"]]["holder"]
            text += " (it was left behind itself: leak #%d%s)" % (
                holder["leak"], ", kept alive by " + self.holder(other) if other and other["address"] is not None else "")
        return text

    def keeper(self, f):
        """What keeps a leak alive, a sentence; None if nothing is known."""
        holder = f["holder"]
        if holder is None:
            return None
        if holder["kind"] == "memory":
            return "memory that nothing points at: never freed"
        if holder["kind"] == "reference":
            return "kept alive by %s that nothing found explains: a missing Py_DECREF" % (
                plural(f["extra"], "reference") if f["extra"] else "a reference")
        where = [self.holder(holder, f.get("elements", ()))] if holder["address"] is not None else []
        where += [self.object_holding(f)] if "object" in holder else []
        if holder["kind"] == "cycle":
            text = ("a cycle of garbage, for the next collection" if f["look"] and not f["reasons"]
                    else "a cycle the garbage collector cannot clear") + "".join(
                (": ", "; ")[i > 0] + escape(reason) for i, reason in enumerate(f["reasons"]))
        elif holder["kind"] == "runtime":
            text = ": ".join(["the runtime"] + where)
        else:
            text = ", and ".join(where) or "what the log does not tell"
        return "kept alive by " + text

    def kept(self, f, more="more "):
        kept = f["kept"]
        types = kept["types"]
        what = "object" if types and all(t["type"] for t in types) else "block"
        names = ["%s %s" % (format(t["count"], ","), "`%s`" % escape(t["type"]) if t["type"] else "of raw memory")
                 for t in types[:6]]
        if len(types) > 6:
            names.append("%s of %d other types" % (format(sum(t["count"] for t in types[6:]), ","), len(types) - 6))
        return "%s, %s" % (plural(kept["count"], more + what), plural(kept["bytes"], "byte")) \
            + (": " + ", ".join(names) if names else "")

    def way(self, f):
        """From what keeps a leak alive to a sample of what it keeps; None where that is plain."""
        holder, steps = f["holder"], f["way"]
        if len(steps) < 1 + bool(holder and "object" in holder):
            return None
        name = lambda type: "`%s`" % escape(type) if type else "memory"
        parts = [self.variable(holder)] if holder and holder["address"] is not None else []
        for step in steps:
            if step["label"] == "memory":       # somewhere in what it points at, or is
                parts += [name(step["from"])] * bool(step["from"]) + ["memory"]
            else:
                parts.append("%s %s" % (name(step["from"]), escape(step["label"])))
        parts.append(name(steps[-1]["to"]))
        if len(parts) > 12:
            parts[6:-5] = ["... %d steps ..." % (len(parts) - 11)]
        return " -> ".join(parts)

    def reference(self, id):
        return "%s #%d" % (self.by_id[id]["kind"], id)

    # -- stacks ------------------------------------------------------------------

    def stack(self, frames, indent="      "):
        """The frames, a line each; runs of CPython's own in one line, except
        those next to what happened."""
        frames = list(enumerate(frames))
        digits = max(2, len(str(len(frames) - 1)))
        width = min(36, max((len(escape(f["function"] or "?")) for _, f in frames), default=0))
        runs, last = [], None
        for item in frames:
            # A run ends where the interpreter changes, for the line that says so.
            serial = (item[1].get("interpreter") or {}).get("serial")
            changes, last = serial and last and serial != last, serial or last
            if runs and not changes and runs[-1][0][1]["cpython"] == item[1]["cpython"]:
                runs[-1].append(item)
            else:
                runs.append([item])
        previous = None
        for i, run in enumerate(runs):
            hidden = []
            if run[0][1]["cpython"] and not self.full:
                keep = 0 if i else 6
                if len(run) > keep + 2:
                    hidden, run = run[keep:], run[:keep]
            for number, frame in run:
                previous = self.switch(previous, frame, indent)
                place = self.place(frame)
                if frame["kind"] == "python" and not frame["file"]:
                    place = "(Python code that was not recorded)"
                self.say("%s#%-*d %s %-*s  %s" % (
                    indent, digits, number, "py" if frame["kind"] == "python" else " C", width,
                    escape(frame["function"] or "?"), place))
            for _, frame in hidden:
                previous = self.switch(previous, frame, indent)
            if hidden:
                first, last = (escape(hidden[n][1]["function"] or "?") for n in (0, -1))
                self.say(self.paint("dim", "%s... %d frames of CPython, %s to %s" % (indent, len(hidden), first, last)))

    def switch(self, previous, frame, indent):
        interp = frame.get("interpreter")
        if interp and previous and previous["serial"] != interp["serial"]:
            self.say("%s--- %s above, %s below ---" % (indent, previous["name"], interp["name"]))
        return interp or previous

    def location(self, head, frames, finding):
        """A heading with the user's line, and the stack below it unless it is
        one frame or printed already."""
        if not frames:
            self.say("  %s" % head)
            return
        key = repr([(f["function"], self.place(f), f.get("interpreter")) for f in frames])
        before = self.printed.setdefault(key, finding)
        more = ":" if len(frames) > 1 else ""
        if more and before is not finding:
            more = " (stack: see %s #%d)" % (before["kind"], before["id"])
        self.say("  %s at %s%s" % (head, self.where(users(frames)), more))
        if more == ":":
            self.stack(frames)

    # -- findings ------------------------------------------------------------------

    def headline(self, f):
        if f["kind"] == "gilstate":
            return self.state_headline(f)
        kind, thing = f["kind"], self.thing(f)
        owner, current = self.whose(f["owner"]), self.who(f["current"])
        verb = _VERBS[f["access"]]
        if kind == "share":
            return "%s %s %s that belongs to %s" % (current, verb, thing, owner)
        if kind == "stale":
            return "%s %s %s of %s, which has ended" % (current, verb, thing, owner)
        if kind == "free":
            verb = verb if f["access"] != "none" else "frees"
            how = "that belongs to" if f["object"]["python"] else "allocated by"
            return "%s %s %s %s %s" % (current, verb, thing, how, owner)
        if kind == "static":
            if f["object"]["static_type"]:
                names = f["owners"] + [interp for interp in f["currents"] if interp not in f["owners"]]
                return "static type `%s`, %sis used by %s" % (
                    escape(f["object"]["type"] or "?"),
                    re.sub("^(a )?static ", "", self.holder(f["holder"])) + ", " if f["holder"] else "",
                    self.several_interps(names))
            held = self.holder(f["holder"], f["elements"]) if f["holder"] else "a C static"
            return "%s holds %s of %s" % (held, thing, self.several_interps(f["owners"] or [None]))
        if kind == "race":
            return self.race_headline(f)
        if kind == "immortal":
            return (self.changes(f["changes"]) if f["changes"]
                    else "the reference count of %s, which is immortal, was changed" % escape(f["object"]["type"] or "?"))
        return "%s: %s" % (current, f["title"])

    def state_headline(self, f):
        """What a thread does with thread states that it must not."""
        thread, function, owner = "thread %d" % f["tid"], escape(f["function"]), self.whose(f["owner"])
        if f["access"] == "ensure":
            return "%s calls %s for %s and lands in %s" % (thread, function, owner, self.who(f["current"]))
        if f["access"] == "thread":
            return "%s attaches a thread state of %s that is another thread's (%s)" % (thread, owner, function)
        if f["access"] == "ended":
            what = "which has ended" if f["owner_ended_ns"] else "which was deleted"
            return "%s attaches a thread state of %s, %s (%s)" % (thread, owner, what, function)
        if f["access"] == "end":
            left = sum(place["role"] == "remains" for place in f["places"])
            return "%s ends with %s still in it (%s)" % (owner, plural(left, "other thread"), function)
        return "%s calls %s without a thread state" % (thread, function)

    def fate(self, f):
        owner = self.whose(f["owner"])
        leaks = [id for id in f["paired"] if self.by_id[id]["kind"] == "leak"]
        if leaks:
            self.say("  outlived %s: %s%s" % (owner, ", ".join("leak #%d" % id for id in leaks), self.serial(f)))
        elif f.get("fate") == "leaked":
            self.say("  outlived %s" % owner)
        elif f.get("fate") == "freed":
            if f["object"]["freed"]:
                self.say("  was freed when %s ended: the pointer dangles" % owner)
            elif f["holder"]:
                self.say("  was freed by the time %s ended: a pointer left in that static dangles" % owner)

    @staticmethod
    def serial(f):
        serial = f["object"]["serial"]
        return " (object serial %d)" % serial if serial else ""

    def times(self, n):
        return "" if n == 1 else " %s times" % format(n, ",")

    def process_of(self, f):
        return " in process %s" % ", ".join(map(str, f["pids"])) if self.several else ""

    def recycled(self, f):
        if f["object"]["recycled"]:
            self.say("    (or an earlier object in the same memory was: before Python 3.13, and with origin=none,"
                     " recycled floats, lists, tuples and dicts are not seen)")

    def transferred(self, f):
        if f["maker"]:
            self.say("  given by %s to %s (isan_transfer)" % (self.whose(f["maker"]), self.whose(f["owner"])))

    def title(self, f, headline):
        self.say("%s %s" % (self.paint("kind", "isan: %s #%d:" % (f["kind"], f["id"])),
                            self.paint("title", headline + self.process_of(f))))

    def trap(self, f):
        self.title(f, self.headline(f))
        owner = self.whose(f["owner"])
        created, maker = f["stacks"]["created"], self.whose(f["maker"]) if f["maker"] else owner
        if created:
            self.location("created in %s" % maker, created, f)
            self.recycled(f)
        elif not f["object"]["static_type"] and f["kind"] != "gilstate":
            self.say("  created in %s, where is not known" % maker)
        self.transferred(f)
        if f["holder"] and f["kind"] != "static":
            self.say("  stored in %s" % self.holder(f["holder"]))
        used = f["stacks"]["used"]
        if used:
            how = ("found" if f["object"]["static_type"]
                   else "reached from %s, which has imported it too: found" % self.who(f["current"])
                   if f["kind"] == "static" else "called" if f["kind"] == "gilstate" else _DONE.get(f["access"], "touched")) + self.times(f["count"])
            self.location(how if f["kind"] == "static" else "%s in %s" % (how, self.who(f["current"])), used, f)
        elif f["count"] > 1:
            self.say("  seen%s" % self.times(f["count"]))
        for place in f["places"]:
            self.location(self.happened(place), place["stack"], f)
        if (f["kind"] == "stale" or f["access"] == "ended") and f["owner_ended_ns"]:
            early = (f["time_ns"] - f["owner_ended_ns"]) / 1e9
            self.location("%s had ended%s" % (owner, " %.3g s earlier" % early if early >= 0.001 else ""),
                          f["stacks"].get("ended", []), f)
        self.fate(f)
        self.hint(f)

    # -- races --------------------------------------------------------------------------

    @staticmethod
    def verb(place, third=True):
        """What an access did: writes, write."""
        return ("free" if place["free"] else "write" if place["write"] else "read") + "s" * third

    def racer(self, place):
        return self.whose(None) if place["unknown"] else self.who(place["interpreter"])

    def race_headline(self, f):
        accesses = sorted((p for p in f["places"] if p["role"] == "access"),
                          key=lambda p: p["interpreter"]["id"] if p["interpreter"] else -1)
        if len(accesses) != 2:                  # of a log that is not complete
            return "%s: %s" % (self.who(f["current"]), f["title"])
        one, other = accesses
        interps = [p["interpreter"] for p in accesses]
        alike = self.verb(one) == self.verb(other)
        if all(interps) and interps[0] == interps[1]:
            who = "two threads of %s %s" % (interps[0]["name"], self.verb(one, False) if alike else "access")
        elif all(interps) and interps[0]["kind"] == interps[1]["kind"] and alike:
            who = "interpreters %s and %s (%s) %s" % (interps[0]["id"], interps[1]["id"], {
                "legacy": "legacy", "own-gil": "own GIL"}.get(interps[0]["kind"], "main"), self.verb(one, False))
        else:
            who = " and ".join("%s %s" % (self.racer(p), self.verb(p)) for p in accesses)
        if f["holder"] and not f["object"]["size"]:
            return "%s %s" % (who, self.holder(f["holder"], f["elements"]))
        return "%s %s%s%s" % (who, self.thing(f), " of " + f["owner"]["name"] if f["owner"] else "",
                              " in " + self.holder(f["holder"]) if f["holder"] else "")

    def race(self, f):
        self.title(f, self.headline(f))
        accesses = [p for p in f["places"] if p["role"] == "access"]
        for i, place in enumerate(accesses):
            self.location("%s%s,%s%s %s %s%s" % (
                "before that " * bool(i), self.racer(place), " thread %d," % place["tid"] if place["tid"] else "",
                " without its GIL," if place["detached"] else "",
                {"frees": "freed", "writes": "wrote", "reads": "read"}[self.verb(place)],
                plural(place["amount"], "byte"), " atomically" if place["atomic"] else ""), place["stack"], f)
        for place in f["places"]:
            if place["role"] != "access":
                self.location("one of them %s" % PLACES[place["role"]] if place["role"] == "lock"
                              else self.happened(place), place["stack"], f)
        self.say("  " + {
            "different": "two GILs: nothing kept them apart",
            "same": "their interpreters have one GIL: at least one did not hold it" if len(
                {p["interpreter"]["serial"] for p in accesses if p["interpreter"]}) > 1
            else "one interpreter, one GIL: at least one of the threads did not hold it",
            "none": "one of the threads was in no interpreter: no GIL kept them apart",
            None: "which interpreter a thread was in is not known, so neither is whether they had one GIL"}[f["gil"]]
            + (", seen" + self.times(f["count"]) if f["count"] > 1 else ""))
        created = f["stacks"]["created"]
        if created:
            self.location("the memory was allocated" + (" in " + f["owner"]["name"] if f["owner"] else ""), created, f)
        others = [self.reference(id) for id in f["paired"]]
        if others:
            self.say("  about the same %s: %s" % ("object" if f["object"]["size"] else "variable", ", ".join(others)))
        self.hint(f)

    # -- immortal objects ---------------------------------------------------------------

    @staticmethod
    def changes(changes, most=3):
        """What is wrong with the counts of immortal objects, a sentence."""
        each = ["%s by %s" % (escape(change["object"] or "?"), format(change["amount"], "+,")) for change in changes]
        if len(each) == 1:
            return "the reference count of %s, which is immortal, is off by %s" % tuple(each[0].rsplit(" by ", 1))
        more = ["%d more" % (len(each) - most)] if len(each) > most + 1 else []
        each = each[:most + (not more)] + more
        return "the reference counts of %s are off: %s" % (
            plural(len(changes), "immortal object"), " and ".join([", ".join(each[:-1])] * bool(each[:-1]) + each[-1:]))

    def immortal(self, f):
        self.title(f, self.headline(f))
        for place in f["places"]:
            self.location("%s changed by %s in %s" % (
                escape(place["text"] or "?"), format(place["amount"], "+,"), self.who(place["interpreter"])), place["stack"], f)
        if f["since"] and f["until"]:
            self.say("  between %s and %s%s" % (escape(f["since"]), escape(f["until"]),
                     ", while there was " + self.several_interps(f["lived"]) if f["lived"] else ""))
        modules = sorted(f["suspects"], key=lambda suspect: not suspect["old_abi"])
        names = [escape(os.path.basename(suspect["module"])) for suspect in modules]
        if f["places"]:
            pass                                # seen by whom
        elif len(names) == 1:
            self.say("  by %s, the only extension that was loaded but for CPython's own" % names[0])
        elif names:
            self.say("  by one of the extensions that were loaded: %s" % ", ".join(names))
        else:
            self.say("  when no extension was loaded: by the program that embeds Python, or through ctypes")
        for suspect, name in zip(modules, names):
            if suspect["old_abi"]:
                self.say("  %s is built for the stable ABI of a release before 3.12, which has no immortal objects" % name)
        if not f["places"]:
            self.say("  to see by whom: ISAN_OPTIONS='immortal=%s'" % ",".join(
                escape(change["object"] or "?") for change in f["changes"][:4]))
        if len(f["changes"]) > 3 and self.full:
            self.say("  all of them: " + ", ".join("%s by %s" % (escape(change["object"]), format(change["amount"], "+,"))
                                                  for change in f["changes"]))
        mortal = [escape(change["object"]) for change in f["changes"] if change["mortal"]]
        if mortal:
            self.say("  no longer immortal, so that it is deallocated when its count falls to 0: %s%s" % (
                ", ".join(mortal[:6]), " and %d more" % (len(mortal) - 6) if len(mortal) > 6 else ""))
        self.hint(f)

    def happened(self, place):
        return "%s in %s%s%s" % (PLACES[place["role"]], self.who(place["interpreter"]),
                                 ", thread %d" % place["tid"] if place["tid"] else "",
                                 ", %s" % escape(place["text"]) if place["text"] else "")

    def leak_headline(self, f, owner=True):
        type = f["object"]["type"] if f["object"]["python"] else None
        if type:
            what = "%s of type `%s`" % (plural(f["count"], "object"), escape(type))
        else:
            what = plural(f["count"], "block") + " of memory" + (" (%s)" % f["domain"] if f["domain"] else "")
        return "%s, %s" % (what, plural(f["bytes"], "byte")) + (
            ", of " + self.several_interps(f.get("owners") or [f["owner"]]) if owner else "")

    def leak(self, f):
        self.title(f, self.leak_headline(f))
        created = f["stacks"]["created"]
        if created:
            self.location("created", created, f)
            self.recycled(f)
        else:
            self.say("  created where no Python code ran, or before isan could see it")
        self.transferred(f)
        keeper, way = self.keeper(f), self.way(f)
        if keeper:
            self.say("  " + keeper)
        if f["kept"]["count"]:
            self.say("  keeps alive: " + self.kept(f))
        if way:
            self.say("  the way: " + way)
        if f["paired"]:
            self.say("  traps on the same objects: %s%s" % (
                ", ".join(self.reference(id) for id in f["paired"]), self.serial(f)))
        self.hint(f)

    def hint(self, f):
        first = self.hinted.setdefault(f["hint"], f)
        self.say("  %s %s" % (self.paint("dim", "hint:"),
                              f["hint"] if first is f else "see %s #%d" % (first["kind"], first["id"])))
        self.say()

    def crash(self, crash):
        try:
            name = signal.Signals(crash["signal"]).name
        except ValueError:
            name = "signal %d" % crash["signal"]
        stack = crash["stack"]
        head = "the program%s was killed by %s in %s" % (
            " (process %d)" % crash["pid"] if self.several else "", name, self.who(crash["current"]))
        if stack:
            head += " at " + self.where(stack[0])
            if users(stack) is not stack[0]:
                head += ", called from " + self.where(users(stack))
        if name in ("SIGSEGV", "SIGBUS"):
            head += ", accessing address 0x%x" % crash["address"]
        self.say("%s %s" % (self.paint("kind", "isan: crash:"), self.paint("title", head)))
        for f in self.report["findings"]:
            if crash["pid"] in f["pids"] and any(change["mortal"] for change in f.get("changes", ())):
                self.say("  an object that CPython takes for immortal was no more: immortal #%d" % f["id"])
        self.stack(stack)
        self.say()

    def owned(self):
        """What interpreters owned when they were asked: a paragraph each."""
        last = None
        for group in self.report["owned"]:
            whose = (group["pid"], group["owner"] and group["owner"]["serial"])
            groups = [g for g in self.report["owned"] if (g["pid"], g["owner"] and g["owner"]["serial"]) == whose]
            if whose != last:
                self.say("%s%s owned %s, %s, when it was last asked:" % (
                    self.whose(group["owner"]), self.process_of({"pids": [group["pid"]]}),
                    plural(sum(g["count"] + g["kept"]["count"] for g in groups), "block"),
                    plural(sum(g["bytes"] + g["kept"]["bytes"] for g in groups), "byte")))
                own = [g for g in groups if g["residue"]]
                if own:
                    self.say("  CPython's own: %s, %s" % (plural(sum(g["count"] + g["kept"]["count"] for g in own), "block"),
                                                          plural(sum(g["bytes"] + g["kept"]["bytes"] for g in own), "byte")))
            last = whose
            if group["residue"]:
                continue
            if group["holder"] and group["holder"]["kind"] == "interpreter":
                self.say("  kept alive by itself: " + self.kept(group, ""))
                continue
            created = group["stacks"]["created"]
            self.say("  %s: %s%s%s" % (
                self.keeper(group) or "kept alive by what the log does not tell", self.leak_headline(group, False),
                ", created at " + self.where(users(created)) if created else "",
                ", which keep alive " + self.kept(group) if group["kept"]["count"] else ""))
        if last:
            self.say()

    # -- the end -----------------------------------------------------------------------

    def residue(self, show):
        own = self.report["residue"]
        if not own:
            return
        interps = {(leak["pid"], leak["owner"] and leak["owner"]["serial"]) for leak in own}
        blocks, size = (
            sum(l[key] + l["kept"][key] for l in own) for key in ("count", "bytes"))
        n = len(interps)
        self.say("CPython's own residue: %s, %s per interpreter%s%s" % (
            plural(round(blocks / n), "block"), plural(round(size / n), "byte"),
            " (mean of %d)" % n if n > 1 else "", "" if show else " (isan report --residue shows them)"))
        if show:
            for leak in sorted(own, key=lambda l: -l["bytes"]):
                created, keeper = leak["stacks"]["created"], self.keeper(leak)
                self.say("  %s%s%s%s [%s]" % (
                    self.leak_headline(leak), ", created at " + self.where(users(created)) if created else "",
                    ", " + keeper if keeper else "", ", keeps alive: " + self.kept(leak) if leak["kept"]["count"] else "",
                    leak["residue"]["rule"]))
        self.say()

    def suppressed(self):
        """What was left out, a line for CPython's own and one for each file of the user's."""
        lines = self.report["suppressions"]
        own = [line for line in lines if line["ours"]]
        n = sum(line["count"] for line in own)
        if n:
            kinds = {line["kind"] for line in own if line["count"]}
            self.say("known of CPython itself and left out: %s (isan report --no-default-suppressions shows them)" % (
                plural(n, kinds.pop() if len(kinds) == 1 else "finding")))
        for file in dict.fromkeys(line["file"] for line in lines if not line["ours"]):
            used, unused = ([line for line in lines if line["file"] == file and bool(line["count"]) == matched]
                            for matched in (True, False))
            parts = ["%s:%s (line %d) %s" % (line["kind"], escape(line["pattern"]), line["line"], format(line["count"], ","))
                     for line in used]
            parts += ["never %s" % ", ".join("%s:%s (line %d)" % (line["kind"], escape(line["pattern"]), line["line"])
                                             for line in unused)] * bool(unused)
            self.say("suppressed by %s: %s%s" % (self.file(file), plural(sum(line["count"] for line in used), "finding"),
                                                 "; " + ", ".join(parts) if parts else ""))

    def ignored(self):
        """What the program itself has left out."""
        reasons = {}
        for line in self.report["ignored"]:
            reasons[line["reason"]] = reasons.get(line["reason"], 0) + line["count"]
        for reason, count in reasons.items():
            self.say("ignored by the program (isan_ignore_begin): %s: %s" % (plural(count, "use"), escape(reason) or "no reason given"))

    def summary(self):
        findings, report = self.report["findings"], self.report
        kinds = {}
        for f in findings:
            kinds[f["kind"]] = kinds.get(f["kind"], 0) + 1
        text = plural(len(findings), "finding") if findings else "no findings"
        if kinds:
            text += " (%s)" % ", ".join("%d %s" % (n, kind) for kind, n in kinds.items())
        if report["crashes"]:
            text += ", " + plural(len(report["crashes"]), "crash", "crashes")
        if report["errors"]:
            text += ", " + plural(len(report["errors"]), "error") + " in the logs"
        n = len({p["pid"] for p in report["processes"]})
        return "SUMMARY: isan: %s in %s" % (text, plural(n, "process", "processes"))

    def render(self, show_residue):
        for f in self.report["findings"]:
            {"leak": self.leak, "immortal": self.immortal, "race": self.race}.get(f["kind"], self.trap)(f)
        for crash in self.report["crashes"]:
            self.crash(crash)
        self.owned()
        self.residue(show_residue)
        for note in self.report["notes"]:
            who = " (process %d)" % note["pid"] if note["pid"] and self.several else ""
            self.say("isan: note%s: %s" % (who, escape(note["text"])))
        if self.report["dropped"]:
            self.say("isan: note: %s could not be recorded (disk or table full): this report is not complete"
                     % plural(self.report["dropped"], "record"))
        self.suppressed()
        self.ignored()
        self.say(self.summary())
        return "\n".join(self.lines) + "\n"


def render(report, color=False, show_residue=False, full=False):
    return _Text(report, color, full).render(show_residue)


def brief(report, finding):
    """One finding in a few lines, without stacks: what, where, what to do about it."""
    text = _Text(report, False, False)
    lines = [text.headline(finding) if finding["kind"] != "leak" else text.leak_headline(finding)]
    if finding["kind"] == "leak":
        lines += [text.keeper(finding)] * bool(finding["holder"])
    elif finding["kind"] in ("share", "stale", "free") and finding["holder"]:
        lines.append("stored in %s" % text.holder(finding["holder"], finding["elements"]))
    for what, name in ("created", "created"), ("used", "used"):
        frames = finding["stacks"].get(name)
        if frames and (what == "created" or finding["kind"] not in ("static", "leak")):
            lines.append("%s at %s" % (what, text.where(users(frames))))
    return lines, finding["hint"]


def wants_color(stream):
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
