"""The pytest plugin: tests under isan, and in interpreters of their own. docs/testing.md describes its use.

    isan test [PYTEST ARGS]             or, in an existing setup: pytest -p isan.pytest

A test fails if findings are made while it runs, and its failure shows the report on them. `isan test`
(isan/cli/test.py) is the parent of the process that runs the tests, and makes the reports in processes of their own:
this module loads as little as it can, because isan also sees what it loads. A test in interpreters of its own is run by
a pytest in each of them. This module is on both sides: Item in the main interpreter, run_here() in the others.
"""
import io
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import threading
import traceback

import isan
import pytest
from _pytest._code.code import ReprFileLocation
from _pytest._io import TerminalWriter
from _pytest.config import Config
from isan import interpreters

try:
    from isan._c_tables import KINDS
except ImportError:
    raise pytest.UsageError("%s is not built: run make first" % isan.ROOT) from None

# The environment variable with what `isan test` says, a dictionary: its own command, the files of suppressions, and the
# file of the baseline, if any. {}: tests are not judged.
UNDER = "ISAN__TEST"
MARKERS = [
    "interpreters(n=1, kind=None): run the test in n fresh interpreters in parallel (0: not in any), with GILs of"
    " their own"
    " (own-gil) or the main one's (legacy)",
    "limit_leaks(limit, *, warmups=0): fail the test if it leaves behind more than this (\"0 B\", \"24 KB\") in"
    " interpreters"
    " that have ended, after so many rounds that do not count",
    "isan_allow(pattern, *, reason): findings of the test that are known, kind:pattern as in a file of suppressions",
]
# Options of pytest for the whole session. A pytest that runs one test in one interpreter does not get them.
SESSION = set("""
    file_or_dir keyword markexpr deselect ignore ignore_glob lf failedfirst newfirst last_failed_no_failures stepwise
    stepwise_skip cacheclear cacheshow numprocesses maxprocesses dist tx distload rsyncdir rsyncignore looponfail boxed
    testrunuid maxworkerrestart px xmlpath junitprefix usepdb usepdb_cls trace maxfail plugins capture basetemp
    collectonly continue_on_collection_errors pastebin durations help version showfixtures show_fixtures_per_test
    markers inifilename rootdir confcutdir isan_interpreters isan_kind debug report_log
""".split())
# Plugins that are useless in another interpreter, or refuse it (faulthandler).
BLOCKED = ["terminal", "cacheprovider", "faulthandler", "junitxml", "xdist", "xdist.looponfail", "pytest_cov",
           "debugging"]

_here = False           # whether this pytest runs in another interpreter than the main one


def plural(n, word):
    return "%d %s%s" % (n, word, "" if n == 1 else "s")


# -- getting under isan -------------------------------------------------------------


def pytest_addoption(parser, pluginmanager):
    group = parser.getgroup("isan", "interpreters, with isan")
    group.addoption("--isan-interpreters", type=int, metavar="N", default=None,
                    help="run each test in N fresh interpreters in parallel, unless its marker `interpreters` says"
                         " otherwise")
    group.addoption("--isan-kind", choices=list(interpreters.KINDS), default=None,
                    help="what interpreters: with GILs of their own (default from Python 3.12 on) or with the main"
                         " one's")
    if not _here and UNDER not in os.environ:
        enter(pluginmanager)


_COMMAND = re.compile(r"(^|/)(pytest|py\.test|pytest-3[\d.]*|pytest/__main__\.py)$")


