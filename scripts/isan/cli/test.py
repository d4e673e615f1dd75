"""isan test: pytest with the plugin (isan/pytest.py), and a report of the findings that belong to no test."""
import argparse
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile

import isan
from isan import Problem, launch, reporting, residue
from isan.reports import baseline, suppressions
from isan.reports.fingerprints import users
from isan.reports.formats import text
from isan.reports.read import c_tables, log
from isan.reports.symbolize.symbols import Missing
from isan.reports.wording import escape, incomplete, plural

PACKAGE = os.path.dirname(os.path.realpath(isan.__file__))
EPILOG = """\
All other arguments are pytest's. The plugin can be loaded in an existing setup, too (pytest -p isan.pytest, with
PYTHONPATH=%s). docs/testing.md describes its markers and fixtures.

Exit status: %d if there are findings that are neither suppressed, allowed by a marker nor expected (xfail), else
pytest's, 128+N if signal N killed it; 2 for wrong usage.
""" % (os.path.dirname(PACKAGE), c_tables.OPTIONS["exitcode"].default)

# Tests that show what pytest and the standard library leave behind in interpreters.
NOTHING = "def test_nothing():\n    pass\n\n\ndef test_nothing_again():\n    pass\n"


def add_arguments(parser):
    parser.allow_abbrev = False
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--python", metavar="PY", help="the Python to run pytest with (default: python3)")
    which.add_argument("--flavor", choices=("fast", "debug", "tsan"), help="run pytest with this debug interpreter")
    # The plugin uses these two.
    which.add_argument("--rerun", choices=("loaded", "preload"), help=argparse.SUPPRESS)
    which.add_argument("--judge", help=argparse.SUPPRESS)
    parser.add_argument("--version", metavar="V", help="release of the debug interpreter, such as 3.13 or 3.14")
    parser.add_argument("--log", metavar="DIR", help="keep the logs there (made if missing)")
    reporting.add_reports(parser)
    reporting.add_suppressions(parser)
    parser.add_argument("--baseline", metavar="FILE",
                        help="fail no test for what is in this report, saved with --reports (report.json)")
    parser.usage = ("isan test [--python PY | --flavor FLAVOR [--version V]] [--log DIR] [--reports DIR]"
                    " [--suppressions FILE] [--baseline FILE] [PYTEST ARGS]")
    parser.epilog = EPILOG


# -- for the plugin: which findings a test fails for ---------------------------------------------


def without_tests(job, process):
    """The fingerprints of findings that tests which do nothing cause: of pytest's and its imports'.

    Measured once for each build of the interpreter and of isan, and each set of pytest's plugins.
    """
    preload, executable = process["flavor"] == "stock", process["executable"]
    what = hashlib.sha256(repr((NOTHING, job["kind"], job["python"], job["plugins"])).encode()).hexdigest()[:16]
    file = residue.cache() / ("%s-%s.json" % (residue.key(executable), what))
    with contextlib.suppress(OSError, ValueError, KeyError):
        return set(json.loads(file.read_text(encoding="utf-8"))["pytest"])
    with tempfile.TemporaryDirectory(prefix="isan-baseline-") as scratch:
        test, ini = os.path.join(scratch, "test_nothing.py"), os.path.join(scratch, "pytest.ini")
        for name, content in (test, NOTHING), (ini, "[pytest]\n"):
            with open(name, "w", encoding="utf-8") as new:
                new.write(content)
        logs = os.path.join(scratch, "log")
        env = dict(launch.environment(preload, log_path=logs, exitcode=0), ISAN__TEST="{}")
        env.pop("PYTEST_ADDOPTS", None)
        done = subprocess.run(
            [job["python"], "-m", "pytest", "-q", "-p", "isan.pytest", "-p", "no:cacheprovider", "-c", ini,
             "--rootdir", scratch, "--isan-interpreters=2", "--isan-kind", job["kind"], test],
            env=env, cwd=scratch, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if done.returncode:     # such as: an interpreter refuses a plugin. The tests' own failures say so.
            return set()
        found = {finding["fingerprint"] for finding in reporting.make(log.logs_in(logs))["findings"]}
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, suffix=".tmp", delete=False, encoding="utf-8") as new:
            json.dump({"executable": executable, "pytest": sorted(found)}, new)
        os.replace(new.name, file)
    return found


def is_in(frame, directories):
    """Whether a frame is Python code from these directories, packages installed below them excepted."""
    file = frame["file"] or ""
    return frame["kind"] == "python" and any(
        file.startswith(directory) and not re.search("/(site|dist)-packages/", file[len(directory) - 1:])
        for directory in directories)


