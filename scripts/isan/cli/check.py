"""isan check: whether extension modules are safe in several interpreters."""
import functools
import signal
import sys

from isan import Problem, launch, reporting
from isan.check import build, formats, plan, store
from isan.check.module import QUICK
from isan.check.run import SILENT, Checker
from isan.reports.formats import text
from isan.reports.read import c_tables
from isan.reports.symbolize.symbols import Missing
from isan.reports.wording import escape

EPILOG = """\
A module is imported, exercised and left in the main interpreter, in legacy interpreters and in those with GILs of their
own (3.12 and newer), one after the other and --interpreters at a time. Each of these steps is a process of its own.

Verdicts: own-GIL safe (in any interpreter), legacy only (in interpreters that share one GIL), main only (refuses all
but the first interpreter that imports it), unsafe. The verdict is about what was exercised. The automatic exercise
calls no function with a name that suggests files, processes, the network and the like; a file of your own for
--exercise, run in each interpreter after the import, sees more. "As far as tried" says that less than half of the
module's functions ran. For a single-phase module, --force also shows what would be left to fix after its conversion.
A finding counts if its static, a stack of it or its type is the module's. Leaks that nothing else can reach are shown,
but do not decide.

Exit status: %d if a module is unsafe, 2 for wrong usage and for modules that cannot be imported. With --baseline a
crash or a hang is new if the module was not unsafe before.
""" % c_tables.OPTIONS["exitcode"].default


def add_arguments(parser):
    parser.add_argument("modules", nargs="*", metavar="MODULE",
                        help="the name of a module, or the path of an extension (.so), a wheel or a project (a"
                             " directory"
                             " with pyproject.toml or setup.py, such as .); pip installs wheels and projects into a"
                             " directory for this check, and compiles projects with checked reference counts")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--python", metavar="PY", help="the Python to check them in (default: python3)")
    which.add_argument("--flavor", choices=("fast", "debug", "tsan"), help="check them in this debug interpreter")
    parser.add_argument("--version", metavar="V", help="release of the debug interpreter, such as 3.13 or 3.14")
    parser.add_argument("--interpreters", type=int, default=4, metavar="N", help="how many at a time (default: 4)")
    exercise = parser.add_mutually_exclusive_group()
    exercise.add_argument("--exercise", metavar="FILE",
                          help="a script to run in each interpreter, in place of the automatic exercise")
    exercise.add_argument("--tests", metavar="PATH",
                          help="tests to run in each interpreter, in place of the automatic exercise: with pytest where"
                               " the main interpreter can import it, else by unittest's discovery")
    parser.add_argument("--allow", metavar="WORD", action="append", default=[],
                        help="let the automatic exercise call functions with this word in their names (all: any"
                             " function)")
    parser.add_argument("--force", action="store_true",
                        help="import modules into own-GIL interpreters that they refuse, and judge what they do")
    parser.add_argument("--timeout", type=float, metavar="SECONDS",
                        help="how long a step may go without a new import, call or test before it counts as hung"
                             " (default: %d in the main interpreter; %d, or more if that was slow, in others)"
                             % (SILENT, QUICK))
    parser.add_argument("--pip", action="append", default=[], metavar="ARG",
                        help="an argument for pip when it installs, such as --pip=--no-build-isolation")
    parser.add_argument("--format", choices=formats.FORMATS, default="text", help="default: text")
    parser.add_argument("--full", action="store_true", help="print the findings with their stacks")
    reporting.add_reports(parser)
    reporting.add_suppressions(parser)
    parser.add_argument("--baseline", metavar="FILE",
                        help="fail only for modules that are unsafe by what is not in this report, saved with isan"
                             " check"
                             " --format json, and say what is gone")
    parser.add_argument("--log", metavar="DIR",
                        help="keep the logs there (made if missing), for isan report DIR/MODULE/STEP")
    many = parser.add_argument_group("of many modules (docs/scale.md)")
    many.add_argument("--list", metavar="FILE",
                      help="check the MODULEs in this file, too, one on each line; # begins a comment, - is stdin")
    many.add_argument("--shard", metavar="K/N", help="of all these check the K-th and each N-th after it")
    many.add_argument("--results", metavar="DIR",
                      help="keep the result for each MODULE there (made if missing), and do not check a MODULE again"
                           " that"
                           " has one; several workers may share it")
    many.add_argument("--merge", metavar="DIR", nargs="+", default=[],
                      help="check nothing, but show the results in these directories, and which MODULEs have none")
    parser.epilog = EPILOG


