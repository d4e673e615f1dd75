"""The report as a page: one file that needs no other, safe to open and to send.

Every name in it comes from the process under test, and goes through element() (markup.py), which escapes it. The
Content-Security-Policy lets nothing run or load but the style and the script of this package, by their hashes. Excerpts
are read from the source files that the log names: regular files with the name of a source file only, since the log may
come from someone else.
"""
import base64
import datetime
import functools
import hashlib
import os
import re
import stat

from .. import timeline
from ..fingerprints import users
from ..model.kinds import RANK
from ..read import c_tables
from ..wording import escape, incomplete, plural, processes
from . import text
from .markup import Markup, element, join, prose, table

KINDS = [kind.name for kind in c_tables.KINDS]
HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = re.compile(r"\.(?:c|cc|cpp|cxx|c\+\+|h|hh|hpp|hxx|inc|inl|py|pyi|pyx|pxd|pxi|rs|go|f|f90|m|mm|y|l)$", re.I)
MOST_SOURCE, AROUND, WIDEST = 4 << 20, 2, 240      # bytes of a file, lines on each side, characters of a line
PROCESSES, INTERPRETERS, MARKS = 12, 40, 60         # shown in a timeline


def gravity(kind):
    return ("grave", "serious", "plain", "plain")[RANK.get(kind, 0)]


def hue(interp):
    """The CSS class that colours an interpreter. The main one has no colour of its own."""
    return None if interp is None else "i0" if interp["kind"] == "main" else "i%d" % ((interp["serial"] - 2) % 5 + 1)


def seconds(ns):
    """Such as 1.25 s, 30 ms."""
    return "%.3g s" % (ns / 1e9) if ns >= 1e9 else "%.3g ms" % (ns / 1e6)


@functools.lru_cache(64)
def _source(path):
    """The lines of a source file, or None."""
    try:
        if not SOURCES.search(path) or not SOURCES.search(os.path.realpath(path)):
            return None
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, encoding="utf-8", errors="backslashreplace") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_SOURCE:
                return None
            return file.read().split("\n")
    except (OSError, ValueError):
        return None