def enter(pluginmanager):
    """Run this pytest again, under `isan test`, or say why that cannot be."""
    loaded, options = isan.loaded(), os.environ.get("ISAN_OPTIONS", "").split(":")
    if loaded and any(option.startswith("log_path=") for option in options):
        raise pytest.UsageError("isan.pytest is for `isan test`, not for `isan run`: use isan test [PYTEST ARGS]")
    if not _COMMAND.search(sys.argv[0]):
        if os.environ.get("PYTEST_XDIST_WORKER"):
            raise pytest.UsageError("isan is not loaded in this worker of pytest-xdist: start the tests with isan"
                                    " test -n N")
        raise pytest.UsageError("isan.pytest cannot start %s again, which is no command of pytest's: run it with isan"
                                " test"
                                % (sys.argv[0] or "this program"))
    capture = pluginmanager.getplugin("capturemanager")
    if capture:         # it is active if a conftest.py has loaded this plugin
        capture.stop_global_capturing()
    sys.stdout.flush()
    sys.stderr.flush()
    script, env = os.path.join(isan.ROOT, "build", "bin", "isan"), dict(os.environ)
    if "LD_PRELOAD" in env:
        env["ISAN__LD_PRELOAD"] = env.pop("LD_PRELOAD")         # as scripts/isan.sh does
    # A wheel has no script.
    command = [script] if os.path.exists(script) else [
        sys.executable, "-I", os.path.join(os.path.dirname(os.path.abspath(isan.__file__)), "__main__.py")]
    os.execve(command[0], [*command, "test", "--rerun", "loaded" if loaded else "preload", "--", sys.executable,
                           *sys.orig_argv[1:]], env)


def pytest_configure(config):
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    n = config.getoption("isan_interpreters", None)
    if n is not None and n < 0:
        raise pytest.UsageError("--isan-interpreters is a number from 0 on, not %d" % n)
    if config.getoption("isan_kind", None) == "own-gil" and not interpreters.OWN_GIL:
        raise pytest.UsageError("Python %d.%d has no interpreters with GILs of their own: leave --isan-kind out"
                                % sys.version_info[:2])
    if not _here and json.loads(os.environ[UNDER]):
        if not isan.loaded() or not isan.log():
            raise pytest.UsageError("libisan.so is not loaded in this Python, or has no log: run the tests with isan"
                                    " test")
        config.pluginmanager.register(Judge(), "isan judge")


# -- markers ------------------------------------------------------------------------

_SIZE = re.compile(r"(\d+(?:\.\d*)?)\s*([KMGTP]?)B")


def size_of(text):
    """The number of bytes in a size such as "24 KB" (1024 bytes each); None if it is no size."""
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    return int(float(match[1]) * 1024 ** " KMGTP".index(match[2] or " ")) if match else None


def refuse(item, marker, why):
    raise pytest.UsageError("%s: @pytest.mark.%s: %s" % (item.nodeid, marker, why))


def allowed(item):
    """(pattern, reason) of each isan_allow."""
    found = []
    for mark in item.iter_markers("isan_allow"):
        reason = mark.kwargs.get("reason")
        if not isinstance(reason, str) or not reason.strip():
            refuse(item, "isan_allow", "give a reason, such as reason=\"filled under a lock\"")
        if len(mark.args) != 1 or set(mark.kwargs) != {"reason"}:
            refuse(item, "isan_allow", "write isan_allow(\"kind:pattern\", reason=\"...\")")
        kind, _, pattern = mark.args[0].partition(":") if isinstance(mark.args[0], str) else ("", "", "")
        kinds = [row[0] for row in KINDS]
        if kind not in kinds or not re.fullmatch(r"\S+", pattern):
            refuse(item, "isan_allow", "write kind:pattern, the kind one of %s, not %r" % (
                ", ".join(kinds), mark.args[0]))
        found.append((mark.args[0], " ".join(reason.split())))
    return found


def limit_of(item):
    """(bytes, rounds that do not count) of the marker limit_leaks, or None."""
    mark = item.get_closest_marker("limit_leaks")
    if mark is None:
        return None
    limit = size_of(mark.args[0]) if len(mark.args) == 1 else None
    if limit is None or set(mark.kwargs) - {"warmups"}:
        refuse(item, "limit_leaks", "write limit_leaks(\"24 KB\", warmups=2), the limit in B, KB, MB, GB, TB or PB")
    warmups = mark.kwargs.get("warmups", 0)
    if type(warmups) is not int or warmups < 0:
        refuse(item, "limit_leaks", "warmups is a number from 0 on, not %r" % (warmups,))
    return limit, warmups