def trim(frames, machinery):
    """Drop what called the test, or imported its module: the outermost frames, up to the first of the user's."""
    # In another interpreter the plugin calls the test.
    begin = next((i for i, frame in enumerate(frames)
                  if frame["function"] == "run_here" and is_in(frame, machinery)), None)
    if begin is not None:
        del frames[begin:]
    theirs = [i for i, frame in enumerate(frames) if not frame["cpython"] and not is_in(frame, machinery)]
    # execnet starts its workers with -c.
    theirs = [i for i in theirs if frames[i]["file"] != "<string>"] or theirs
    if theirs:
        del frames[theirs[-1] + 1:]


def trim_all(report, machinery):
    for finding in report["findings"]:
        for frames in [*finding["stacks"].values(), *(place["stack"] for place in finding.get("places", ()))]:
            trim(frames, machinery)
    for crash in report["crashes"]:
        trim(crash["stack"], machinery)


def of_pytest(finding, directories):
    """Whether a finding is a leak of an object that pytest's own code made. (None occur in own-GIL interpreters.)"""
    holder, created = finding["holder"], users(finding["stacks"]["created"])
    return finding["kind"] == "leak" and (not holder or holder["address"] is None) and created is not None and is_in(
        created, directories)


def judge(job):
    """(text, fingerprints) of the findings that a test fails for; the text is empty if it does not fail.

    The fingerprints include those that the baseline has.
    """
    first, last = job["first"], job["last"]
    uncounted = job["uncounted"] or (0, -1)
    allow = [suppressions.Suppression(job["test"], i, *pattern.split(":", 1), reason, False)
             for i, (pattern, reason) in enumerate(job["allow"], 1)]
    report = reporting.make([job["log"]], suppressed=[*allow, *reporting.suppressions_in(job["suppressions"])],
                          keep=lambda log, number, leak: first <= number <= last
                          and not (leak and uncounted[0] <= number <= uncounted[1]))
    findings = report["findings"]
    if findings and job["baseline"]:
        known = without_tests(job["baseline"], report["process"])
        findings = [finding for finding in findings if finding["fingerprint"] not in known
                    and not (job["pytest"] and of_pytest(finding, job["pytest"]))]
    head = ""
    if job["limit"] is not None:
        left = sum(f["bytes"] + f["kept"]["bytes"] for f in findings if f["kind"] == "leak")
        if left > job["limit"]:
            head = "the test left behind %s, and the limit is %s\n\n" % (
                plural(left, "byte"), plural(job["limit"], "byte"))
        else:
            findings = [finding for finding in findings if finding["kind"] != "leak"]
    counted = [finding["fingerprint"] for finding in findings]
    known = baseline.knows(reporting.baseline_in(job["known"]) or {})
    findings = [finding for finding in findings if not known(finding)]
    if not findings:
        return "", counted
    # The log is still being written, so this report says nothing about its end.
    part = dict(report, findings=findings, residue=[], owned=[], crashes=[],
                notes=[note for note in report["notes"] if note["pid"] is None])
    present = {finding["id"] for finding in findings}
    trim_all(part, job["machinery"])
    for finding in findings:
        finding["paired"] = [id for id in finding["paired"] if id in present]
    return head + text.render(part).rstrip(), counted


# -- running pytest -------------------------------------------------------------------


def command(args, rest):
    """(program, command line, whether libisan.so must be preloaded)."""
    if args.rerun:
        words = rest[1:] if rest[:1] == ["--"] else rest
        if args.rerun == "preload":
            launch.check_library()
        return words[0], words, args.rerun == "preload"
    program, words, preload = launch.python_of(args, "-m", "pytest", "-p", "isan.pytest", *rest)
    found = launch.ask(
        program, words[:1],
        "import importlib.util as u, sys; print(*sys.version_info[:2], bool(u.find_spec('pytest')))")
    major, minor, has = found.split()
    if (int(major), int(minor)) < (3, 11):
        raise Problem("%s is Python %s.%s, and isan knows 3.11 to 3.14: give --python another" % (
            program, major, minor))
    if has != "True":
        raise Problem("%s has no pytest: install it there (%s -m pip install pytest), or give --python one that has it,"
                      " such as a virtual environment's" % (program, program))
    return program, words, preload


def notes_in(path):
    """The plugin's notes beside a log."""
    try:
        with open(path + ".tests", encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]
    except OSError:
        return []


