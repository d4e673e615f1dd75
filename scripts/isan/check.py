"""isan check: whether extension modules are safe in several interpreters."""
import ast
import contextlib
import ctypes
import functools
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from reports import baseline, fingerprints, log, phrases, symbols, tables, text

from . import Problem, __version__, distribution, report as report_, residue, results, run, verdicts

HERE = os.path.dirname(os.path.abspath(__file__))
MEMORY = 4 << 30        # what a step may use; a thread's stack and heap alone reserve some 70 MiB
STALLED = 5             # seconds after which an automatic call in the main interpreter counts as hung
SILENT = 60             # seconds without a sign of life, if nothing is known of what it takes
QUICK = 20              # seconds of which each is enough where the main interpreter was quick
RETRIES = 8             # automatic calls to leave out, one after the other, before the rest is left out
ALL = "*"               # what leaves out the rest (isan/exercise.py)
# What CPython, the C library (malloc) and that of C++ say before they abort.
ABORTED = re.compile(r"^(Fatal Python error: .*|double free or corruption .*|\w+\(\): \w+ .*|corrupted .*|terminate called .*)$", re.M)
LEAVES = {"str", "bytes", "int", "float", "complex"}       # refer to nothing, no collector knows them
TYPE_SIZE = 408         # of a PyTypeObject in 3.11, in bytes; since 3.12 it is more (Include/cpython/object.h)
DECLARES = ["single-phase", "main-only", "multi-phase", "shared-gil", "own-gil"]    # the least first
WHERE = {"main": "the main interpreter", "legacy": "legacy interpreters", "isolated": "own-GIL interpreters"}
INTERPRETERS = {"main": "main", "legacy": "legacy", "isolated": "own-gil"}     # as the reports have them
# What a step is, how it is run, in what kind of interpreter.
STEPS = [("main", "main", "main"), ("legacy", "sequential", "legacy"), ("legacy, parallel", "parallel", "legacy"),
         ("own-GIL", "sequential", "isolated"), ("own-GIL, parallel", "parallel", "isolated")]
EPILOG = """\
A module is imported, exercised and left in the main interpreter, in legacy interpreters and in those with GILs of their
own (3.12 and newer), one after the other and --interpreters at a time; each step is a process of its own.  Verdicts:
own-GIL safe (in any interpreter), legacy only (in interpreters that share one GIL), main only (refuses all but the first
interpreter that imports it), unsafe.  Only what was exercised is judged: a file of your own for --exercise, run in each
interpreter after the import, sees more than the automatic exercise, which calls nothing whose name speaks of files,
processes, the network and the like.  A finding counts when a static, a stack or a type of it is the module's; leaks that
nothing else can reach are told, but do not decide.  Exit status: %d if a module is unsafe, 2 for wrong usage and for
modules that cannot be imported.  With --baseline a crash or a hang is new if the module was not unsafe before.""" % tables.OPTIONS["exitcode"].default


def add_arguments(parser):
    parser.add_argument("modules", nargs="*", metavar="MODULE",
                        help="a name that can be imported, or the path of an extension (.so), of a wheel, or of a project"
                             " (a directory with pyproject.toml or setup.py, such as .), which pip installs for the check alone,"
                             " a project with checked reference counts")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--python", metavar="PY", help="the Python to check them in (default: python3)")
    which.add_argument("--flavor", choices=("fast", "debug", "tsan"), help="check them in this debug interpreter")
    parser.add_argument("--version", metavar="V", help="release of the debug interpreter, such as 3.13 or 3.14")
    parser.add_argument("--interpreters", type=int, default=4, metavar="N", help="how many at a time (default: 4)")
    exercise = parser.add_mutually_exclusive_group()
    exercise.add_argument("--exercise", metavar="FILE", help="a script to run in each interpreter, in place of the automatic exercise")
    exercise.add_argument("--tests", metavar="PATH", help="tests to run in each interpreter, in place of the automatic exercise: with"
                          " pytest where the main interpreter can import it, else by unittest's discovery")
    parser.add_argument("--allow", metavar="WORD", action="append", default=[],
                        help="let the automatic exercise call functions with this word in their names (all: any function)")
    parser.add_argument("--force", action="store_true", help="import modules into own-GIL interpreters that they refuse, and judge what they do")
    parser.add_argument("--timeout", type=float, metavar="SECONDS",
                        help="how long a step may go without a new import, call or test before it counts as hung"
                             " (default: %d in the main interpreter; %d, or more if that was slow, in others)" % (SILENT, QUICK))
    parser.add_argument("--pip", action="append", default=[], metavar="ARG",
                        help="an argument for pip when it installs, such as --pip=--no-build-isolation")
    parser.add_argument("--format", choices=verdicts.FORMATS, default="text", help="default: text")
    parser.add_argument("--full", action="store_true", help="print the findings with their stacks")
    report_.add_reports(parser)
    report_.add_suppressions(parser)
    parser.add_argument("--baseline", metavar="FILE",
                        help="fail only for modules that are unsafe by what is not in this report, saved with isan check --format"
                             " json, and say what has gone")
    parser.add_argument("--log", metavar="DIR", help="keep the logs there (made if missing), for isan report DIR/MODULE/STEP")
    many = parser.add_argument_group("of many modules (docs/scale.md)")
    many.add_argument("--list", metavar="FILE", help="check what its lines name, too, each a MODULE; # begins a comment, - is stdin")
    many.add_argument("--shard", metavar="K/N", help="of all these check the K-th and each N-th after it")
    many.add_argument("--results", metavar="DIR", help="keep the result for each MODULE there (made if missing), and do not check again"
                      " what has one; several workers may share it")
    many.add_argument("--merge", metavar="DIR", nargs="+", default=[],
                      help="check nothing, but tell the results in these directories, and which MODULEs have none")
    parser.epilog = EPILOG


