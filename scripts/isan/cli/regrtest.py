"""isan regrtest: CPython's own tests under the sanitizer."""
import collections
import concurrent.futures
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

from isan import Problem, __version__, launch, reporting
from isan.reports import suppressions
from isan.reports.formats import json as json_format
from isan.reports.formats import text
from isan.reports.read import c_tables, log
from isan.reports.symbolize.symbols import Missing
from isan.reports.wording import escape, plural

NAME = "regrtest.json"
QUIET = 20              # seconds without a result after which the running files are named
GRACE = 10              # seconds between SIGABRT, at which isan records the stacks, and SIGKILL
LINES = 30              # of the output of a file that failed
MOST = 8                # files to name with a finding, without --full
EPILOG = """\
Each test file is run by `python -m test` in a process and with logs of its own, so that each finding belongs to a
file, and a crash or hang ends no other. Options for `python -m test` itself go after --, as in
`isan regrtest --flavor fast test_json -- -u all -v`. --flavor plain runs without isan, to compare with.

DIR of --log gets a directory with logs and output for each file, and %s. --compare reads that, and shows results
that differ, and findings that are new or gone, between two runs or two releases.

Exit status: %d if there are findings (with --compare: new ones), else 1 if a test failed (with --compare: one that did
not before, or if one release ran another number of tests), 2 for wrong usage.""" % (
    NAME, c_tables.OPTIONS["exitcode"].default)


def add_arguments(parser):
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--python", metavar="PY", help="run the tests of this Python (default: python3)")
    which.add_argument("--flavor", choices=("fast", "debug", "tsan", "plain"), help="run those of this built"
                                                                                    " interpreter")
    parser.add_argument("--version", metavar="V", help="release of the built interpreter, such as 3.13 or 3.14")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="files at a time"
                                                                                                 " (default: one for"
                                                                                                 " each CPU)")
    parser.add_argument("--timeout", type=float, default=1800, metavar="SECONDS", help="how long a file may take"
                                                                                       " (default: 1800)")
    parser.add_argument("--log", metavar="DIR", help="keep the results and logs there (made if missing)")
    parser.add_argument("--suppressions", action="append", default=[], metavar="FILE",
                        help="leave out findings that match a line of FILE; patterns are also matched against the test"
                             " file and the release, such as 3.13")
    parser.add_argument("--full", action="store_true", help="print the findings with their stacks")
    parser.add_argument("--compare", nargs=2, metavar=("OLD", "NEW"), help="compare two runs (what --log kept) and"
                                                                           " run nothing")
    parser.add_argument("files", metavar="FILE", nargs="...", help="test files, such as test_json (default: all)")
    parser.epilog = EPILOG


class Result:
    """The result of one test file."""

    def __init__(self, name):
        self.name, self.result, self.total, self.status, self.seconds = name, None, None, None, 0
        self.findings, self.crashes, self.known, self.report, self.output = [], [], [], None, ""

    @property
    def failed(self):
        return self.result not in ("SUCCESS", "NO TESTS RAN", "ENV CHANGED", "SUCCESS, ENV CHANGED")

    def as_json(self):
        return {"name": self.name, "result": self.result, "total": self.total, "status": self.status,
                "seconds": round(self.seconds, 2), "findings": self.findings, "crashes": self.crashes,
                "suppressed": [{"line": known.line, "file": known.file, "fingerprint": finding["fingerprint"]}
                               for finding, known in self.known]}


