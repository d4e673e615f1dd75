"""The report as text: what happened, where, and what to do about it."""
import copy
import os
import signal

from ..baseline import is_new
from ..fingerprints import users
from ..wording import Wording, escape, incomplete, plural, processes

_COLORS = {"kind": "1;31", "title": "1", "dim": "2", "name": "36"}


class Text(Wording):
    def __init__(self, report, color=False, full=False):
        super().__init__(report)
        self.color, self.full = color, full
        self.printed = {}           # stack -> the finding that it was printed with
        self.hinted = {}            # hint -> the finding that it was printed with
        self.lines = []

    def paint(self, what, text):
        return "\x1b[%sm%s\x1b[0m" % (_COLORS[what], text) if self.color else text

    def say(self, text=""):
        self.lines.append(text)

    # -- stacks ------------------------------------------------------------------

    def stack(self, frames, indent="      "):
        """Print the frames, a line each. Runs of CPython's own frames take one line, except the innermost ones."""
        frames = list(enumerate(frames))
        digits = max(2, len(str(len(frames) - 1)))
        width = min(36, max((len(escape(f["function"] or "?")) for _, f in frames), default=0))
        runs, last = [], None
        for item in frames:
            # A run ends where the interpreter changes: a line says so there.
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
        """Print a heading with the user's line. The stack follows, unless it is one frame or was printed before."""
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

    def recycled(self, f):
        if f["object"]["recycled"]:
            self.say("    (or an earlier object in the same memory was: before Python 3.13, and with origin=none,"
                     " recycled floats, lists, tuples and dicts are not seen)")

    def transferred(self, f):
        if f["maker"]:
            self.say("  given by %s to %s (isan_transfer)" % (self.owner_name(f["maker"]), self.owner_name(f["owner"])))

    def title(self, f, headline):
        self.say("%s %s" % (self.paint("kind", "isan: %s #%d:" % (f["kind"], f["id"])),
                            self.paint("title", headline + self.process_of(f))))

    def trap(self, f):
        self.title(f, self.headline(f))
        owner = self.owner_name(f["owner"])
        created, maker = f["stacks"]["created"], self.owner_name(f["maker"]) if f["maker"] else owner
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
            self.location(self.use(f), used, f)
        elif f["count"] > 1:
            self.say("  seen%s" % self.times(f["count"]))
        for place in f["places"]:
            self.location(self.happened(place), place["stack"], f)
        if (f["kind"] == "stale" or f["access"] == "ended") and f["owner_ended_ns"]:
            self.location(self.had_ended(f), f["stacks"].get("ended", []), f)
        fate = self.fate_of(f)
        if fate:
            self.say("  " + fate)
        self.hint(f)

    # -- races --------------------------------------------------------------------------

    def race(self, f):
        self.title(f, self.headline(f))
        accesses = [p for p in f["places"] if p["role"] == "access"]
        for i, place in enumerate(accesses):
            self.location("before that " * bool(i) + self.access(place), place["stack"], f)
        for place in f["places"]:
            if place["role"] != "access":
                self.location(self.happened(place), place["stack"], f)
        self.say("  " + self.why_race(f) + (", seen" + self.times(f["count"]) if f["count"] > 1 else ""))
        created = f["stacks"]["created"]
        if created:
            self.location("the memory was allocated" + (" in " + f["owner"]["name"] if f["owner"] else ""), created, f)
        others = [self.reference(id) for id in f["paired"]]
        if others:
            self.say("  about the same %s: %s" % ("object" if f["object"]["size"] else "variable", ", ".join(others)))
        self.hint(f)

    # -- immortal objects ---------------------------------------------------------------

    def immortal(self, f):
        self.title(f, self.headline(f))
        for place in f["places"]:
            self.location(self.change_at(place), place["stack"], f)
        if f["since"] and f["until"]:
            self.say("  between %s and %s%s" % (escape(f["since"]), escape(f["until"]),
                     ", while there was " + self.several_interps(f["lived"]) if f["lived"] else ""))
        modules = sorted(f["suspects"], key=lambda suspect: not suspect["old_abi"])
        names = [escape(os.path.basename(suspect["module"])) for suspect in modules]
        if f["places"]:
            pass                                # the places say which modules
        elif len(names) == 1:
            self.say("  by %s, the only extension that was loaded but for CPython's own" % names[0])
        elif names:
            self.say("  by one of the extensions that were loaded: %s" % ", ".join(names))
        else:
            self.say("  when no extension was loaded: by the program that embeds Python, or through ctypes")
        for suspect, name in zip(modules, names):
            if suspect["old_abi"]:
                self.say("  %s is built for the stable ABI of a release before 3.12, which has no immortal objects"
                         % name)
        if not f["places"]:
            self.say("  to see by whom: ISAN_OPTIONS='immortal=%s'" % ",".join(
                escape(change["object"] or "?") for change in f["changes"][:4]))
        if len(f["changes"]) > 3 and self.full:
            self.say("  all of them: " + ", ".join(
                "%s by %s" % (escape(change["object"]), format(change["amount"], "+,")) for change in f["changes"]))
        mortal = [escape(change["object"]) for change in f["changes"] if change["mortal"]]
        if mortal:
            self.say("  no longer immortal, so that it is deallocated when its count falls to 0: %s%s" % (
                ", ".join(mortal[:6]), " and %d more" % (len(mortal) - 6) if len(mortal) > 6 else ""))
        self.hint(f)

    def leak(self, f):
        self.title(f, self.leak_headline(f))
        created = f["stacks"]["created"]
        if created:
            self.location("created", created, f)
            self.recycled(f)
        else:
            self.say("  created where no Python code ran, or before isan could see it")
        self.transferred(f)
        retainer, path = self.retainer(f), self.path(f)
        if retainer:
            self.say("  " + retainer)
        if f["kept"]["count"]:
            self.say("  keeps alive: " + self.kept(f))
        if path:
            self.say("  the way: " + path)
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
            " (process %d)" % crash["pid"] if self.several else "", name, self.current_name(crash["current"]))
        if stack:
            head += " at " + self.where(stack[0])
            if users(stack) is not stack[0]:
                head += ", called from " + self.where(users(stack))
        if name in ("SIGSEGV", "SIGBUS"):
            head += ", accessing address 0x%x" % crash["address"]
        self.say("%s %s" % (self.paint("kind", "isan: crash:"), self.paint("title", head)))
        for f in self.report["findings"]:
            if crash["process"] in f["processes"] and any(change["mortal"] for change in f.get("changes", ())):
                self.say("  an object that CPython takes for immortal was no more: immortal #%d" % f["id"])
        self.stack(stack)
        self.say()

    def owned(self):
        """What interpreters owned when they were last asked: a paragraph for each."""
        last = None

        def total(groups):
            return "%s, %s" % (plural(sum(g["count"] + g["kept"]["count"] for g in groups), "block"),
                               plural(sum(g["bytes"] + g["kept"]["bytes"] for g in groups), "byte"))

        for group in self.report["owned"]:
            whose = (group["process"], group["owner"] and group["owner"]["serial"])
            groups = [g for g in self.report["owned"] if (g["process"], g["owner"] and g["owner"]["serial"]) == whose]
            if whose != last:
                self.say("%s%s owned %s, when it was last asked:" % (
                    self.owner_name(group["owner"]), self.process_of({"pids": [group["pid"]]}), total(groups)))
                own = [g for g in groups if g["residue"]]
                if own:
                    self.say("  CPython's own: " + total(own))
            last = whose
            if group["residue"]:
                continue
            if group["holder"] and group["holder"]["kind"] == "interpreter":
                self.say("  kept alive by itself: " + self.kept(group, ""))
                continue
            created = group["stacks"]["created"]
            self.say("  %s: %s%s%s" % (
                self.retainer(group) or "kept alive by what the log does not tell", self.leak_headline(group, False),
                ", created at " + self.where(users(created)) if created else "",
                ", which keep alive " + self.kept(group) if group["kept"]["count"] else ""))
        if last:
            self.say()

    # -- the end -----------------------------------------------------------------------

    def residue(self, show):
        own = self.report["residue"]
        if not own:
            return
        interps = {(leak["process"], leak["owner"] and leak["owner"]["serial"]) for leak in own}
        blocks, size = (
            sum(l[key] + l["kept"][key] for l in own) for key in ("count", "bytes"))
        n = len(interps)
        self.say("CPython's own residue: %s, %s per interpreter%s%s" % (
            plural(round(blocks / n), "block"), plural(round(size / n), "byte"),
            " (mean of %d)" % n if n > 1 else "", "" if show else " (isan report --residue shows them)"))
        if show:
            for leak in sorted(own, key=lambda l: -l["bytes"]):
                created, retainer = leak["stacks"]["created"], self.retainer(leak)
                words = [self.leak_headline(leak)]
                words += ["created at " + self.where(users(created))] if created else []
                words += [retainer] if retainer else []
                words += ["keeps alive: " + self.kept(leak)] if leak["kept"]["count"] else []
                self.say("  %s [%s]" % (", ".join(words), leak["residue"]["rule"]))
        self.say()

    def all_residue(self):
        self.residue(True)

    def suppressed(self):
        """What suppressions left out: a line for CPython's own and one for each file of the user's."""
        lines = self.report["suppressions"]

        def name(line):
            return "%s:%s (line %d)" % (line["kind"], escape(line["pattern"]), line["line"])

        own = [line for line in lines if line["ours"]]
        n = sum(line["count"] for line in own)
        if n:
            kinds = {line["kind"] for line in own if line["count"]}
            self.say("known of CPython itself and left out: %s (isan report --no-default-suppressions shows them)" % (
                plural(n, kinds.pop() if len(kinds) == 1 else "finding")))
        for file in dict.fromkeys(line["file"] for line in lines if not line["ours"]):
            used, unused = ([line for line in lines if line["file"] == file and bool(line["count"]) == matched]
                            for matched in (True, False))
            parts = ["%s %s" % (name(line), format(line["count"], ",")) for line in used]
            parts += ["never %s" % ", ".join(map(name, unused))] * bool(unused)
            self.say("suppressed by %s: %s%s" % (
                self.file(file), plural(sum(line["count"] for line in used), "finding"),
                "; " + ", ".join(parts) if parts else ""))

    def ignored(self):
        """What the program itself had left out."""
        reasons = {}
        for line in self.report["ignored"]:
            reasons[line["reason"]] = reasons.get(line["reason"], 0) + line["count"]
        for reason, count in reasons.items():
            self.say("ignored by the program (isan_ignore_begin): %s: %s" % (
                plural(count, "use"), escape(reason) or "no reason given"))

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
        if report["dropped"]:
            text += ", %s lost" % plural(report["dropped"], "record")
        n = processes(report)
        return "SUMMARY: isan: %s in %s%s" % (text, plural(n, "process", "processes"), self.compared())

    def known(self, f):
        """A finding that the baseline has, in one line."""
        self.say("%s %s" % (self.paint("dim", "isan: known: %s #%d:" % (f["kind"], f["id"])),
                            self.headline(f) + self.process_of(f)))

    def gone(self):
        for f in self.report["gone"]:
            self.say("%s %s" % (self.paint("dim", "isan: gone: %s:" % escape(f["kind"])), escape(f["headline"])))
        if self.report["gone"]:
            self.say()

    def finding(self, f):
        {"leak": self.leak, "immortal": self.immortal, "race": self.race}.get(f["kind"], self.trap)(f)

    def alone(self, tell, *about):
        """The text of one finding or crash by itself, with all of its stacks and its hint."""
        text = copy.copy(self)
        text.printed, text.hinted, text.lines = {}, {}, []
        getattr(text, tell)(*about)
        return "\n".join(text.lines).rstrip("\n")

    def render(self, show_residue):
        known = [f for f in self.report["findings"] if not (self.full or is_new(f))]
        for f in self.report["findings"][:len(self.report["findings"]) - len(known)]:
            self.finding(f)
        for f in known:
            self.known(f)
        if known:
            self.say()
        self.gone()
        for crash in self.report["crashes"]:
            self.crash(crash)
        self.owned()
        self.residue(show_residue)
        notes = {}
        for note in self.report["notes"]:
            notes.setdefault(note["text"], []).extend([note["pid"]] * bool(note["pid"]))
        for note, pids in notes.items():
            who = " (process %s)" % self.few(pids) if pids and self.several else ""
            self.say("isan: note%s: %s" % (who, escape(note)))
        if self.report["dropped"]:
            self.say("isan: note: " + incomplete(self.report))
        self.suppressed()
        self.ignored()
        self.say(self.summary())
        return "\n".join(self.lines) + "\n"


def render(report, color=False, show_residue=False, full=False):
    return Text(report, color, full).render(show_residue)


def brief(report, finding):
    """(lines, hint): one finding in short, without stacks."""
    text = Wording(report)
    lines = [text.headline(finding)]
    if finding["kind"] == "leak":
        lines += [text.retainer(finding)] * bool(finding["holder"])
    elif finding["kind"] in ("share", "stale", "free") and finding["holder"]:
        lines.append("stored in %s" % text.holder(finding["holder"], finding["elements"]))
    for what, name in ("created", "created"), ("used", "used"):
        frames = finding["stacks"].get(name)
        if frames and (what == "created" or finding["kind"] not in ("static", "leak")):
            lines.append("%s at %s" % (what, text.where(users(frames))))
    return lines, finding["hint"]


def wants_color(stream):
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
