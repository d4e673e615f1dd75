#!/usr/bin/python3
"""Find races of CPython itself between four own-GIL interpreters that do the same at the same time.

The interpreter built with ThreadSanitizer imports each module of the standard library, and runs CPython's tests of
interpreters and `pip list`.  Each race must be in reports/cpython-VERSION.supp, with its reason; errors of the tests
themselves are in tests/cpython/known-defects.txt.  Each run sees other races of these.  Exit status 86 if one is not listed.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from helpers import tree  # noqa: E402
sys.path[:0] = tree.PYTHON_PATH
from helpers.product import Problem, pythons, suppressions

TIMEOUT = 1800

# Imports each module in turn, and goes on if an import fails.
IMPORT_ALL = """
import os, sys, sysconfig
# Programs, modules that need a display, modules that act when they are imported, and an example that makes static types
# ready in each interpreter: their dictionaries then hold objects of several interpreters, garbage collectors relink each
# other's lists (visit_reachable in gc.c), and any access may race.
LEFT_OUT = {"test", "idlelib", "tkinter", "turtledemo", "turtle", "lib2to3", "site-packages", "__pycache__", "this",
            "antigravity", "__phello__", "xxsubtype"}

def modules(directory, package=""):
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        name, dot, suffix = entry.name.partition(".")
        if name in LEFT_OUT or entry.name in LEFT_OUT or name in ("__init__", "__main__"):
            continue
        if entry.is_dir() and os.path.exists(os.path.join(entry.path, "__init__.py")):
            yield package + name
            yield from modules(entry.path, package + name + ".")
        elif suffix == "py" or suffix.endswith("so"):
            yield package + name

library = sysconfig.get_path("stdlib")
for name in [*sys.builtin_module_names, *modules(os.path.join(library, "lib-dynload")), *modules(library)]:
    try:
        __import__(name)
    except BaseException:
        pass
"""
FOUR = """
import _interpreters, threading
def work():
    barrier.wait()
    failed = _interpreters.exec(interpreters.pop(), CODE)
    print("done" if failed is None else failed.formatted, flush=True)
interpreters = [_interpreters.create("isolated") for _ in range(4)]
ends, barrier = list(interpreters), threading.Barrier(4)
threads = [threading.Thread(target=work) for _ in interpreters]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
# All at a time, too: what ends an interpreter races as what begins one does.
threads = [threading.Thread(target=_interpreters.destroy, args=(interpreter,)) for interpreter in ends]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
WORKLOADS = {
    "imports": ["-c", "CODE = %r\n%s" % (IMPORT_ALL, FOUR)],
    "test_interpreters": ["-m", "test", "test_interpreters"],
    "test__interpreters": ["-m", "test", "test__interpreters"],
    "pip_list": [str(tree.PIP_LIST)],
}


def run(python, arguments, log):
    """Seconds, end, output and report of a program."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["ISAN_OPTIONS"] = "log_path=%s" % log
    began = time.monotonic()
    try:
        done = subprocess.run([python, *arguments], cwd=os.path.dirname(log), env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=TIMEOUT)
        ended, output = "exit status %d" % done.returncode, done.stdout
    except subprocess.TimeoutExpired:
        ended, output = "still running after %d s" % TIMEOUT, ""
    seconds = time.monotonic() - began
    made = subprocess.run([tree.ISAN, "report", "--format", "json", log], stdout=subprocess.PIPE, text=True)
    if made.returncode not in (0, 86):
        sys.exit("races.py: isan report failed (exit status %d)" % made.returncode)
    return seconds, ended, output, json.loads(made.stdout)


def place(access):
    """An access: what it did, and its two innermost functions."""
    what = ("frees" if access["free"] else "writes" if access["write"] else "reads") + " atomically" * access["atomic"]
    frames = [frame for frame in access["stack"] if frame["function"]][:2]
    return "%s in %s" % (what, " < ".join("%s:%s" % (frame["function"], frame["line"]) for frame in frames) or "?")


def race(finding):
    """A race in one line."""
    holder, thing = finding["holder"], finding["object"]
    variable = holder["symbol"] + (holder["path"] or "") if holder and holder["symbol"] else ""
    what = variable if variable and not thing["size"] else "%s of %d bytes%s" % (
        thing["type"] or "memory", thing["size"], " in " + variable if variable else "")
    return "%s [%s]: %s" % (what, finding["gil"], "; ".join(
        place(access) for access in finding["places"] if access["role"] == "access"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default="3.13", help="default: 3.13")
    parser.add_argument("--all", action="store_true", help="show the races that are listed, too")
    parser.add_argument("--log", metavar="DIR", help="keep the logs there")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="default: " + " ".join(WORKLOADS))
    args = parser.parse_args()
    if set(args.workloads) - set(WORKLOADS):
        parser.error("a WORKLOAD is one of " + " ".join(WORKLOADS))
    try:
        python = pythons.find_python("tsan", args.version)
    except Problem as problem:
        sys.exit("races.py: %s" % problem)
    seen, unlisted, defects = {}, 0, suppressions.read(str(tree.CPYTHON_DEFECTS))
    with tempfile.TemporaryDirectory(prefix="isan-races-") as scratch:
        for name in args.workloads or WORKLOADS:
            directory = os.path.join(os.path.abspath(args.log or scratch), args.version, name)
            os.makedirs(directory)
            seconds, ended, output, report = run(python, WORKLOADS[name], os.path.join(directory, "log"))
            races = [finding for finding in report["findings"] if finding["kind"] == "race" and not any(
                suppressions.matches(defect, finding, [name, args.version, *suppressions.names(finding)])
                for defect in defects)]
            known = [finding for finding in report["suppressed"] if finding["kind"] == "race"]
            unlisted += len(races)
            print("%-18s %4.0f s, %s: %d races, %d of them not listed" % (
                name, seconds, ended, len(races) + len(known), len(races)), flush=True)
            for crash in report["crashes"]:
                print("    CRASHED in " + " < ".join(
                    frame["function"] for frame in crash["stack"] if frame["function"])[:200])
            if report["crashes"] or not ended.endswith(" 0"):
                print("    " + "\n    ".join(output.splitlines()[-5:]))
            for finding in known:
                line = finding["suppression"]["line"], finding["suppression"]["pattern"]
                seen.setdefault(line, set()).add(name)
                if args.all:
                    print("    line %d: %s" % (line[0], race(finding)))
            for finding in races:
                print("    NOT LISTED " + race(finding))
            for line in report["suppressions"]:
                seen.setdefault((line["line"], line["pattern"]), set())
    never = ["%s (line %d)" % (pattern, number) for (number, pattern), where in sorted(seen.items()) if not where]
    if never:
        print("listed, but not seen: " + ", ".join(never))
    print("%d races are not listed" % unlisted if unlisted else "all races are listed")
    return 86 if unlisted else 0


if __name__ == "__main__":
    sys.exit(main())
