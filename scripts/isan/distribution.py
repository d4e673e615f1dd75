"""Wheels, source archives and project directories for `isan check`: what pip makes of one, in a directory of its own."""
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile

from reports import text

from . import Problem, env

ARCHIVES = (".whl", ".tar.gz", ".zip")
PROJECT = ("pyproject.toml", "setup.py")
TOLD = 12       # lines at the end of a failed build's output, and as many errors before them
# What builds leave in a project, and may be stale: setuptools compiles again only what is older than its source.
MADE = shutil.ignore_patterns("*.egg-info", "__pycache__", "*.o", "*.cpython-*.so", "*.abi3.so", ".venv", "venv", ".tox", ".nox",
                              ".*_cache", "node_modules")
HISTORY = {".git", ".hg"}       # what setuptools_scm and its like ask for the version


def is_one(argument):
    """Whether an argument is a file or directory for pip; what is no path is a module's name."""
    return argument.endswith(ARCHIVES) or (os.sep in argument or argument in (os.curdir, os.pardir)) and any(
        os.path.isfile(os.path.join(argument, name)) for name in PROJECT)


def made(at, names):
    """What is left out of a copy; a directory called build may be a package, if no build's."""
    found = set(MADE(at, names)) | HISTORY & set(names)
    with contextlib.suppress(OSError):
        if any(name.startswith(("lib", "temp.", "bdist.")) for name in os.listdir(os.path.join(at, "build"))):
            found.add("build")
    if "Cargo.toml" in names:
        found.add("target")
    return found


def copy(project, directory):
    """A project without what builds have left in it, so that this build leaves nothing there, either."""
    try:
        shutil.copytree(project, directory, symlinks=True, ignore=made)
    except (OSError, shutil.Error) as error:
        raise Problem("cannot copy %s: %s" % (project, error))
    for name in HISTORY:
        if os.path.exists(os.path.join(project, name)):
            os.symlink(os.path.join(project, name), os.path.join(directory, name))


def install(argument, checker, directory):
    """Have pip install it into `directory`, made anew; the names of the modules that are to be checked."""
    path = os.path.abspath(argument)
    if not os.path.exists(path):
        raise Problem("there is no %s: give the name of a module, or the path of an extension, a wheel or a project" % argument)
    shutil.rmtree(directory, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="isan-check-") as work:
        environment, more = dict(os.environ), []
        if not path.endswith(".whl"):
            environment = env.environment(None, checker.args.flavor or "fast", python=checker.python)
            if os.path.isdir(path):
                source = os.path.join(work, "source")
                copy(path, source)
                # The report names the files that the user has.
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
    if subprocess.run([*command, "--version"], executable=checker.python, env=environment, cwd=cwd, stdin=subprocess.DEVNULL,
                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        raise Problem("%s has no pip, which is to install %s: install it (Debian: python3-pip; else %s -m ensurepip)" % (
            checker.python, argument, checker.python))
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
    # pip goes on after that, and the build system after the compiler.
    end = next((number for number, line in enumerate(lines) if "[end of output]" in line), len(lines))
    told = [line for line in lines[:max(end - TOLD, 0)] if re.search(r"\berror\b", line, re.I)][:TOLD] + lines[max(end - TOLD, 0):end]
    raise Problem("pip cannot install %s (exit status %d)%s:\n%s" % (
        argument, process.returncode, hint, "\n".join("  " + text.escape(line) for line in told)))


def modules_in(directory):
    """What was installed, by the names it is imported by: packages and extensions; pure Python if there is nothing else."""
    native, pure = set(), set()
    for at, directories, files in os.walk(directory):
        # Not NAME.dist-info, NAME.libs.  Scripts are no modules.
        directories[:] = sorted(name for name in directories if name.isidentifier() and (at != directory or name != "bin"))
        package = [] if at == directory else os.path.relpath(at, directory).split(os.sep)
        # The uppermost package is what is imported; the directories above are of a namespace.
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
