"""The releases of CPython that can be built, and their flavors."""
import collections
import re

from isan import Problem

# SHA-256 of the upstream source tarball.
RELEASES = {
    "3.13.5": "93e583f243454e6e9e4588ca2c2662206ad961659863277afcdb96801647d640",
    "3.13.15": "1e66a7945a48390ee4c2a4268a0e4185884059a13c4aab6d148aa208deea4a76",
    "3.14.6": "143b1dddefaec3bd2e21e3b839b34a2b7fb9842272883c576420d605e9f30c63",
}

# The release that a series stands for. The first is the default.
SERIES = {"3.13": "3.13.5", "3.14": "3.14.6"}
Flavor = collections.namedtuple("Flavor", "configure cflags instrumented tsan help")
FLAVORS = {
    "fast": Flavor([], [], True, False, "optimised, every check on"),
    "debug": Flavor(["--with-pydebug"], [], True, False, "with CPython's own assertions as well"),
    # ThreadSanitizer's stacks would lack functions that end in a jump.
    "tsan": Flavor(["--with-thread-sanitizer"], ["-O1", "-fno-optimize-sibling-calls"], True, True,
                   "with ThreadSanitizer as well: races"),
    "plain": Flavor([], [], False, False, "the same build without isan, to compare with"),
}


def check_flavor(flavor):
    if flavor not in FLAVORS:
        raise Problem(f"there is no flavor '{flavor}': choose one of {', '.join(FLAVORS)}")


def exact_version(version):
    """The release of the table that 3.13 or 3.13.15 stands for."""
    release = SERIES.get(version, version)
    if release not in RELEASES:
        raise Problem(f"CPython {version} is not in isan's table: choose one of "
                      f"{', '.join([*SERIES, *RELEASES])}, or give its source with SOURCE=")
    return release


def series_of(version):
    return ".".join(version.split(".")[:2])


def parse_patchlevel(text, where):
    """The version of a source tree, from its Include/patchlevel.h."""
    match = re.search(r'^#define\s+PY_VERSION\s+"([^"]+)"', text, re.M)
    if not match:
        raise Problem(f"{where} is not a CPython source: its Include/patchlevel.h names no version")
    version = match.group(1)
    if series_of(version) not in SERIES:
        raise Problem(f"{where} is CPython {version}, which isan does not support: give a source of"
                      f" {' or '.join(SERIES)}")
    return version.rstrip("+")