def where(item):
    """(number of interpreters, their kind) of a test; 0: it runs in the main interpreter."""
    def arguments(n=1, kind=None):
        return n, kind

    config = item.config
    n, kind = config.getoption("isan_interpreters"), None
    mark = item.get_closest_marker("interpreters")
    if mark:
        try:
            n, kind = arguments(*mark.args, **mark.kwargs)
        except TypeError:
            refuse(item, "interpreters", "write interpreters(4) or interpreters(4, kind=\"legacy\")")
        if type(n) is not int or n < 0:
            refuse(item, "interpreters", "the first argument is how many, a number from 0 on, not %r" % (n,))
    if kind not in (None, *interpreters.KINDS):
        refuse(item, "interpreters", "kind is own-gil or legacy, not %r" % (kind,))
    if kind == "own-gil" and not interpreters.OWN_GIL:
        refuse(item, "interpreters", "Python %d.%d has no interpreters with GILs of their own" % sys.version_info[:2])
    if limit_of(item) and n == 0 and mark:
        refuse(item, "limit_leaks", "what a test leaves is known when its interpreter has ended: interpreters(0) has"
                                    " none")
    return n or int(limit_of(item) is not None), kind or config.getoption("isan_kind") or interpreters.DEFAULT


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    if _here:
        return
    for i, item in enumerate(items):
        allowed(item)
        if limit_of(item) and not isinstance(item, pytest.Function):
            refuse(item, "limit_leaks", "only a function can be run in an interpreter of its own")
        n, kind = where(item)
        if n and isinstance(item, pytest.Function):
            items[i] = Item.of(item, n, kind)


PYTEST = ["pytest", "_pytest", "pluggy", "xdist", "execnet", "isan"]


def machinery(*names):
    """The directories of modules that call tests. Their frames are left out of stacks."""
    return [os.path.dirname(sys.modules[name].__file__) + os.sep for name in names if name in sys.modules]


# -- judging ------------------------------------------------------------------------


