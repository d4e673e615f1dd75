"""isan run: a program under the sanitizer, and the report when it ends."""
import os
import sys

from isan import Problem, launch, reporting
from isan.reports import baseline
from isan.reports.formats import text
from isan.reports.read import c_tables
from isan.reports.symbolize.symbols import Missing

EPILOG = """\
Without --flavor, PROGRAM runs with libisan.so preloaded. With --flavor or --python, a PROGRAM called python, python3 or
python3.N is replaced by that interpreter; any other PROGRAM is the first argument of that interpreter (a script; -c or
-m after --).

Exit status: %d if there are findings (the option exitcode changes it), else the program's, 128+N if signal N killed it;
2 for wrong usage.""" % c_tables.OPTIONS["exitcode"].default


def add_arguments(parser):
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--python", metavar="PY", help="run the arguments with this interpreter, preloading libisan.so")
    which.add_argument("--flavor", choices=("fast", "debug", "tsan"),
                       help="run the arguments with this debug interpreter")
    parser.add_argument("--version", metavar="V", help="release of the debug interpreter, such as 3.13 or 3.14")
    parser.add_argument("--log", metavar="DIR", help="keep the logs there (made if missing)")
    reporting.add_baseline(parser)
    parser.add_argument("program", metavar="PROGRAM", help="the program, such as python3")
    parser.add_argument("arguments", metavar="ARGS", nargs="...", help="its arguments")
    parser.epilog = EPILOG


def run(args):
    given = os.environ.get("ISAN_OPTIONS", "")
    program, words, preload = launch.command_of(args)
    directory = os.path.abspath(args.log) if args.log else None
    options, exitcode, suppressions = launch.options_of(given, directory)
    suppressed = reporting.suppressions_in([suppressions] if suppressions else [])
    known = reporting.baseline_in(args.baseline)
    with launch.log_directory(directory or launch.log_path_of(given)) as directory:
        before = launch.logs_of(directory)
        env = launch.environment(preload)
        # This process decides the exit status: it can subtract CPython's residue from the findings.
        env["ISAN_OPTIONS"] = ":".join(options + ["log_path=" + directory, "exitcode=0"])
        status = launch.execute(program, words, env)
        new = sorted(launch.logs_of(directory) - before)
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if not new:
            if code == 2 or "help=1" in options:    # libisan.so has said why
                return code
            # A sanitizer that did not run must not look like a clean run.
            print("isan run: %s left no log, so nothing was checked; unless isan said why above, it did not load"
                  " libisan.so (static, setuid), or is no Python" % program, file=sys.stderr)
            return code or 2
        report = reporting.make(new, suppressed=suppressed)
        if known is not None:
            baseline.compare(report, args.baseline, known)
        reporting.complain(report)
        reporting.write(sys.stderr, text.render(report, text.wants_color(sys.stderr)))
    if report["dropped"] and not code:
        code = reporting.INCOMPLETE
    return exitcode if reporting.failing(report) and exitcode else code


def main(args):
    try:
        return run(args)
    except Missing as error:
        raise Problem(str(error))
