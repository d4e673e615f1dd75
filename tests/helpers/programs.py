"""Programs under isan, each in a process of its own, and the reports on them."""
import functools
import json
import os
import re
import signal
import subprocess
import textwrap
import time

from ext.build import build
from helpers import report_schema
from helpers.product import pythons
from helpers.tree import EXT, LIBRARY

SYSTEM = "/usr/bin/python3"
VERSIONS = ["3.13", "3.14"]
# Interpreters that `make test` does not build: 3.14-tsan, or paths of stock Pythons.
MORE = os.environ.get("ISAN_TEST_PYTHONS", "").split()
# ISAN_OPTIONS of all programs, before those of a test: verify=1.
OPTIONS = os.environ.get("ISAN_TEST_OPTIONS", "")
FAST = [version + "-fast" for version in VERSIONS]
TSAN = ["3.13-tsan", *(name for name in MORE if name.endswith("-tsan"))]
STOCK = ["system", *(version + "-plain" for version in VERSIONS), *(name for name in MORE if name not in TSAN)]
# First release with the C API that these extensions use.
NEEDS = {"attr_borrowed.c": (3, 13)}
# Seconds for the compilation of all extensions; 15 on two idle cores.
BUILD_TIMEOUT = 600
# Seconds after which a program counts as hung.
TIMEOUT = 60


def release(python):
    """The major and minor version, such as 3.13."""
    return subprocess.run([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], stdout=subprocess.PIPE,
                          text=True, check=True).stdout.strip()


