"""isan report: render and merge saved logs."""

import functools
import os
import sys

from reports import baseline, html, json_, junit, log, model, sarif, suggest, suppressions, symbols, text

from . import Problem, __version__, residue

DESCRIPTION = "Render and merge saved logs."


def add_arguments(parser):
    parser.add_argument("logs", nargs="+", metavar="LOG",
                        help="a log, or a directory of them; logs of forked processes may need their parents' beside them")
    parser.add_argument("--format", choices=("text", "json", "html", "sarif", "junit"), default="text", help="default: text")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the report there instead of to stdout")
    parser.add_argument("--full", action="store_true", help="print every frame of CPython's own, too")
    parser.add_argument("--if-any", action="store_true", help="print nothing unless there is a finding or a crash")
    parser.add_argument("--debuginfo-path", metavar="DIR:...", default="",
                        help="look for separate debug files there, before /usr/lib/debug")
    parser.add_argument("--residue", action="store_true",
                        help="list what CPython itself leaves behind in every interpreter, too")
    parser.add_argument("--suppressions", action="append", default=[], metavar="FILE",
                        help="leave out what its lines name, each `kind:pattern  # reason`: matched against modules,"
                             " functions, variables and types")
    add_baseline(parser)
    parser.add_argument("--suggest", action="store_true",
                        help="write lines for a file of suppressions instead, one for each finding; the reasons are yours to add")
    parser.add_argument("--show-suppressed", action="store_true",
                        help="write suppressed findings into SARIF, too, marked as such (GitHub shows them as open alerts)")
    parser.add_argument("--srcroot", metavar="DIR", default=".",
                        help="write paths below it relative to it into SARIF (default: the current directory)")
    parser.add_argument("--no-default-suppressions", action="store_true",
                        help="show the races of CPython itself that are known, too")


def add_baseline(parser):
    parser.add_argument("--baseline", metavar="FILE",
                        help="fail only on findings that are not in this report, saved with isan report --format json, and say"
                             " which of its own have gone")


def baseline_in(file):
    """What a saved report knows, or None without one."""
    if not file:
        return None
    try:
        return baseline.read(file)
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


def main(args):
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
        if args.suggest:
            return suggest.render(report)
        return {
            "text": lambda: text.render(report, color, args.residue, args.full),
            "json": lambda: json_.render(report),
            "html": lambda: html.render(report),
            "junit": lambda: junit.render(report),
            "sarif": lambda: sarif.render(report, args.srcroot, args.show_suppressed),
        }[args.format]()

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
    return 86 if failing(report) else 0
