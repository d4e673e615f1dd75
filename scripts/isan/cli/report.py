"""isan report: render and merge saved logs."""
import os
import sys

from isan import Problem, reporting
from isan.reports import baseline
from isan.reports.formats import text
from isan.reports.read import log
from isan.reports.suppressions import suggestions
from isan.reports.symbolize.symbols import Missing


def add_arguments(parser):
    parser.add_argument("logs", nargs="+", metavar="LOG",
                        help="a log, or a directory of them; logs of forked processes may need their parents' beside"
                             " them")
    parser.add_argument("--format", choices=reporting.FILES, default="text", help="default: text")
    reporting.add_reports(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="write the report there instead of to stdout")
    parser.add_argument("--full", action="store_true", help="print every frame of CPython's own, too")
    parser.add_argument("--if-any", action="store_true", help="print nothing unless there is a finding or a crash")
    parser.add_argument("--debuginfo-path", metavar="DIR:...", default="",
                        help="look for separate debug files there, before /usr/lib/debug")
    parser.add_argument("--residue", action="store_true",
                        help="list what CPython itself leaves behind in every interpreter, too")
    reporting.add_suppressions(parser)
    reporting.add_baseline(parser)
    parser.add_argument("--suggest", action="store_true",
                        help="write lines for a file of suppressions instead, one for each finding; the reasons are"
                             " yours to add")
    parser.add_argument("--show-suppressed", action="store_true",
                        help="write suppressed findings into SARIF, too, marked as such (GitHub shows them as open"
                             " alerts)")
    parser.add_argument("--srcroot", metavar="DIR", default=".",
                        help="in SARIF, write paths below DIR relative to it (default: the current directory)")
    parser.add_argument("--no-default-suppressions", action="store_true",
                        help="show the races of CPython itself that are known, too")


def paths_of(arguments):
    """The log files that the arguments name."""
    paths = []
    for path in arguments:
        try:
            paths += log.logs_in(path)
        except OSError as error:
            raise Problem("cannot read %s: %s" % (path, error.strerror or error))
    for path in paths:
        if not os.access(path, os.R_OK):
            raise Problem("cannot read %s: %s" % (
                path, "there is no such file" if not os.path.exists(path) else "permission denied"))
    return paths


def make(args):
    """The report that the arguments ask for."""
    paths = paths_of(args.logs)
    suppressed, known = reporting.suppressions_in(args.suppressions), reporting.baseline_in(args.baseline)
    directories = ""
    if args.debuginfo_path:
        # After those given, the directories of elfutils: beside the file, in .debug there, and /usr/lib/debug.
        directories = ":".join([*map(os.path.abspath, args.debuginfo_path.split(":")), "", ".debug", "/usr/lib/debug"])
    try:
        report = reporting.make(paths, directories, suppressed, not args.no_default_suppressions)
    except Missing as error:
        raise Problem(str(error))
    if known is not None:
        baseline.compare(report, args.baseline, known)
    return report


def main(args):
    reporting.prepare(args.reports)
    report = make(args)
    if not report["processes"]:
        reporting.complain(report)
        return 2
    if args.if_any and not (reporting.failing(report) or report["crashes"] or report["errors"]):
        return 0

    def contents(color):
        return reporting.renderers(report, color, args.full, args.residue, args.srcroot, args.show_suppressed)

    def render(color):
        return suggestions.render(report) if args.suggest else contents(color)[args.format]()

    reporting.write_all(args.reports, contents(False))
    try:
        if args.output:
            with open(args.output, "w", encoding="utf-8") as file:
                reporting.write(file, render(False))
        else:
            reporting.write(sys.stdout, render(text.wants_color(sys.stdout)))
    except BrokenPipeError:     # the reader of the output is gone
        raise
    except OSError as error:
        raise Problem("cannot write %s: %s" % (args.output or "the report", error.strerror))
    if reporting.complain(report):
        return 2
    return 86 if reporting.failing(report) else reporting.INCOMPLETE if report["dropped"] else 0
