"""Starting programs under isan: the command line, the environment, the directory of logs, and signals."""
import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile

from isan import ROOT, Problem
from isan.reports.read import c_tables, log

LIBRARY = os.path.join(ROOT, "build", "lib", "libisan.so.0")
_PYTHON = re.compile(r"python(3(\.\d+)?)?$")
_KERNEL = 0x80      # SI_KERNEL: the terminal sent the signal, and to the program as well
_FORWARD = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}


def command_of(args):
    """(program, command line, whether libisan.so must be preloaded)."""
    words = [args.program] + args.arguments
    if args.version and not args.flavor:
        raise Problem("--version goes with --flavor")
    if args.flavor:
        from isan import pythons
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
    """The same for the Python that --python, --flavor and --version name; by default python3.

    Its path is good in any directory.
    """
    python = os.path.abspath(args.python) if args.python and os.sep in args.python else args.python
    return command_of(argparse.Namespace(
        program="python3", arguments=list(arguments), python=python, flavor=args.flavor, version=args.version))


def ask(program, words, code):
    """What a Python prints when it runs some code."""
    done = subprocess.run([*words, "-c", code], executable=program, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise Problem("%s does not work: %s" % (program, last_line(done.stderr, "status %d" % done.returncode)))
    return done.stdout.strip()


def last_line(said, otherwise):
    """The last line that a program said; `otherwise` if it said nothing."""
    return (said.strip().splitlines() or [otherwise])[-1]


def check_library():
    """Make sure that libisan.so can be preloaded."""
    if not os.path.exists(LIBRARY):
        raise Problem("there is no %s; build it with make" % LIBRARY)
    if set(" :") & set(LIBRARY):
        raise Problem("%s has a space or colon in its name, which LD_PRELOAD cannot carry" % LIBRARY)


def environment(preload=True, **options):
    """The environment of a program that is run under isan."""
    env = dict(os.environ)
    if preload:
        others = env.get("LD_PRELOAD")
        env["LD_PRELOAD"] = LIBRARY + (":" + others if others else "")
    env["ISAN_OPTIONS"] = ":".join("%s=%s" % item for item in options.items())
    return env


def options_of(given, directory):
    """From ISAN_OPTIONS: (options for the program, exit status for findings, file of suppressions or "")."""
    options = [o for o in given.split(":") if o]
    exitcode, suppressions = c_tables.OPTIONS["exitcode"].default, ""
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
            suppressions = value        # read by this process, since the program may change its directory
        else:
            kept.append(option)
    return kept, exitcode, suppressions


def log_path_of(given):
    """log_path of ISAN_OPTIONS, or None. The last one counts."""
    paths = [o.partition("=")[2] for o in given.split(":") if o.startswith("log_path=")]
    return paths[-1] if paths and paths[-1] else None


def prepare(directory):
    """Make the directory of the logs, and make sure that it can be written to."""
    if ":" in directory:
        raise Problem("the log directory %s has a colon in its name, which ISAN_OPTIONS cannot carry" % directory)
    try:
        os.makedirs(directory, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise Problem("cannot write logs to %s: %s; give --log another directory" % (directory, error.strerror))


@contextlib.contextmanager
def log_directory(given):
    """The directory `given`, made if it is missing; without one, a temporary directory, removed at the end."""
    with contextlib.ExitStack() as stack:
        directory = os.path.abspath(given) if given else stack.enter_context(tempfile.TemporaryDirectory(prefix="isan-"))
        prepare(directory)
        yield directory


def logs_of(directory):
    try:
        return set(log.logs_in(directory))
    except OSError:
        return set()


def execute(program, words, env):
    """Run a program to its end and pass signals on to it. Returns its wait status. Raises Problem if it cannot be started."""
    watched = _FORWARD | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        # Python ignores SIGPIPE and SIGXFSZ. The program must not inherit that.
        try:
            child = os.posix_spawn(program, words, env, setsigmask=before, setsigdef=(signal.SIGPIPE, signal.SIGXFSZ))
        except OSError as error:
            raise Problem("cannot run %s: %s" % (program, error.strerror))
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
