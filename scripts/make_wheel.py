"""Builds the wheel: isan for `pip install`, with what `make` has built.

    make_wheel.py DIRECTORY      writes isan-VERSION-py3-none-linux_ARCH.whl there and prints its path

The package `isan` is scripts/isan; the rest of the tree that it needs is in isan/root (isan.ROOT).  The format is
packaging.python.org/en/latest/specifications/binary-distribution-format/.  Not for manylinux: libunwind and elfutils are
the machine's own (`isan doctor` says what to install).
"""
import base64
import hashlib
import os
import platform
import sys
import zipfile
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TREE / "scripts")]
import isan  # noqa: E402

FILES = ["build/lib/libisan.so.0", "build/lib/libisan.so", "build/libexec/*", "reports/*.py", "reports/*.supp",
         "reports/*.css", "reports/*.js", "reports/*.json",
         "include/**/*.h", "scripts/cpython/**/*", "runtime/*.inc", "scripts/packages.txt"]
METADATA = """\
Metadata-Version: 2.1
Name: isan
Version: %s
Summary: The Interpreter Sanitizer for CPython
License: Apache-2.0
Requires-Python: >=3.9
Description-Content-Type: text/markdown

"""
ENTRY_POINTS = "[console_scripts]\nisan = isan.__main__:command\n"


def contents():
    """(name in the wheel, bytes, mode)."""
    for path in sorted((TREE / "scripts/isan").glob("*.py")):
        yield "isan/" + path.name, path.read_bytes(), 0o644
    for pattern in FILES:
        found = sorted(path for path in TREE.glob(pattern) if path.is_file())
        if not found:
            sys.exit("make_wheel.py: there is no %s: run make first" % pattern)
        for path in found:
            yield "isan/root/" + str(path.relative_to(TREE)), path.read_bytes(), path.stat().st_mode & 0o777
    info = "isan-%s.dist-info/" % isan.__version__
    yield info + "METADATA", (METADATA % isan.__version__).encode() + (TREE / "README.md").read_bytes(), 0o644
    yield info + "WHEEL", ("Wheel-Version: 1.0\nGenerator: isan\nRoot-Is-Purelib: false\nTag: py3-none-%s\n" % tag()).encode(), 0o644
    yield info + "entry_points.txt", ENTRY_POINTS.encode(), 0o644
    yield info + "LICENSE", (TREE / "LICENSE").read_bytes(), 0o644


def tag():
    return "linux_" + platform.machine()


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    os.makedirs(sys.argv[1], exist_ok=True)
    file = os.path.join(sys.argv[1], "isan-%s-py3-none-%s.whl" % (isan.__version__, tag()))
    record = []
    with zipfile.ZipFile(file + ".tmp", "w", zipfile.ZIP_DEFLATED) as wheel:
        def write(name, content, mode):
            entry = zipfile.ZipInfo(name)       # of 1980, so that the same tree gives the same wheel
            entry.external_attr, entry.compress_type = (0o100000 | mode) << 16, zipfile.ZIP_DEFLATED
            wheel.writestr(entry, content)

        for name, content, mode in contents():
            write(name, content, mode)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append("%s,sha256=%s,%d\n" % (name, digest, len(content)))
        name = "isan-%s.dist-info/RECORD" % isan.__version__
        write(name, ("".join(record) + name + ",,\n").encode(), 0o644)
    os.replace(file + ".tmp", file)
    print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
