"""Builds the wheel: isan for `pip install`, with what `make` has built.

    make_wheel.py DIRECTORY      writes isan-VERSION-py3-none-linux_ARCH.whl there and prints its path

It is also the build backend of pyproject.toml (PEP 517), for `pip install .` after `make`. pyproject.toml has the
metadata, and the directories that the package isan consists of. The rest of the tree that the package needs goes into
isan/root (isan.ROOT). The format is packaging.python.org/en/latest/specifications/binary-distribution-format/. The
wheel is not for manylinux: libunwind and elfutils are the machine's own (`isan doctor` says what to install).
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
PACKAGE_FILES = {".py", ".supp", ".css", ".js", ".json"}
GENERATED = ["build/generated/*.py"]
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


def settings(table):
    """The strings in a table of pyproject.toml. (Pythons before 3.11 have no parser for the file.)"""
    text = (TREE / "pyproject.toml").read_text(encoding="utf-8")
    lines = re.search(r"^\[%s\]\n(.*?)(?=^\[|\Z)" % re.escape(table), text, re.M | re.S)[1]
    return dict(re.findall(r'^"?([\w.-]+)"? = "([^"]+)"$', lines, re.M))


def found(patterns):
    for pattern in patterns:
        paths = sorted(path for path in TREE.glob(pattern) if path.is_file())
        if not paths:
            raise SystemExit("make_wheel.py: there is no %s: run make first" % pattern)
        yield from paths


def contents():
    """(name in the wheel, bytes, mode)."""
    for package, directory in settings("tool.isan.package-dir").items():
        for path in found([directory + "/**/*"]):
            if path.suffix in PACKAGE_FILES:
                name = "%s/%s" % (package.replace(".", "/"), path.relative_to(TREE / directory))
                yield name, path.read_bytes(), 0o644
    for path in found(GENERATED):
        yield "isan/" + path.name, path.read_bytes(), 0o644
    for path in found(ROOT):
        yield "isan/root/%s" % path.relative_to(TREE), path.read_bytes(), path.stat().st_mode & 0o777
    info, project = "isan-%s.dist-info/" % version(), settings("project")
    metadata = METADATA % (version(), project["description"], project["license"], project["requires-python"])
    yield info + "METADATA", metadata.encode() + (TREE / "README.md").read_bytes(), 0o644
    yield info + "WHEEL", (WHEEL % tag()).encode(), 0o644
    yield info + "entry_points.txt", (ENTRY_POINTS % settings("project.scripts")["isan"]).encode(), 0o644
    yield info + "LICENSE", (TREE / "LICENSE").read_bytes(), 0o644


def tag():
    return "linux_" + platform.machine()


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Write the wheel; the name of its file. This is the hook of PEP 517."""
    os.makedirs(wheel_directory, exist_ok=True)
    file = "isan-%s-py3-none-%s.whl" % (version(), tag())
    temporary = os.path.join(wheel_directory, file + ".tmp")
    record = []
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as wheel:
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
    os.replace(temporary, os.path.join(wheel_directory, file))
    return file


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        return 0 if sys.argv[1:] in (["-h"], ["--help"]) else 2
    print(os.path.join(sys.argv[1], build_wheel(sys.argv[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