def usage(args):
    """Complain about wrong arguments, before anything that they name is looked at."""
    if args.version and not args.flavor:
        raise Problem("--version goes with --flavor")
    if args.interpreters < 2:
        raise Problem("--interpreters is a number from 2 on, not %d" % args.interpreters)
    if args.timeout is not None and args.timeout <= 0:
        raise Problem("--timeout is a number of seconds, not %g" % args.timeout)
    if args.merge and args.results:
        raise Problem("--merge reads results, and --results makes them: give one of them")
    if args.merge and (args.baseline or args.suppressions):
        raise Problem("--baseline and --suppressions are for checking: merged results have been judged with those of"
                      " the workers")
    if not (args.modules or args.list or args.merge):
        raise Problem("give the name of a module, or the path of an extension, a wheel or a project, or a --list of"
                      " them")


def print_results(args, python, found, interrupted, limit):
    """Print what follows the rows of the table, or all of it in another format. Returns the exit status."""
    context = formats.Context(python, limit, args.baseline, args.full)
    if args.format == "text":
        reporting.write(sys.stdout, formats.details(context, found, text.wants_color(sys.stdout)))
        if args.list or args.merge:
            print("\n" + formats.counted(found))
    else:
        reporting.write(sys.stdout, formats.FORMATS[args.format](context, found, interrupted))
    reporting.write_all(args.reports, {name: functools.partial(make, context, found, interrupted)
                                     for name, make in formats.FORMATS.items()})
    if any(module.fails for module in found):
        return c_tables.OPTIONS["exitcode"].default
    return 2 if any(module.verdict is None for module in found) else 0


def merge(args, arguments):
    """Show the results of workers. Returns the exit status."""
    merged = store.Merged(args.merge)
    for complaint in merged.complaints:
        print("isan check: " + complaint, file=sys.stderr)
    found = merged.results(arguments)
    if not found:
        raise Problem("there is no result in %s: give the directories that --results had"
                      % escape(", ".join(args.merge)))
    table = formats.Table([escape(module.name) for module in found])
    if args.format == "text":
        reporting.write(sys.stdout, "".join(table.row(cells) + "\n" for cells in formats.rows(found)))
    return print_results(args, merged.python, found, False, merged.limit)


def main(args):
    usage(args)
    reporting.prepare(args.reports)
    arguments = store.shard(store.listed(args.modules, args.list), args.shard)
    if args.merge:
        return merge(args, arguments)
    if args.pip and not any(map(build.is_one, arguments)):
        raise Problem("--pip is for a wheel or a project, and no MODULE is one (a directory with %s, by its path)"
                      % " or ".join(build.PROJECT))
    for argument in arguments:
        if not build.is_one(argument):
            plan.locate(argument)
    with launch.log_directory(args.log) as directory:
        checker = Checker(args, directory)
        kept = store.Store(args.results, checker) if args.results else None
        every = plan.each_kept(checker, arguments, kept) if kept else plan.each(checker, arguments)
        names, done, found, interrupted = next(every), 0, [], False
        table = formats.Table(map(escape, names))
        if args.format == "text":
            print(table.row(formats.COLUMNS), flush=True)
        # Batch systems send SIGTERM when the time is up. It counts as Ctrl-C.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            for more in every:
                done += 1
                found += more
                if sys.stderr.isatty():
                    checker.progress("")
                if args.format == "text":
                    reporting.write(sys.stdout, "".join(table.row(module.row()) + "\n" for module in more))
        except KeyboardInterrupt:
            interrupted = True
        except Missing as error:
            raise Problem(str(error))
        finally:
            signal.signal(signal.SIGTERM, before)
        status = print_results(args, checker.python, found, interrupted, checker.limit)
        if kept:
            kept.summary()
        if interrupted:
            print("isan check: interrupted: %d of %d modules were checked" % (done, len(names)), file=sys.stderr)
        return 130 if interrupted else status
