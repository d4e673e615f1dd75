#!/usr/bin/python3
"""Compare the speed and the peak memory of Python interpreters, and of ways to run one.

Each workload runs in a new process, base and tests in turn, so that a slow
minute of the machine slows all of them.  The minimum of the rounds counts,
since noise only adds.
"""
import argparse
import json
import math
import operator
import os
import platform
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

WORKLOADS = Path(__file__).resolve().parent / "workloads"
MEMORY = "memory"                   # the workload with a bar on its peak memory
PARALLEL = "interpreters"           # the speed-up is the time of SERIAL ...
SERIAL = "interpreters_serial"      # ... over that of PARALLEL
PAIR_ROUNDS = 3                     # times as many rounds for these two: the quotient has four minima
FINDINGS = 86                       # isan's exit status with findings
EVENT = "instructions:u"
OWN_GIL = 0x030c0000                # the first release with interpreters that run in parallel
LIBISAN = str(Path(__file__).resolve().parents[2] / "build" / "lib" / "libisan.so")


class Way(NamedTuple):
    """A way to run an interpreter."""
    help: str = ""
    before: tuple = ()              # command in front of the interpreter
    options: tuple = ()             # options of the interpreter
    environment: dict = {}
    scale: float = 1                # of the work; the base does the same amount for comparison
    rounds: int = 0                 # fixed number of rounds; 0: as many as asked for
    cannot: tuple = ()              # workloads that fail


PLAIN = Way()
WAYS = {
    "isan": Way("with isan preloaded, each object's creation known (origin=python)", environment={"LD_PRELOAD": LIBISAN}),
    "isan-none": Way("the same with origin=none", environment={"LD_PRELOAD": LIBISAN, "ISAN_OPTIONS": "origin=none"}),
    # Only the GIL protects its tables (Python/tracemalloc.c), so own-GIL interpreters corrupt them.
    "tracemalloc": Way("with tracemalloc, one frame each", options=("-X", "tracemalloc=1"), cannot=(PARALLEL, SERIAL)),
    "memcheck": Way("under valgrind's memcheck, a quarter of the work, once", before=("valgrind", "--log-file=/dev/null"),
                    environment={"PYTHONMALLOC": "malloc"}, scale=0.25, rounds=1),
}


class Column(NamedTuple):
    """A column of the table: an interpreter, run in one way."""
    name: str
    python: str
    way: Way = PLAIN

    def command(self, workload):
        # -S: packages installed for one of the interpreters must not slow its start.
        return [*self.way.before, self.python, "-S", *self.way.options, str(WORKLOADS / f"{workload}.py")]

    def environment(self):
        """Its variables in addition to child_environment()."""
        extra = dict(self.way.environment)
        if "ISAN_OPTIONS" in extra:
            extra["ISAN_OPTIONS"] = f"{child_environment()['ISAN_OPTIONS']}:{extra['ISAN_OPTIONS']}"
        if self.way.scale != 1:
            extra["ISAN_BENCH_SCALE"] = str(SCALE * self.way.scale)
        return extra

    def __str__(self):
        return " ".join([*(f"{name}={value}" for name, value in self.way.environment.items()),
                         *self.way.before, self.python, *self.way.options])


class Quantity(NamedTuple):
    """A quantity that is compared."""
    name: str                       # its key in the comparisons of the JSON
    key: str                        # its key in the result of a run
    title: str
    unit: float                     # divisor in the first column of the table
    digits: int                     # decimals there


QUANTITIES = [
    Quantity("time", "seconds", "time, s", 1, 3),
    Quantity("cpu", "cpu_seconds", "processor time, s", 1, 3),
    Quantity("memory", "peak_bytes", "peak memory, MB", 1e6, 1),
    Quantity("instructions", "instructions", "instructions, millions", 1e6, 0),
]
SCALE = float(os.environ.get("ISAN_BENCH_SCALE", "1"))

