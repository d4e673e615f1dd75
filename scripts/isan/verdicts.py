"""What `isan check` says of modules, in the formats that other programs read."""
import json
import os
import xml.etree.ElementTree as ET

from reports import html as html_, markdown as markdown_, sarif as sarif_
from reports.baseline import is_new
from reports.json_ import clean
from reports.text import escape

from . import __version__

COLUMNS = ["MODULE", "DECLARES", "LOADS IN", "VERDICT", "FOUND"]


class Table:
    """Rows as they are known."""

    def __init__(self, names):
        self.widths = [max(6, *map(len, names)), 12, 19, 12]

    def row(self, cells):
        return "  ".join([cell.ljust(width) for cell, width in zip(cells, self.widths)] + cells[4:]).rstrip()


def details(checker, modules, color):
    """What is told below the table."""
    told = [module.details(color) for module in modules]
    lines = ["\n%s\n" % one for one in told if "\n" in one]        # there is more to say than the table does
    if checker.gone:
        lines.append("\ngone since the baseline:\n" + "".join(
            "  %s: %s: %s\n" % tuple(map(escape, (f["checked"], f["kind"], f["headline"]))) for f in checker.gone))
    if checker.limit and modules:
        lines.append("\nnote: %s\n" % checker.limit)
    return "".join(lines)


def text(checker, modules, interrupted):
    table = Table([module.name for module in modules])
    return "".join("%s\n" % table.row(row) for row in rows(modules)) + details(checker, modules, False)


def rows(modules):
    return [COLUMNS, *(module.row() for module in modules)]


def as_json(checker, modules, interrupted):
    return json.dumps(clean({
        "isan": __version__, "python": checker.python, "interrupted": interrupted, "baseline": checker.args.baseline,
        "gone": checker.gone, "modules": [module.as_json() for module in modules]}), indent=1) + "\n"


def junit(checker, modules, interrupted):
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
            ET.SubElement(case, how, message=module.summary(), type=how if how == "error" else module.verdict).text = module.details(False)
        else:
            ET.SubElement(case, "system-out").text = module.details(False)
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n%s\n' % ET.tostring(suites, encoding="unicode")


def sarif(checker, modules, interrupted):
    return sarif_.render(merged(checker, modules), os.curdir)


def html(checker, modules, interrupted):
    return html_.render(merged(checker, modules))


def markdown(checker, modules, interrupted):
    return markdown_.render(merged(checker, modules))


def merged(checker, modules):
    """One report, as reports/model.py makes them, of what decided the verdicts, with these as `verdicts`; `checked` is the
    module's name."""
    report = {"isan": __version__, "baseline": checker.args.baseline, "process": None, "dropped": 0}
    report.update((key, []) for key in ("gone", "findings", "interpreters", "processes", "owned", "crashes", "residue",
                                        "suppressed", "suppressions", "ignored", "notes", "errors"))
    ids = 0
    for module in modules:
        report["notes"].append({"pid": None, "text": module.summary()})
        report["notes"] += [{"pid": None, "text": "%s: %s" % (module.name, note)} for note in module.notes]
        if not module.report:
            continue
        processes, present = len(report["processes"]), {finding["id"] for finding in module.deciding}
        for finding in module.deciding:
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
        report["processes"] += [dict(process, argv=["isan check", "%s: %s" % (module.name, module.titles.get(process["pid"], "?"))])
                                for process in module.report["processes"]]
        report["errors"] += module.report["errors"]
        report["dropped"] += module.report["dropped"]
        ids += max((finding["id"] for finding in module.report["findings"]), default=0)
    report["findings"].sort(key=lambda finding: not is_new(finding))
    process = report["processes"] and dict(report["processes"][0], cwd=os.getcwd()) or None     # places as seen from here
    return dict(report, process=process, gone=checker.gone, verdicts=rows(modules))


FORMATS = {"text": text, "json": as_json, "html": html, "sarif": sarif, "junit": junit, "markdown": markdown}
