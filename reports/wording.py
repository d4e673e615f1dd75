"""The words of a report: what each thing is called, escaped for terminals."""
import os
import re

from .baseline import is_new
from .fingerprints import users
from .read import c_tables

_VERBS = {
    "none": "uses", "incref": "increfs", "decref": "decrefs", "attribute": "accesses an attribute of",
    "argument": "passes the C API", "return": "gets from the C API", "dealloc": "deallocates", "free": "frees",
    "realloc": "resizes",
}
# What an object's reference is called, before its label.
_REFERENCES = {"item": "item", "value": "value", "attribute": "attribute", "field": "member"}
_DONE = {"dealloc": "deallocated", "free": "freed", "realloc": "resized"}
PLACES = {place.name: place.text for place in c_tables.PLACES}


def escape(text):
    """Names come from the program under test. This makes sure that a terminal shows them as text."""
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


def incomplete(report):
    """The sentence for a report that may lack findings."""
    return "%s could not be recorded (disk or table full): this report is not complete" % plural(
        report["dropped"], "record")


def _article(word):
    return "an" if word[:1].lower() in tuple("aeiou") else "a"


def processes(report):
    """The number of processes.

    A process that executes another program has a log for each program; on two machines processes may have one number.
    """
    return len({(p["directory"], p["pid"]) for p in report["processes"]})


