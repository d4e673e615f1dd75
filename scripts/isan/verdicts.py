"""What `isan check` says of modules, in the formats that other programs read."""
import collections
import json
import os
import xml.etree.ElementTree as ET

from reports import html as html_, markdown as markdown_, sarif as sarif_, text as text_
from reports.baseline import is_new
from reports.json_ import clean
from reports.text import escape

from . import __version__

COLUMNS = ["MODULE", "DECLARES", "LOADS IN", "VERDICT", "FOUND"]
VERDICTS = {"own-gil": "own-GIL safe", "legacy": "legacy only", "main": "main only", "unsafe": "UNSAFE", None: "not checked"}
AT_A_GLANCE = {"main": "main", "legacy": "legacy", "own-gil": "own-GIL"}
MOST = 6                # findings of a module to print without --full
PRIVATE = {"loads", "report", "gone"}       # what a result has, and its JSON has not

# What all formats tell but the results: the Python, what limits all of its verdicts or None, the file of the baseline or
# None, whether to print stacks.
Told = collections.namedtuple("Told", "python limit baseline full")


class Result:
    """What was found out about one module, and how it is told.  `data` is what JSON can hold; its keys are attributes:
    those of its JSON (docs/check.md), `loads` (the kinds of interpreters it can be imported in), `gone` (findings of the
    baseline's that it has no more) and `report` (as reports/model.py makes them, None: nothing was run)."""

    def __init__(self, data):
        self.data = data
        vars(self).update(data)

    @classmethod
    def unknown(cls, name, reason):
        """Of a module that could not be checked."""
        return cls({"name": name, "declares": None, "verdict": None, "fails": False, "reasons": [reason], "seconds": 0, "report": None, **{
            key: [] for key in ("findings", "leaks", "crashes", "extensions", "steps", "other_findings", "left_out",
                                "not_looked_at", "notes", "loads", "gone")}})

    def as_json(self):
        return {key: value for key, value in self.data.items() if key not in PRIVATE}

    def summary(self):
        return "%s: %s" % (escape(self.name), VERDICTS[self.verdict])

    def row(self):
        counts = {}
        for finding in self.findings:
            counts[finding["kind"]] = counts.get(finding["kind"], 0) + 1
        troubles = {"crashed": "crash", "hung": "hang", "died": "exit", "failed": "failure"}
        for step in self.steps:
            if step["outcome"] in troubles and self.verdict == "unsafe":
                counts[troubles[step["outcome"]]] = counts.get(troubles[step["outcome"]], 0) + 1
        why = ", ".join("%d %s" % (count, kind) for kind, count in counts.items())
        if self.verdict == "unsafe" and any(finding["baseline"] for finding in self.findings):
            new = sum(map(is_new, self.findings))
            why += "; %s" % ("%d new" % new if new else "new" if self.fails else "all known")
        return [escape(self.name), self.declares or "-", " ".join(AT_A_GLANCE[kind] for kind in self.loads) if self.report else "-",
                VERDICTS[self.verdict], why]

    def details(self, color=False, full=False, besides=()):
        """What decided it, below the table; `besides`: notes that are told elsewhere."""
        lines = [self.summary()]
        lines += ["  " + escape(reason) for reason in self.reasons]
        if full and self.report:
            told = {finding["id"] for finding in self.findings + self.leaks}
            lines += ["", text_.render(dict(self.report, findings=[f for f in self.report["findings"] if f["id"] in told]), color)]
        else:
            hints, told = [], {}
            for finding in self.findings:
                (head, *more), hint = text_.brief(self.report, finding)
                told.setdefault("\n      ".join(["  %s%s (%s): %s" % (
                    finding["baseline"] + " " if finding["baseline"] else "", finding["kind"],
                    ", ".join(AT_A_GLANCE[kind] for kind in finding["seen_in"]), head), *more]))
                if hint not in hints:
                    hints.append(hint)
            lines += list(told)[:MOST]
            if len(told) > MOST:
                lines.append("  ... and %d more (--full shows them)" % (len(told) - MOST))
            lines += ["  fix: " + hint for hint in hints]
            if self.leaks:
                (head, *more), hint = text_.brief(self.report, self.leaks[0])
                lines.append("  %s in ended interpreters, such as: %s" % (text_.plural(len(self.leaks), "leak"), "; ".join([head, *more])))
        if self.other_findings:
            lines.append("  not counted: findings of " + ", ".join("%s (%d)" % (
                escape(os.path.basename(other["module"])) if other["module"] else "CPython itself", other["count"])
                for other in sorted(self.other_findings, key=lambda other: -other["count"])))
        lines += ["  note: " + escape(note) for note in self.notes if note not in besides]
        return "\n".join(lines)


class Table:
    """Rows as they are known."""

    def __init__(self, names):
        self.widths = [max([6, *map(len, names)]), 12, 19, 12]

    def row(self, cells):
        return "  ".join([cell.ljust(width) for cell, width in zip(cells, self.widths)] + cells[4:]).rstrip()


