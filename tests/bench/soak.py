#!/usr/bin/python3
"""Create and end thousands of interpreters in one process: isan's own memory must stay flat.

CPython itself leaks (a release build of 3.13 leaks 1.7 MB for each own-GIL
interpreter: interned strings and their arenas), so isan's memory is measured
apart: its mappings, which lie beside the owner tags, and the pages of tags.
Pages with tags of leaked blocks of ended interpreters are counted apart from
the other pages of tags.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
WORK = "import json, re, collections; json.loads(json.dumps({'a': [1.5, None]})); re.sub('a+', 'b', 'caa')"
# The kind of each interpreter and its code, in turn.
PLANS = [("legacy", ""), ("legacy", WORK), ("isolated", ""), ("legacy", "import _decimal"), ("isolated", WORK),
         ("legacy", "class A: pass\nkept = [A() for _ in range(1000)]")]
if sys.version_info < (3, 12):
    PLANS = [(kind, code) for kind, code in PLANS if "_decimal" not in code]    # it leaks, and isan keeps records of leaks
# Largest growth after the first third of the run that counts as flat: of isan's mappings; of the other tags, in all or for
# each interpreter; of the log for each interpreter.
OWN_KB, TAGS_KB, TAGS_EACH_KB, LOG_BYTES = 512, 2048, 4, 4096


def measure():
    """(KiB of isan's mappings, KiB of other tags, KiB of tags of leaked blocks, KiB of the process, bytes of log)."""
    from helpers import owner_tags as tags
    own = other = everything = 0
    for line in open("/proc/self/smaps", encoding="utf-8"):
        fields = line.split()
        if "-" in fields[0] and not line[0].isupper():
            start = int(fields[0].split("-")[0], 16)
            ours = tags.SHADOW - (1 << 44) <= start < tags.SHADOW or line.rstrip().endswith(("libisan.so.0"))
        elif fields[0] == "Rss:":
            everything += int(fields[1])
            own += ours * int(fields[1])
    main, left = tags.slot(id(tags)), 0
    for _, words in tags.written():
        theirs = any(word & tags.START and not word & tags.FREED and word & 0xffff not in (main, tags.NOBODY)
                     for word in words)
        left += 4 * theirs
        other += 4 * (not theirs)
    log, = os.listdir(os.environ["SOAK_LOG"])
    return own, other, left, everything, os.stat(os.path.join(os.environ["SOAK_LOG"], log)).st_size


def soak(count):
    from interpreters import Interpreter
    samples, began, step = [], time.monotonic(), max(count // 12, 1)
    print("interpreters   seconds   isan KiB   tags KiB   tags of leaks KiB   process KiB   log KiB", flush=True)
    for i in range(count + 1):
        if i % step == 0 or i == count:
            own, other, left, everything, log = measure()
            samples.append((i, own, other, log))
            print(f"{i:12} {time.monotonic() - began:9.1f} {own:10} {other:10} {left:19} {everything:13} {log // 1024:9}",
                  flush=True)
        kind, code = PLANS[i % len(PLANS)]
        interpreter = Interpreter(kind)
        if code:
            interpreter.run(code)
        interpreter.end()
    half = [sample for sample in samples if sample[0] >= count // 3] or samples
    (first, *then), (last, *now) = half[0], half[-1]
    own, other, log = (after - before for before, after in zip(then, now))
    log //= max(last - first, 1)
    what = (f"isan's own memory {own:+} KiB, tags but those of leaks {other:+} KiB, {log} bytes of log for each "
            f"interpreter, from interpreter {first} to {last}")
    if own > OWN_KB or other > max(TAGS_KB, TAGS_EACH_KB * (last - first)) or log > LOG_BYTES:
        raise SystemExit(f"soak.py: not flat: {what}; see the table for where it began.")
    print(f"flat: {what}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="Exit status: 0 when flat, 1 when not, 2 for wrong usage.")
    parser.add_argument("--count", type=int, default=3000, help="interpreters to create and end (default: %(default)s)")
    parser.add_argument("--python", help="an instrumented Python (default: the fast one of CPython 3.13 built here)")
    parser.add_argument("--stock", action="store_true", help="the Python is not instrumented: preload libisan.so")
    parser.add_argument("--in-target", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.count < 12:
        parser.error("--count: give at least 12")
    if args.in_target:
        return soak(args.count)
    python = args.python
    if python is None:
        sys.path.insert(0, TESTS)
        from helpers import tree
        sys.path[:0] = tree.PYTHON_PATH
        from isan import Problem, pythons
        try:
            python = pythons.find_python("fast", "3.13")
        except Problem as problem:
            parser.exit(2, f"soak.py: {problem}\n")
    with tempfile.TemporaryDirectory() as log:
        command = [python, os.path.join(HERE, "soak.py"), "--in-target", "--count", str(args.count)]
        environment = {**os.environ, "ISAN_OPTIONS": f"log_path={log}", "SOAK_LOG": log,
                       "PYTHONPATH": f"{TESTS}:{os.path.join(TESTS, 'ext')}"}
        if args.stock:
            environment["LD_PRELOAD"] = os.path.join(os.path.dirname(TESTS), "build", "lib", "libisan.so.0")
        try:
            status = subprocess.run(command, env=environment).returncode
        except OSError as error:
            parser.exit(2, f"soak.py: cannot run {python}: {error.strerror}; give --python an instrumented Python.\n")
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
