"""The results of `isan check`, in the formats of a report."""
import collections
import json
import os
import xml.etree.ElementTree as ET

from isan import __version__
from isan.reports.baseline import is_new
from isan.reports.formats import html as html_format
from isan.reports.formats import markdown as markdown_format
from isan.reports.formats import sarif as sarif_format
from isan.reports.formats import text as text_format
from isan.reports.formats.json import clean
from isan.reports.wording import escape, plural

from .tried import how_far

COLUMNS = ["MODULE", "DECLARES", "LOADS IN", "VERDICT", "FOUND"]
VERDICTS = {"own-gil": "own-GIL safe", "legacy": "legacy only", "main": "main only", "unsafe": "UNSAFE",
            None: "not checked"}
AT_A_GLANCE = {"main": "main", "legacy": "legacy", "own-gil": "own-GIL"}
MOST = 6                # findings of a module that are printed without --full
PRIVATE = {"loads", "report", "gone"}       # keys of a result that its JSON does not have

# What formats need beside the results: the Python, a sentence about what limits all of its verdicts or None, the file
# of the baseline or None, whether to print stacks.
Context = collections.namedtuple("Context", "python limit baseline full")


class Result:
    """The result for one module, and how it is shown.

    `data` is what JSON can hold, and its keys are attributes: those of its JSON (docs/check.md), `loads` (the kinds of
    interpreters that it can be imported in), `gone` (findings that only the baseline has) and `report` (as
    reports/model/ makes them; None: nothing was run).
    """

    def __init__(self, data):
        self.data = data
        vars(self).update(data)

    @classmethod
    def unknown(cls, name, reason):
        """The result for a module that could not be checked."""
        empty = {key: [] for key in (
            "findings", "leaks", "crashes", "extensions", "shared", "steps", "other_findings", "left_out",
            "not_looked_at", "notes", "loads", "gone")}
        return cls({"name": name, "declares": None, "verdict": None, "fails": False, "reasons": [reason], "seconds": 0,
                    "tried": None, "report": None, **empty})

    def as_json(self):
        return {key: value for key, value in self.data.items() if key not in PRIVATE}

    def how_far(self):
        return how_far(self.tried) if self.verdict == "own-gil" else ""

    def summary(self):
        return ("%s: %s %s" % (escape(self.name), VERDICTS[self.verdict], self.how_far())).rstrip()

    def row(self):
        counts = {}
        for finding in self.findings:
            counts[finding["kind"]] = counts.get(finding["kind"], 0) + 1
        troubles = {"crashed": "crash", "hung": "hang", "died": "exit", "failed": "failure"}
        for step in self.steps:
            if step["outcome"] in troubles and self.verdict == "unsafe":
                counts[troubles[step["outcome"]]] = counts.get(troubles[step["outcome"]], 0) + 1
        why = ", ".join(filter(None, [self.how_far(), *("%d %s" % (count, kind) for kind, count in counts.items())]))
        if self.shared and self.verdict != "own-gil":
            why += ", " * bool(why) + "%d shared" % len(self.shared)
        if self.verdict == "unsafe" and any(finding["baseline"] for finding in self.findings):
            new = sum(map(is_new, self.findings))
            why += "; %s" % ("%d new" % new if new else "new" if self.fails else "all known")
        loads = " ".join(AT_A_GLANCE[kind] for kind in self.loads) if self.report else "-"
        return [escape(self.name), self.declares or "-", loads, VERDICTS[self.verdict], why]

    def details(self, color=False, full=False, besides=()):
        """The text on the module below the table. besides: notes that are printed elsewhere."""
        lines = [self.summary()]
        lines += ["  " + escape(reason) for reason in self.reasons]
        lines += self.in_full(color) if full and self.report else self.in_short()
        if self.other_findings:
            lines.append("  not counted: findings of " + ", ".join("%s (%d)" % (
                escape(os.path.basename(other["module"])) if other["module"] else "CPython itself", other["count"])
                for other in sorted(self.other_findings, key=lambda other: -other["count"])))
        lines += ["  note: " + escape(note) for note in self.notes if note not in besides]
        return "\n".join(lines)

    def in_full(self, color):
        """The findings with their stacks."""
        shown = {finding["id"] for finding in self.findings + self.leaks}
        findings = [finding for finding in self.report["findings"] if finding["id"] in shown]
        return ["", text_format.render(dict(self.report, findings=findings), color)]

    def in_short(self):
        """A few lines for each finding that decided the verdict, and what to do about them."""
        hints, shown = [], {}
        for finding in self.findings:
            (head, *more), hint = text_format.brief(self.report, finding)
            state = finding["baseline"] + " " if finding["baseline"] else ""
            kinds = ", ".join(AT_A_GLANCE[kind] for kind in finding["seen_in"])
            shown.setdefault("\n      ".join(["  %s%s (%s): %s" % (state, finding["kind"], kinds, head), *more]))
            if hint not in hints:
                hints.append(hint)
        lines = list(shown)[:MOST]
        if len(shown) > MOST:
            lines.append("  ... and %d more (--full shows them)" % (len(shown) - MOST))
        lines += ["  fix: " + hint for hint in hints]
        if self.leaks:
            (head, *more), _ = text_format.brief(self.report, self.leaks[0])
            lines.append("  %s in ended interpreters, such as: %s" % (
                plural(len(self.leaks), "leak"), "; ".join([head, *more])))
        return lines