def run_group(command, env, preexec):
    """Run a program in a process group of its own, which is killed when the timeout expires or the test is interrupted."""
    with subprocess.Popen(command, env=env, preexec_fn=preexec, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            out, err = process.communicate(timeout=TIMEOUT)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def build_all(sources, python, directory, make_directory, cflags, compiler):
    """Compile test extensions into a directory.  Several processes share the work: each claims a source, compiles it, and
    finally waits until all are done."""
    claims, made = directory.with_name(directory.name + "-claims"), make_directory("made")
    for path in directory, claims:
        path.mkdir(exist_ok=True)
    for source in sources:
        try:
            (claims / source).mkdir()
        except FileExistsError:
            continue
        build(source, python, made, cflags, compiler)
        for file in sorted(made.iterdir(), key=lambda file: not file.name.startswith("lib")):     # libraries before extensions
            file.rename(directory / file.name)
        (claims / source / "done").mkdir()
    until = time.monotonic() + BUILD_TIMEOUT
    while not all((claims / source / "done").exists() for source in sources):
        if time.monotonic() > until:
            raise RuntimeError(f"another process of the tests did not compile what it should have: see {claims}")
        time.sleep(0.05)


class Target:
    """An interpreter and the test extensions compiled for it.

    For a flavor of isan's they include isan's header; for tsan they are those with races, compiled with ThreadSanitizer,
    too.  For a stock Python (no flavor) they are compiled without isan.
    """

    def __init__(self, isan, python, make_directory, shared, version=None, flavor=None):
        self.isan, self.python, self.make_directory, self.stock = isan, python, make_directory, flavor is None
        tsan = flavor == "tsan"
        self.version = version or release(python)
        self.hexversion = tuple(map(int, self.version.split(".")))
        self.how = [] if self.stock else ["--flavor", flavor, "--version", self.version]
        self.extensions = shared        # between the processes that the tests run in
        self.environment = {name: value for name, value in os.environ.items()
                            if name != "ISAN_OPTIONS" and not name.startswith("PYTHON")}
        flags = subprocess.run([isan, "config", "--cflags"], stdout=subprocess.PIPE, text=True, check=True).stdout
        self.cflags = flags.split() + ["-fsanitize=thread"] * tsan
        self.compiler = pythons.tsan_compiler() if tsan else "gcc"
        sources = [source.name for source in sorted(EXT.glob("race_*.c" if tsan else "*.c*"))
                   if self.hexversion >= NEEDS.get(source.name, (3, 11))]
        build_all(sources, python, shared, make_directory, () if self.stock else self.cflags, self.compiler)

    def extension(self, source, instrumented, *cflags):
        """The directory of one test extension, built with or without isan's header."""
        directory = self.make_directory("ext")
        build(source, self.python, directory, (*(self.cflags if instrumented else ()), *cflags), self.compiler)
        return directory

    def env(self, options="", extensions=None, **more):
        env = dict(self.environment, PYTHONPATH=f"{extensions or self.extensions}:{EXT}", **more)
        options = ":".join(filter(None, [OPTIONS, options]))
        return dict(env, ISAN_OPTIONS=options) if options else env

    def program(self, script, names):
        """Write a program in which these names are variables with these values; its path."""
        path = self.make_directory("run") / "program.py"
        path.write_text("".join(["from interpreters import Interpreter\n",
                                 *(f"{name} = {value!r}\n" for name, value in names.items()), textwrap.dedent(script)]))
        return path

    def run(self, script, options="", extensions=None, preexec=None, env=None, **names):
        """Run a script under `isan run`; these names are its variables."""
        path = self.program(script, names)
        command = [self.isan, "run", *self.how, "--log", path.parent / "log", "--", self.python if self.stock else "python", path]
        done = run_group(command, self.env(options, extensions, **(env or {})), preexec)
        return Run(self.isan, path, path.parent / "log", done)

    def by_hand(self, script, options="", preexec=None, env=None, **names):
        """Run a script without `isan run`: with LD_PRELOAD, or in an instrumented interpreter."""
        env = dict(env or {}, **({"LD_PRELOAD": str(LIBRARY)} if self.stock else {}))
        return run_group([self.python, self.program(script, names)], self.env(options, **env), preexec)


class Run:
    def __init__(self, isan, path, log, done):
        self.isan, self.path, self.log = isan, path, log
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    @functools.cached_property
    def report(self):
        done = subprocess.run([self.isan, "report", "--format", "json", self.log], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)
        assert done.returncode in (0, 86), done.stderr + self.err
        report = json.loads(done.stdout)
        report_schema.validate(report)
        return report

    def findings(self, *kinds, **wanted):
        """The findings of these kinds (default: all) with these values; `type` and `python` are fields of the object."""
        return [finding for finding in self.report["findings"]
                if (not kinds or finding["kind"] in kinds)
                and all({**finding["object"], **finding}[key] == value for key, value in wanted.items())]

    def one(self, *kinds, **wanted):
        found = self.findings(*kinds, **wanted)
        assert len(found) == 1, f"{len(found)} findings {kinds} {wanted}:\n{self.err}"
        return found[0]

    def healthy(self):
        """The program ended with status 0, and there is no finding."""
        assert (self.status, self.report["findings"], self.report["dropped"]) == (0, [], 0), self.err
        return True


def who(interpreter):
    return (interpreter["id"], interpreter["kind"]) if interpreter else None


def line_of(source, text):
    """The number of the only line of tests/ext/SOURCE that has this text."""
    lines = [number for number, line in enumerate((EXT / source).read_text().splitlines(), 1) if text in line]
    assert len(lines) == 1, (source, text, lines)
    return lines[0]


def places(stack, source):
    """The line numbers of tests/ext/SOURCE in a stack, innermost first."""
    return [frame["line"] for frame in stack if (frame["file"] or "").endswith("tests/ext/" + source)]


def in_static(finding):
    """Whether the report names a static that holds the object."""
    return finding["holder"] is not None and finding["holder"]["address"] is not None


def holder_of(finding):
    """The variable, source file and line of the static that holds the object."""
    if not in_static(finding):
        return None
    holder = finding["holder"]
    assert re.fullmatch(r"\w+\.cpython-\d+d?-x86_64-linux-gnu\.so", os.path.basename(holder["module"])), holder
    return holder["symbol"], os.path.basename(holder["file"]), holder["line"]


def used_by(finding, function):
    """Whether this function is the innermost Python frame of the use."""
    frames = [frame for frame in finding["stacks"]["used"] if frame["kind"] == "python"]
    return bool(frames) and frames[0]["function"].split(".")[-1] == function
