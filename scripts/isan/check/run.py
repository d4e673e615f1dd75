"""Running the steps of a check: each is a process that imports and exercises a module in interpreters of one kind."""
import ast
import contextlib
import ctypes
import hashlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

from isan import Problem, __version__, launch, reporting
from isan.reports import baseline
from isan.reports.wording import escape

from . import build, store

TARGET = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "target")    # code for that process
MEMORY = 4 << 30        # bytes that a step may use; a thread's stack and heap alone reserve some 70 MiB
STALLED = 5             # seconds after which an automatic call in the main interpreter counts as hung
SILENT = 60             # seconds without a sign of life, if nothing is known of what it takes
# What a step is called, how it is run (target/check_target.py), and in which kind of interpreter.
STEPS = [("main", "main", "main"), ("legacy", "sequential", "legacy"), ("legacy, parallel", "parallel", "legacy"),
         ("own-GIL", "sequential", "isolated"), ("own-GIL, parallel", "parallel", "isolated")]
LOOKS = "hold", "compare", "release"        # phases in which isan compares what interpreters hold
WHERE = {"main": "the main interpreter", "legacy": "legacy interpreters", "isolated": "own-GIL interpreters"}
INTERPRETERS = {"main": "main", "legacy": "legacy", "isolated": "own-gil"}     # kind of a step -> the reports' word
# What CPython, the C library (malloc) and that of C++ print before they abort.
ABORTED = re.compile(r"^(Fatal Python error: .*|double free or corruption .*|\w+\(\): \w+ .*|corrupted .*"
                     r"|terminate called .*)$", re.M)


class Step:
    """A step that was run: the events that it wrote, and how it ended."""

    def __init__(self, title, kind, module, log_dir):
        self.title, self.kind, self.module, self.log_dir = title, kind, module, log_dir
        self.events, self.status, self.seconds, self.hung, self.output = [], None, 0, False, ""
        self.silence = 0        # the longest time without a new event, in seconds

    def events_like(self, *what):
        return [event for event in self.events if event[:len(what)] == what]

    @property
    def ended(self):
        return bool(self.events_like("end"))

    @property
    def last(self):
        """What the step was doing when it ended: (phase, interpreter, import or call or None)."""
        if self.ended:
            return "exit", 0, None
        open_, doing = {}, {}
        for event in self.events:
            if event[0] == "begin":
                open_[event[1]] = event[2]
            elif event[0] in ("done", "failed"):
                open_.pop(event[1], None)
            elif event[0] in ("importing", "call"):
                doing = {event[0]: event[2]}
        number, phase = next(reversed(open_.items()), (0, "start"))
        return phase, number, doing.get({"import": "importing", "exercise": "call"}.get(phase))

    def failures(self, phase):
        return [event for event in self.events_like("failed") if event[2] == phase]

    @property
    def outcome(self):
        if self.hung:
            return "hung"
        if self.status is None or self.status < 0:
            return "crashed"
        if self.failures("import"):
            return "refused"
        if self.failures("exercise"):
            return "failed"
        return "ended" if self.ended else "died"

    def trouble(self):
        """A sentence about a crash or hang."""
        phase, number, what_of_it = self.last
        what = {"import": "importing it", "exercise": "exercising it", "end": "ending the interpreter",
                "exit": "ending the process", **dict.fromkeys(LOOKS, "looking at what it holds")}.get(phase, "starting")
        if what_of_it and what_of_it != self.module:
            what += " (%s)" % what_of_it
        if self.hung:
            how = "hangs"
        elif self.status and self.status < 0:
            how = "crashes with %s" % signal.Signals(-self.status).name
        else:
            how = "ends the process (status %s)" % self.status
        why = self.status == -signal.SIGABRT and not self.hung and ABORTED.search(self.output)
        return "%s: %s while %s%s" % (self.title, how, what, " (%s)" % why[0].strip() if why else "")