DESCRIBE = """
import json, sys, sysconfig
print(json.dumps({"version": sys.version, "hexversion": sys.hexversion,
                  "config_args": sysconfig.get_config_var("CONFIG_ARGS")}))
"""

# The peak memory of a child made by vfork starts at that of this process, which is more than a small Python needs.  With
# fork it does not.
subprocess._USE_VFORK = False


class Failure(Exception):
    """One sentence for the user, and the exit status that goes with it."""

    def __init__(self, message, status=1):
        super().__init__(message)
        self.status = status


# Running things

def child_environment():
    """A few variables, the same for all children: other variables of the shell must not count."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "ISAN_BENCH_SCALE") if name in os.environ}
    options = ":".join(filter(None, ["print_summary=0", os.environ.get("ISAN_OPTIONS")]))
    return {**kept, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "ISAN_OPTIONS": options}


def has_ended(pid, timeout):
    """Wait for the end of a process, and leave its status to wait4, the only call that gives the peak memory."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))
    finally:
        os.close(pidfd)


def run_child(command, environment, what, timeout):
    """Run a process that must succeed without output; its times and memory."""
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                 env={**child_environment(), **environment})
        ended = False
        try:
            ended = has_ended(child.pid, timeout)
        finally:                    # Ctrl-C included: no child outlives the runner
            if not ended:
                child.kill()
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        output.seek(0)
        text = output.read().decode(errors="replace").strip()
    if not ended:
        problem = f"did not end within {timeout} s"
    elif child.returncode < 0:
        problem = f"was killed by signal {-child.returncode}"
    elif child.returncode == FINDINGS:
        problem = f"has findings (exit status {FINDINGS})"
    elif child.returncode:
        problem = f"ended with exit status {child.returncode}"
    elif text:
        problem = "printed something, which no workload does"
    else:
        return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_bytes": usage.ru_maxrss * 1024}
    raise Failure(f"{what} {problem}; it printed:\n{text or '(nothing)'}")


def count_instructions(command, environment, what, timeout):
    """The user-mode instructions of one run; they hardly vary, so one run will do."""
    with tempfile.NamedTemporaryFile() as counted:
        # LD_PRELOAD is for the interpreter, not for perf.
        assignments = [f"{name}={value}" for name, value in environment.items()]
        run_child(["perf", "stat", "-x,", "-e", EVENT, "-o", counted.name, "--", "env", *assignments, *command], {}, what, timeout)
        for line in Path(counted.name).read_text().splitlines():
            fields = line.split(",")
            if len(fields) > 2 and fields[2].startswith("instructions") and fields[0].isdigit():
                return int(fields[0])
    raise Failure("--instructions is not available: perf does not count instructions on this machine.", 2)


def describe(python):
    """Version and configuration of an interpreter, asked from itself."""
    try:
        done = subprocess.run([python, "-c", DESCRIBE], capture_output=True, text=True, env=child_environment(), timeout=60)
        if done.returncode == 0:
            return json.loads(done.stdout)
        why = f"exit status {done.returncode}: {done.stderr.strip()}"
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        why = error
    raise Failure(f"{python} does not work as a Python interpreter: {why}", 2)


def machine():
    """The machine: system, processor, number of CPUs."""
    try:
        cpus = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")]
    except OSError:
        cpus = []
    return {
        "platform": platform.platform(),
        "cpu": cpus[0] if cpus else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "load_before": os.getloadavg()[0],
    }


class Progress:
    """One line that changes on a terminal, else one line for each workload; on stderr."""

    def __init__(self, total):
        self.total, self.number, self.start = total, 0, time.monotonic()
        self.terminal = sys.stderr.isatty()

    def workload(self, name):
        self.number += 1
        self.name = name
        if not self.terminal:
            self.show(f"[{self.number}/{self.total}] {name}\n")

    def round(self, number, rounds):
        if self.terminal:
            elapsed = time.monotonic() - self.start
            self.show(f"\r\033[K[{self.number}/{self.total}] {self.name}, round {number} of {rounds}, {elapsed:.0f} s")

    def end(self):
        if self.terminal:
            self.show("\r\033[K")

    def show(self, text):
        sys.stderr.write(text)
        sys.stderr.flush()