class Judge:
    """Which findings belong to a test, and whether it fails for them.

    They are those with numbers between the isan.look() before the test and that after it. `isan test --judge`, a
    process of its own, reads the log of this process and says which of them count.
    """

    def __init__(self):
        self.before, self.machinery = 0, machinery(*PYTEST, "os")
        self.under = json.loads(os.environ[UNDER])
        self.tell(machinery=self.machinery)

    def tell(self, **what):
        """Note beside the log what is done, for `isan test` in case this process crashes."""
        with open(isan.log() + ".tests", "a", encoding="utf-8") as file:
            file.write(json.dumps(what) + "\n")

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item):
        self.tell(begin=item.nodeid)
        self.before = isan.findings()
        yield
        self.tell(end=item.nodeid)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item, call):
        before, now = self.before, isan.look()
        self.before = now
        text, counted = self.judge(item, before + 1, now) if now > before else ("", [])
        failed = call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception)
        if text and not failed:
            # As if the test had raised it, so that all that reads reports works, such as xfail and --pdb.
            try:
                pytest.fail(text, pytrace=False)
            except pytest.fail.Exception:
                call.excinfo = pytest.ExceptionInfo.from_current()
        ours = call.excinfo
        outcome = yield
        report = outcome.get_result()
        if report.failed and getattr(report.longrepr, "reprcrash", 0) is None:
            # The summary and JUnit's XML show this in a line. Some versions of pytest leave it out for pytest.fail().
            crash = report.longrepr.reprcrash = ReprFileLocation(
                os.fspath(item.path), item.location[1] + 1, str(call.excinfo.value).partition("\n")[0])
            chain = getattr(report.longrepr, "chain", None)
            if chain:       # what reaches another process (pytest-xdist)
                report.longrepr.chain = [*chain[:-1], (chain[-1][0], crash, chain[-1][2])]
        if text and (failed or call.excinfo is not ours):
            report.sections.append(("isan", text))
        if now > before:
            self.tell(first=before + 1, last=now, test=item.nodeid, counted=counted,
                      outcome="allowed" if not text else "failed" if report.failed else "expected")

    def judge(self, item, first, last):
        """(report on the findings that the test fails for, fingerprints of those that count), by numbers."""
        limit = limit_of(item)
        job = {"log": isan.log(), "first": first, "last": last, "test": item.nodeid, "allow": allowed(item),
               "limit": limit and limit[0], "uncounted": getattr(item, "uncounted", None), "baseline": None,
               "suppressions": self.under["suppressions"], "known": self.under["known"],
               "machinery": self.machinery, "pytest": None}
        if isinstance(item, Item):
            plugins = sorted({"%s-%s" % (dist.project_name, dist.version)
                              for _, dist in item.config.pluginmanager.list_plugin_distinfo()})
            job["baseline"] = {"kind": item.kind, "python": sys.executable, "plugins": [pytest.__version__, *plugins]}
            if item.kind == "legacy":
                job["pytest"] = machinery(*PYTEST)
        env = dict(os.environ)
        env.pop("LD_PRELOAD", None)
        env.pop("ISAN_OPTIONS", None)
        done = subprocess.run([*self.under["command"], "test", "--judge", "job"], input=json.dumps(job), env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="backslashreplace")
        try:
            told = json.loads(done.stdout)
            return told["text"], told["counted"]
        except ValueError:
            return "%s were made, but the report failed: %s" % (
                plural(last - first + 1, "finding"), done.stderr.strip() or "status %d" % done.returncode), []


# -- tests in other interpreters, seen from the main one ------------------------------------------


def simple(value):
    """Whether a value can be written as a literal."""
    if isinstance(value, (list, tuple)):
        return all(map(simple, value))
    if isinstance(value, dict):
        return all(map(simple, [*value, *value.values()]))
    return value is None or type(value) in (bool, int, str) or type(value) is float and math.isfinite(value)


def text_of(report):
    """The text of a failure, with the indentation of its first line."""
    file = io.StringIO()
    report.toterminal(TerminalWriter(file))
    return file.getvalue().strip("\n")


