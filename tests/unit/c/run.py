"""Run unit tests of C: programs that have tests/unit/c/unit.h, as many at a time as there are CPUs.

Prints a line for each test, what it wrote if it failed, and a closing line.  The status is 1 if a test failed.
"""
import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

SECONDS = 60                # for one program


def run(program):
    """(exit status, output) of one program."""
    env = dict(os.environ, UBSAN_OPTIONS="print_stacktrace=1")
    try:
        done = subprocess.run([os.path.abspath(program)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
                              timeout=SECONDS, text=True, errors="replace")
    except subprocess.TimeoutExpired as error:
        return 1, "%s\nFAILED  %s: not done after %d seconds\n" % ((error.stdout or b"").decode(), program, SECONDS)
    return done.returncode, done.stdout


def main():
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__)
    parser.add_argument("programs", nargs="+", metavar="PROGRAM")
    args = parser.parse_args()
    began, passed, failed = time.monotonic(), 0, 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for program, (status, output) in zip(args.programs, pool.map(run, args.programs)):
            print(output, end="", flush=True)
            lines = output.splitlines()
            passed += sum(line.startswith("ok ") for line in lines)
            bad = sum(line.startswith("FAILED ") for line in lines)
            if status and not bad:
                print("FAILED  %s: exit status %d" % (program, status))
            failed += bad or bool(status)
    print("C unit tests: %d passed, %d failed in %.1f s" % (passed, failed, time.monotonic() - began))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
