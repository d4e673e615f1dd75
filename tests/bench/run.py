#!/usr/bin/python3
"""Compare the speed and the peak memory of Python interpreters.

Every workload runs in a process of its own, base and test in turn, so that a
slow minute of the machine slows both; the minimum of the rounds is what
counts, since noise only ever adds.
"""
import argparse
import json
import math
import os
import platform
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORKLOADS = Path(__file__).resolve().parent / "workloads"
MEMORY = "memory"                   # the workload whose peak memory has the bar
PARALLEL = "interpreters"           # the speed-up is the time of SERIAL ...
SERIAL = "interpreters_serial"      # ... over that of PARALLEL
PAIR_ROUNDS = 3                     # times as many rounds for these two: one quotient of four minima
FINDINGS = 86                       # isan's exit status when it found something
EVENT = "instructions:u"

DESCRIBE = """
import json, sys, sysconfig
print(json.dumps({"version": sys.version, "hexversion": sys.hexversion,
                  "config_args": sysconfig.get_config_var("CONFIG_ARGS")}))
"""

# A child made by vfork starts its peak memory at that of this process, which
# is more than a small Python needs; made by fork it does not.
subprocess._USE_VFORK = False


class Failure(Exception):
    """One sentence for the user, and the exit status that goes with it."""

    def __init__(self, message, status=1):
        super().__init__(message)
        self.status = status


# Running things

def child_environment():
    """A few variables, the same for all: what a shell happens to export must not count."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "ISAN_BENCH_SCALE") if name in os.environ}
    options = ":".join(filter(None, ["print_summary=0", os.environ.get("ISAN_OPTIONS")]))
    return {**kept, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "ISAN_OPTIONS": options}


def has_ended(pid, timeout):
    """Wait for the end of a process, leaving its status for wait4, which alone tells the peak memory."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(timeout * 1000))
    finally:
        os.close(pidfd)


def run_child(command, what, timeout):
    """Run a process that must succeed in silence; what it took."""
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=child_environment())
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


def count_instructions(command, what, timeout):
    """The user-mode instructions of one run; they hardly vary, so one run will do."""
    with tempfile.NamedTemporaryFile() as counted:
        run_child(["perf", "stat", "-x,", "-e", EVENT, "-o", counted.name, "--", *command], what, timeout)
        for line in Path(counted.name).read_text().splitlines():
            fields = line.split(",")
            if len(fields) > 2 and fields[2].startswith("instructions") and fields[0].isdigit():
                return int(fields[0])
    raise Failure("--instructions is not available: perf does not count instructions on this machine.", 2)


def describe(python):
    """Version and configuration of an interpreter, as it tells them itself."""
    try:
        done = subprocess.run([python, "-c", DESCRIBE], capture_output=True, text=True, env=child_environment(), timeout=60)
        if done.returncode == 0:
            return json.loads(done.stdout)
        why = f"exit status {done.returncode}: {done.stderr.strip()}"
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        why = error
    raise Failure(f"{python} does not work as a Python interpreter: {why}", 2)


def machine():
    """Where the numbers come from."""
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


def measure(pythons, workloads, rounds, timeout, instructions):
    """For each interpreter, for each workload, the minima of all rounds.

    -S: packages installed for one of the interpreters must not count.
    """
    minima = [{} for _ in pythons]
    # The two that are divided by each other take turns as well.
    groups = [[name] for name in workloads if name not in (PARALLEL, SERIAL)]
    if PARALLEL in workloads:
        groups.append([PARALLEL, SERIAL])
    progress = Progress(len(groups))
    try:
        for group in groups:
            progress.workload(" and ".join(group))
            commands = [(f"{name} under {python}", name, best, [python, "-S", str(WORKLOADS / f"{name}.py")])
                        for name in group for python, best in zip(pythons, minima)]
            turns = rounds * PAIR_ROUNDS if PARALLEL in group else rounds
            for number in range(turns):
                progress.round(number + 1, turns)
                for what, name, best, command in commands:
                    sample = run_child(command, what, timeout)
                    before = best.get(name, sample)
                    best[name] = {key: min(value, before[key]) for key, value in sample.items()}
            if instructions:
                for what, name, best, command in commands:
                    best[name]["instructions"] = count_instructions(command, f"{what} and perf", timeout)
    finally:
        progress.end()
    return minima