class Step:
    """A step that was run: what it told, and how it ended."""

    def __init__(self, title, kind, module, log_dir):
        self.title, self.kind, self.module, self.log_dir = title, kind, module, log_dir
        self.events, self.status, self.seconds, self.hung, self.output = [], None, 0, False, ""
        self.silence = 0        # the longest time without a new event, in seconds

    def told(self, *what):
        return [event for event in self.events if event[:len(what)] == what]

    @property
    def ended(self):
        return bool(self.told("end"))

    @property
    def last(self):
        """What it was doing: (phase, interpreter, import or call or None), by what was begun and is not done."""
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
        return [event for event in self.told("failed") if event[2] == phase]

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
        """A crash or hang, in words."""
        phase, number, what_of_it = self.last
        what = {"import": "importing it", "exercise": "exercising it", "end": "ending the interpreter",
                "exit": "ending the process"}.get(phase, "starting")
        if what_of_it and what_of_it != self.module:
            what += " (%s)" % what_of_it
        how = ("hangs" if self.hung else "crashes with %s" % signal.Signals(-self.status).name if self.status and self.status < 0
               else "ends the process (status %s)" % self.status)
        why = self.status == -signal.SIGABRT and not self.hung and ABORTED.search(self.output)
        return "%s: %s while %s%s" % (self.title, how, what, " (%s)" % why[0].strip() if why else "")


