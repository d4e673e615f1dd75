#!/usr/bin/python3
"""Measure the time that isan adds to the end of an interpreter, by the size of the objects alive.

Each case and size runs in a new process, base and tests in turn.  Only the end
of the interpreter is timed, and the minimum of the rounds counts.
"""
import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from subprocess import CalledProcessError
from typing import NamedTuple

import run
from run import Column, Failure

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from ext.build import build  # noqa: E402

CASES = {
    "freed": "it has so many MB of objects, which its end frees",
    "leaked": "it has so many MB of objects, which a static of an extension keeps alive",
    "main": "it has nothing, the main interpreter so many MB of objects",
    "modules": "it has nothing, the process so many extension modules, each with a MB of writable data",
}
WAYS = ("isan", "isan-none")
SIZES = [10, 30, 100, 300, 1000]    # MB
AT = 100                            # the size at which the bars apply
NEEDS = 4                           # bytes of memory needed for each byte of live objects
# Seconds by which the time of an end varies anyway; growth below that does not count.
NOISE = 0.01


class Bar(NamedTuple):
    name: str
    value: object                   # its function of the seconds added at each size
    dflt: float
    metavar: str
    help: str


def growth(added):
    return max(added[max(added)], NOISE) / max(added) / (max(added[AT], NOISE) / AT)


BARS = [
    Bar("max-added", lambda added: added[AT], 1.0, "SECONDS", f"seconds added at {AT} MB, at most"),
    Bar("max-growth", growth, 1.5, "RATIO", f"seconds added for each MB at the largest size over those at {AT} MB, at most"),
]


def available():
    """Bytes of memory available without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise Failure("/proc/meminfo does not say how much memory is available.", 2)


def time_of_end(column, case, size, directory, timeout):
    """The seconds that one end takes."""
    what = f"{case} with {size} MB under {column}"
    with tempfile.TemporaryDirectory(prefix="isan-ending-") as work:
        log, file = Path(work) / "log", Path(work) / "nanoseconds"
        environment = column.environment()
        options = environment.get("ISAN_OPTIONS", run.child_environment()["ISAN_OPTIONS"])
        environment["ISAN_OPTIONS"] = f"{options}:log_path={log}"
        run.run_child([column.python, "-S", str(HERE / "end_one.py"), case, str(size), directory, str(file)],
                      environment, what, timeout)
        if column.name != "base" and not log.exists():
            raise Failure(f"{what} ran without isan: it has left no log.")
        return int(file.read_text()) / 1e9


def measure(columns, cases, sizes, rounds, timeout):
    """case -> size -> column's name -> the minimum of all rounds, in seconds."""
    directories = {}
    for python in {column.python for column in columns}:
        directories[python] = tempfile.mkdtemp(prefix="isan-ending-")
    try:
        for python, directory in directories.items():
            build("cache_static.c", python, directory)
            build(HERE / "megabyte.c", python, directory)
        taken = {}
        progress = run.Progress(len(cases) * len(sizes))
        try:
            for case in cases:
                for size in sizes:
                    needed = int(size * 1e6 * NEEDS)
                    if available() < needed:
                        raise Failure(f"{case} with {size} MB needs {needed / 1e9:.1f} GB of memory, and {available() / 1e9:.1f} GB "
                                      f"are available: end other programs, or leave it out with --sizes.", 2)
                    progress.workload(f"{case}, {size} MB")
                    best = taken.setdefault(case, {}).setdefault(size, {})
                    for number in range(rounds):
                        progress.round(number + 1, rounds)
                        for column in columns:
                            seconds = time_of_end(column, case, size, directories[column.python], timeout)
                            best[column.name] = min(seconds, best.get(column.name, seconds))
        finally:
            progress.end()
        return taken
    finally:
        for directory in directories.values():
            shutil.rmtree(directory)


def compare(taken, limits):
    """For one test: case -> the seconds added for each size, and the bars."""
    result = {}
    for case, sizes in taken.items():
        added = {size: test - base for size, (base, test) in sizes.items()}
        bars = [{"bar": bar.name, "help": bar.help, "value": bar.value(added), "limit": limits[bar.name],
                 "met": bar.value(added) <= limits[bar.name]} for bar in BARS if AT in added]
        result[case] = {"seconds": {size: {"base": base, "test": test, "added": test - base} for size, (base, test) in sizes.items()},
                        "bars": bars}
    return result


