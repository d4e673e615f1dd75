"""isan env: a build command whose compilers instrument what they compile."""
import json
import os
import re
import shutil
import signal
import subprocess

from isan import Problem, pythons
from isan.cli import config

EPILOG = """\
Runs COMMAND (pip install ., python3 setup.py build_ext -i, make, cmake --build B, meson setup B, ...) with isan's
flags, -g and -fno-optimize-sibling-calls (so that stacks show who called CPython) at the end of CFLAGS and CXXFLAGS.
Where one of them is not set, the flags that the Python of the build was itself compiled with come first, because
setuptools 75.7 and newer takes CFLAGS in their place. That Python is COMMAND, or the one in its #! line, or python3.
The only other change is that libisan.so is taken out of LD_PRELOAD, since it is not for compilers.

With --flavor tsan the build is for the tsan interpreter: the flags include -fsanitize=thread, and CC and CXX are the
newest clang here, unless CC names one.

A makefile that sets CFLAGS itself needs them on its command line: isan env -- sh -c 'make CFLAGS="$CFLAGS"'.
An extension that has been built before must be compiled anew (pip install --no-cache-dir, setup.py build_ext --force,
a new build directory). If it is stripped, reports lack the names of its variables.
`nm -D FILE.so` shows isan__slot if FILE was instrumented.

Exit status: COMMAND's; 2 for wrong usage."""

_PYTHON = re.compile(r"(\S*/)?python(3(\.\d+)?)?$")
_LIBISAN = re.compile(r"(.*/)?libisan\.so(\.0)?$")

# Asks the Python of a build for its version, its headers and its compiler flags.
_QUERY = """
import json, sys, sysconfig
print(json.dumps([sys.version_info[:2], *sysconfig.get_config_vars("INCLUDEPY", "CFLAGS")]))
"""


def add_arguments(parser):
    parser.add_argument("--flavor", choices=("fast", "debug", "tsan"), default="fast",
                        help="the interpreter that will load what is built (default: any)")
    parser.add_argument("program", metavar="COMMAND", help="the build command, such as pip")
    parser.add_argument("arguments", metavar="ARGS", nargs="...", help="its arguments")
    parser.epilog = EPILOG


def python_of(program):
    """The Python that a build command builds for, or None."""
    if _PYTHON.match(program):
        return program
    with open(program, "rb") as file:
        line = file.readline(4096).strip().decode(errors="replace")
    if line.startswith("#!") and _PYTHON.match(line[2:].strip()):
        return line[2:].strip()
    return shutil.which("python3")


def ask(python, env):
    """Its version, where its headers are, and the flags it was compiled with."""
    try:
        done = subprocess.run([python, "-I", "-c", _QUERY], env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return json.loads(done.stdout)
    except OSError as error:
        why = error.strerror
    except ValueError:
        pass
    raise Problem(f"{python}, which this build seems to be for, does not work ({why}): repair it, or put another"
                  f" first in PATH")


def environment(program, flavor, python=None):
    """The environment of a build. python: which it is for (default: as python_of(program))."""
    env = dict(os.environ)
    flags, own = [*config.cflags(), "-g", "-fno-optimize-sibling-calls"], ""
    if pythons.FLAVORS[flavor].tsan:
        flags.append("-fsanitize=thread")
        env["CC"] = pythons.tsan_compiler()
        env["CXX"] = re.sub(r"clang(-\d+)?(?= |$)", r"clang++\1", env["CC"], count=1)
    preloads = [path for path in re.split("[ :]", env.pop("LD_PRELOAD", "")) if path and not _LIBISAN.match(path)]
    if preloads:
        env["LD_PRELOAD"] = ":".join(preloads)
    python = python or python_of(program)
    if python:
        version, include, own = ask(python, env)
        if version < [3, 12]:
            # The overlay of Python.h must come first, but Meson and CMake put
            # their -I before CFLAGS.  A directory that is given with -isystem
            # as well is searched after those of all -I.
            flags.append(f"-isystem{include}")
    for name in "CFLAGS", "CXXFLAGS":
        env[name] = " ".join([env.get(name, own).strip(), *flags])
    return env


def main(args):
    program = shutil.which(args.program)
    if not program:
        raise Problem(f"cannot find {args.program}: give a build command, such as: isan env -- pip install .")
    env = environment(program, args.flavor)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)       # ignored by this Python, and inherited
    try:
        os.execve(program, [args.program, *args.arguments], env)
    except OSError as error:
        raise Problem(f"cannot run {program}: {error.strerror}")