# Arithmetic

def geometric_mean(values):
    values = list(values)
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def ratios(base, test, quantity):
    """Test over base for each workload, and their geometric mean.

    SERIAL is not among them: it is PARALLEL's work once more.
    """
    each = {name: test[name][quantity] / base[name][quantity] for name in base if name != SERIAL}
    return {"workloads": each, "geometric_mean": geometric_mean(each.values())}


def speedup(minima):
    return minima[SERIAL]["seconds"] / minima[PARALLEL]["seconds"]


def compare(base, test):
    """All that is said about one test interpreter."""
    result = {"time": ratios(base, test, "seconds"), "cpu": ratios(base, test, "cpu_seconds"),
              "memory": ratios(base, test, "peak_bytes")}
    if "instructions" in next(iter(base.values())):
        result["instructions"] = ratios(base, test, "instructions")
    if PARALLEL in base:
        of_base, of_test = speedup(base), speedup(test)
        result["speedup"] = {"base": of_base, "test": of_test, "quotient": of_test / of_base}
    return result


def judge(comparison, limits):
    """The bars that were asked for, each with what it came to."""
    bars = []
    if limits.max_time is not None:
        value = comparison["time"]["geometric_mean"]
        bars.append({"bar": "time", "value": value, "limit": limits.max_time, "met": value <= limits.max_time})
    if limits.max_memory is not None:
        value = comparison["memory"]["workloads"][MEMORY]
        bars.append({"bar": "memory", "value": value, "limit": limits.max_memory, "met": value <= limits.max_memory})
    if limits.min_speedup is not None:
        value = comparison["speedup"]["quotient"]
        bars.append({"bar": "speedup", "value": value, "limit": limits.min_speedup, "met": value >= limits.min_speedup})
    return bars


# Telling it

BAR_NAMES = {
    "time": "geometric mean of the times, at most",
    "memory": f"peak memory of the workload {MEMORY}, at most",
    "speedup": "part of the base's parallel speed-up kept, at least",
}


def table(base, test, comparison):
    """Lines of text for one test interpreter."""
    counted = "instructions" in comparison
    lines = [f"{'workload':<20} {'base s':>8} {'test s':>8} {'ratio':>6} {'cpu':>6}   {'base MB':>8} {'test MB':>8} {'ratio':>6}"
             + ("  instructions" if counted else "")]
    for name in base:
        row = f"{name:<20} {base[name]['seconds']:>8.3f} {test[name]['seconds']:>8.3f} "
        row += "{:>6.2f} {:>6.2f}   ".format(*(test[name][q] / base[name][q] for q in ("seconds", "cpu_seconds")))
        row += f"{base[name]['peak_bytes'] / 1e6:>8.1f} {test[name]['peak_bytes'] / 1e6:>8.1f} "
        row += f"{test[name]['peak_bytes'] / base[name]['peak_bytes']:>6.2f}"
        if counted:
            row += f"  {test[name]['instructions'] / base[name]['instructions']:>12.3f}"
        lines.append(row)
    means = {name: comparison[name]["geometric_mean"] for name in ("time", "cpu", "memory")}
    lines.append(f"{'geometric mean':<20} {'':>17} {means['time']:>6.2f} {means['cpu']:>6.2f}   {'':>17} {means['memory']:>6.2f}"
                 + (f"  {comparison['instructions']['geometric_mean']:>12.3f}" if counted else ""))
    if "speedup" in comparison:
        lines.append("parallel speed-up: base {base:.2f}, test {test:.2f}, quotient {quotient:.2f}".format(**comparison["speedup"]))
    return lines


