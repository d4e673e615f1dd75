"""Wheels, source archives and projects: pip installs them in a directory of their own, for the check alone."""
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile

from isan import Problem
from isan.cli import env
from isan.reports.wording import escape

ARCHIVES = (".whl", ".tar.gz", ".zip")
PROJECT = ("pyproject.toml", "setup.py")
SHOWN = 12       # lines to print of the end of a failed build's output, and of the errors before that
# What builds leave in a project. It may be stale: setuptools compiles only what is older than its source.
MADE = shutil.ignore_patterns("*.egg-info", "__pycache__", "*.o", "*.cpython-*.so", "*.abi3.so", ".venv", "venv",
                              ".tox", ".nox", ".*_cache", "node_modules")
HISTORY = {".git", ".hg"}       # setuptools_scm and the like get the version from there


def is_one(argument):
    """Whether an argument is for pip: an archive, or the path of a project. Else it is the name of a module."""
    return argument.endswith(ARCHIVES) or (os.sep in argument or argument in (os.curdir, os.pardir)) and any(
        os.path.isfile(os.path.join(argument, name)) for name in PROJECT)


def made(at, names):
    """The names that a copy leaves out. A directory `build` is left out only if it looks as builds leave it."""
    found = set(MADE(at, names)) | HISTORY & set(names)
    with contextlib.suppress(OSError):
        if any(name.startswith(("lib", "temp.", "bdist.")) for name in os.listdir(os.path.join(at, "build"))):
            found.add("build")
    if "Cargo.toml" in names:
        found.add("target")
    return found


def copy(project, directory):
    """Copy a project without what builds have left in it. The new build writes to the copy only."""
    try:
        shutil.copytree(project, directory, symlinks=True, ignore=made)
    except (OSError, shutil.Error) as error:
        raise Problem("cannot copy %s: %s" % (project, error))
    for name in HISTORY:
        if os.path.exists(os.path.join(project, name)):
            os.symlink(os.path.join(project, name), os.path.join(directory, name))


def install(argument, checker, directory):
    """Have pip install it into `directory`, made anew. Returns the names of the modules to check."""
    path = os.path.abspath(argument)
    if not os.path.exists(path):
        raise Problem("there is no %s: give the name of a module, or the path of an extension, a wheel or a project"
                      % argument)
    shutil.rmtree(directory, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="isan-check-") as work:
        environment, more = dict(os.environ), []
        if not path.endswith(".whl"):
            environment = env.environment(None, checker.args.flavor or "fast", python=checker.python)
            if os.path.isdir(path):
                source = os.path.join(work, "source")
                copy(path, source)
                # Reports are to name the user's files, not the copies.
                for name in "CFLAGS", "CXXFLAGS":
                    environment[name] += " " + shlex.quote("-ffile-prefix-map=%s=%s" % (source, path))
                path = source
            else:
                more = ["--no-cache-dir"]
            environment["GIT_OPTIONAL_LOCKS"] = "0"         # git(1): it is the user's own repository
        pip(checker, argument, [*more, "--no-deps", "--target", directory, *checker.args.pip, path], environment, work)
    names = modules_in(directory)
    if not names:
        raise Problem("%s installs no module that could be checked" % argument)
    return names


def pip(checker, argument, words, environment, cwd):
    command = [*checker.words, "-m", "pip"]
    if subprocess.run([*command, "--version"], executable=checker.python, env=environment, cwd=cwd,
                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        raise Problem("%s has no pip, which is to install %s: install it (Debian: python3-pip; else %s -m ensurepip)"
                      % (checker.python, argument, checker.python))
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*command, "--disable-pip-version-check", "--no-input", "install", *words], executable=checker.python,
            env=environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        try:
            with checker.waiting(argument, "pip install") as wait:
                while not wait(process):
                    pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode == 0:
            return
        output.seek(0)
        lines = [line for line in output.read().decode("utf-8", "backslashreplace").splitlines() if line.strip()]
    hint = ("; if what its build needs is installed, --pip=--no-build-isolation downloads nothing"
            if any("install build dependencies" in line for line in lines) else "")
    # The build system says more after the compiler's errors, and pip after "[end of output]".
    end = next((number for number, line in enumerate(lines) if "[end of output]" in line), len(lines))
    last = max(end - SHOWN, 0)
    lines_shown = [line for line in lines[:last] if re.search(r"\berror\b", line, re.I)][:SHOWN] + lines[last:end]
    raise Problem("pip cannot install %s (exit status %d)%s:\n%s" % (
        argument, process.returncode, hint, "\n".join("  " + escape(line) for line in lines_shown)))


def modules_in(directory):
    """The modules that were installed: packages with extensions and extensions; if there are none, pure Python ones."""
    native, pure = set(), set()
    for at, directories, files in os.walk(directory):
        # Skip NAME.dist-info, NAME.libs, and scripts.
        directories[:] = sorted(name for name in directories
                                if name.isidentifier() and (at != directory or name != "bin"))
        package = [] if at == directory else os.path.relpath(at, directory).split(os.sep)
        # The uppermost package is the one to import. The directories above it belong to a namespace.
        whole = next((package[:n + 1] for n in range(len(package))
                      if os.path.isfile(os.path.join(directory, *package[:n + 1], "__init__.py"))), None)
        for file in files:
            extension = is_extension(os.path.join(at, file))
            if extension or file.endswith(".py") and (whole or not package):
                (native if extension else pure).add(".".join(whole or [*package, file.partition(".")[0]]))
    return sorted(native or pure)


def is_extension(file):
    """Whether a shared library can be imported by its name (PEP 489)."""
    name = os.path.basename(file).partition(".")[0]
    if not file.endswith(".so") or not name.isidentifier():
        return False
    with open(file, "rb") as stream:
        return (b"PyInit_" + name.encode() if name.isascii() else b"PyInitU_") in stream.read()
