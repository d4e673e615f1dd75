"""isan env: build systems compile extensions with isan's header, and those extensions run without isan, too."""
import os
import re
import shutil
import subprocess
import sys

import pytest

from ext.build import build, locations
from helpers.programs import holder_of, line_of, places
from helpers.tree import COMMAND, EXT, LIBRARY_LINK, NEEDED_TO_RUN, inside

SOURCE = (EXT / "refcounts.c").read_text()
TIMEOUT = 120

# Instructions of a check without libisan: load the address of isan__slot, load it, test it, branch.
CHECK = 4


@pytest.fixture
def python(stock):
    return stock.python


@pytest.fixture
def env(isan, tmp_path):
    """env(command...) runs `isan env -- command...` in tmp_path -> the finished process."""
    def run(*command, isan=isan, **variables):
        # The first python3 there is the system's.
        environment = {"PATH": f"{os.path.dirname(sys.executable)}:/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8", **variables}
        return subprocess.run([isan, "env", *command], env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)
    return run


def succeeded(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(done):
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    return done.stderr


def tool(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def weak_symbols(extension):
    """isan's symbols that the extension defines itself, for programs without libisan."""
    return sorted(re.findall(r" [VW] (isan__\w+)", tool("nm", "-D", "--defined-only", extension)))


def is_checked(extension):
    """Whether code of the extension uses the symbols; each file compiled with the header has them."""
    return weak_symbols(extension) == ["isan__hooks", "isan__slot"] and all(
        name in tool("readelf", "-rW", extension) for name in ("isan__hooks", "isan__slot"))


def runs(python, directory, code):
    """The output of a program with the extension, in a Python without isan."""
    script = f"import sys; sys.path.insert(0, {str(directory)!r}); import refcounts; {code}"
    return succeeded(subprocess.run([python, "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)).strip()


WORKS = "op = object(); before = sys.getrefcount(op); refcounts.all(op, 5); refcounts.spin(op, 5); print(sys.getrefcount(op) - before)"


def flags_of(env, *python, **variables):
    """CFLAGS and CXXFLAGS of a build command."""
    done = env("--", *python, "sh", "-c", 'echo "$CFLAGS"; echo "$CXXFLAGS"', **variables)
    return [line.strip() for line in succeeded(done).splitlines()]


# --- the environment of the command --------------------------------------------

def isan_flags(isan, python=None):
    flags = tool(isan, "config", "--cflags").strip() + " -g -fno-optimize-sibling-calls"
    if not python:
        return flags
    old = tool(python, "-c", "import sys; print(sys.version_info < (3, 12))").strip() == "True"
    return flags + old * f" -isystem{locations(python)[0][0]}"


def test_flags_that_are_not_set(env, isan):
    """They begin with the flags of the Python itself, since a build system may replace its flags by these."""
    own = tool(sys.executable, "-c", "import sysconfig; print(sysconfig.get_config_var('CFLAGS'))").strip()
    assert "-O" in own
    assert flags_of(env) == [f"{own} {isan_flags(isan, sys.executable)}"] * 2


def test_flags_that_are_set(env, isan):
    ours = isan_flags(isan, sys.executable)
    assert flags_of(env, CFLAGS="-O1 -DA='b  c'", CXXFLAGS="") == [f"-O1 -DA='b  c' {ours}", ours]


def test_python_of_the_build(env, tmp_path, plain):
    """The Python of the build is the command, or the Python in its first line, or else the one on PATH."""
    own = tool(plain, "-c", "import sysconfig; print(sysconfig.get_config_var('CFLAGS'))").strip()
    code = "import os; print(os.environ['CFLAGS'])"
    script = tmp_path / "pip"
    script.write_text(f"#!{plain}\n{code}\n")
    script.chmod(0o755)
    for command in [plain, "-c", code], [script]:
        flags = succeeded(env("--", *command))
        assert flags.startswith(own) and "-isystem" not in flags


def test_nothing_else_is_set(env, isan):
    lines = succeeded(env("env", MORE="kept")).splitlines()
    assert {line.partition("=")[0] for line in lines} == {"PATH", "HOME", "LC_ALL", "PWD", "MORE", "CFLAGS", "CXXFLAGS"}
    assert "MORE=kept" in lines


def test_thread_sanitizer(env, isan):
    lines = succeeded(env("--flavor", "tsan", "--", "sh", "-c", 'echo "$CC"; echo "$CXX"; echo "$CFLAGS"; echo "$CXXFLAGS"',
                          CFLAGS="-O1", CXXFLAGS="-O2", CC="gcc")).splitlines()
    assert re.fullmatch(r"clang-\d+", lines[0]) and lines[1] == lines[0].replace("clang", "clang++")
    # Before the headers that Python 3.11 needs.
    flags, separator, headers = isan_flags(isan, sys.executable).partition(" -isystem")
    assert lines[2:] == [f"{own} {flags} -fsanitize=thread{separator}{headers}" for own in ("-O1", "-O2")]


@pytest.mark.parametrize("given, left", [("{libisan}", ""), ("{libisan}:{other}", "{other}"), ("{other}", "{other}")])
def test_compilers_do_not_run_under_isan(env, root, given, left):
    names = {"libisan": str(LIBRARY_LINK), "other": "/lib/x86_64-linux-gnu/libm.so.6"}
    done = env("sh", "-c", 'echo "$LD_PRELOAD"', LD_PRELOAD=given.format(**names), ISAN_OPTIONS="help=1")
    assert succeeded(done).strip() == left.format(**names)


def test_arguments_and_status_are_the_commands(env):
    done = env("--", "sh", "-c", 'echo "$@"; exit 7', "sh", "-x", "--", "a  b", "--help")
    assert (done.returncode, done.stdout, done.stderr) == (7, "-x -- a  b --help\n", "")
    assert env("sh", "-c", "kill -9 $$").returncode == -9
    # Python ignores SIGPIPE; the command that replaces it must not.
    assert env("sh", "-c", "kill -PIPE $$; echo alive").returncode == -13


# --- build systems ------------------------------------------------------------

SETUP = """\
from setuptools import Extension, setup
setup(name="refcounts", ext_modules=[Extension("refcounts", [{source!r}])])
"""


@pytest.mark.parametrize("source", ["refcounts.c", "refcounts.cpp"])
def test_setuptools(env, tmp_path, source):
    """With Debian's setuptools, which belongs to the system's Python."""
    (tmp_path / source).write_text(SOURCE)
    (tmp_path / "setup.py").write_text(SETUP.format(source=source))
    succeeded(env("--", sys.executable, "setup.py", "build_ext", "-i"))
    extension, = tmp_path.glob("refcounts.*.so")
    assert is_checked(extension)
    assert runs(sys.executable, tmp_path, WORKS) == "0"


def test_make(env, tmp_path, python):
    include = " ".join(f"-I{path}" for path in locations(python)[0])
    (tmp_path / "refcounts.c").write_text(SOURCE)
    (tmp_path / "Makefile").write_text(
        f"refcounts.so: refcounts.c\n\t$(CC) -shared -fPIC $(CFLAGS) -Werror {include} -o $@ $<\n")
    succeeded(env("make"))
    assert is_checked(tmp_path / "refcounts.so")
    assert runs(python, tmp_path, WORKS) == "0"


def test_own_include_directories_before_the_flags(env, tmp_path, python):
    """Meson and CMake put them in this order."""
    include = " ".join(f"-I{path}" for path in locations(python)[0])
    (tmp_path / "refcounts.c").write_text(SOURCE)
    succeeded(env("sh", "-c", f"gcc -shared -fPIC {include} $CFLAGS -o refcounts.so refcounts.c",
                  PATH=f"{os.path.dirname(python)}:/usr/bin:/bin"))
    assert is_checked(tmp_path / "refcounts.so")


# --- the header and the overlay -------------------------------------------------

@pytest.mark.parametrize("macro", ["", "-DPy_LIMITED_API=0x030b0000", "-DPy_LIMITED_API=0x030c0000"])
@pytest.mark.parametrize("compiler", ["gcc -std=c99 -pedantic", "gcc -std=c17", "g++ -xc++ -std=c++11 -pedantic", "g++ -xc++ -std=c++20"])
def test_compiles_without_a_warning(isan, tmp_path, python, compiler, macro):
    flags = tool(isan, "config", "--cflags").split()
    for form in '"Python.h"', "<Python.h>":
        (tmp_path / "refcounts.c").write_text(SOURCE.replace("<Python.h>", form))
        subprocess.run([*compiler.split(), "-O1", "-Wall", "-Wextra", "-Werror", *macro.split(), "-shared", "-fPIC", *flags,
                        *(f"-I{path}" for path in locations(python)[0]), "-o", "refcounts.so", "refcounts.c"],
                       cwd=tmp_path, check=True)
    assert runs(python, tmp_path, WORKS) == "0"


def instructions(python, directory, n):
    """The instructions of a process that runs the loop n times."""
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", python, "-S", "-c",
         f"import sys; sys.path.insert(0, {str(directory)!r}); import refcounts; refcounts.spin(object(), {n})"],
        env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0"}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1))


def test_cost_without_isan(isan, tmp_path, python):
    """A loop of one Py_INCREF and one Py_DECREF."""
    n, cost = 100_000, {}
    for header in False, True:
        directory = tmp_path / str(header)
        directory.mkdir()
        build("refcounts.c", python, directory, ["-O2", *(tool(isan, "config", "--cflags").split() if header else [])])
        cost[header] = (instructions(python, directory, n) - instructions(python, directory, 0)) / n
    print(f"{cost[False]:.1f} instructions without the header, {cost[True]:.1f} with it")
    assert 1 < cost[True] - cost[False] < 2 * CHECK + 0.5


# --- with isan --------------------------------------------------------------------

@pytest.fixture
def under_isan(env, stock, tmp_path):
    """Run a test extension, compiled with or without the header, in two interpreters of a stock Python."""
    def run(name, header=True):
        if header:
            command = [sys.executable, EXT / "build.py", EXT / f"{name}.c", "--python", stock.python, "-o", tmp_path]
            succeeded(env("sh", "-c", 'exec "$@" "--cflags=$CFLAGS"', "sh", *command,
                          PATH=f"{os.path.dirname(stock.python)}:/usr/bin:/bin"))
        else:
            build(f"{name}.c", stock.python, tmp_path)
        return stock.run("""
            interpreters = Interpreter(), Interpreter()
            for interpreter in interpreters:
                interpreter.run(f"import {NAME}; {NAME}.get()")
            for interpreter in interpreters:
                interpreter.end()
            """, extensions=tmp_path, NAME=name)
    return run


def test_reference_counts_of_a_shared_static(under_isan):
    run = under_isan("cache_static")
    finding = run.one("share", access="incref", type="dict")
    assert run.status == 86
    assert [finding[whose]["id"] for whose in ("owner", "current")] == [1, 2]
    assert holder_of(finding) == ("cache", "cache_static.c", line_of("cache_static.c", "static PyObject *cache;"))
    assert places(finding["stacks"]["used"], "cache_static.c")[0] == line_of("cache_static.c", "Py_NewRef(cache)")
    leak = run.one("leak", type="dict")
    assert finding["id"] in leak["paired"]


def test_reference_counts_of_its_healthy_twin(under_isan):
    assert under_isan("cache_state").healthy()


def test_without_the_header_they_are_not_seen(under_isan):
    run = under_isan("cache_static", header=False)
    assert run.findings("share") and not run.findings("share", access="incref")


# --- wrong usage ------------------------------------------------------------------

def test_help(env):
    text = succeeded(env("--help"))
    assert text.startswith("usage: isan env ") and "CXXFLAGS" in text and "LD_PRELOAD" in text


def test_wrong_usage(env, tmp_path):
    assert "COMMAND" in refused(env())
    assert "COMMAND" in refused(env("--"))
    assert refused(env("no-such-command")).startswith("isan: cannot find no-such-command: ")
    script = tmp_path / "script"
    script.write_text("")
    assert refused(env("./script")).startswith("isan: cannot find ./script: ")
    script.chmod(0o755)
    assert refused(env("./script")).startswith("isan: cannot run ./script: ")


def test_a_python_that_does_not_work(env, tmp_path):
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    python.chmod(0o755)
    assert "python3, which this build seems to be for, does not work (broken)" in refused(
        env("true", PATH=f"{tmp_path}:/usr/bin:/bin"))


def test_no_python_at_all(env, isan, tmp_path):
    """A build may use no Python."""
    (tmp_path / "bin").mkdir()
    for name in "sh", "dirname", "readlink":
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    assert flags_of(env, PATH=str(tmp_path / "bin")) == [isan_flags(isan)] * 2


@pytest.mark.parametrize("where, missing, message", [
    ("isan", "include/isan/refcount.h", "include/isan/refcount.h is missing from {root}"),
    ("isan", "include/isan/overlay/Python.h", "include/isan/overlay/Python.h is missing from {root}"),
    ("with space", None, "{root}/include has a space in its name"),
])
def test_incomplete_or_unusable_copy_of_isan(env, root, tmp_path, where, missing, message):
    copy = tmp_path / where
    for name in NEEDED_TO_RUN:
        shutil.copytree(os.path.join(root, name), copy / name)
    if missing:
        (copy / missing).unlink()
    launcher = tmp_path / "launcher"
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -I "{inside(copy, COMMAND)}" "$@"\n')
    launcher.chmod(0o755)
    assert message.format(root=copy) in refused(env("true", isan=launcher))