class Table:
    """The table, of which each row is printed as soon as it is known."""

    def __init__(self, names):
        self.widths = [max([6, *map(len, names)]), 12, 19, 12]

    def row(self, cells):
        return "  ".join([cell.ljust(width) for cell, width in zip(cells, self.widths)] + cells[4:]).rstrip()


def counted(modules):
    """The number of modules with each verdict, in words."""
    counts = {verdict: sum(module.verdict == verdict for module in modules) for verdict in VERDICTS}
    return "%s: %s" % (plural(len(modules), "module"), ", ".join(
        "%d %s" % (count, VERDICTS[verdict]) for verdict, count in counts.items() if count))


def details(context, modules, color=False):
    """The text below the table."""
    each = [module.details(color, context.full, [context.limit]) for module in modules]
    lines = ["\n%s\n" % one for one in each if "\n" in one]        # else the table says all
    gone = gone_of(modules)
    if gone:
        lines.append("\ngone since the baseline:\n" + "".join(
            "  %s: %s: %s\n" % tuple(map(escape, (f["checked"], f["kind"], f["headline"]))) for f in gone))
    if context.limit and modules:
        lines.append("\nnote: %s\n" % context.limit)
    return "".join(lines)


def gone_of(modules):
    return [finding for module in modules for finding in module.gone]


def rows(modules):
    return [COLUMNS, *(module.row() for module in modules)]


def text(context, modules, interrupted):
    table = Table([escape(module.name) for module in modules])
    return "".join("%s\n" % table.row(row) for row in rows(modules)) + details(context, modules)


def as_json(context, modules, interrupted):
    return json.dumps(clean({
        "isan": __version__, "python": context.python, "interrupted": interrupted, "baseline": context.baseline,
        "gone": gone_of(modules), "modules": [module.as_json() for module in modules]}), indent=1) + "\n"


def junit(context, modules, interrupted):
    """A module is a test case: unsafe ones failed, those that could not be checked are errors."""
    suite = ET.Element("testsuite", name="isan check", tests=str(len(modules)), failures="0", errors="0", skipped="0",
                       time="%.3f" % sum(module.seconds for module in modules))
    for module in modules:
        case = ET.SubElement(suite, "testcase", classname="isan.check", name=escape(module.name),
                             time="%.3f" % module.seconds)
        how = {"unsafe": "failure", None: "error"}.get(module.verdict)
        if how == "failure" and not module.fails:
            ET.SubElement(case, "skipped", message="in the baseline: " + module.summary())
            suite.set("skipped", str(int(suite.get("skipped")) + 1))
        elif how:
            suite.set(how + "s", str(int(suite.get(how + "s")) + 1))
            kind = "error" if how == "error" else module.verdict
            ET.SubElement(case, how, message=module.summary(), type=kind).text = module.details()
        else:
            ET.SubElement(case, "system-out").text = module.details()
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n%s\n' % ET.tostring(suites, encoding="unicode")


def sarif(context, modules, interrupted):
    return sarif_format.render(merged(context, modules), os.curdir)


def html(context, modules, interrupted):
    return html_format.render(merged(context, modules))


def markdown(context, modules, interrupted):
    return markdown_format.render(merged(context, modules))


def merged(context, modules):
    """One report, as reports/model/ makes them, of the findings that decided the verdicts.

    It also has `verdicts`, the table, and each finding has `checked`, the module's name.
    """
    report = {"isan": __version__, "baseline": context.baseline, "process": None, "dropped": 0}
    report.update((key, []) for key in ("gone", "findings", "interpreters", "processes", "owned", "crashes", "residue",
                                        "suppressed", "suppressions", "ignored", "notes", "errors"))
    ids = 0
    for module in modules:
        report["notes"].append({"pid": None, "text": module.summary()})
        report["notes"] += [{"pid": None, "text": "%s: %s" % (module.name, note)}
                            for note in module.reasons * (module.verdict is None or bool(module.shared)) + module.notes]
        if module.report:
            add_module(report, module, ids)
            ids += max((finding["id"] for finding in module.report["findings"]), default=0)
    report["findings"].sort(key=lambda finding: not is_new(finding))
    # Places are relative to the directory of this process.
    process = report["processes"] and dict(report["processes"][0], cwd=os.getcwd()) or None
    return dict(report, process=process, gone=gone_of(modules), verdicts=rows(modules))


def add_module(report, module, ids):
    """Add a module to a merged report. Its findings are numbered from `ids` on."""
    processes, present = len(report["processes"]), {finding["id"] for finding in module.findings}
    for finding in module.findings:
        holder = finding["holder"]
        if holder and holder.get("leak"):
            holder = dict(holder, leak=ids + holder["leak"] if holder["leak"] in present else None)
        report["findings"].append(dict(
            finding, id=ids + finding["id"], checked=module.name, holder=holder,
            paired=[ids + id for id in finding["paired"] if id in present],
            process=processes + finding["process"],
            processes=[processes + number for number in finding["processes"]]))
    for key in "crashes", "interpreters":
        mine = module.crashes if key == "crashes" else module.report[key]
        report[key] += [dict(one, process=processes + one["process"]) for one in mine]
    report["processes"] += [dict(process, argv=["isan check", "%s: %s" % (module.name, process["step"])])
                            for process in module.report["processes"]]
    report["errors"] += module.report["errors"]
    report["dropped"] += module.report["dropped"]


FORMATS = {"text": text, "json": as_json, "html": html, "sarif": sarif, "junit": junit, "markdown": markdown}