def measure(columns, workloads, rounds, timeout, instructions):
    """For each column and workload, the minima of all rounds."""
    minima = [{} for _ in columns]
    # The two workloads of the quotient take turns, too.
    groups = [[name] for name in workloads if name not in (PARALLEL, SERIAL)]
    if PARALLEL in workloads:
        groups.append([PARALLEL, SERIAL])
    progress = Progress(len(groups))
    try:
        for group in groups:
            progress.workload(" and ".join(group))
            turns = rounds * PAIR_ROUNDS if PARALLEL in group else rounds
            runs = [(f"{name} under {column}", name, best, column.way.rounds or turns, column.command(name), column.environment())
                    for name in group for column, best in zip(columns, minima) if name not in column.way.cannot]
            for number in range(turns):
                progress.round(number + 1, turns)
                for what, name, best, wanted, command, environment in runs:
                    if number < wanted:
                        sample = run_child(command, environment, what, timeout)
                        before = best.get(name, sample)
                        best[name] = {key: min(value, before[key]) for key, value in sample.items()}
            if instructions:
                for what, name, best, _, command, environment in runs:
                    best[name]["instructions"] = count_instructions(command, environment, f"{what} and perf", timeout)
    finally:
        progress.end()
    return minima


# Arithmetic

def geometric_mean(values):
    values = list(values)
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def ratios(base, test, key):
    """Test over base for each workload of the test, and their geometric mean.

    SERIAL does not count in the mean: it is PARALLEL's work again.
    """
    each = {name: test[name][key] / base[name][key] for name in test}
    return {"workloads": each, "geometric_mean": geometric_mean(each[name] for name in each if name != SERIAL)}


def speedup(minima):
    return minima[SERIAL]["seconds"] / minima[PARALLEL]["seconds"]


def compare(base, test, parallel=True):
    """All results for one test; `parallel`: its interpreters run in parallel."""
    result = {quantity.name: ratios(base, test, quantity.key) for quantity in QUANTITIES
              if quantity.key in next(iter(test.values()))}
    if parallel and PARALLEL in test:
        of_base, of_test = speedup(base), speedup(test)
        result["speedup"] = {"base": of_base, "test": of_test, "quotient": of_test / of_base}
    return result


class Bar(NamedTuple):
    name: str
    value: object                   # of a comparison
    met: object                     # the comparison of that with the limit
    workload: str                   # that it is about, if it is about one
    metavar: str
    help: str


BARS = [
    Bar("max-time", lambda c: c["time"]["geometric_mean"], operator.le, "", "RATIO", "geometric mean of the times, at most"),
    Bar("max-memory", lambda c: c["memory"]["workloads"][MEMORY], operator.le, MEMORY, "RATIO",
        f"peak memory of the workload {MEMORY}, at most"),
    Bar("min-speedup", lambda c: c["speedup"]["quotient"], operator.ge, PARALLEL, "PART",
        "part of the base's parallel speed-up kept, at least"),
]


def judge(name, comparison, limits):
    """The bars for this column, each with the measured value."""
    return [{"bar": bar.name, "help": bar.help, "value": bar.value(comparison), "limit": limit, "met": bar.met(bar.value(comparison), limit)}
            for bar in BARS for column, limit in limits[bar.name] if column in ("", name)]


# Telling it

def table(quantity, base, comparisons):
    """Lines of text: the numbers of the base, and for each test the ratios to them."""
    widths = [max(len(comparison["name"]), 6) + 2 for comparison in comparisons]

    def row(name, first, cells):
        return f"{name:<22} {first:>9}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths))

    def cells(values):
        return ["-" if value is None else f"{value:.{digits}f}" for value in values]

    digits = 3 if quantity.name == "instructions" else 2        # they are as steady as that
    compared = [comparison[quantity.name] for comparison in comparisons]
    return [row(quantity.title, "base", [comparison["name"] for comparison in comparisons]),
            *(row(name, f"{taken[quantity.key] / quantity.unit:.{quantity.digits}f}",
                  cells(one["workloads"].get(name) for one in compared)) for name, taken in base.items()),
            row("geometric mean", "", cells(one["geometric_mean"] for one in compared))]