def counted(modules):
    """How many there are of each verdict, in words."""
    counts = {verdict: sum(module.verdict == verdict for module in modules) for verdict in VERDICTS}
    return "%s: %s" % (text_.plural(len(modules), "module"), ", ".join(
        "%d %s" % (count, VERDICTS[verdict]) for verdict, count in counts.items() if count))


def details(told, modules, color=False):
    """What is told below the table."""
    each = [module.details(color, told.full, [told.limit]) for module in modules]
    lines = ["\n%s\n" % one for one in each if "\n" in one]        # there is more to say than the table does
    gone = gone_of(modules)
    if gone:
        lines.append("\ngone since the baseline:\n" + "".join(
            "  %s: %s: %s\n" % tuple(map(escape, (f["checked"], f["kind"], f["headline"]))) for f in gone))
    if told.limit and modules:
        lines.append("\nnote: %s\n" % told.limit)
    return "".join(lines)


def gone_of(modules):
    return [finding for module in modules for finding in module.gone]


def rows(modules):
    return [COLUMNS, *(module.row() for module in modules)]


def text(told, modules, interrupted):
    table = Table([escape(module.name) for module in modules])
    return "".join("%s\n" % table.row(row) for row in rows(modules)) + details(told, modules)


def as_json(told, modules, interrupted):
    return json.dumps(clean({
        "isan": __version__, "python": told.python, "interrupted": interrupted, "baseline": told.baseline,
        "gone": gone_of(modules), "modules": [module.as_json() for module in modules]}), indent=1) + "\n"


def junit(told, modules, interrupted):
    """A module is a test case: unsafe ones failed, those that could not be checked are errors."""
    suite = ET.Element("testsuite", name="isan check", tests=str(len(modules)), failures="0", errors="0", skipped="0",
                       time="%.3f" % sum(module.seconds for module in modules))
    for module in modules:
        case = ET.SubElement(suite, "testcase", classname="isan.check", name=escape(module.name), time="%.3f" % module.seconds)
        how = {"unsafe": "failure", None: "error"}.get(module.verdict)
        if how == "failure" and not module.fails:
            ET.SubElement(case, "skipped", message="in the baseline: " + module.summary())
            suite.set("skipped", str(int(suite.get("skipped")) + 1))
        elif how:
            suite.set(how + "s", str(int(suite.get(how + "s")) + 1))
            ET.SubElement(case, how, message=module.summary(), type=how if how == "error" else module.verdict).text = module.details()
        else:
            ET.SubElement(case, "system-out").text = module.details()
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n%s\n' % ET.tostring(suites, encoding="unicode")


def sarif(told, modules, interrupted):
    return sarif_.render(merged(told, modules), os.curdir)


def html(told, modules, interrupted):
    return html_.render(merged(told, modules))


def markdown(told, modules, interrupted):
    return markdown_.render(merged(told, modules))


def merged(told, modules):
    """One report, as reports/model.py makes them, of what decided the verdicts, with these as `verdicts`; `checked` is the
    module's name."""
    report = {"isan": __version__, "baseline": told.baseline, "process": None, "dropped": 0}
    report.update((key, []) for key in ("gone", "findings", "interpreters", "processes", "owned", "crashes", "residue",
                                        "suppressed", "suppressions", "ignored", "notes", "errors"))
    ids = 0
    for module in modules:
        report["notes"].append({"pid": None, "text": module.summary()})
        report["notes"] += [{"pid": None, "text": "%s: %s" % (module.name, note)}
                            for note in module.reasons * (module.verdict is None) + module.notes]
        if not module.report:
            continue
        processes, present = len(report["processes"]), {finding["id"] for finding in module.findings}
        for finding in module.findings:
            holder = finding["holder"]
            if holder and holder.get("leak"):
                holder = dict(holder, leak=ids + holder["leak"] if holder["leak"] in present else None)
            report["findings"].append(dict(
                finding, id=ids + finding["id"], checked=module.name, holder=holder,
                paired=[ids + id for id in finding["paired"] if id in present],
                process=processes + finding["process"], processes=[processes + number for number in finding["processes"]]))
        for key in "crashes", "interpreters":
            mine = module.crashes if key == "crashes" else module.report[key]
            report[key] += [dict(one, process=processes + one["process"]) for one in mine]
        report["processes"] += [dict(process, argv=["isan check", "%s: %s" % (module.name, process["step"])])
                                for process in module.report["processes"]]
        report["errors"] += module.report["errors"]
        report["dropped"] += module.report["dropped"]
        ids += max((finding["id"] for finding in module.report["findings"]), default=0)
    report["findings"].sort(key=lambda finding: not is_new(finding))
    process = report["processes"] and dict(report["processes"][0], cwd=os.getcwd()) or None     # places as seen from here
    return dict(report, process=process, gone=gone_of(modules), verdicts=rows(modules))


FORMATS = {"text": text, "json": as_json, "html": html, "sarif": sarif, "junit": junit, "markdown": markdown}
