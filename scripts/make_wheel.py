"""Builds the wheel: isan for `pip install`, with what `make` has built.

    make_wheel.py DIRECTORY      writes isan-VERSION-py3-none-linux_ARCH.whl there and prints its path

pyproject.toml has the metadata, and which directories the package isan consists of. The rest of the tree that the
package needs goes into isan/root (isan.ROOT). The format is
packaging.python.org/en/latest/specifications/binary-distribution-format/. The wheel is not for manylinux: libunwind and
elfutils are the machine's own (`isan doctor` says what to install).
"""
import base64
import hashlib
import os
import platform
import re
import sys
import zipfile
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
# Directory of the tree -> directory of the wheel, and what is taken from it.
PACKAGES = [("scripts/isan", "isan", ["**/*.py"]),
            ("reports", "isan/reports", ["**/*.py", "**/*.supp", "**/*.css", "**/*.js", "*.json"]),
            ("build/generated", "isan", ["*.py"])]
ROOT = ["build/lib/libisan.so.0", "build/lib/libisan.so", "build/libexec/*", "include/**/*.h", "scripts/cpython/**/*",
        "scripts/packages.txt"]
METADATA = """\
Metadata-Version: 2.1
Name: isan
Version: %s
Summary: %s
License: %s
Requires-Python: %s
Description-Content-Type: text/markdown

"""
ENTRY_POINTS = "[console_scripts]\nisan = %s\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: isan\nRoot-Is-Purelib: false\nTag: py3-none-%s\n"


def version():
    """isan.__version__, the one place of the version."""
    source = (TREE / "scripts/isan/__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', source, re.M)[1]


def project(key):
    """A string of pyproject.toml, the first with this key. (Pythons before 3.11 have no parser for the file.)"""
    return re.search(r'^%s = "([^"]+)"$' % key, (TREE / "pyproject.toml").read_text(encoding="utf-8"), re.M)[1]


def found(directory, pattern):
    paths = sorted(path for path in (TREE / directory).glob(pattern) if path.is_file())
    if not paths:
        sys.exit("make_wheel.py: there is no %s: run make first" % os.path.join(directory, pattern))
    return paths


def contents():
    """(name in the wheel, bytes, mode)."""
    for directory, target, patterns in PACKAGES:
        for path in (path for pattern in patterns for path in found(directory, pattern)):
            yield "%s/%s" % (target, path.relative_to(TREE / directory)), path.read_bytes(), 0o644
    for path in (path for pattern in ROOT for path in found("", pattern)):
        yield "isan/root/%s" % path.relative_to(TREE), path.read_bytes(), path.stat().st_mode & 0o777
    info = "isan-%s.dist-info/" % version()
    metadata = METADATA % (version(), project("description"), project("license"), project("requires-python"))
    yield info + "METADATA", metadata.encode() + (TREE / "README.md").read_bytes(), 0o644
    yield info + "WHEEL", (WHEEL % tag()).encode(), 0o644
    yield info + "entry_points.txt", (ENTRY_POINTS % project("isan")).encode(), 0o644
    yield info + "LICENSE", (TREE / "LICENSE").read_bytes(), 0o644


def tag():
    return "linux_" + platform.machine()


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    os.makedirs(sys.argv[1], exist_ok=True)
    file = os.path.join(sys.argv[1], "isan-%s-py3-none-%s.whl" % (version(), tag()))
    record = []
    with zipfile.ZipFile(file + ".tmp", "w", zipfile.ZIP_DEFLATED) as wheel:
        def write(name, content, mode):
            entry = zipfile.ZipInfo(name)       # dated 1980, so that the same tree gives the same wheel
            entry.external_attr, entry.compress_type = (0o100000 | mode) << 16, zipfile.ZIP_DEFLATED
            wheel.writestr(entry, content)

        for name, content, mode in contents():
            write(name, content, mode)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append("%s,sha256=%s,%d\n" % (name, digest, len(content)))
        name = "isan-%s.dist-info/RECORD" % version()
        write(name, ("".join(record) + name + ",,\n").encode(), 0o644)
    os.replace(file + ".tmp", file)
    print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