def tell(base, tests, taken, comparisons):
    """Print all results on stdout, and missed bars on stderr; the exit status."""
    for column in base, *tests:
        notes = [f"{column.way.scale:g} of the work, as its own base"] if column.way.scale != 1 else []
        notes += [f"{column.way.rounds} round"] if column.way.rounds else []
        notes += [f"not {' and '.join(column.way.cannot)}"] if column.way.cannot else []
        print(f"{column.name:<12} {column}" + (f" ({', '.join(notes)})" if notes else ""))
    for quantity in QUANTITIES:
        if quantity.name in comparisons[0]:
            print("", *table(quantity, taken, comparisons), sep="\n")
    print()
    status = 0
    for comparison in comparisons:
        if "speedup" in comparison:
            print("parallel speed-up: base {base:.2f}, {name} {test:.2f}, quotient {quotient:.2f}".format(
                name=comparison["name"], **comparison["speedup"]))
    for comparison in comparisons:
        for bar in comparison["bars"]:
            name, value, limit = comparison["name"], bar["value"], bar["limit"]
            print(f"{'met   ' if bar['met'] else 'MISSED'}  {name}, {bar['help']} {limit:g}: {value:.3f}", flush=True)
            if not bar["met"]:
                status = 1
                print(f"{name} misses the bar {bar['bar']}: {value:.3f}, limit {limit:g}", file=sys.stderr)
    return status


def limit(text):
    """[COLUMN=]NUMBER"""
    column, _, number = text.rpartition("=")
    return column, float(number)


def test_column(text, base):
    """WAY or [NAME=]PY"""
    if text in WAYS:
        return Column(text, base, WAYS[text])
    name, _, python = text.rpartition("=")
    return Column(name or os.path.basename(python), python)


def arguments(argv):
    available = sorted(path.stem for path in WORKLOADS.glob("*.py"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="ways to run the base:\n" + "".join(f"  {name:<12} {way.help}\n" for name, way in WAYS.items())
               + f"\nworkloads: {', '.join(available)}\n\n"
               "Exit status: 0 when all bars that were set are met, 1 when one is missed or a workload fails, 2 for wrong\n"
               "usage or a missing prerequisite.")
    parser.add_argument("--base", required=True, metavar="PY", help="the interpreter to compare with")
    parser.add_argument("--test", required=True, metavar="WAY|[NAME=]PY", action="append",
                        help="a column of the tables: a way to run the base, or another interpreter; may be repeated")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="runs of each workload in each column (default 7)")
    parser.add_argument("--only", action="append", metavar="NAME", choices=available,
                        help=f"run this workload only; may be repeated; {PARALLEL} and {SERIAL} bring each other")
    parser.add_argument("--json", metavar="FILE", help="write everything to FILE as JSON too")
    parser.add_argument("--instructions", action="store_true", help="count instructions as well, with perf stat")
    parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS", help="for each single run (default 300)")
    for bar in BARS:
        parser.add_argument(f"--{bar.name}", type=limit, action="append", default=[], metavar=f"[NAME=]{bar.metavar}",
                            help=f"bar, for all columns or the one with this name: {bar.help}")
    args = parser.parse_args(argv)
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    chosen = set(args.only or available)
    if chosen & {PARALLEL, SERIAL}:
        chosen |= {PARALLEL, SERIAL}
    args.tests = [test_column(text, args.base) for text in args.test]
    names = [column.name for column in args.tests]
    if len(set(names)) < len(names) or "base" in names:
        parser.error("each --test needs a name of its own: give it as NAME=PY")
    args.limits = {bar.name: getattr(args, bar.name.replace("-", "_")) for bar in BARS}
    for bar in BARS:
        for name, _ in args.limits[bar.name]:
            if name and name not in names:
                parser.error(f"--{bar.name} is for {name}, which no --test is called")
            if bar.workload and bar.workload not in chosen:
                parser.error(f"--{bar.name} needs the workload {bar.workload}: add --only {bar.workload}")
            for column in args.tests:
                if name in ("", column.name) and bar.workload in column.way.cannot:
                    parser.error(f"--{bar.name} cannot hold for {column.name}, which does not run {bar.workload}: "
                                 f"give it as NAME={bar.metavar}")
    args.workloads = sorted(chosen)
    return args