class Session:
    """The notes of the plugins of all processes."""

    def __init__(self, logs):
        self.notes = {path: notes_in(path) for path in logs}

    def machinery(self):
        return sorted({name for lines in self.notes.values() for note in lines for name in note.get("machinery", ())})

    def judged(self):
        return [note for lines in self.notes.values() for note in lines if "first" in note]

    def failed(self):
        return [note["test"] for note in self.judged() if note["outcome"] == "failed"]

    def open(self):
        """The tests that have begun and not ended."""
        found = []
        for lines in self.notes.values():
            steps = [note for note in lines if "begin" in note or "end" in note]
            found += [note["begin"] for note in steps[-1:] if "begin" in note]
        return found

    def whole(self, logs, remaining, suppressed):
        """The report of all findings that count: those of tests, and those of no test in particular."""
        def base(fingerprint):      # without the number among findings that are alike
            return fingerprint.partition("-")[0]

        counted = {base(fingerprint) for note in self.judged() if note["outcome"] != "expected"
                   for fingerprint in note["counted"]}
        counted |= {base(finding["fingerprint"]) for finding in remaining["findings"]}
        report = reporting.make(logs, suppressed=reporting.suppressions_in(suppressed))
        report["findings"] = [finding for finding in report["findings"] if base(finding["fingerprint"]) in counted]
        present = {finding["id"] for finding in report["findings"]}
        for finding in report["findings"]:
            finding["paired"] = [id for id in finding["paired"] if id in present]
        trim_all(report, self.machinery())
        return report

    def remains(self, path, number):
        """Whether this finding belongs to no test."""
        return not any(note["first"] <= number <= note["last"] for note in self.notes[path] if "first" in note)


def supervise(args, rest):
    program, words, preload = command(args, rest)
    given = os.environ.get("ISAN_OPTIONS", "")
    directory = os.path.abspath(args.log) if args.log else None
    options, exitcode, given_file = launch.options_of(given, directory)
    suppressed = [os.path.abspath(file) for file in [*args.suppressions, *[given_file] * bool(given_file)]]
    # Wrong arguments are to fail before the tests, not after them.
    reporting.suppressions_in(suppressed)
    known = reporting.baseline_in(args.baseline)
    reporting.prepare(args.reports)
    with launch.log_directory(directory or launch.log_path_of(given)) as directory:
        before = launch.logs_of(directory)
        env = launch.environment(preload)
        env["ISAN_OPTIONS"] = ":".join(options + ["log_path=" + directory, "exitcode=0"])
        env["ISAN__TEST"] = json.dumps({"command": [sys.executable, "-I", os.path.join(PACKAGE, "__main__.py")],
                                        "suppressions": suppressed,
                                        "known": os.path.abspath(args.baseline) if args.baseline else ""})
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [os.path.dirname(PACKAGE), env.get("PYTHONPATH")]))
        status = launch.execute(program, words, env)
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        new = sorted(launch.logs_of(directory) - before)
        if not new:
            if code == 2 or "help=1" in options:    # libisan.so has said why
                return code
            print("isan test: pytest left no log, so nothing was checked", file=sys.stderr)
            return code or 2
        session = Session(new)
        report = reporting.make(new, suppressed=reporting.suppressions_in(suppressed),
                              keep=lambda log, number, leak: session.remains(log.path, number))
        if known is not None:
            baseline.compare(report, args.baseline, known)
            report["gone"] = []         # known only from the report of all findings
        reporting.complain(report)
        trim_all(report, session.machinery())
        write(report, session, os.WIFSIGNALED(status))
        if args.reports:
            whole = session.whole(new, report, suppressed)
            if known is not None:
                baseline.compare(whole, args.baseline, known)
            reporting.write_all(args.reports, reporting.renderers(whole))
    if report["dropped"]:
        print("isan test: " + incomplete(report), file=sys.stderr)
        code = code or reporting.INCOMPLETE
    return exitcode if (reporting.failing(report) or session.failed()) and exitcode else code


def write(report, session, killed):
    """On stderr: the findings that belong to no test, and the number of tests that failed by findings."""
    if killed and session.open():
        print("isan test: the tests ended with a crash in %s" % escape(", ".join(session.open())), file=sys.stderr)
    if report["findings"] or report["crashes"]:
        print("isan test: of no test in particular:", file=sys.stderr)
        reporting.write(sys.stderr, text.render(report, text.wants_color(sys.stderr)))
    print("isan test: %s failed by findings%s" % (
        plural(len(set(session.failed())), "test"),
        ", and %s of no test in particular" % plural(len(report["findings"]), "finding") if report["findings"] else ""),
        file=sys.stderr)


TAKES_MORE = True       # arguments, which are pytest's


def main(args, rest):
    try:
        if args.judge:
            print(json.dumps(dict(zip(("text", "counted"), judge(json.load(sys.stdin))))))
            return 0
        return supervise(args, rest)
    except Missing as error:
        raise Problem(str(error))
