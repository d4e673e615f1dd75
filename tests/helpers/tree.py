"""Paths in this checkout.  When a file moves, this is the only file of the tests to change."""
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TESTS = ROOT / "tests"
EXT = TESTS / "ext"                     # the test extensions, and interpreters.py for the programs that use them
HOSTS = TESTS / "hosts"
BENCH = TESTS / "bench"
WORKLOADS = BENCH / "workloads"
FUZZ = TESTS / "fuzz"
SOAK = BENCH / "soak.py"
OBJECT_CREATION = TESTS / "helpers" / "object_creation.py"
CPYTHON_DEFECTS = TESTS / "cpython" / "known-defects.txt"

# sys.path of programs that tests start: for the packages isan and helpers.  pytest has it from pyproject.toml.
SCRIPTS = ROOT / "scripts"
PYTHON_PATH = [str(SCRIPTS), str(TESTS)]
COMMANDS = "isan.cli."                   # prefix of the modules of isan's commands

# Files that make builds.
BUILD = ROOT / "build"
ISAN = BUILD / "bin" / "isan"
LIBRARY = BUILD / "lib" / "libisan.so.0"
LIBRARY_LINK = BUILD / "lib" / "libisan.so"

# Sources that tests compile, read or run.
INCLUDE = ROOT / "include"
REFCOUNT_HEADER = INCLUDE / "isan" / "refcount.h"
SHADOW_HEADER = ROOT / "runtime" / "core" / "shadow.h"
LAYOUT = ROOT / "runtime" / "cpython" / "layout.c"
RELEASES = ROOT / "runtime" / "cpython" / "releases.inc"
LAYOUT_HEADER = "runtime/cpython/layout.h"      # as #include names it
REFERENCE_NAME = ROOT / "runtime" / "cpython" / "reference_name.c"
REFERENCE_NAME_HEADER = "runtime/cpython/reference_name.h"
REFERENCE_NAME_NEEDS = [REFERENCE_NAME, LAYOUT, *(ROOT / "runtime" / file for file in (       # what it is linked from
    "cpython/object.c", "elf/imports.c", "elf/module.c", "elf/modules.c", "base/check.c", "base/lock.c", "base/options.c",
    "base/os.c", "base/table.c"))]
X86_DECODE = ROOT / "runtime" / "elf" / "x86_decode.c"
X86_DECODE_HEADER = "runtime/elf/x86_decode.h"
OPTIONS = ROOT / "runtime" / "base" / "options.inc"
API_TABLE = ROOT / "hooks" / "api.inc"
SYMBOLIZE = sorted((ROOT / "reports" / "symbolize").glob("*.c"))
REPORT_SCHEMA = ROOT / "reports" / "schema.json"
COMMAND = SCRIPTS / "isan" / "__main__.py"
ANCHORS = SCRIPTS / "cpython" / "anchors.txt"
DEPS = SCRIPTS / "deps.sh"
MAKE_WHEEL = SCRIPTS / "make_wheel.py"
CI = SCRIPTS / "ci"
PIP_LIST = SCRIPTS / "demo" / "pip_list.py"
SUPPRESSIONS = ROOT / "reports" / "suppressions"        # the directory of cpython-VERSION.supp
DOCS = ROOT / "docs"
DOCUMENTED = ["runtime", "hooks", "reports"]    # directories: docs/internals.md names each of their files
# Directories that `isan python` needs, and those that the commands without an interpreter need.
NEEDED_TO_BUILD = ["scripts", "include", "hooks"]
NEEDED_TO_RUN = ["scripts", "include", "reports"]


def inside(copy, path):
    """A path of this checkout in a copy of it."""
    return Path(copy) / path.relative_to(ROOT)