class Wording:
    """The words of one report. All text is escaped."""

    def __init__(self, report):
        self.report = report
        self.cwd = (report["process"] or {}).get("cwd") or None
        self.by_id = {f["id"]: f for f in report["findings"]}
        self.several = processes(report) > 1

    # -- things ------------------------------------------------------------------

    def file(self, path):
        if self.cwd and path.startswith(self.cwd.rstrip("/") + "/"):
            path = path[len(self.cwd.rstrip("/")) + 1:]
        return escape(path if path.startswith("<") else os.path.normpath(path))

    def place(self, thing):
        """file:line, else module and offset, else the address."""
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
    def current_name(interp):
        return interp["name"] if interp else "a thread without an interpreter"

    @staticmethod
    def owner_name(interp):
        return interp["name"] if interp else "an unknown interpreter"

    def thing(self, finding, article=True):
        object = finding["object"]
        if object["type"] and object["python"]:
            name = "`%s`" % escape(object["type"])
            return (_article(object["type"]) + " " + name) if article else name
        return plural(object["size"], "byte") + " of memory"

    def several_interps(self, interps):
        """Their names; if there are many, the first and how many more. A host may have ended thousands."""
        names = [self.owner_name(interp) for interp in interps]
        if len(names) > 2:
            return "%s and %d more" % (names[0], len(names) - 1)
        return " and ".join(names)

    def variable(self, holder):
        """The name of a static, without its module and place."""
        kind = "thread-local static" if holder["thread_local"] else "static"
        if holder["symbol"]:
            return "%s `%s%s`" % (kind, escape(holder["symbol"]), escape(holder["path"] or ""))
        return "a " + kind + (" in " + escape(holder["section"]) if holder["section"] else "")

    @staticmethod
    def behind(holder, text):
        """`text`, which is a variable, or memory that it leads to."""
        return "memory that %s leads to" % text if holder.get("behind") else text

    def holder(self, holder, elements=()):
        text = self.variable(holder)
        if len(elements) > 1:
            more = len(elements) - 1
            text += (" (and %s of it)" % plural(more, "more element") if holder["symbol"]
                     else ", with %s there" % plural(more, "more that has no name", "more that have no names"))
        if holder["module"]:
            text += " of " + escape(os.path.basename(holder["module"]))
        if holder["file"] or not holder["symbol"]:
            text += " (%s)" % self.place(holder)
        return self.behind(holder, text + (" in thread %d" % holder["tid"] if holder["tid"] else ""))

    def object_holding(self, f):
        """The object that refers to a leak: where it was made, and by which reference it does."""
        holder = f["holder"]
        thing = self.thing(holder)
        text = "%s of %s" % (thing, self.owner_name(holder["owner"]))
        created = f["stacks"].get("holder")
        if created:
            text += ", created at " + self.where(users(created))
        what, label = _REFERENCES.get(holder["edge"]), escape(holder["path"])
        text += ": its %s" % ("%s %s" % (what, label) if what and not label.startswith(what) else label)
        if holder["leak"] in self.by_id:
            other = self.by_id[holder["leak"]]["holder"]
            by = ", kept alive by " + self.holder(other) if other and other["address"] is not None else ""
            text += " (it was left behind itself: leak #%d%s)" % (holder["leak"], by)
        return text

    def reference_to(self, f, kind):
        """A reference to the finding of that kind about the same object, if the report has one."""
        ids = [id for id in f["paired"] if id in self.by_id and self.by_id[id]["kind"] == kind]
        return " (%s)" % self.reference(ids[0]) if ids else ""

    def retainer(self, f):
        """A sentence: what keeps a leak alive. None if nothing is known."""
        holder = f["holder"]
        if holder is None:
            return None
        references = plural(f["extra"], "reference") if f["extra"] else "a reference"
        if holder["kind"] == "memory":
            return "memory that nothing points at: never freed"
        if holder["kind"] == "reference":
            return "kept alive by %s that nothing found explains: a missing Py_DECREF" % references
        if holder["kind"] == "given_up":
            return "another interpreter was to free it, and cannot" + self.reference_to(f, "free")
        if holder["kind"] == "replaced":
            return "kept alive by %s: a static that held it%s has another value now" % (
                references, self.reference_to(f, "static"))
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

    def path(self, f):
        """The path from what keeps a leak alive to a sample of what it keeps; None where that is obvious."""
        holder, steps = f["holder"], f["way"]
        if len(steps) < 1 + bool(holder and "object" in holder):
            return None

        def name(type):
            return "`%s`" % escape(type) if type else "memory"

        parts = [self.behind(holder, self.variable(holder))] if holder and holder["address"] is not None else []
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

    # -- findings ------------------------------------------------------------------

    def headline(self, f):
        if f["kind"] == "leak":
            return self.leak_headline(f)
        if f["kind"] == "gilstate":
            return self.state_headline(f)
        kind, thing = f["kind"], self.thing(f)
        owner, current = self.owner_name(f["owner"]), self.current_name(f["current"])
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
            return (self.changes(f["changes"]) if f["changes"] else
                    "the reference count of %s, which is immortal, was changed" % escape(f["object"]["type"] or "?"))
        return "%s: %s" % (current, f["title"])

    def state_headline(self, f):
        """What a thread did with a thread state."""
        thread, function, owner = "thread %d" % f["tid"], escape(f["function"]), self.owner_name(f["owner"])
        if f["access"] == "ensure":
            return "%s calls %s for %s and lands in %s" % (thread, function, owner, self.current_name(f["current"]))
        if f["access"] == "thread":
            return "%s attaches a thread state of %s that is another thread's (%s)" % (thread, owner, function)
        if f["access"] == "ended":
            what = "which has ended" if f["owner_ended_ns"] else "which was deleted"
            return "%s attaches a thread state of %s, %s (%s)" % (thread, owner, what, function)
        if f["access"] == "end":
            left = sum(place["role"] == "remains" for place in f["places"])
            return "%s ends with %s still in it (%s)" % (owner, plural(left, "other thread"), function)
        return "%s calls %s without a thread state" % (thread, function)

    def fate_of(self, f):
        """What became of the object, in words, or None."""
        owner = self.owner_name(f["owner"])
        leaks = [id for id in f["paired"] if id in self.by_id and self.by_id[id]["kind"] == "leak"]
        if leaks:
            return "outlived %s: %s%s" % (owner, ", ".join("leak #%d" % id for id in leaks), self.serial(f))
        if f.get("fate") == "leaked":
            return "outlived %s" % owner
        if f.get("fate") == "freed" and f["object"]["freed"]:
            return "was freed when %s ended: the pointer dangles" % owner
        if f.get("fate") == "freed" and f["holder"]:
            return "was freed by the time %s ended: a pointer left in that static dangles" % owner
        return None

    @staticmethod
    def serial(f):
        serial = f["object"]["serial"]
        return " (object serial %d)" % serial if serial else ""

    def times(self, n):
        return "" if n == 1 else " %s times" % format(n, ",")

    def process_of(self, f):
        return " in process %s" % self.few(f["pids"]) if self.several else ""

    @staticmethod
    def few(numbers, most=4):
        """Such as 1, 2, 3 and 97 more."""
        if len(numbers) <= most:
            return ", ".join(map(str, numbers))
        return "%s and %s more" % (", ".join(map(str, numbers[:most - 1])), format(len(numbers) - most + 1, ","))

    def use(self, f):
        """How the object was used, and by which interpreter."""
        current, times = self.current_name(f["current"]), self.times(f["count"])
        if f["object"]["static_type"]:
            return "found%s%s" % (times, "" if f["kind"] == "static" else " in " + current)
        if f["kind"] == "static":
            return "reached from %s, which has imported it too: found%s" % (current, times)
        how = "called" if f["kind"] == "gilstate" else _DONE.get(f["access"], "touched")
        return "%s%s in %s" % (how, times, current)

    def had_ended(self, f):
        early = (f["time_ns"] - f["owner_ended_ns"]) / 1e9
        return "%s had ended%s" % (self.owner_name(f["owner"]), " %.3g s earlier" % early if early >= 0.001 else "")

    # -- races --------------------------------------------------------------------------

    @staticmethod
    def verb(place, third=True):
        """What an access did, such as writes; not third: write."""
        return ("free" if place["free"] else "write" if place["write"] else "read") + "s" * third

    def racer(self, place):
        return self.owner_name(None) if place["unknown"] else self.current_name(place["interpreter"])

    def access(self, place):
        """One access of a race, in words."""
        return "%s,%s%s %s %s%s" % (
            self.racer(place), " thread %d," % place["tid"] if place["tid"] else "",
            " without its GIL," if place["detached"] else "",
            {"frees": "freed", "writes": "wrote", "reads": "read"}[self.verb(place)],
            plural(place["amount"], "byte"), " atomically" if place["atomic"] else "")

    def race_headline(self, f):
        accesses = sorted((p for p in f["places"] if p["role"] == "access"),
                          key=lambda p: p["interpreter"]["id"] if p["interpreter"] else -1)
        if len(accesses) != 2:                  # of a log that is not complete
            return "%s: %s" % (self.current_name(f["current"]), f["title"])
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

    @staticmethod
    def why_race(f):
        interps = {p["interpreter"]["serial"] for p in f["places"] if p["role"] == "access" and p["interpreter"]}
        return {
            "different": "two GILs: nothing kept them apart",
            "same": "their interpreters have one GIL: at least one did not hold it" if len(interps) > 1
            else "one interpreter, one GIL: at least one of the threads did not hold it",
            "none": "one of the threads was in no interpreter: no GIL kept them apart",
            None: "which interpreter a thread was in is not known, so neither is whether they had one GIL"}[f["gil"]]

    # -- immortal objects ---------------------------------------------------------------

    @staticmethod
    def changes(changes, most=3):
        """A sentence: what is wrong with the counts of immortal objects."""
        each = ["%s by %s" % (escape(change["object"] or "?"), format(change["amount"], "+,")) for change in changes]
        if len(each) == 1:
            return "the reference count of %s, which is immortal, is off by %s" % tuple(each[0].rsplit(" by ", 1))
        more = ["%d more" % (len(each) - most)] if len(each) > most + 1 else []
        each = each[:most + (not more)] + more
        return "the reference counts of %s are off: %s" % (
            plural(len(changes), "immortal object"), " and ".join([", ".join(each[:-1])] * bool(each[:-1]) + each[-1:]))

    def change_at(self, place):
        return "%s changed by %s in %s" % (
            escape(place["text"] or "?"), format(place["amount"], "+,"), self.current_name(place["interpreter"]))

    def happened(self, place):
        if place["role"] == "lock":         # ThreadSanitizer does not say which of the two had it
            return "one of them " + PLACES["lock"]
        return "%s in %s%s%s" % (PLACES[place["role"]], self.current_name(place["interpreter"]),
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

    def compared(self):
        """What has changed since the baseline, as the end of a line."""
        if not self.report["baseline"]:
            return ""
        new = sum(map(is_new, self.report["findings"]))
        return "; since the baseline: %s new, %s known, %s gone" % tuple(
            format(n, ",") for n in (new, len(self.report["findings"]) - new, len(self.report["gone"])))