def check(column):
    """Check that the programs that a way needs are installed."""
    for program in column.way.before[:1]:
        if shutil.which(program) is None:
            raise Failure(f"{column.name} is not available: there is no {program} on this machine (Debian: apt install {program}).", 2)
    library = column.way.environment.get("LD_PRELOAD")
    if library and not os.path.exists(library):
        raise Failure(f"{column.name} is not available: there is no {library}: build it with make.", 2)


def check_output(file):
    """Check the file of --json before the measurement, which takes minutes."""
    if file and not os.access(Path(file).absolute().parent, os.W_OK):
        raise Failure(f"cannot write {file}: give --json a file in a directory that exists and that you can write to.", 2)


def main(argv=None):
    args = arguments(argv)
    check_output(args.json)
    for column in args.tests:
        check(column)
    # A way that does less work has its own base, which does the same amount.
    scales = [1, *sorted({column.way.scale for column in args.tests} - {1})]
    columns = [*(Column("base", args.base, Way(scale=scale)) for scale in scales), *args.tests]
    abouts = {python: describe(python) for python in dict.fromkeys(column.python for column in columns)}
    about = abouts[args.base]
    for python, one in abouts.items():
        if one["hexversion"] != about["hexversion"]:
            print(f"note: {python} is Python {one['version'].split()[0]}, the base is {about['version'].split()[0]}: "
                  "the ratios compare the releases, too.", file=sys.stderr)
    parallel = about["hexversion"] >= OWN_GIL
    if args.limits["min-speedup"] and not parallel:
        raise Failure(f"--min-speedup needs a Python whose interpreters run in parallel: {args.base} is older than 3.12.", 2)
    if args.instructions:
        if shutil.which("perf") is None:
            raise Failure("--instructions is not available: there is no perf on this machine (Debian: apt install linux-perf).", 2)
        count_instructions(["true"], {}, "true under perf", args.timeout)
    report = {"machine": machine(), "rounds": args.rounds, "scale": SCALE, "isan_options": child_environment()["ISAN_OPTIONS"]}
    where = report["machine"]
    if where["load_before"] > where["cpus"] / 2:
        print(f"note: this machine is busy (load {where['load_before']:.1f} on {where['cpus']} CPUs): "
              "times will be rough, and the parallel speed-up low.", file=sys.stderr)
    minima = measure(columns, args.workloads, args.rounds, args.timeout, args.instructions)
    report["machine"]["load_after"] = os.getloadavg()[0]
    report["columns"] = [
        {"name": column.name, "command": str(column), "scale": column.way.scale, "rounds": column.way.rounds or args.rounds,
         **abouts[column.python], "workloads": taken} for column, taken in zip(columns, minima)]
    bases = dict(zip(scales, minima))
    report["comparisons"] = []
    for column, taken in zip(args.tests, minima[len(scales):]):
        comparison = compare(bases[column.way.scale], taken, parallel)
        report["comparisons"].append({"name": column.name, **comparison, "bars": judge(column.name, comparison, args.limits)})
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=2) + "\n")
    return tell(columns[0], args.tests, bases[1], report["comparisons"])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print(f"{Path(__file__).name}: {failure}", file=sys.stderr)
        sys.exit(failure.status)
    except KeyboardInterrupt:
        sys.exit(130)
