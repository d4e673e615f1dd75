"""The C compilers that CPython is built with."""
import contextlib
import functools
import os
import re
import subprocess
import tempfile

from isan import Problem

from .releases import FLAVORS

# ThreadSanitizer of earlier releases has another layout of the address space, in which the owner tags have no room.
CLANG = 18
CLANG_PACKAGES = "clang-19 libclang-rt-19-dev"


def run_quietly(argv, source=None):
    """What a command prints; None if it fails."""
    try:
        done = subprocess.run(argv, input=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        return None
    return None if done.returncode else done.stdout


def clang_version(cc):
    """The version of a compiler; 0 if it is not clang."""
    macros = run_quietly([*cc.split(), "-dM", "-E", "-x", "c", "-"], "") or ""
    match = re.search(r"^#define __clang_major__ (\d+)", macros, re.M)
    return int(match.group(1)) if match else 0


def newest_clang():
    """CC if it is a clang, else the newest clang of this machine, or None."""
    named = os.environ.get("CC", "")
    if named and clang_version(named):
        return named
    found = set()
    for directory in os.get_exec_path():
        with contextlib.suppress(OSError):
            found.update(name for name in os.listdir(directory) if re.fullmatch(r"clang(-\d+)?", name))
    return max(found, key=clang_version, default=None)


@functools.lru_cache(maxsize=None)
def tsan_compiler():
    """The clang that has ThreadSanitizer."""
    cc = newest_clang()
    if not cc or clang_version(cc) < CLANG:
        raise Problem(f"the tsan flavor needs clang {CLANG} or newer, and there is {f'only {cc}' if cc else 'none'}: "
                      f"apt-get install {CLANG_PACKAGES}, or set CC")
    with tempfile.TemporaryDirectory() as directory:
        if run_quietly([*cc.split(), "-fsanitize=thread", "-x", "c", "-", "-o", os.path.join(directory, "a")],
                       "int main(void) { return 0; }\n") is None:
            raise Problem(f"{cc} is here without its ThreadSanitizer: apt-get install"
                          f" libclang-rt-{clang_version(cc)}-dev")
    return cc


def compiler(flavor="fast"):
    return tsan_compiler() if FLAVORS[flavor].tsan else os.environ.get("CC") or "gcc"


def compiler_identity(flavor="fast"):
    cc = compiler(flavor)
    output = run_quietly([*cc.split(), "--version"])
    if output is None:
        raise Problem(f"there is no C compiler '{cc}': run 'make deps' (or apt-get install gcc), or set CC")
    return cc + "\n" + output