class _Page:
    def __init__(self, report):
        self.report, self.text = report, text.Text(report)
        self.findings = report["findings"]
        self.modules = {f["id"]: timeline.blamed(f) or "unknown" for f in self.findings}
        self.kinds = sorted({f["kind"] for f in self.findings}, key=lambda kind: (RANK[kind], KINDS.index(kind)))

    # -- where ---------------------------------------------------------------------------

    def excerpt(self, thing):
        """A few lines of the source around a place, or None."""
        if not thing or not thing["file"] or not thing["line"] or not thing["file"].startswith("/"):
            return None
        lines = _source(os.path.normpath(thing["file"]))
        if not lines or not 0 < thing["line"] <= len(lines):
            return None
        first, last = max(thing["line"] - AROUND, 1), min(thing["line"] + AROUND, len(lines))
        while last > thing["line"] and not lines[last - 1].strip():
            last -= 1
        while first < thing["line"] and not lines[first - 1].strip():
            first += 1
        return element("div", *(
            element("span", element("i", str(n)), lines[n - 1][:WIDEST] or " ",
                    class_="hit" if n == thing["line"] else None)
            for n in range(first, last + 1)), class_="excerpt", role="group", aria_label="source", tabindex="0")

    def place(self, thing):
        if not thing:
            return None
        if "symbol" in thing:               # a variable: the words of the step say where
            return None
        return element("span", element("b", self.text.place(thing)),
                       " in %s" % thing["function"] if thing["function"] else None, class_="place")

    def stack(self, frames):
        if len(frames) < 2:
            return None
        rows, previous = [], None
        for i, frame in enumerate(frames):
            interp = frame.get("interpreter")
            if interp and previous and interp["serial"] != previous["serial"]:
                rows.append(element("li", "%s above, %s below" % (previous["name"], interp["name"]), class_="switch"))
            previous = interp or previous
            rows.append(element(
                "li", element("span", "#%d" % i),
                element("span", "py" if frame["kind"] == "python" else "C", class_="lang"),
                element("span", frame["function"] or "?"), element("span", self.text.place(frame), class_="where"),
                class_="own" if frame["cpython"] else None))
        summary = element("summary", "stack of %s" % plural(len(frames), "frame"))
        return element("details", summary, element("ol", *rows), class_="stack")

    # -- findings ------------------------------------------------------------------------

    def step(self, step):
        words = element("div", prose(step.text[:1].upper() + step.text[1:]), class_="text")
        return element("li", words, self.place(step.thing), self.excerpt(step.thing), self.stack(step.stack),
                       class_=hue(step.interpreter))

    def facts(self, f):
        """What is known beside the steps."""
        facts = []
        if f["kind"] == "leak":
            retainer, path = self.text.retainer(f), self.text.path(f)
            facts += [("why", prose(retainer))] if retainer else []
            facts += [("keeps alive", prose(self.text.kept(f)))] * bool(f["kept"]["count"])
            facts += [("the way", prose(path))] if path else []
        if f["kind"] == "race":
            facts.append(("why", self.text.why_race(f)))
        for change in f.get("changes", ())[:12]:
            facts.append(("count", "%s is off by %s%s" % (change["object"], format(change["amount"], "+,"),
                                                         ", and no longer immortal" if change["mortal"] else "")))
        if f.get("since") and f.get("until"):
            facts.append(("when", "between %s and %s" % (f["since"], f["until"])))
        if f.get("suspects"):
            facts.append(("loaded", join(*(
                join(", " if i else None, element("code", os.path.basename(s["module"])),
                     " (built for the stable ABI of a release before 3.12)" if s["old_abi"] else None)
                for i, s in enumerate(f["suspects"])))))
        others = [id for id in f["paired"] if id in self.text.by_id]
        if others:
            facts.append(("see also", join(*(
                join(", " if i else None, self.reference(id)) for i, id in enumerate(others)))))
        if self.text.several:
            facts.append(("processes", self.text.few(f["pids"])))
        if f["fingerprint"]:
            facts.append(("fingerprint", element("code", f["fingerprint"])))
        pairs = (join(element("dt", name), element("dd", value)) for name, value in facts)
        return element("dl", *pairs, class_="facts")

    def reference(self, id):
        kind = self.text.by_id[id]["kind"]
        return element("a", "%s #%d" % (kind, id), href="#f%d" % id)

    def at(self, f):
        """The place, which distinguishes findings that are alike otherwise."""
        frame = users(f["stacks"].get("used") or f["stacks"]["created"])
        return frame and element("span", self.text.where(frame), class_="at")

    def finding(self, f, open):
        state = f["baseline"] and element("span", f["baseline"], class_="tag " + f["baseline"])
        summary = element(
            "summary", element("span", "%s #%d" % (f["kind"], f["id"]), class_="kind"),
            element("span", prose(f["headline"]), state, self.at(f), class_="what"),
            element("span", "%s×" % format(f["count"], ",") if f["count"] > 1 else "", class_="many"))
        steps = element("ol", *map(self.step, timeline.steps(self.text, f)), class_="steps")
        body = element("div", steps,
                       element("p", prose(f["hint"]), class_="advice"), self.facts(f), class_="body")
        return element("details", summary, body, class_="finding " + gravity(f["kind"]), id="f%d" % f["id"], open=open,
                       data_kind=f["kind"], data_module=self.modules[f["id"]])

    def filter(self):
        modules = sorted(set(self.modules.values()))
        return element(
            "div", element("input", type="search", placeholder="Search names, files, types", aria_label="Search"),
            element("select", element("option", "all modules", value=""),
                    *(element("option", m, value=m) for m in modules), aria_label="Module"),
            *(element("label", element("input", type="checkbox", checked=True, value=kind), " " + kind)
              for kind in self.kinds),
            element("button", "open or close all", type="button"), element("output"), class_="filter", hidden=True)

    def overview(self):
        """A table: the number of findings of each kind in each module, which links to the first of them."""
        cells, modules = {}, {}
        for f in self.findings:
            module = self.modules[f["id"]]
            cells.setdefault((module, f["kind"]), []).append(f)
            modules[module] = modules.get(module, 0) + 1

        def cell(module, kind):
            some = cells.get((module, kind))
            if not some:
                return element("td", "·", class_="none")
            return element("td", element("a", str(len(some)), href="#f%d" % some[0]["id"], data_kind=kind,
                                         data_module=module))

        titles = {kind.name: kind.title for kind in c_tables.KINDS}
        rows = [element("tr", element("th", module, scope="row"), *(cell(module, kind) for kind in self.kinds))
                for module in sorted(modules, key=lambda m: (-modules[m], m))]
        head = element("tr", element("th", "module", scope="col"), *(
            element("th", element("span", kind, class_="kind"), scope="col", class_=gravity(kind), title=titles[kind])
            for kind in self.kinds))
        return element("div", element("table", element("thead", head), element("tbody", *rows)), class_="scroll")

    # -- the timeline --------------------------------------------------------------------

    def timeline(self):
        """Interpreters from their creation to their end, with the times of the findings."""
        lives = {}
        for interp in self.report["interpreters"]:
            lives.setdefault(interp["process"], []).append(interp)
        found = {}
        for f in self.findings:
            # A leak is drawn in the interpreter that left it behind, the others in the one that did it.
            who = (f["current"] or f["owner"]) if f["kind"] != "leak" else f["owner"]
            found.setdefault(f["process"], []).append((f, who and who["serial"]))
        order = sorted(lives, key=lambda number: (number not in found, number))
        parts = [self.process(number, lives[number], found.get(number, [])) for number in order[:PROCESSES]]
        if len(order) > PROCESSES:
            words = "%s more are not drawn." % plural(len(order) - PROCESSES, "process", "processes")
            parts.append(element("p", words, class_="soft"))
        return join(*parts, self.key() if self.kinds else None)

    def key(self):
        """Which colour stands for which kinds."""
        kinds = {}
        for kind in self.kinds:
            kinds.setdefault(gravity(kind), []).append(kind)
        mark = ('<svg viewBox="0 0 11 11" class="%s" aria-hidden="true">'
                '<circle class="mark" cx="5.5" cy="5.5" r="5"/></svg>')
        return element("ul", *(element("li", Markup(mark % name), ", ".join(some)) for name, some in kinds.items()),
                       class_="key small soft")

    def process(self, number, interps, found):
        """A process of the timeline: a row for each interpreter."""
        process = self.report["processes"][number]
        began = process["started_ns"]
        times = [process["ended_ns"], *(i[key] for i in interps for key in ("began_ns", "ended_ns")), *(
            f.get("time_ns") for f, _ in found)]
        length = max(max((t for t in times if t), default=began) - began, 1)
        rows = [self.life(interp, [f for f, serial in found if serial == interp["serial"]], began, length)
                for interp in sorted(interps, key=lambda i: i["serial"])[:INTERPRETERS]]
        if len(interps) > INTERPRETERS:
            words = "%s more." % plural(len(interps) - INTERPRETERS, "interpreter")
            rows.append(element("p", words, class_="soft small"))
        axis = element("div", element("span"), element(
            "svg", element("text", "0", x="0", y="14"),
            element("text", seconds(length / 2), x="50%", y="14", text_anchor="middle"),
            element("text", seconds(length), x="100%", y="14", text_anchor="end"), class_="axis", aria_hidden="true"),
            class_="life")
        head = None
        if self.text.several:
            command = element("code", self.command(process), class_="soft")
            head = element("h3", "Process %d" % process["pid"], " ", command)
        return element("div", head, *rows, axis, class_="process")

    @staticmethod
    def life(interp, findings, began, length):
        """A row of the timeline: an interpreter's life, with its findings. The axis is `length` ns from `began` on."""
        def where(ns):
            return "%.2f%%" % (min(max(ns - began, 0) / length, 1) * 100)

        start, end = interp["began_ns"] or began, interp["ended_ns"] or began + length
        said = "%s: from %s to %s" % (
            interp["name"], seconds(start - began), seconds(end - began) if interp["ended_ns"] else "the end")
        marks = []
        for f in findings[:MARKS]:
            at = f.get("time_ns") or end
            words = "%s #%d, %s: %s" % (f["kind"], f["id"], seconds(max(at - began, 0)), f["headline"])
            marks.append(element(
                "a", element("title", words), element("circle", cx=where(at), cy="11", r="5.5", class_="mark"),
                href="#f%d" % f["id"], class_=gravity(f["kind"])))
        bar = element("rect", x=where(start), y="7", height="8", rx="2", class_="bar",
                      width="%.2f%%" % max((end - max(start, began)) / length * 100, .3))
        tip = (element("rect", x=where(end), y="4", width="2", height="14", class_="tip")
               if interp["ended_ns"] else None)
        more = len(findings) - MARKS
        label = interp["name"] + (", %s more found" % format(more, ",") if more > 0 else "")
        rail = element("line", x1="0", x2="100%", y1="11", y2="11", class_="rail")
        drawing = element("svg", element("title", said), rail, bar, tip, *marks, class_=hue(interp), role="img")
        return element("div", element("span", label, class_="label"), drawing, class_="life")

    # -- the rest ------------------------------------------------------------------------

    @staticmethod
    def command(process):
        argv = process["argv"]
        words = " ".join([os.path.basename(argv[0]), *argv[1:]]) if argv else process["executable"]
        return words if len(words) <= 160 else words[:157] + "..."

    def crashes(self):
        return [element("pre", self.text.alone("crash", crash)) for crash in self.report["crashes"]]

    @staticmethod
    def more(title, *children):
        return element("details", element("summary", title), *children, class_="more")

    def listed(self, title, items):
        """A folded list, with the number of its items; nothing if there are none."""
        items = list(items)
        return [self.more("%s: %d" % (title, len(items)), element("ul", *items, class_="plain-list"))] if items else []

    def lists(self):
        """What the report has beside findings."""
        report, parts = self.report, []
        parts += self.listed("Gone since the baseline", (
            element("li", "%s: " % gone["kind"], prose(escape(gone["headline"]))) for gone in report["gone"]))
        parts += self.listed("Suppressed", (
            element("li", "%s: " % f["kind"], prose(f["headline"]), element("span", " (%s:%d: %s)" % (
                f["suppression"]["file"], f["suppression"]["line"], f["suppression"]["reason"]), class_="soft"))
            for f in report["suppressed"] if not f["suppression"]["ours"]))
        for title, tell in (("What living interpreters owned when they were last asked", "owned"),
                            ("What CPython itself leaves behind", "all_residue")):
            said = self.text.alone(tell)
            if said:
                parts.append(self.more(title, element("pre", said)))
        notes = list(dict.fromkeys(note["text"] for note in report["notes"]))
        notes += [incomplete(report)] * bool(report["dropped"])
        parts += self.listed("Notes", (element("li", note) for note in notes))
        parts += self.listed("Logs that could not be read to their end", (
            element("li", "%s, offset %d: %s" % (e["log"], e["offset"], e["text"])) for e in report["errors"]))
        rows = table(("process", "Python", "flavor", "command"), *(
            (str(p["pid"]), p["python"] or "?", p["flavor"] or "stock", element("code", self.command(p)))
            for p in report["processes"][:200]))
        parts.append(self.more("Processes: %d" % len(report["processes"]), element("div", rows, class_="scroll")))
        return parts

    def heading(self):
        n = len(self.findings)
        words = plural(n, "finding") if n else "Nothing was found"
        if self.report["crashes"]:
            words += ", %s" % plural(len(self.report["crashes"]), "crash", "crashes")
        if self.report["baseline"]:
            words += ": %s new" % format(sum(f["baseline"] == "new" for f in self.findings), ",")
        return words

    def ran(self):
        """What was run: the command, the Python, the time."""
        process, n = self.report["process"], processes(self.report)
        if not process:
            return None
        started, when = process["started_ns"], ""
        if 0 < started < 4e18:
            when = ", %s UTC" % datetime.datetime.fromtimestamp(started / 1e9, datetime.timezone.utc).strftime(
                "%-d %B %Y, %H:%M")
        compared = ". Compared with %s: %s." % (self.report["baseline"], self.text.compared().partition(": ")[2]) \
            if self.report["baseline"] else ""
        return element("p", element("code", self.command(process)), ", CPython %s%s" % (
            process["python"] or "?", " (%s)" % process["flavor"] if process["flavor"] else ""),
            ", in %s" % plural(n, "process", "processes") if n > 1 else "", when, compared, class_="ran")

    def body(self):
        parts = []
        if self.report.get("verdicts"):
            parts += [element("h2", "Verdicts"), element("div", table(*self.report["verdicts"]), class_="scroll")]
        if self.findings:
            parts += [element("h2", "Overview"), self.overview()]
        if self.report["interpreters"]:
            parts += [element("h2", "Interpreters"), self.timeline()]
        if self.report["crashes"]:
            parts += [element("h2", "Crashes"), *self.crashes()]
        if self.findings:
            parts += [element("h2", "Findings", id="findings"), self.filter(),
                      *(self.finding(f, i == 0) for i, f in enumerate(self.findings))]
        parts += [element("h2", "Details"), *self.lists()]
        footer = "Made by isan %s from its logs. Names are the program's own." % self.report["isan"]
        return join(element("header", element("p", "isan, the interpreter sanitizer", class_="name"),
                            element("h1", self.heading()), self.ran(), class_="top"),
                    element("main", *parts), element("footer", footer))

    def render(self):
        style = _beside("html.css")
        script = _beside("html.js") if self.findings else ""
        policy = "default-src 'none'; style-src '%s'; script-src '%s'; base-uri 'none'; form-action 'none'" % (
            _hash(style), _hash(script))
        head = element("head", element("meta", charset="utf-8"),
                       element("meta", http_equiv="Content-Security-Policy", content=policy),
                       element("meta", name="viewport", content="width=device-width, initial-scale=1"),
                       element("meta", name="color-scheme", content="light dark"),
                       element("title", "isan: %s" % self.heading()), Markup("<style>%s</style>" % style))
        body = element("body", self.body(), Markup("<script>%s</script>" % script) if script else None)
        return "<!DOCTYPE html>\n%s\n" % element("html", head, body, lang="en")


def _beside(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


def _hash(content):
    return "sha256-%s" % base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")


def render(report):
    return _Page(report).render()