def brief(report):
    """The same in one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash:
        return crash.message.partition("\n")[0]
    # If the module cannot be imported, there is only text.
    said = re.search("^E +(.*)", report.longreprtext, re.M)
    return said[1] if said else ""


class Outcome:
    """What a pytest in another interpreter reports."""

    def __init__(self):
        self.reports, self.errors = [], []      # TestReports; texts of what went wrong otherwise


class Item(pytest.Item):
    """A test function that is run in interpreters of its own, with fixtures that are made there."""

    @classmethod
    def of(cls, function, n, kind):
        item = cls.from_parent(function.parent, name=function.name, nodeid=function.nodeid)
        item.n, item.kind, item.function = n, kind, function
        item.own_markers, item.user_properties = function.own_markers, function.user_properties
        item.keywords.update(function.keywords)
        item.obj = function.obj         # for the conditions of skipif
        item.uncounted = None
        return item

    def reportinfo(self):
        return self.function.reportinfo()

    def runtest(self):
        limit = limit_of(self)
        first = isan.findings() + 1
        for _ in range(limit[1] if limit else 0):
            self.done(self.round())
        self.uncounted = first, isan.findings()
        outcomes = self.round()
        for i, outcome in enumerate(outcomes):
            # The last report has the sections of all.
            for head, text in outcome.reports[-1].sections if outcome.reports else ():
                self._report_sections.append(("call", "interpreter %d: %s" % (i + 1, head), text))
        self.done(outcomes)

    def done(self, outcomes):
        """Fail if the test failed in an interpreter; skip if it was skipped in all."""
        failures, skips, xfails = {}, [], []
        for i, outcome in enumerate(outcomes):
            texts = ["\n\n" + error for error in outcome.errors]
            for report in outcome.reports:
                if report.failed and str(report.longrepr).startswith("[XPASS(strict)]"):
                    pass        # the test has passed, and the main interpreter's pytest says the same
                elif report.failed:
                    phase = "" if report.when in ("call", "collect") else report.when + ":\n"
                    texts.append(brief(report) + "\n\n" + phase + text_of(report))
                elif report.skipped and hasattr(report, "wasxfail"):
                    xfails.append(report.wasxfail)
                elif report.skipped:
                    is_place = isinstance(report.longrepr, (tuple, list))
                    skips.append(report.longrepr[2] if is_place else report.longreprtext)
            if texts:
                failures.setdefault("\n".join(texts), []).append(i + 1)
        if failures:
            pytest.fail("\n\n".join("in interpreter%s %s of %d (%s): %s" % (
                "s" * (len(numbers) > 1), ", ".join(map(str, numbers)), self.n, interpreters.KINDS[self.kind], text)
                for text, numbers in failures.items()), pytrace=False)
        if xfails:
            pytest.xfail(xfails[0].removeprefix("reason: "))
        if skips and len(skips) == len(outcomes):
            raise pytest.skip.Exception(skips[0].removeprefix("Skipped: "), _use_item_location=True)

    def job(self):
        """What the other interpreters are to do, all of it literals."""
        config = self.config
        options = {name: value for name, value in vars(config.option).items() if name not in SESSION and simple(value)}
        path, _, names = self.nodeid.partition("::")
        options.update(
            plugins=[*(p for p in config.option.plugins if p not in ("isan.pytest", "no:terminal") and simple(p)),
                     *("no:" + name for name in BLOCKED), "isan.pytest"],
            capture="no" if config.option.capture == "no" else "sys", rootdir=os.fspath(config.rootpath),
            inifilename=config.inipath and os.fspath(config.inipath), isan_interpreters=None, isan_kind=None)
        return {"options": options, "argument": "%s::%s" % (self.path, names), "nodeid": self.nodeid, "argv": sys.argv}

    def round(self):
        """Run the test in n fresh interpreters, and end them. Returns an Outcome for each."""
        base, job = self.config._tmp_path_factory.getbasetemp(), self.job()
        gate = Gate(self.n)
        outcomes = [Outcome() for _ in range(self.n)]

        def one(outcome, number):
            interpreter, entered = None, False
            try:
                with tempfile.TemporaryFile() as told:
                    directory = tempfile.mkdtemp(prefix="interpreter%d-" % number, dir=base)
                    mine = dict(job, fd=told.fileno(), ready=gate.ready[1], gate=gate.open[0])
                    mine["options"] = dict(job["options"], basetemp=directory)
                    interpreter = interpreters.Interpreter(self.kind)
                    interpreter.run("import isan.pytest")
                    entered = True
                    interpreter.run("isan.pytest.run_here(%r)" % (mine,))
                    told.seek(0)
                    self.read(outcome, told.read())
            except BaseException as error:      # the thread that waits for this one reports it
                outcome.errors.append(str(error) if isinstance(error, interpreters.Failed) else traceback.format_exc())
            if not entered:
                gate.arrive()
            gate.leave()
            try:
                if interpreter:
                    interpreter.end()
            except interpreters.Failed as error:
                outcome.errors.append(str(error))

        threads = [threading.Thread(target=one, args=(outcome, number + 1)) for number, outcome in enumerate(outcomes)]
        for thread in threads:
            thread.start()
        try:
            gate.wait()
        finally:
            gate.release()
        for thread in threads:
            thread.join()
        gate.close()
        return outcomes

    def read(self, outcome, told):
        """Read what run_here() has written."""
        if not told:
            return
        told = json.loads(told)
        outcome.errors += told["errors"]
        outcome.reports += [self.config.hook.pytest_report_from_serializable(config=self.config, data=data)
                            for data in told["reports"]]
        if not told["found"] and not outcome.errors and not any(report.failed for report in outcome.reports):
            outcome.errors.append("%s was not collected in this interpreter" % self.nodeid)


class Gate:
    """Makes the test begin in all interpreters at a time, and end in all before one of the interpreters ends.

    Interpreters share no Python object, so the beginning uses pipes. Each interpreter writes a byte to `ready` and
    reads one from `open`. If it does not get there, its thread writes for it.
    """

    def __init__(self, n):
        self.n, self.ready, self.open, self.left = n, os.pipe(), os.pipe(), threading.Barrier(n)

    def arrive(self):
        os.write(self.ready[1], b".")

    def wait(self):
        arrived = 0
        while arrived < self.n:
            arrived += len(os.read(self.ready[0], self.n))

    def release(self):
        os.write(self.open[1], b"." * self.n)

    def leave(self):
        self.left.wait()

    def close(self):
        for fd in (*self.ready, *self.open):
            os.close(fd)


# -- the same in the other interpreters ---------------------------------------------------------


class Here:
    """The plugin that runs one test and collects its reports."""

    def __init__(self, job):
        self.job, self.reports, self.errors, self.found, self.arrived = job, [], [], False, False

    def arrive(self):
        if not self.arrived:
            self.arrived = True
            os.write(self.job["ready"], b".")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if item.nodeid == self.job["nodeid"]][:1]
        self.found = bool(items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self):
        self.arrive()
        os.read(self.job["gate"], 1)

    def pytest_runtest_logreport(self, report):
        self.reports.append(self.config.hook.pytest_report_to_serializable(config=self.config, report=report))

    def pytest_collectreport(self, report):
        if report.failed:
            self.pytest_runtest_logreport(report)

    def pytest_internalerror(self, excrepr):
        self.errors.append(str(excrepr))


def run_here(job):
    """In the other interpreter: run one test, and write its reports to job["fd"]."""
    global _here
    _here = True
    sys.argv[:] = job["argv"]
    # The main interpreter has written it. And pytest names its temporary file after the process.
    sys.dont_write_bytecode = True
    here = Here(job)
    try:
        here.config = config = Config.fromdictargs(job["options"], [job["argument"]])
        # From pytest 8 on, a comparison that fails asks for the terminal's colours. Only the main interpreter has a terminal.
        config.get_terminal_writer = lambda: TerminalWriter(io.StringIO())
        config.pluginmanager.register(here, "isan here")
        try:
            config.hook.pytest_cmdline_main(config=config)
        finally:
            config._ensure_unconfigure()
    except pytest.UsageError as error:
        if not here.reports:        # else the reports say that a module cannot be imported
            here.errors.append("ERROR: %s" % error)
    except BaseException as error:
        here.errors.append("".join(traceback.format_exception(type(error), error, error.__traceback__)))
    finally:
        here.arrive()
    told = json.dumps({"reports": here.reports, "errors": here.errors, "found": here.found}).encode()
    while told:
        told = told[os.write(job["fd"], told):]


# -- fixtures -----------------------------------------------------------------------


@pytest.fixture
def make_interpreter(request):
    """make_interpreter(kind=None) returns a fresh isan.interpreters.Interpreter, which ends with the test."""
    made = []

    def make(kind=None):
        made.append(interpreters.Interpreter(kind or request.config.getoption("isan_kind") or interpreters.DEFAULT))
        return made[-1]

    yield make
    for interpreter in made:
        interpreter.end()


@pytest.fixture
def fresh_interpreter(make_interpreter):
    """An interpreter for this test. run(source) runs code in it, end() ends it; else it ends with the test."""
    return make_interpreter()
