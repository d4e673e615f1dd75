"""The key of an interpreter in the cache, made from all that goes into the interpreter."""
import hashlib
import os

import isan
from isan import Problem

from .compilers import compiler_identity
from .releases import FLAVORS
from .sources import file_digest

# Part of the key. Raise it when a change of steps.py makes another interpreter.
RECIPE = 1

# The part of isan that is linked into the executables of a tsan interpreter.
TSAN_MAIN = "scripts/cpython/tsan_main.c"

# During the build these headers are found before CPython's own of the same name.
OVERLAY = "scripts/cpython/include"

# Searched from bin/ (python) and bin/Programs/ (_testembed): the checkout's recorder first, then the stub of the
# interpreter's own prefix. The build tree has its stub at the same distance.
RUNPATH = ":".join("$ORIGIN/" + path for path in (
    "../../../lib", "../../../../lib", "../lib/isan-stub", "../../lib/isan-stub"))


def headers():
    """The headers that an instrumented CPython is compiled with, relative to the root.

    The build sees copies of these alone. A header that includes another of isan's fails at once, instead of staying
    outside the key.
    """
    return ["include/isan/refcount.h"] + sorted(
        os.path.relpath(os.path.join(directory, name), isan.ROOT)
        for directory, _, names in os.walk(os.path.join(isan.ROOT, OVERLAY)) for name in names if name.endswith(".h"))


def inputs(flavor):
    """The files of isan's that go into an interpreter of this flavor."""
    files = []
    if FLAVORS[flavor].instrumented:
        files += [*headers(), "scripts/cpython/anchors.txt"]
    if FLAVORS[flavor].tsan:
        files.append(TSAN_MAIN)
    return files


def configure_args(flavor, prefix):
    return [f"--prefix={prefix}", "--with-ensurepip=no", "--without-static-libpython", *FLAVORS[flavor].configure]


def build_key(source, flavor):
    """The name of an interpreter in the cache: it changes with all that goes into the interpreter."""
    digest = hashlib.sha256()
    parts = [str(RECIPE), source.digest, flavor, *configure_args(flavor, ""), *FLAVORS[flavor].cflags, RUNPATH,
             compiler_identity(flavor)]
    for path in inputs(flavor):
        try:
            parts += [path, file_digest(os.path.join(isan.ROOT, path))]
        except OSError:
            raise Problem(f"{path} is missing from {isan.ROOT}: this copy of isan is not complete") from None
    for part in parts:
        digest.update(part.encode() + b"\0")
    return f"{source.version}-{flavor}-{digest.hexdigest()[:12]}"