class Runner:
    def __init__(self, args, directory):
        self.args, self.directory = args, directory
        self.python, self.words, self.preload = launch.python_of(args)
        self.isan = args.flavor != "plain"
        self.options, _, given = launch.options_of(os.environ.get("ISAN_OPTIONS", ""), directory)
        self.known = reporting.suppressions_in([*args.suppressions, *[given] * bool(given)])
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith(("PYTHON", "ISAN_"))}
        self.running, self.lock, self.stopped = {}, threading.Lock(), False     # process -> (file, since when)
        self.files, self.given = split(args.files)
        self.release = self.ask("-I", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
        # Without the package of the tests a Python may have some of them: Debian has test.support.
        code = ("import importlib.util as u\n"
                "print(*[n for n in %r if not u.find_spec('test.' + n)][:1])" % (self.files or ["test_dict"]))
        missing = self.ask("-I", "-c", code)
        if missing and "--testdir" not in self.given:
            raise Problem("%s has no %s: install its tests (on Debian: libpython3-testsuite), or name another file" % (
                self.python, escape(missing)))

    def ask(self, *arguments):
        done = subprocess.run([*self.words, *arguments], executable=self.python, stdin=subprocess.DEVNULL,
                              cwd=self.directory, env=dict(self.environment, ISAN_OPTIONS="exitcode=0:print_summary=0"),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Problem("%s does not work: %s" % (
                self.python, launch.last_line(done.stderr or done.stdout, "status %d" % done.returncode)))
        return done.stdout.strip()

    def list(self):
        """The test files to run."""
        return self.files or self.ask("-m", "test", "--list-tests", *self.given).splitlines()

    def run(self, name):
        """Run one file to its end, or to its time limit. Returns its Result; None if it was not run."""
        result, directory = Result(name), os.path.join(self.directory, re.sub(r"[^\w.-]", "_", name))
        os.makedirs(directory, exist_ok=True)
        environment = dict(self.environment)
        if self.isan:
            environment["ISAN_OPTIONS"] = ":".join([*self.options, "log_path=" + directory, "exitcode=0"])
        if self.preload:
            environment["LD_PRELOAD"] = launch.environment()["LD_PRELOAD"]
        # Lib/test/test_embed.py wants the executable where it was built (isan/pythons.py, make_build_tree).
        tree = os.path.join(os.path.dirname(os.path.dirname(self.python)), "build-tree", "python")
        python = tree if name == "test_embed" and os.path.exists(tree) else self.python
        began, hung = time.monotonic(), False
        with tempfile.TemporaryDirectory(prefix="isan-regrtest-") as cwd, \
                open(os.path.join(directory, "output.txt"), "w+b") as output:
            with self.lock:
                if self.stopped:
                    return None
                process = subprocess.Popen(
                    [python, "-m", "test", *self.given, name], env=environment, cwd=cwd, stdin=subprocess.DEVNULL,
                    stdout=output, stderr=output, start_new_session=True)
                self.running[process] = name, began
            try:
                process.wait(self.args.timeout)
            except subprocess.TimeoutExpired:
                hung = True
                with contextlib.suppress(subprocess.TimeoutExpired, ProcessLookupError):
                    process.send_signal(signal.SIGABRT)
                    process.wait(GRACE)
            finally:
                kill(process)
                self.running.pop(process)
            output.seek(0)
            said = result.output = output.read().decode("utf-8", "backslashreplace")
        result.status, result.seconds = process.returncode, time.monotonic() - began
        # Lib/test/libregrtest: "Result: SUCCESS", up to 3.11 "== Tests result: SUCCESS ==".
        outcomes = re.findall(r"^(?:== Tests result|Result): (.*?)(?: ==)?$", said, re.M)
        totals = re.findall(r"^Total tests: (.*)$", said, re.M)
        result.total = totals[-1] if totals else None
        result.result = ("HUNG" if hung else "CRASHED (%s)" % signal.Signals(-result.status).name if result.status < 0
                         else outcomes[-1] if outcomes else "ENDED WITHOUT A RESULT (status %d)" % result.status)
        if self.isan and not self.stopped:
            self.judge(result, directory)
        return None if self.stopped else result

    def judge(self, result, directory):
        paths = log.logs_in(directory)
        if not paths:
            raise Problem("%s left no log, so nothing was checked: see %s" % (
                self.python, os.path.join(directory, "output.txt")))
        result.report = reporting.make(paths)
        result.crashes = result.report["crashes"]
        for finding in result.report["findings"]:
            among = [result.name, self.release, *suppressions.names(finding)]
            known = next((line for line in self.known if suppressions.matches(line, finding, among)), None)
            if known:
                result.known.append((finding, known))
            else:
                result.findings.append(finding)

    def stop(self):
        """For an interrupt: kill what runs, and begin nothing more."""
        with self.lock:
            self.stopped = True
            for process in list(self.running):
                kill(process)


def kill(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def split(arguments):
    """(test files, arguments for `python -m test`)."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    for argument in arguments[:at]:
        if argument.startswith("-"):
            raise Problem("%s: isan's own options go before the files, those of `python -m test` behind --" % argument)
    return arguments[:at], arguments[at + 1:]


# -- telling -----------------------------------------------------------------------


def rows(files):
    """Findings by fingerprint, those of the most files first: [(finding, [names of files], report)]."""
    found = {}
    for name, findings, report in files:
        for finding in findings:
            row = found.setdefault(finding["fingerprint"], (finding, [], report))
            if name not in row[1]:
                row[1].append(name)
    return sorted(found.values(), key=lambda row: (-len(row[1]), row[0]["kind"], row[1]))


def print_findings(found, full):
    """Print the findings, a few lines each, with the files that have them."""
    for finding, names, report in found:
        if full:
            shown = text.render(dict(report, findings=[finding], crashes=[], residue=[], notes=[], owned=[]))
            print(shown.rpartition("SUMMARY:")[0].rstrip())
        else:
            (headline, *more), _ = text.brief(report, finding)
            print("\n      ".join(["%s: %s" % (finding["kind"], headline), *more]))
        most = len(names) if full else MOST
        print("      in %s: %s%s" % (plural(len(names), "file"), " ".join(map(escape, names[:most])),
                                     " and %d more" % (len(names) - most) if len(names) > most else ""))


def print_progress(done, number, of):
    """Print the line of a file that has ended."""
    width = len(str(of))
    found = collections.Counter(finding["kind"] for finding in done.findings)
    print("[%*d/%d] %-28s %6.1f s  %s%s%s" % (
        width, number, of, escape(done.name), done.seconds, done.result,
        ": " + ", ".join("%d %s" % (n, kind) for kind, n in found.items()) if found else "",
        " (%d suppressed)" % len(done.known) if done.known else ""), flush=True)
    if done.failed:
        for line in done.output.splitlines()[-LINES:]:
            print("    " + escape(line), flush=True)


def summary(results, of):
    found = {finding["fingerprint"] for done in results for finding in done.findings}
    outcomes = collections.Counter(done.result for done in results)
    return "SUMMARY: isan: %s in %s%s; %s%s" % (
        plural(len(found), "finding") if found else "no findings",
        "%d of " % sum(bool(done.findings) for done in results) if found else "", plural(len(results), "test file"),
        ", ".join("%d %s" % (n, what) for what, n in outcomes.most_common()),
        "; interrupted, %d not run" % (of - len(results)) if len(results) < of else "")


def save(runner, results, interrupted):
    file = os.path.join(runner.directory, NAME)
    content = json_format.render({
        "isan": __version__, "python": runner.python, "release": runner.release,
        "flavor": runner.args.flavor or "stock", "arguments": runner.given, "interrupted": interrupted,
        "files": [done.as_json() for done in results]})
    with open(file + ".tmp", "w", encoding="utf-8") as new:
        new.write(content)
    os.replace(file + ".tmp", file)


def run_all(args, directory):
    runner = Runner(args, directory)
    names, results, interrupted = runner.list(), [], False
    pool = concurrent.futures.ThreadPoolExecutor(args.jobs)
    try:
        waiting = {pool.submit(runner.run, name) for name in names}
        while waiting:
            ended, waiting = concurrent.futures.wait(waiting, QUIET, concurrent.futures.FIRST_COMPLETED)
            for future in ended:
                results.append(future.result())
                print_progress(results[-1], len(results), len(names))
            if not ended:
                running = ", ".join("%s (%d s)" % (escape(name), time.monotonic() - began)
                                    for name, began in list(runner.running.values()))
                print("isan regrtest: %d of %d done, running: %s" % (len(results), len(names), running),
                      file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        runner.stop()
        pool.shutdown(cancel_futures=True)
        results.sort(key=lambda done: names.index(done.name))
        save(runner, results, interrupted)
    print()
    print_findings(rows((done.name, done.findings, done.report) for done in results), args.full)
    lines = collections.Counter(known for done in results for _, known in done.known)
    for line in runner.known:
        needed = "suppressed %d" % lines[line] if lines[line] else "never needed"
        print("%s: %s:%s (line %d of %s)" % (needed, line.kind, escape(line.pattern), line.line, escape(line.file)))
    print(summary(results, len(names)))
    if interrupted:
        return 130
    if any(done.findings for done in results):
        return c_tables.OPTIONS["exitcode"].default
    return 1 if any(done.failed for done in results) else 0


# -- comparing -----------------------------------------------------------------------


def read(path):
    """(a saved run, its results by file)."""
    file = os.path.join(path, NAME) if os.path.isdir(path) else path
    try:
        with open(file, encoding="utf-8") as stream:
            kept = json.load(stream)
        return kept, {one["name"]: one for one in kept["files"]}
    except OSError as error:
        raise Problem("cannot read %s: %s" % (file, error.strerror or error))
    except (ValueError, KeyError, TypeError):
        raise Problem("%s is not what isan regrtest --log has kept" % file)


def compare(paths):
    (old, before), (new, after) = map(read, paths)
    both = [name for name in before if name in after]
    print("%s, %s, %d files; then %s, %s, %d files" % (
        old["release"], old["flavor"], len(before), new["release"], new["flavor"], len(after)))
    worse = 0
    for name in both:
        if before[name]["result"] != after[name]["result"]:
            worse += before[name]["result"] == "SUCCESS"
            print("%s: %s, then %s" % (escape(name), before[name]["result"], after[name]["result"]))
        # The number of tests differs between a pydebug build and a release build, and between releases.
        elif before[name]["total"] != after[name]["total"] and "debug" not in (old["flavor"], new["flavor"]):
            worse += old["release"] == new["release"]
            print("%s: %s tests, then %s" % (escape(name), before[name]["total"], after[name]["total"]))
    for which, names in (("only in the first", before.keys() - after.keys()),
                         ("only in the second", after.keys() - before.keys())):
        if names:
            print("%s: %s" % (which, " ".join(sorted(map(escape, names)))))
    empty = {"process": None, "processes": [], "findings": []}
    found = {}
    for which, files in ("gone", before), ("new", after):
        found[which] = rows((name, files[name]["findings"], empty) for name in both)
    known = {row[0]["fingerprint"] for row in found["gone"]} & {row[0]["fingerprint"] for row in found["new"]}
    for which in "gone", "new":
        found[which] = [row for row in found[which] if row[0]["fingerprint"] not in known]
        if found[which]:
            print("\n%s:" % which)
            print_findings(found[which], False)
    print("SUMMARY: isan: findings: %d new, %d gone, %d in both; %s" % (
        len(found["new"]), len(found["gone"]), len(known), plural(worse, "test file") + " with a worse result"))
    return c_tables.OPTIONS["exitcode"].default if found["new"] else 1 if worse else 0


def main(args):
    if args.compare:
        return compare(args.compare)
    if args.version and not args.flavor:
        raise Problem("--version goes with --flavor")
    if args.jobs < 1:
        raise Problem("--jobs is a number from 1 on, not %d" % args.jobs)
    if args.timeout <= 0:
        raise Problem("--timeout is a number of seconds, not %g" % args.timeout)
    with launch.log_directory(args.log) as directory:
        if os.path.exists(os.path.join(directory, NAME)):
            raise Problem("%s has the results of another run; give --log another directory" % directory)
        try:
            return run_all(args, directory)
        except Missing as error:
            raise Problem(str(error))
