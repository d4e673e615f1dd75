"""isan run: a program under the sanitizer, and the report when it ends."""

import argparse
import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile

from reports import baseline, log, symbols, tables, text

from . import Problem, residue
from . import report as report_

DESCRIPTION = "Run a program under the sanitizer and report on stderr what was found."
EPILOG = ("Without --flavor, PROGRAM runs with libisan.so preloaded.  With --flavor or --python, a PROGRAM called python,"
          " python3 or python3.N is replaced by that interpreter; anything else is what that interpreter gets as its"
          " arguments (a script; -c or -m after --).  Exit status: %d if there are findings (the option exitcode changes it), else"
          " the program's, 128+N if signal N killed it; 2 for wrong usage." % tables.OPTIONS["exitcode"].default)

_PYTHON = re.compile(r"python(3(\.\d+)?)?$")
_KERNEL = 0x80      # SI_KERNEL: the terminal sent it, to the program as well
_FORWARD = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}


def add_arguments(parser):
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--python", metavar="PY", help="run the arguments with this interpreter, preloading libisan.so")
    which.add_argument("--flavor", choices=("fast", "debug", "tsan"), help="run the arguments with this debug interpreter")
    parser.add_argument("--version", metavar="V", help="release of the debug interpreter, such as 3.13 or 3.14")
    parser.add_argument("--log", metavar="DIR", help="keep the logs there (made if missing)")
    report_.add_baseline(parser)
    parser.add_argument("program", metavar="PROGRAM")
    parser.add_argument("arguments", metavar="ARGS", nargs="...")
    parser.epilog = EPILOG


def command_of(args):
    """The command line to execute, and whether libisan.so must be preloaded."""
    words = [args.program] + args.arguments
    if args.version and not args.flavor:
        raise Problem("--version goes with --flavor")
    if args.flavor:
        from . import pythons
        python = pythons.find_python(args.flavor, args.version)
    else:
        python = args.python
    if python:
        words = [python] + (words[1:] if _PYTHON.match(os.path.basename(words[0])) else words)
    program = shutil.which(words[0])
    if not program:
        raise Problem("cannot find %s" % words[0] if not os.path.exists(words[0])
                    else "%s is not executable; run it with its interpreter, such as: isan run python3 %s"
                    % (words[0], words[0]))
    if not args.flavor:
        check_library()
    return program, words, not args.flavor


def python_of(args, *arguments):
    """The same for the Python that --python, --flavor and --version name, python3 if there are none; for any directory."""
    python = os.path.abspath(args.python) if args.python and os.sep in args.python else args.python
    return command_of(argparse.Namespace(program="python3", arguments=list(arguments), python=python, flavor=args.flavor,
                                         version=args.version))


def check_library():
    """See that libisan.so can be preloaded."""
    if not residue.LIBRARY.exists():
        raise Problem("there is no %s; build it with make" % residue.LIBRARY)
    if set(" :") & set(str(residue.LIBRARY)):
        raise Problem("%s has a space or colon in its name, which LD_PRELOAD cannot carry" % residue.LIBRARY)


def options_of(given, directory):
    """ISAN_OPTIONS for the program, the exit status for findings, and the file of suppressions, if any."""
    options = [o for o in given.split(":") if o]
    exitcode, suppressions = tables.OPTIONS["exitcode"].default, ""
    kept = []
    for option in options:
        name, _, value = option.partition("=")
        if name == "log_path":
            if directory and os.path.abspath(value) != directory:
                raise Problem("--log is %s but ISAN_OPTIONS has %s; leave one of them out" % (directory, option))
        elif name == "exitcode":
            if not value.isdigit() or int(value) > 255:
                raise Problem("ISAN_OPTIONS: exitcode is a number from 0 to 255, not %s" % value)
            exitcode = int(value)
        elif name == "suppressions":
            suppressions = value        # read here, at the end; the program may be elsewhere then
        else:
            kept.append(option)
    return kept, exitcode, suppressions


def log_path_of(given):
    """log_path from ISAN_OPTIONS, the last one given, or None."""
    paths = [o.partition("=")[2] for o in given.split(":") if o.startswith("log_path=")]
    return paths[-1] if paths and paths[-1] else None


def prepare(directory):
    """Make the directory of the logs, and see that it can be written."""
    if ":" in directory:
        raise Problem("the log directory %s has a colon in its name, which ISAN_OPTIONS cannot carry" % directory)
    try:
        os.makedirs(directory, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise Problem("cannot write logs to %s: %s; give --log another directory" % (directory, error.strerror))


def logs_of(directory):
    try:
        return set(log.logs_in(directory))
    except OSError:
        return set()


def execute(program, words, env):
    """Run it to its end, passing signals on.  Returns its wait status."""
    watched = _FORWARD | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        # Python itself ignores these two; the program is to find them as isan did.
        child = os.posix_spawn(program, words, env, setsigmask=before, setsigdef=(signal.SIGPIPE, signal.SIGXFSZ))
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return status
            info = signal.sigwaitinfo(watched)
            if info.si_signo != signal.SIGCHLD and info.si_code != _KERNEL:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, info.si_signo)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run(args):
    given = os.environ.get("ISAN_OPTIONS", "")
    program, words, preload = command_of(args)
    directory = os.path.abspath(args.log) if args.log else None
    options, exitcode, suppressions = options_of(given, directory)
    suppressed = report_.suppressions_in([suppressions] if suppressions else [])
    known = report_.baseline_in(args.baseline)
    if not directory and log_path_of(given):
        directory = os.path.abspath(log_path_of(given))
    with contextlib.ExitStack() as stack:
        if not directory:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="isan-"))
        prepare(directory)
        before = logs_of(directory)
        env = residue.environment(preload)
        # The status is decided here, where residue is known from findings.
        env["ISAN_OPTIONS"] = ":".join(options + ["log_path=" + directory, "exitcode=0"])
        try:
            status = execute(program, words, env)
        except OSError as error:
            raise Problem("cannot run %s: %s" % (program, error.strerror))
        new = sorted(logs_of(directory) - before)
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if not new:
            if code == 2 or "help=1" in options:    # libisan.so has spoken
                return code
            # A sanitizer that did not run must not look like a clean run.
            print("isan run: %s left no log, so nothing was checked; unless isan said why above, it did not load"
                  " libisan.so (static, setuid), or is no Python" % program, file=sys.stderr)
            return code or 2
        report = report_.make(new, suppressed=suppressed)
        if known is not None:
            baseline.compare(report, args.baseline, known)
        report_.complain(report)
        report_.write(sys.stderr, text.render(report, text.wants_color(sys.stderr)))
    if report["dropped"] and not code:
        code = report_.INCOMPLETE
    return exitcode if report_.failing(report) and exitcode else code


def main(args):
    try:
        return run(args)
    except symbols.Missing as error:
        raise Problem(str(error))