class Checker:
    def __init__(self, args, directory):
        self.args, self.directory = args, directory
        self.python, self.words, self.preload = run.python_of(args)
        self.options, _, suppressions = run.options_of(os.environ.get("ISAN_OPTIONS", ""), directory)
        self.suppressed = report_.suppressions_in([*args.suppressions, *[suppressions] * bool(suppressions)])
        self.known = report_.baseline_in(args.baseline, baseline.read_check)
        *version, self.release = self.ask("import sys; print('%d %d' % sys.version_info[:2], sys.version)").split(" ", 2)
        self.version = tuple(map(int, version))
        if self.version < (3, 11):
            raise Problem("%s is Python %d.%d, and isan knows 3.11 to 3.14: give --python another" % (self.python, *self.version))
        self.file = os.path.abspath(args.exercise) if args.exercise else os.path.join(HERE, "suite.py" if args.tests else "exercise.py")
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
        self.limit = None if self.version >= (3, 12) else (
            "Python %d.%d has no interpreters with GILs of their own: to see what is safe there, check with 3.12 or newer" % self.version)

    def ask(self, code):
        done = subprocess.run([*self.words, "-I", "-c", code], executable=self.python, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Problem("%s does not work: %s" % (self.python, (done.stderr.strip().splitlines() or ["status %d" % done.returncode])[-1]))
        return done.stdout.strip()

    def configuration(self):
        """What a result depends on beside the module: it is another's where any of these differs."""
        args = self.args
        return {"isan": __version__, "Python": "%s (%s)" % (self.python, self.release), "--interpreters": args.interpreters,
                "--force": args.force, "--timeout": args.timeout, "--allow": sorted(set(args.allow)), "--pip": args.pip,
                "--tests": args.tests, "--baseline": contents(args.baseline),
                "--suppressions": [contents(file) for file in args.suppressions], "ISAN_OPTIONS": os.environ.get("ISAN_OPTIONS", ""),
                "--exercise": args.exercise and hashlib.sha256(self.source.encode()).hexdigest()[:16]}

    def progress(self, what):
        """On a terminal the line is written over; elsewhere it is a line."""
        if sys.stderr.isatty():
            print("\r\x1b[K%s" % what, end="", file=sys.stderr, flush=True)
        elif what:
            print("isan check: " + what, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def waiting(self, name, title):
        """Gives a function that waits a little for a process, and says whether it has ended; what takes more than two
        seconds is told."""
        began = said = time.monotonic()

        def wait(process):
            nonlocal said
            now = time.monotonic()
            if now - began > 2 and (said == began or now - said > (1 if sys.stderr.isatty() else 20)):
                said = now
                self.progress("%s: %s, %d s" % (text.escape(name), title, now - began))
            try:
                process.wait(0.05 if now - began < 2 else 0.5)
                return True
            except subprocess.TimeoutExpired:
                return False

        yield wait

    def step(self, name, title, step, kind, module, path, names=(), skip=(), isan=True, runner=None, silent=SILENT):
        """Run one step to its end, or until nothing new has come from it for too long."""
        directory = os.path.join(self.directory, results.file_name(name), title.replace(", ", "-"))
        os.makedirs(directory, exist_ok=True)
        result = Step(title, kind, module, directory if isan else None)
        job = {"module": module, "path": path, "fd": None, "source": self.source, "file": self.file, "step": step,
               "kind": kind, "interpreters": self.args.interpreters, "force": self.args.force, "memory": MEMORY,
               "given": {"names": list(names), "skip": sorted(skip), "allow": self.args.allow, "tests": self.tests, "runner": runner}}
        env = residue.environment(self.preload) if isan else dict(os.environ)
        if isan:
            env["ISAN_OPTIONS"] = ":".join([*self.options, "log_path=" + directory, "exitcode=0"])
        with tempfile.TemporaryDirectory(prefix="isan-check-") as empty, tempfile.TemporaryFile() as told, \
                tempfile.TemporaryFile() as output:
            job["fd"] = told.fileno()
            os.set_inheritable(told.fileno(), True)
            began = time.monotonic()
            process = subprocess.Popen(
                [*self.words, "-P", os.path.join(HERE, "stage.py"), repr(job)], executable=self.python, env=env,
                cwd=project_of(self.tests) if self.tests else empty, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, pass_fds=[told.fileno()], start_new_session=True, preexec_fn=end_with_parent())
            try:
                with self.waiting(name, title if isan else "looking at it") as wait:
                    self.watch(result, process, told, wait, self.args.timeout or silent,
                               STALLED if step == "main" and self.automatic else None)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            result.status, result.seconds = process.returncode, time.monotonic() - began
            result.events = self.events(told)
            output.seek(0)
            result.output = output.read().decode("utf-8", "backslashreplace")
        return result

    @staticmethod
    def events(told):
        data = os.pread(told.fileno(), os.fstat(told.fileno()).st_size, 0)
        return [ast.literal_eval(line.decode()) for line in data.split(b"\n")[:-1] if line]

    def watch(self, result, process, told, wait, limit, stalled):
        size, since = 0, time.monotonic()
        while not wait(process):
            new, now = os.fstat(told.fileno()).st_size, time.monotonic()
            if new != size:
                size, since = new, now
            result.silence = max(result.silence, now - since)
            if result.silence < limit and not (stalled and now - since > stalled and self.events(told)[-1][0] == "call"):
                continue
            result.hung = True
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                process.send_signal(signal.SIGABRT)     # so that isan records where it hangs
                process.wait(10)
            return

    def check(self, name, path):
        """The result for a module."""
        try:
            return Module(self, name, path).check()
        finally:
            if not self.args.log:
                shutil.rmtree(os.path.join(self.directory, results.file_name(name)), ignore_errors=True)

    def control(self, title, step, kind, path, others):
        """Whether the same goes well without a module, but for the extensions of others that it loads; asked only when
        nothing tells whose a crash is, and then twice, since what runs in parallel is not the same each time."""
        key = title, *others
        if key not in self.controls:
            runs = (self.step("without it", title, step, kind, None, path, others) for _ in range(2))
            self.controls[key] = all(done.outcome == "ended" for done in runs)
        return self.controls[key]


def locate(argument):
    """The module that an argument names, and what to put into sys.path for it."""
    if not argument.endswith(".so") and os.sep not in argument:
        return argument, [os.getcwd()]
    file = os.path.abspath(argument)
    if not os.path.exists(file):
        raise Problem("there is no %s: give the name of a module, or the path of an extension, a wheel or a project" % argument)
    if os.path.isdir(file) and not os.path.exists(os.path.join(file, "__init__.py")):
        raise Problem("%s is no package, and has no %s: give the path of an extension, a wheel or a project" % (
            argument, " or ".join(distribution.PROJECT)))
    directory, base = os.path.split(file)
    name = base.partition(".")[0]
    while os.path.exists(os.path.join(directory, "__init__.py")):
        directory, package = os.path.split(directory)
        name = package + "." + name
    return name, [directory]


def end_with_parent():
    """For subprocess.Popen: what a killed worker has started must not go on without it (prctl(2), PR_SET_PDEATHSIG)."""
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def preexec():
        prctl(1, signal.SIGKILL)
        if os.getppid() != parent:      # it has ended before that
            os._exit(1)

    return preexec


def project_of(tests):
    """Where a project's tests are run: the directory of its settings, by their names."""
    above = [tests] * os.path.isdir(tests) + [os.fspath(directory) for directory in pathlib.PurePath(tests).parents]
    return next((directory for directory in above if any(
        os.path.exists(os.path.join(directory, name))
        for name in (*distribution.PROJECT, "setup.cfg", "tox.ini", "pytest.ini"))), above[0])


def together(findings):
    """One finding for what was found of the same in several kinds of interpreters; the cause before what came of it.  Nor
    does its fingerprint tell them apart: in which of them it shows first may differ from run to run."""
    kept = {}
    for finding in findings:
        same = fingerprints.identity(dict(finding, owner=None, current=None))
        first = kept.setdefault(same, dict(finding, seen_in=[]))
        first["seen_in"] += [kind for kind in finding["seen_in"] if kind not in first["seen_in"]]
        if first["id"] != finding["id"]:
            first["count"] += finding["count"]
    for finding, fingerprint in zip(kept.values(), whatever_the_interpreters(kept.values())):
        finding["fingerprint"] = fingerprint
    return sorted(kept.values(), key=lambda finding: finding["kind"] != "static")


def whatever_the_interpreters(findings):
    copies = [dict(finding, owner=None, current=None) for finding in findings]
    fingerprints.assign(copies)
    return [copy["fingerprint"] for copy in copies]


def some_of(tests):
    """A few failing tests, and why."""
    return "; ".join("%s (%s)" % (test, (why.splitlines() or [""])[0]) for test, why in sorted(tests.items())[:3]) + "; ..." * (len(tests) > 3)


def short(name):
    return name.partition(".")[0].strip("_")


class Module:
    """One module, checked."""

    def __init__(self, checker, name, path):
        self.checker, self.args, self.name, self.path = checker, checker.args, name, path
        self.steps, self.extensions, self.loads_too, self.unloaded, self.notes, self.skip = [], [], [], [], [], set()
        self.verdict, self.reasons, self.deciding, self.leaks = None, [], [], []
        self.fails, self.gone = False, []       # unsafe, and not only by what the baseline has; what that has, and it has not
        self.others = {}        # file of another module, None: CPython's own -> number of findings
        self.declares, self.report, self.crashes, self.files = None, None, [], set()
        self.modes, self.titles = {}, {}
        self.runner, self.silent = None, SILENT
        self.began = time.monotonic()
        self.seconds = 0

    # -- running -----------------------------------------------------------------

    def run_step(self, title, step, kind, isan=True):
        done = self.checker.step(self.name, title, step, kind, self.name, self.path,
                                 [extension["name"] for extension in self.extensions], self.skip, isan, self.runner, self.silent)
        if isan:
            self.steps.append(done)
        return done

    def look(self):
        """What it consists of, without isan; False: it cannot be imported."""
        look = self.run_step("look", "look", "main", isan=False)
        while look.told("module") and look.last[2] and look.outcome in ("hung", "crashed", "died") and len(self.skip) < RETRIES:
            self.skip.add(look.last[2])     # an extension that its package does not import
            look = self.run_step("look", "look", "main", isan=False)
        failed = look.failures("import")
        if failed or not look.told("module"):
            what = "%s: %s" % failed[0][3:] if failed else look.trouble()
            self.reasons.append("it cannot be imported in %s (%s)" % (self.checker.python, text.escape(what)))
            if os.path.isdir(self.name) and distribution.is_one(os.path.join(os.curdir, self.name)):
                self.reasons.append("to check the project in the directory of that name, say ./" + text.escape(self.name))
            return False
        found = [{"name": name, "file": file, "importer": importer, "declares": declares, "state": state}
                 for _, name, file, importer, declares, state in look.told("extension")]
        top = self.name.partition(".")[0]
        self.extensions = ([e for e in found if e["name"] == self.name]
                           if any(e["name"] == self.name for e in found)
                           else [e for e in found if e["name"].partition(".")[0] == top]
                           or [e for e in found if short(e["name"]).startswith(top.strip("_"))]
                           or [e for e in found if e["importer"] and e["importer"].partition(".")[0] == top])
        self.builtin = look.told("module")[0][1] == "built-in"
        self.loads_too = [e["name"] for e in found if e not in self.extensions]
        self.files = {os.path.realpath(e["file"]) for e in self.extensions}
        self.unloaded = [event[1:] for event in look.told("unloaded")]
        if not look.ended:
            self.notes.append("not all that it declares could be read (%s)" % look.trouble())
        if self.extensions:
            self.declares = min((e["declares"] for e in self.extensions), key=DECLARES.index)
        elif self.builtin:
            self.declares = "built-in"
        else:
            self.declares = "pure Python"
        return True

    def check(self):
        if self.look():
            self.run_all()
            self.judge()
            if self.report["dropped"]:
                self.reasons.append(phrases.incomplete(self.report))
                self.verdict = self.verdict if self.verdict == "unsafe" else None
            self.fails = self.verdict == "unsafe"
            if self.checker.known:
                self.compare(*self.checker.known)
        self.seconds = time.monotonic() - self.began
        return self.result()

    def run_all(self):
        for title, step, kind in STEPS:
            if kind == "isolated" and self.checker.version < (3, 12):
                continue
            before = [done for done in self.steps if done.kind == kind]
            if before and before[-1].outcome != "ended":
                continue        # what one at a time cannot do
            done = self.run_step(title, step, kind)
            while kind == "main" and not self.args.exercise and done.last[2] and done.outcome in ("hung", "crashed", "died") \
                    and len(self.skip) < RETRIES:
                # No matter of interpreters: it is what these arguments do.
                self.notes.append("%s, and is left out" % done.trouble())
                self.leave_out(done.last[2])
                self.steps.remove(done)
                done = self.run_step("%s, again %d" % (title, len(self.skip)), step, kind)
            if kind == "main":
                if done.outcome in ("crashed", "died") and done.last[0] == "start":
                    raise Problem("%s does not get to the module under isan: %s: %s" % (
                        self.checker.python, done.trouble(), text.escape((done.output.strip().splitlines() or ["it says nothing"])[-1])))
                if done.outcome in ("refused", "failed"):
                    break
                for _, _, self.runner, count in done.told("tests"):
                    self.tested(done, count)
                self.silent = min(max(QUICK, 3 * self.args.interpreters * done.silence), 60 * SILENT)

    def leave_out(self, call):
        """What ended the process; what makes the object, if another of its attributes did, too; in the end all."""
        made = call.rpartition(".")[0]
        if made.endswith(")") and any(other.startswith(made + ".") for other in self.skip):
            call = made.partition("(")[0]
            self.notes[-1] += ", with all that %s makes" % call
        self.skip.add(call)
        if self.checker.automatic and len(self.skip) == RETRIES:
            self.skip.add(ALL)
            self.notes[-1] += ", with the rest of the exercise, so that nothing was judged but the import"

    def tested(self, done, count):
        """What its tests do where there is one interpreter: those that fail say nothing of several."""
        failing = {event[2]: event[3] for event in done.told("test")}
        self.skip |= set(failing)
        self.notes.append("its tests in each interpreter: %s, with %s" % (text.plural(count, "test"), self.runner))
        if failing:
            self.notes.append("%s, whatever the interpreters, and %s left out: %s" % (
                text.plural(len(failing), "of them fails", "of them fail"), "is" if len(failing) == 1 else "are", some_of(failing)))
        if count <= len(failing):
            self.notes.append("none of its tests could be used, so that nothing was judged but the import")

    # -- judging -----------------------------------------------------------------

    def culprit(self, finding):
        """The extension or library that a finding is about - by the static, else by whose code used or made the object,
        else by its type - or None: CPython's own."""
        holder = finding["holder"]
        if holder and holder.get("address") is not None and holder["module"]:
            if not self.of_python(holder["module"]):
                return holder["module"]
            if re.match("_?Py[A-Za-z_]+_Type$", holder["symbol"] or ""):
                return None         # what a type of CPython's has, such as its dict, is for all that share the type
        if finding["kind"] == "immortal":
            return finding["suspects"][0]["module"] if len(finding["suspects"]) == 1 else None
        stacks = [finding["stacks"].get(name, []) for name in ("used", "created")]
        for frames in stacks + [place["stack"] for place in finding.get("places", [])]:
            module = self.whose(frames)
            if module:
                return module
        module = (finding["object"]["type"] or "").rpartition(".")[0]
        return next((e["file"] for e in self.extensions if module and module in (e["name"], self.name)), None)

    def mine(self, file):
        """Whether a file is one of the module's extensions."""
        return bool(file) and os.path.realpath(file) in self.files

    def of_python(self, module):
        return os.path.realpath(module) == os.path.realpath(self.report["process"]["executable"] or "") \
            or bool(re.match(r"libpython3", os.path.basename(module)))

    def whose(self, frames):
        """The extension or library whose code is the innermost of a stack, or None."""
        for frame in frames:
            if frame["kind"] == "native" and frame["module"]:
                if re.match("_(xxsub)?interpreters", os.path.basename(frame["module"])):
                    return None         # whose calls are ours (isan/stage.py)
                if not frame["cpython"] or "/lib-dynload/" in frame["module"]:
                    return frame["module"]
        return None

    def judge(self):
        logs = {}
        for done in self.steps:
            with contextlib.suppress(OSError):
                logs.update((path, done) for path in log.logs_in(done.log_dir))
        if not logs:
            raise Problem("%s left no log, so nothing was checked: %s" % (
                self.checker.python, (self.steps[-1].output.strip().splitlines() or ["it did not load libisan.so"])[-1]))
        self.report = report_.make(sorted(logs), suppressed=self.checker.suppressed)
        # Places are told as seen from here, not from where it ran.
        self.report["process"] = dict(self.report["process"] or {"executable": None}, cwd=os.getcwd())
        told = phrases.Phrases(self.report)
        for finding in self.report["findings"] + self.report["suppressed"]:
            finding["headline"] = told.headline(finding)
        self.notes += ["%s, offset %d: %s" % (e["log"], e["offset"], e["text"]) for e in self.report["errors"]]
        bare = [note["text"] for note in self.report["notes"]
                if note["pid"] is None and any(e["file"] in note["text"] for e in self.extensions)]
        self.notes += bare[:1]
        if bare[1:]:
            self.notes.append("nor have %d more of its extensions" % len(bare[1:]))
        steps = {}
        for path, done in logs.items():
            for process in self.report["processes"]:
                if process["log"] == os.path.basename(path):
                    steps[process["pid"]] = done
        self.titles = {pid: done.title for pid, done in steps.items()}
        self.modes = {kind: Mode(kind, [done for done in self.steps if done.kind == kind]) for kind in WHERE}
        reached = {kind for kind, mode in self.modes.items() if mode.loads}
        suspects = {}
        self.static_types = {(f["holder"]["module"], f["holder"]["offset"]) for f in self.report["findings"]
                             if f["object"]["static_type"] and f["holder"] and f["holder"]["offset"] is not None}
        for finding in self.report["findings"]:
            kinds = {steps[pid].kind for pid in finding["pids"] if pid in steps}
            finding["seen_in"] = [INTERPRETERS[kind] for kind in WHERE if kind in kinds]
            culprit = self.culprit(finding)
            if not self.mine(culprit):
                self.others[culprit] = self.others.get(culprit, 0) + 1
                if finding["kind"] in ("share", "stale", "free", "race"):   # what crashes come of
                    for pid in finding["pids"]:
                        if culprit or steps.get(pid) not in suspects:       # a module before CPython itself
                            suspects[steps.get(pid)] = culprit or suspects.get(steps.get(pid)) or "CPython itself"
            elif finding["kind"] == "leak":
                self.leaks.append(finding)
            elif finding["kind"] == "static" and not kinds & reached:
                continue        # it refused those that could reach it
            else:
                for kind in kinds:
                    shared = kind != "isolated" and self.with_one_gil(finding)
                    (self.modes[kind].limits if shared else self.modes[kind].findings).append(finding)
        for done in self.steps:
            if done.outcome in ("hung", "crashed", "died"):
                self.blame(done, [c for c in self.report["crashes"] if steps.get(c["pid"]) is done], suspects.get(done))
        for mode in self.modes.values():
            if self.args.tests and mode.kind != "main" and mode.failures:      # what is to run them is at fault
                self.notes += mode.failures
                mode.failures, mode.unknown = [], True
        self.decide(suspects)

    def with_one_gil(self, finding):
        """Whether interpreters that share a GIL may do it: they share static types, as CPython's own were until 3.12, with
        what PyType_Ready() gave them, and what refers to nothing and is in no collector's list, as long as somebody owns it,
        also when the first of them ends: they have one heap, too.  So are the functions of a single-phase module, of which
        the runtime gives each the first one's (Python/import.c)."""
        object, holder = finding["object"], finding["holder"]
        if object["static_type"] or object["type"] in LEAVES and not object["freed"]:
            return True
        if object["type"] == "builtin_function_or_method" and finding["kind"] in ("share", "stale") and not object["freed"] \
                and any(frame["function"] == "PyModule_AddFunctions" for frame in finding["stacks"].get("created", [])):
            return True
        if holder and re.search(r"(^|\.)tp_(dict|bases|mro|subclasses|cache|weaklist)$", holder.get("path") or ""):
            return True         # of a type that nobody used itself
        return bool(holder) and any(
            holder["module"] == module and 0 <= (holder["offset"] or 0) - at < TYPE_SIZE for module, at in self.static_types)

    def blame(self, done, crashes, suspect):
        """Whose a crash or a hang is: suspect has a finding in that step, too."""
        at = [frame for crash in crashes for frame in crash["stack"] if frame["kind"] == "native"]
        mine = next((frame for frame in at if self.mine(frame["module"])), None)
        title = done.title.partition(", again")[0]
        step, kind = next(step[1:] for step in STEPS if step[0] == title)
        trouble = done.trouble()
        if mine:
            trouble += ", at %s" % _where(mine)
        elif kind != "main":
            theirs = self.whose(at) or not self.modes[kind].findings and suspect
            if theirs:
                trouble += ", which seems to be the doing of %s" % os.path.basename(theirs)
            if theirs or not self.checker.control(title, step, kind, self.path, self.loads_too):
                self.notes.append(trouble + ("" if theirs else "; so do interpreters without it, in this Python"))
                self.modes[kind].unknown = True
                return
        self.modes[kind].troubles.append(trouble)
        self.crashes += [dict(crash, step=done.title, trouble=trouble) for crash in crashes]

    def decide(self, suspects):
        main, legacy, own = (self.modes[kind] for kind in ("main", "legacy", "isolated"))
        if main.refusal:
            self.reasons.append("it cannot be imported under isan: " + main.refusal)
            return
        if main.failures:
            self.reasons += main.failures
            return
        refuses = own.steps and own.refusal
        bad = [mode for mode in (main, legacy, own) if mode.bad]
        forced = self.args.force and self.declares in DECLARES[:DECLARES.index("own-gil")] and own.bad
        if bad and not (forced and bad == [own]):
            self.verdict = "unsafe"
        elif legacy.unknown and not (legacy.loads or legacy.refusal):
            self.reasons.append("legacy interpreters: it cannot be told, since what it imports does not get that far there")
        elif legacy.refusal:
            self.verdict = "main"
        elif not own.steps or refuses or own.bad or own.unknown:
            self.verdict = "legacy"
            self.deciding += together(legacy.limits)
        else:
            self.verdict = "own-gil"
        for mode in bad:
            self.reasons += mode.troubles + mode.failures
            self.deciding += mode.findings
        self.deciding = together(self.deciding)
        for mode in legacy, own:
            if mode.refusal:
                self.reasons.append("%s: %s (%s)" % (
                    WHERE[mode.kind], "refused" if mode.refusal.startswith("ImportError") else "the import fails", mode.refusal))
                theirs = {suspects[done] for done in mode.steps if done in suspects and done.failures("import")} - {"CPython itself"}
                if theirs and not mode.findings and not mode.refusal.startswith("ImportError"):
                    self.reasons[-1] += ", which seems to be the doing of %s" % ", ".join(map(os.path.basename, sorted(theirs)))
        if forced:
            self.reasons.append("the refusal was lifted by --force; it is right in refusing")
        for mode in legacy, own:
            failing = {event[2]: event[3] for done in mode.steps for event in done.told("test") if event[2] not in self.skip}
            if failing:
                self.reasons.append("%s: %s there, and not in the main interpreter: %s" % (
                    WHERE[mode.kind], text.plural(len(failing), "of its tests fails", "of its tests fail"), some_of(failing)))
        if not own.steps:
            self.notes.append(self.checker.limit)
        if own.unknown or legacy.unknown:
            self.notes.append("not all could be tried")
        if not self.extensions and self.builtin:
            self.notes.append("it is built into Python: what it does is not told from what CPython does, so that only crashes,"
                              " hangs and failures are judged")
        elif not self.extensions:
            self.notes.append("it has no extension of its own")
        if self.unloaded:
            self.notes.append("not looked at: %s%s" % (
                ", ".join("%s (%s)" % one for one in self.unloaded[:4]),
                ", and %d more" % (len(self.unloaded) - 4) if self.unloaded[4:] else ""))

    def compare(self, saved, verdicts_):
        """With what was saved: which findings are new, and what has gone."""
        known = baseline.knows(saved)
        for finding in self.deciding:
            finding["baseline"] = "known" if known(finding) else "new"
        self.deciding.sort(key=lambda finding: finding["baseline"] == "known")
        present = {finding["fingerprint"] for finding in self.deciding} | set(whatever_the_interpreters(
            self.report["findings"] + self.report["suppressed"]))
        self.gone = [finding for finding in baseline.gone(saved, present) if finding["checked"] == self.name]
        # What a crash comes of is a finding; the crash itself has nothing to be known by.
        if verdicts_.get(self.name) == "unsafe":
            self.fails = self.fails and any(map(baseline.is_new, self.deciding))

    # -- telling -----------------------------------------------------------------

    def result(self):
        """What was found out, as a verdicts.Result: plain data, so that it is told in the same way from a file."""
        return verdicts.Result({
            "name": self.name, "declares": self.declares, "verdict": self.verdict, "fails": self.fails, "reasons": self.reasons,
            "findings": self.deciding, "leaks": self.leaks, "crashes": self.crashes,
            "extensions": [{key: e[key] for key in ("name", "file", "declares", "state")} for e in self.extensions],
            "steps": [{"name": done.title, "outcome": done.outcome, "seconds": round(done.seconds, 2)} for done in self.steps],
            "other_findings": [{"module": file, "count": count} for file, count in self.others.items()],
            "left_out": sorted(self.skip), "not_looked_at": [name for name, _ in self.unloaded], "notes": self.notes,
            "seconds": round(self.seconds, 2),
            "loads": [INTERPRETERS[kind] for kind, mode in self.modes.items() if mode.loads], "gone": self.gone,
            "report": self.report and self.told()})

    def told(self):
        """The report without what nobody is told of, which is most of it."""
        told = {finding["id"] for finding in self.deciding + self.leaks}
        needed = told | {finding["holder"].get("leak") for finding in self.deciding + self.leaks if finding["holder"]}
        return dict(
            self.report, residue=[],
            findings=[dict(finding, paired=[id for id in finding["paired"] if id in told])
                      for finding in self.report["findings"] if finding["id"] in needed],
            processes=[dict(process, step=self.titles.get(process["pid"], "?")) for process in self.report["processes"]])


class Mode:
    """What a module did in one kind of interpreter."""

    def __init__(self, kind, steps):
        self.kind, self.steps, self.findings, self.troubles, self.unknown = kind, steps, [], [], False
        self.limits = []        # findings that only interpreters with GILs of their own need fear
        refused = [event for done in steps for event in done.failures("import")]
        self.refusal = "%s: %s" % refused[0][3:] if refused else None
        failed = []             # the first of each step, but where it could not be imported either
        for done in steps:
            without = {event[1] for event in done.failures("import")}
            failed += [(done.title, event[1], *event[3:]) for event in done.failures("exercise") if event[1] not in without][:1]
        self.failures = ["%s: the exercise fails in interpreter %d: %s: %s" % one for one in failed]
        self.loads = bool(steps) and not refused and any(event[2] == "import" for done in steps for event in done.told("done"))

    @property
    def bad(self):
        return bool(self.findings or self.troubles or self.failures)


def _where(frame):
    return "%s in %s" % (text.escape("%s:%s" % (frame["file"], frame["line"]) if frame["file"] else
                                     os.path.basename(frame["module"])), text.escape(frame["function"] or "?"))


def modules_of(argument, checker, directory):
    """The names that an argument stands for, each with what to put into sys.path for it; `directory` is for what pip installs."""
    if distribution.is_one(argument):
        return [(name, [directory]) for name in distribution.install(argument, checker, directory)]
    return [locate(argument)]


def each(checker, arguments):
    """The results for MODULEs, one by one; the first are the names of all."""
    modules = []
    for number, argument in enumerate(arguments, 1):
        modules += modules_of(argument, checker, os.path.join(checker.directory, "installed", str(number)))
    yield [name for name, _ in modules]
    for name, path in modules:
        yield [checker.check(name, path)]


def each_kept(checker, arguments, store):
    """The same with a store: what has a result is not checked, and what another worker is at neither.  What pip cannot
    install is a result, too."""
    yield arguments
    for argument in arguments:
        found, ends = store.take(argument)
        if found is None and ends is None:
            continue
        if found is None and len(ends) >= results.ENDS:
            found = [verdicts.Result.unknown(argument, "workers ended while they checked it: %s; to have it checked again,"
                                                       " remove %s" % ("; ".join(ends), store.path(argument)))]
            store.keep(found)
        elif found is None:
            if ends:
                checker.progress("%s was being checked when a worker ended (%s): once more" % (text.escape(argument), ends[-1]))
            target = os.path.join(checker.directory, "installed", results.file_name(argument))
            try:
                try:
                    modules = modules_of(argument, checker, target)
                except Problem as problem:
                    found = [verdicts.Result.unknown(argument, str(problem))]
                else:
                    found = [checker.check(name, path) for name, path in modules]
            except (KeyboardInterrupt, Problem, symbols.Missing):       # no fault of the module's
                store.withdraw()
                raise
            except Exception as error:
                store.failed("%s: %s" % (type(error).__name__, error))
                raise
            finally:
                if not checker.args.log:
                    shutil.rmtree(target, ignore_errors=True)
            for result in found if ends else []:
                result.notes.append("it was being checked when a worker ended (%s), and was checked once more" % ends[-1])
            store.keep(found)
        yield found


def contents(file):
    """What a file holds, in short; None: there is none."""
    if not file:
        return None
    with open(file, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()[:16]


def usage(args):
    """What is wrong with the arguments whatever they name."""
    if args.version and not args.flavor:
        raise Problem("--version goes with --flavor")
    if args.interpreters < 2:
        raise Problem("--interpreters is a number from 2 on, not %d" % args.interpreters)
    if args.timeout is not None and args.timeout <= 0:
        raise Problem("--timeout is a number of seconds, not %g" % args.timeout)
    if args.merge and args.results:
        raise Problem("--merge reads results, and --results makes them: give one of them")
    if args.merge and (args.baseline or args.suppressions):
        raise Problem("--baseline and --suppressions are for checking: results that are merged were told with those of the workers")
    if not (args.modules or args.list or args.merge):
        raise Problem("give the name of a module, or the path of an extension, a wheel or a project, or a --list of them")


def tell(args, python, found, interrupted, limit):
    """What follows the table's rows, or the whole in another format; the exit status."""
    told = verdicts.Told(python, limit, args.baseline, args.full)
    if args.format == "text":
        report_.write(sys.stdout, verdicts.details(told, found, text.wants_color(sys.stdout)))
        if args.list or args.merge:
            print("\n" + verdicts.counted(found))
    else:
        report_.write(sys.stdout, verdicts.FORMATS[args.format](told, found, interrupted))
    report_.write_all(args.reports, {name: functools.partial(make, told, found, interrupted)
                                     for name, make in verdicts.FORMATS.items()})
    if any(module.fails for module in found):
        return tables.OPTIONS["exitcode"].default
    return 2 if any(module.verdict is None for module in found) else 0


def merge(args, arguments):
    merged = results.Merged(args.merge)
    for complaint in merged.complaints:
        print("isan check: " + complaint, file=sys.stderr)
    found = merged.results(arguments)
    if not found:
        raise Problem("there is no result in %s: give the directories that --results had" % text.escape(", ".join(args.merge)))
    table = verdicts.Table([text.escape(module.name) for module in found])
    if args.format == "text":
        report_.write(sys.stdout, "".join(table.row(cells) + "\n" for cells in verdicts.rows(found)))
    return tell(args, merged.python, found, False, merged.limit)


def main(args):
    usage(args)
    report_.prepare(args.reports)
    arguments = results.shard(results.listed(args.modules, args.list), args.shard)
    if args.merge:
        return merge(args, arguments)
    if args.pip and not any(map(distribution.is_one, arguments)):
        raise Problem("--pip is for a wheel or a project, and no MODULE is one (a directory with %s, by its path)"
                      % " or ".join(distribution.PROJECT))
    for argument in arguments:
        if not distribution.is_one(argument):
            locate(argument)
    with contextlib.ExitStack() as stack:
        directory = os.path.abspath(args.log) if args.log else stack.enter_context(
            tempfile.TemporaryDirectory(prefix="isan-check-"))
        run.prepare(directory)
        checker = Checker(args, directory)
        store = results.Store(args.results, checker) if args.results else None
        every = each_kept(checker, arguments, store) if store else each(checker, arguments)
        names, done, found, interrupted = next(every), 0, [], False
        table = verdicts.Table(map(text.escape, names))
        if args.format == "text":
            print(table.row(verdicts.COLUMNS), flush=True)
        # As Ctrl-C: how batch systems say that the time is up.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            for more in every:
                done += 1
                found += more
                if sys.stderr.isatty():
                    checker.progress("")
                if args.format == "text":
                    report_.write(sys.stdout, "".join(table.row(module.row()) + "\n" for module in more))
        except KeyboardInterrupt:
            interrupted = True
        except symbols.Missing as error:
            raise Problem(str(error))
        finally:
            signal.signal(signal.SIGTERM, before)
        status = tell(args, checker.python, found, interrupted, checker.limit)
        if store:
            store.summary()
        if interrupted:
            print("isan check: interrupted: %d of %d modules were checked" % (done, len(names)), file=sys.stderr)
        return 130 if interrupted else status
