"""The report as JUnit's XML, which every CI system shows.

A finding is a test case that failed. CI systems compare test cases from run to run by class and name, so both are made
of what a fingerprint is made of: a finding that is gone is a failure that was fixed. A program that ran without a crash
is a test case that passed, so that a clean run is not an empty file, which some systems take for an error. Findings
that a baseline knows or a suppression names are test cases that were skipped.
"""
import collections
import xml.etree.ElementTree as ET

from .. import timeline
from ..baseline import is_new
from ..fingerprints import users
from ..wording import escape
from .text import Text


def _subject(f):
    """The subject of a finding, without lines, numbers and interpreters."""
    holder, user = f["holder"] or {}, users(f["stacks"].get("used") or f["stacks"]["created"])
    thing = f["object"]["type"] or f.get("function") or f.get("domain")
    if f.get("changes"):
        thing = ", ".join(change["object"] or "?" for change in f["changes"][:3])
    how = "used in" if f["stacks"].get("used") else "created in"
    parts = [thing, holder.get("symbol") and "in static %s" % holder["symbol"],
             user and user["function"] and "%s %s" % (how, user["function"])]
    return escape(" ".join(part for part in parts if part) or f["title"])


def _class(f):
    """The module or file to blame, as the name of a class."""
    return escape(timeline.blamed(f).rsplit(".", 1)[0].replace(".", "_") or "unknown")


class _JUnit:
    def __init__(self, report):
        self.report, self.text = report, Text(report)
        self.suite = ET.Element("testsuite", name="isan")
        self.counts = collections.Counter()

    def case(self, classname, name, time=0.0):
        self.counts["tests"] += 1
        return ET.SubElement(self.suite, "testcase", classname="isan." + classname, name=name, time="%.3f" % time)

    def not_passed(self, case, how, message, contents=None, type=None):
        """how: failure, error or skipped."""
        self.counts[how] += 1
        element = ET.SubElement(case, how, message=message, **({"type": type} if type else {}))
        element.text = contents

    def finding(self, f, suppression=None):
        case = self.case(_class(f), "%s: %s [%s]" % (f["kind"], _subject(f), f["fingerprint"]))
        headline = f["headline"]
        if suppression:
            self.not_passed(case, "skipped", "suppressed by %s:%d: %s: %s" % (
                escape(suppression["file"]), suppression["line"], escape(suppression["reason"]), headline))
        elif not is_new(f):
            self.not_passed(case, "skipped", "in the baseline: " + headline)
        else:
            self.not_passed(case, "failure", headline, self.text.alone("finding", f), f["kind"])

    def programs(self):
        """A test case for each command line, however many processes had it. Returns their total time."""
        programs = {}
        for i, process in enumerate(self.report["processes"]):
            name = "%s (Python %s%s)" % (
                escape(" ".join(process["argv"]) or process["executable"]), process["python"] or "?",
                ", " + process["flavor"] if process["flavor"] else "")
            programs.setdefault(name, []).append(i)
        total = 0.0
        for name, numbers in programs.items():
            processes = [self.report["processes"][i] for i in numbers]
            time = sum(max((p["ended_ns"] or p["started_ns"]) - p["started_ns"], 0) for p in processes) / 1e9
            total += time
            case = self.case("programs", name, time)
            crashes = [crash for crash in self.report["crashes"] if crash["process"] in numbers]
            if crashes:
                told = [self.text.alone("crash", crash) for crash in crashes]
                self.not_passed(case, "error", told[0].splitlines()[0], "\n\n".join(told), "crash")
        return total

    def errors(self):
        for error in self.report["errors"]:
            case = self.case("logs", escape("%s, offset %d" % (error["log"], error["offset"])))
            self.not_passed(case, "error", escape(error["text"]), type="log")

    def render(self):
        time = self.programs()
        self.errors()
        for f in self.report["findings"]:
            self.finding(f)
        for f in self.report["suppressed"]:
            if not f["suppression"]["ours"]:
                self.finding(f, f["suppression"])
        if self.report["gone"]:
            ET.SubElement(self.suite, "system-out").text = "".join(
                "gone: %s: %s\n" % (escape(gone["kind"]), escape(gone["headline"])) for gone in self.report["gone"])
        for key, counted in ("tests", "tests"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped"):
            self.suite.set(key, str(self.counts[counted]))
        self.suite.set("time", "%.3f" % time)
        suites = ET.Element("testsuites")
        suites.append(self.suite)
        ET.indent(suites, " ")
        return '<?xml version="1.0" encoding="utf-8"?>\n%s\n' % ET.tostring(suites, encoding="unicode")


def render(report):
    return _JUnit(report).render()
