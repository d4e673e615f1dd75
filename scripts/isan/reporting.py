"""Reports of logs: made, compared with a baseline, and written in each format. What the subcommands have in common."""
import functools
import os
import sys

from isan import Problem, __version__, residue
from isan.reports import baseline, model, suppressions
from isan.reports.formats import html, json, junit, markdown, sarif, text
from isan.reports.read import log
from isan.reports.symbolize.symbols import Symbolizer
from isan.reports.wording import escape

# The formats, and the name of the file of each in the directory of --reports.
FILES = {"text": "report.txt", "json": "report.json", "html": "report.html", "sarif": "report.sarif",
         "junit": "junit.xml", "markdown": "summary.md"}

# The exit status when nothing was found, but not all could be recorded: that is no clean run.
INCOMPLETE = 2


def add_suppressions(parser):
    parser.add_argument("--suppressions", action="append", default=[], metavar="FILE",
                        help="leave out findings that match a line of FILE, each `kind:pattern  # reason`; patterns are"
                             " matched against modules, functions, variables and types")


def add_reports(parser):
    parser.add_argument("--reports", metavar="DIR",
                        help="also write the report in each format into this directory (made if missing): "
                        + ", ".join(FILES.values()))


def add_baseline(parser):
    parser.add_argument("--baseline", metavar="FILE",
                        help="fail only on findings that are not in this report, saved with isan report --format json,"
                             " and say which of its findings are gone")


def baseline_in(file, read=baseline.read):
    """The findings of a saved report, or None without one."""
    if not file:
        return None
    try:
        return read(file)
    except OSError as error:
        raise Problem("cannot read the baseline %s: %s" % (file, error.strerror or error))
    except baseline.Unusable as error:
        raise Problem(escape(str(error)))


def failing(report):
    """Whether there is a finding that is not in the baseline."""
    return any(map(baseline.is_new, report["findings"]))


def suppressions_in(files):
    """The suppressions of these files."""
    found = []
    for file in files:
        try:
            found += suppressions.read(file)
        except OSError as error:
            raise Problem("cannot read the suppressions %s: %s" % (file, error.strerror or error))
        except suppressions.Malformed as error:
            raise Problem(str(error))
    return found


def make(paths, debuginfo_path="", suppressed=(), defaults=True, keep=None):
    """The report of these log files. keep(log, number, leak): whether a finding is to be in it (Log.narrow)."""
    logs = log.read(paths)
    for one in logs if keep else ():
        one.narrow(functools.partial(keep, one))
    with Symbolizer(debuginfo_path=debuginfo_path) as symbolizer:
        return model.build(
            logs, symbolizer, residue.of, version=__version__,
            suppressions_of=lambda log: [*suppressed, *(suppressions.of_cpython(log) if defaults else [])])


def complain(report):
    """Say which logs could not be read to their end. Returns whether there are any."""
    for error in report["errors"]:
        print("isan: %s, offset %d: %s" % (escape(error["log"]), error["offset"], escape(error["text"])),
              file=sys.stderr)
    return bool(report["errors"])


def write(stream, content):
    """Write a report. Characters that the stream cannot encode are escaped."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(content.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def renderers(report, color=False, full=False, show_residue=False, srcroot=".", show_suppressed=False):
    """Format -> a function that gives a report in this format."""
    return {
        "text": lambda: text.render(report, color, show_residue, full),
        "json": lambda: json.render(report),
        "html": lambda: html.render(report),
        "junit": lambda: junit.render(report),
        "sarif": lambda: sarif.render(report, srcroot, show_suppressed),
        "markdown": lambda: markdown.render(report),
    }


def prepare(directory):
    """Make the directory of --reports, if it was given. For before the work, so that it does not fail after it."""
    if directory:
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            raise Problem("cannot write reports to %s: %s; give --reports another directory" % (
                directory, error.strerror))


def write_all(directory, contents):
    """Write a file for each format into the directory of --reports. contents: as renderers() gives them."""
    if not directory:
        return
    for name, file in FILES.items():
        path = os.path.join(directory, file)
        try:
            with open(path, "w", encoding="utf-8") as stream:
                write(stream, contents[name]())
        except OSError as error:
            raise Problem("cannot write %s: %s" % (path, error.strerror))