def arguments(argv):
    available = sorted(path.stem for path in WORKLOADS.glob("*.py"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Exit status: 0 when all bars asked for are met, 1 when one is missed or a workload fails, 2 for wrong\n"
               f"usage or a missing prerequisite.  Workloads: {', '.join(available)}.")
    parser.add_argument("--base", required=True, metavar="PY", help="the interpreter to compare with")
    parser.add_argument("--test", required=True, metavar="PY", action="append", help="an interpreter to measure; may be repeated")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="runs of each workload under each interpreter (default 7)")
    parser.add_argument("--only", action="append", metavar="NAME", choices=available,
                        help=f"run this workload only; may be repeated; {PARALLEL} and {SERIAL} bring each other")
    parser.add_argument("--json", metavar="FILE", help="write everything to FILE as JSON too")
    parser.add_argument("--instructions", action="store_true", help="count instructions as well, with perf stat")
    parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS", help="for each single run (default 300)")
    parser.add_argument("--max-time", type=float, metavar="RATIO", help="bar: geometric mean of the times, test over base")
    parser.add_argument("--max-memory", type=float, metavar="RATIO", help=f"bar: peak memory of the workload {MEMORY}, test over base")
    parser.add_argument("--min-speedup", type=float, metavar="PART", help="bar: parallel speed-up, test over base")
    args = parser.parse_args(argv)
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    chosen = set(args.only or available)
    if chosen & {PARALLEL, SERIAL}:
        chosen |= {PARALLEL, SERIAL}
    if args.max_memory is not None and MEMORY not in chosen:
        parser.error(f"--max-memory needs the workload {MEMORY}: add --only {MEMORY}")
    if args.min_speedup is not None and PARALLEL not in chosen:
        parser.error(f"--min-speedup needs the workload {PARALLEL}: add --only {PARALLEL}")
    args.workloads = sorted(chosen)
    return args


def main(argv=None):
    args = arguments(argv)
    if args.json and not os.access(Path(args.json).absolute().parent, os.W_OK):     # not after minutes of work
        raise Failure(f"cannot write {args.json}: give --json a file in a directory that exists and that you can write to.", 2)
    pythons = [args.base, *args.test]
    about = [describe(python) for python in pythons]
    for python, one in zip(args.test, about[1:]):
        if one["hexversion"] != about[0]["hexversion"]:
            print(f"note: {python} is Python {one['version'].split()[0]}, the base is {about[0]['version'].split()[0]}: "
                  "the ratios compare the releases, too.", file=sys.stderr)
    if args.instructions:
        if shutil.which("perf") is None:
            raise Failure("--instructions is not available: there is no perf on this machine (Debian: apt install linux-perf).", 2)
        count_instructions(["true"], "true under perf", args.timeout)
    report = {"machine": machine(), "rounds": args.rounds, "scale": float(os.environ.get("ISAN_BENCH_SCALE", "1")),
              "isan_options": child_environment()["ISAN_OPTIONS"]}
    where = report["machine"]
    if where["load_before"] > where["cpus"] / 2:
        print(f"note: this machine is busy (load {where['load_before']:.1f} on {where['cpus']} CPUs): "
              "times will be rough, and the parallel speed-up low.", file=sys.stderr)
    minima = measure(pythons, args.workloads, args.rounds, args.timeout, args.instructions)
    report["machine"]["load_after"] = os.getloadavg()[0]
    report["pythons"] = [{"role": "test" if i else "base", "path": python, **about[i], "workloads": minima[i]}
                         for i, python in enumerate(pythons)]
    report["comparisons"] = []
    missed = []
    for python, one in zip(args.test, minima[1:]):
        comparison = compare(minima[0], one)
        bars = judge(comparison, args)
        report["comparisons"].append({"test": python, **comparison, "bars": bars})
        print(f"base {args.base}\ntest {python}\n")
        print("\n".join(table(minima[0], one, comparison)))
        for bar in bars:
            print(f"{'met   ' if bar['met'] else 'MISSED'}  {BAR_NAMES[bar['bar']]} {bar['limit']:g}: {bar['value']:.3f}")
            if not bar["met"]:
                missed.append(f"{python} misses the bar {bar['bar']}: {bar['value']:.3f}, limit {bar['limit']:g}")
        print()
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=2) + "\n")
    sys.stdout.flush()
    for line in missed:
        print(line, file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print(f"{Path(__file__).name}: {failure}", file=sys.stderr)
        sys.exit(failure.status)
    except KeyboardInterrupt:
        sys.exit(130)
