"""isan report: render and merge saved logs."""

import functools
import os
import sys

from reports import baseline, html, json_, junit, log, markdown, model, sarif, suggest, suppressions, symbols, text

from . import Problem, __version__, residue

DESCRIPTION = "Render and merge saved logs."
# The formats, and what --reports calls a file of each.
FILES = {"text": "report.txt", "json": "report.json", "html": "report.html", "sarif": "report.sarif", "junit": "junit.xml",
         "markdown": "summary.md"}


def add_arguments(parser):
    parser.add_argument("logs", nargs="+", metavar="LOG",
                        help="a log, or a directory of them; logs of forked processes may need their parents' beside them")
    parser.add_argument("--format", choices=FILES, default="text", help="default: text")
    add_reports(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="write the report there instead of to stdout")
    parser.add_argument("--full", action="store_true", help="print every frame of CPython's own, too")
    parser.add_argument("--if-any", action="store_true", help="print nothing unless there is a finding or a crash")
    parser.add_argument("--debuginfo-path", metavar="DIR:...", default="",
                        help="look for separate debug files there, before /usr/lib/debug")
    parser.add_argument("--residue", action="store_true",
                        help="list what CPython itself leaves behind in every interpreter, too")
    add_suppressions(parser)
    add_baseline(parser)
    parser.add_argument("--suggest", action="store_true",
                        help="write lines for a file of suppressions instead, one for each finding; the reasons are yours to add")
    parser.add_argument("--show-suppressed", action="store_true",
                        help="write suppressed findings into SARIF, too, marked as such (GitHub shows them as open alerts)")
    parser.add_argument("--srcroot", metavar="DIR", default=".",
                        help="write paths below it relative to it into SARIF (default: the current directory)")
    parser.add_argument("--no-default-suppressions", action="store_true",
                        help="show the races of CPython itself that are known, too")


def add_suppressions(parser):
    parser.add_argument("--suppressions", action="append", default=[], metavar="FILE",
                        help="leave out what its lines name, each `kind:pattern  # reason`: matched against modules,"
                             " functions, variables and types")


def add_reports(parser):
    parser.add_argument("--reports", metavar="DIR",
                        help="also write the report there (made if missing) in each format: " + ", ".join(FILES.values()))


def add_baseline(parser):
    parser.add_argument("--baseline", metavar="FILE",
                        help="fail only on findings that are not in this report, saved with isan report --format json, and say"
                             " which of its own have gone")


def baseline_in(file, read=baseline.read):
    """What a saved report knows, or None without one."""
    if not file:
        return None
    try:
        return read(file)
    except OSError as error:
        raise Problem("cannot read the baseline %s: %s" % (file, error.strerror or error))
    except baseline.Unusable as error:
        raise Problem(text.escape(str(error)))


def failing(report):
    """Whether there is a finding that the baseline, if any, does not have."""
    return any(map(baseline.is_new, report["findings"]))


def suppressions_in(files):
    """What these files suppress."""
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
    """The report of these log files; keep(log, number, leak): of these findings of theirs only (Log.narrow)."""
    logs = log.read(paths)
    for one in logs if keep else ():
        one.narrow(functools.partial(keep, one))
    with symbols.Symbolizer(debuginfo_path=debuginfo_path) as symbolizer:
        return model.build(
            logs, symbolizer, residue.of, version=__version__,
            suppressions_of=lambda log: [*suppressed, *(suppressions.of_cpython(log) if defaults else [])])


INCOMPLETE = 2      # the exit status where nothing was found, and not all could be recorded: no clean run


def complain(report):
    """Say which logs could not be read to their end; whether there are any."""
    for error in report["errors"]:
        print("isan: %s, offset %d: %s" % (text.escape(error["log"]), error["offset"], text.escape(error["text"])),
              file=sys.stderr)
    return bool(report["errors"])


def write(stream, content):
    """Whatever the encoding of the stream, nothing in a report makes it fail."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(content.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def renderers(report, color=False, full=False, show_residue=False, srcroot=".", show_suppressed=False):
    """What makes each format of a report: its name -> a function that gives the contents."""
    return {
        "text": lambda: text.render(report, color, show_residue, full),
        "json": lambda: json_.render(report),
        "html": lambda: html.render(report),
        "junit": lambda: junit.render(report),
        "sarif": lambda: sarif.render(report, srcroot, show_suppressed),
        "markdown": lambda: markdown.render(report),
    }


def prepare(directory):
    """Make the directory of --reports, if there is to be one: before the work, not after it."""
    if directory:
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            raise Problem("cannot write reports to %s: %s; give --reports another directory" % (directory, error.strerror))


def write_all(directory, contents):
    """A file for each format; contents as of renderers()."""
    if not directory:
        return
    for name, file in FILES.items():
        path = os.path.join(directory, file)
        try:
            with open(path, "w", encoding="utf-8") as stream:
                write(stream, contents[name]())
        except OSError as error:
            raise Problem("cannot write %s: %s" % (path, error.strerror))


def main(args):
    prepare(args.reports)
    paths = []
    for path in args.logs:
        try:
            paths += log.logs_in(path)
        except OSError as error:
            raise Problem("cannot read %s: %s" % (path, error.strerror or error))
    for path in paths:
        if not os.access(path, os.R_OK):
            raise Problem("cannot read %s: %s" % (
                path, "there is no such file" if not os.path.exists(path) else "permission denied"))
    suppressed, known = suppressions_in(args.suppressions), baseline_in(args.baseline)
    try:
        report = make(paths, args.debuginfo_path and ":".join(
            # Where elfutils itself looks: beside the file, in .debug there, and in /usr/lib/debug.
            [*map(os.path.abspath, args.debuginfo_path.split(":")), "", ".debug", "/usr/lib/debug"]),
            suppressed, not args.no_default_suppressions)
    except symbols.Missing as error:
        raise Problem(str(error))

    if known is not None:
        baseline.compare(report, args.baseline, known)
    if not report["processes"]:
        complain(report)
        return 2
    if args.if_any and not (failing(report) or report["crashes"] or report["errors"]):
        return 0

    def render(color):
        return suggest.render(report) if args.suggest else made(color)[args.format]()

    def made(color):
        return renderers(report, color, args.full, args.residue, args.srcroot, args.show_suppressed)

    write_all(args.reports, made(False))
    try:
        if args.output:
            with open(args.output, "w", encoding="utf-8") as file:
                write(file, render(False))
        else:
            write(sys.stdout, render(text.wants_color(sys.stdout)))
    except BrokenPipeError:     # the reader had enough
        raise
    except OSError as error:
        raise Problem("cannot write %s: %s" % (args.output or "the report", error.strerror))
    if complain(report):
        return 2
    return 86 if failing(report) else INCOMPLETE if report["dropped"] else 0