def tell(comparisons):
    """Print all results on stdout, and missed bars on stderr; the exit status."""
    status = 0
    for name, cases in comparisons.items():
        for case, result in cases.items():
            print(f"\n{name}, {case}: {CASES[case]}\n{'MB':>6} {'base, s':>10} {name + ', s':>12} {'added, s':>10} {'ms for a MB':>12}")
            for size, seconds in result["seconds"].items():
                print(f"{size:6} {seconds['base']:10.3f} {seconds['test']:12.3f} {seconds['added']:10.3f} "
                      f"{seconds['added'] / size * 1e3:12.3f}")
            for bar in result["bars"]:
                print(f"{'met   ' if bar['met'] else 'MISSED'}  {bar['help']} {bar['limit']:g}: {bar['value']:.3f}", flush=True)
                if not bar["met"]:
                    status = 1
                    print(f"{name} misses the bar {bar['bar']} in {case}: {bar['value']:.3f}, limit {bar['limit']:g}", file=sys.stderr)
    return status


def arguments(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="ways to run the base:\n" + "".join(f"  {name:<12} {run.WAYS[name].help}\n" for name in WAYS)
               + "\ncases: when an interpreter ends\n" + "".join(f"  {name:<12} {text}\n" for name, text in CASES.items())
               + "\nExit status: 0 when all bars are met, 1 when one is missed or a run fails, 2 for wrong usage or a missing\n"
               "prerequisite.")
    parser.add_argument("--base", required=True, metavar="PY", help="the interpreter without isan")
    parser.add_argument("--test", required=True, metavar="WAY|[NAME=]PY", action="append",
                        help="a way to run the base with isan, or an interpreter built with it; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of each case and size in each column (default 3)")
    parser.add_argument("--only", action="append", metavar="CASE", choices=list(CASES), help="this case only; may be repeated")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="MB",
                        help=f"how much is alive (default {' '.join(map(str, SIZES))}); without {AT} there are no bars")
    parser.add_argument("--json", metavar="FILE", help="write everything to FILE as JSON too")
    parser.add_argument("--timeout", type=float, default=600, metavar="SECONDS", help="for each single run (default 600)")
    for bar in BARS:
        parser.add_argument(f"--{bar.name}", type=float, default=bar.dflt, metavar=bar.metavar, help=f"bar: {bar.help} (default {bar.dflt:g})")
    args = parser.parse_args(argv)
    if args.rounds < 1 or min(args.sizes) < 1:
        parser.error("--rounds and --sizes must be at least 1")
    for text in args.test:
        if text in run.WAYS and text not in WAYS:
            parser.error(f"{text} is not a way with isan")
    args.tests = [run.test_column(text, args.base) for text in args.test]
    names = [column.name for column in args.tests]
    if len(set(names)) < len(names) or "base" in names:
        parser.error("each --test needs a name of its own: give it as NAME=PY")
    return args


def main(argv=None):
    args = arguments(argv)
    run.check_output(args.json)
    for column in args.tests:
        run.check(column)
    columns = [Column("base", args.base), *args.tests]
    abouts = {python: run.describe(python) for python in dict.fromkeys(column.python for column in columns)}
    report = {"machine": run.machine(), "rounds": args.rounds, "isan_options": run.child_environment()["ISAN_OPTIONS"]}
    taken = measure(columns, args.only or list(CASES), sorted(set(args.sizes)), args.rounds, args.timeout)
    report["machine"]["load_after"] = os.getloadavg()[0]
    report["columns"] = [{"name": column.name, "command": str(column), **abouts[column.python]} for column in columns]
    limits = {bar.name: getattr(args, bar.name.replace("-", "_")) for bar in BARS}
    comparisons = {column.name: compare({case: {size: (best["base"], best[column.name]) for size, best in sizes.items()}
                                         for case, sizes in taken.items()}, limits) for column in args.tests}
    report["comparisons"] = [{"name": name, "cases": cases} for name, cases in comparisons.items()]
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=2) + "\n")
    return tell(comparisons)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print(f"{Path(__file__).name}: {failure}", file=sys.stderr)
        sys.exit(failure.status)
    except CalledProcessError as error:             # the compiler has said why
        sys.exit(f"{Path(__file__).name}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