class Checker:
    """What all checks of one run have in common: the Python, the options, the exercise."""

    def __init__(self, args, directory):
        self.args, self.directory = args, directory
        self.python, self.words, self.preload = launch.python_of(args)
        self.options, _, suppressions = launch.options_of(os.environ.get("ISAN_OPTIONS", ""), directory)
        self.suppressed = reporting.suppressions_in([*args.suppressions, *[suppressions] * bool(suppressions)])
        self.known = reporting.baseline_in(args.baseline, baseline.read_check)
        *version, self.release = launch.ask(
            self.python, [*self.words, "-I"], "import sys; print('%d %d' % sys.version_info[:2], sys.version)",
        ).split(" ", 2)
        self.version = tuple(map(int, version))
        if self.version < (3, 11):
            raise Problem("%s is Python %d.%d, and isan knows 3.11 to 3.14: give --python another" % (
                self.python, *self.version))
        self.file = os.path.abspath(args.exercise) if args.exercise else os.path.join(
            TARGET, "check_target_tests.py" if args.tests else "check_target_calls.py")
        self.tests = args.tests and os.path.abspath(args.tests)
        if self.tests and not os.path.exists(self.tests):
            raise Problem("there is no %s: give --tests a file or directory of tests" % args.tests)
        try:
            with open(self.file, encoding="utf-8") as file:
                self.source = file.read()
        except (OSError, ValueError) as error:
            raise Problem("cannot read %s: %s" % (self.file, getattr(error, "strerror", None) or error))
        self.automatic = not (args.exercise or args.tests)
        self.controls = {}
        self.limit = None
        if self.version < (3, 12):
            self.limit = ("Python %d.%d has no interpreters with GILs of their own: to see what is safe there, check"
                          " with 3.12 or newer" % self.version)

    def configuration(self):
        """What a result depends on beside the module. Results with another configuration are not used."""
        args = self.args
        return {"isan": __version__, "Python": "%s (%s)" % (self.python, self.release),
                "--interpreters": args.interpreters, "--force": args.force, "--timeout": args.timeout,
                "--allow": sorted(set(args.allow)), "--pip": args.pip, "--tests": args.tests,
                "--baseline": digest_of(args.baseline),
                "--suppressions": [digest_of(file) for file in args.suppressions],
                "ISAN_OPTIONS": os.environ.get("ISAN_OPTIONS", ""),
                "--exercise": args.exercise and hashlib.sha256(self.source.encode()).hexdigest()[:16]}

    def progress(self, what):
        """Say on stderr what is being done. On a terminal each such line replaces the one before."""
        if sys.stderr.isatty():
            print("\r\x1b[K%s" % what, end="", file=sys.stderr, flush=True)
        elif what:
            print("isan check: " + what, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def waiting(self, name, title):
        """Gives wait(process), which waits a little, and says whether the process has ended.

        From the third second on it also says on stderr what it waits for.
        """
        began = said = time.monotonic()

        def wait(process):
            nonlocal said
            now = time.monotonic()
            if now - began > 2 and (said == began or now - said > (1 if sys.stderr.isatty() else 20)):
                said = now
                self.progress("%s: %s, %d s" % (escape(name), title, now - began))
            try:
                process.wait(0.05 if now - began < 2 else 0.5)
                return True
            except subprocess.TimeoutExpired:
                return False

        yield wait

    def step(self, name, title, step, kind, module, path, names=(), skip=(), isan=True, runner=None, silent=SILENT,
             files=(), single=()):
        """Run a step to its end, or until it has been silent for too long. Returns a Step.

        files: those of the module's extensions. single: the single-phase extensions that are loaded with them.
        """
        directory = os.path.join(self.directory, store.file_name(name), title.replace(", ", "-"))
        os.makedirs(directory, exist_ok=True)
        result = Step(title, kind, module, directory if isan else None)
        job = {"module": module, "path": path, "fd": None, "source": self.source, "file": self.file, "step": step,
               "kind": kind, "interpreters": self.args.interpreters, "force": self.args.force, "memory": MEMORY,
               "given": {"names": list(names), "skip": sorted(skip), "allow": self.args.allow, "tests": self.tests,
                         "runner": runner, "module": module, "files": sorted(files), "single": list(single)}}
        env = launch.environment(self.preload) if isan else dict(os.environ)
        if isan:
            env["ISAN_OPTIONS"] = ":".join([*self.options, "log_path=" + directory, "exitcode=0"])
        with tempfile.TemporaryDirectory(prefix="isan-check-") as empty, tempfile.TemporaryFile() as stream, \
                tempfile.TemporaryFile() as output:
            job["fd"] = stream.fileno()
            os.set_inheritable(stream.fileno(), True)
            began = time.monotonic()
            process = subprocess.Popen(
                [*self.words, "-P", os.path.join(TARGET, "check_target.py"), repr(job)],
                executable=self.python, env=env, cwd=project_of(self.tests) if self.tests else empty,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[stream.fileno()],
                start_new_session=True, preexec_fn=end_with_parent())
            try:
                with self.waiting(name, title if isan else "looking at it") as wait:
                    self.watch(result, process, stream, wait, self.args.timeout or silent,
                               STALLED if step == "main" and self.automatic else None)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            result.status, result.seconds = process.returncode, time.monotonic() - began
            result.events = self.events(stream)
            output.seek(0)
            result.output = output.read().decode("utf-8", "backslashreplace")
        return result

    @staticmethod
    def events(stream):
        data = os.pread(stream.fileno(), os.fstat(stream.fileno()).st_size, 0)
        return [ast.literal_eval(line.decode()) for line in data.split(b"\n")[:-1] if line]

    def watch(self, result, process, stream, wait, limit, stalled):
        size, since = 0, time.monotonic()
        while not wait(process):
            new, now = os.fstat(stream.fileno()).st_size, time.monotonic()
            if new != size:
                size, since = new, now
            result.silence = max(result.silence, now - since)
            hangs = stalled and now - since > stalled and self.events(stream)[-1][0] == "call"
            if result.silence < limit and not hangs:
                continue
            result.hung = True
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                process.send_signal(signal.SIGABRT)     # so that isan records where it hangs
                process.wait(10)
            return

    def control(self, title, step, kind, path, others):
        """Whether a step goes well without the module. others: extensions that it loads, which are loaded all the same.

        Asked when nothing tells which module a crash belongs to. It is tried twice, since parallel steps differ from
        run to run.
        """
        key = title, *others
        if key not in self.controls:
            runs = (self.step("without it", title, step, kind, None, path, others) for _ in range(2))
            self.controls[key] = all(done.outcome == "ended" for done in runs)
        return self.controls[key]


def end_with_parent():
    """A preexec_fn. When this process is killed, the kernel kills the child (prctl(2), PR_SET_PDEATHSIG)."""
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def preexec():
        prctl(1, signal.SIGKILL)
        if os.getppid() != parent:      # the parent has ended before the call
            os._exit(1)

    return preexec


def project_of(tests):
    """The directory that a project's tests are run in: the nearest one with a file of settings."""
    above = [tests] * os.path.isdir(tests) + [os.fspath(directory) for directory in pathlib.PurePath(tests).parents]
    return next((directory for directory in above if any(
        os.path.exists(os.path.join(directory, name))
        for name in (*build.PROJECT, "setup.cfg", "tox.ini", "pytest.ini"))), above[0])


def digest_of(file):
    """A digest of a file's contents; None if no file was given."""
    if not file:
        return None
    with open(file, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()[:16]
