"""isan config: what build systems need to know."""
import os

import isan
from isan import pythons


def add_arguments(parser):
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--cflags", action="store_true",
                      help="compiler flags that instrument an extension; put them before the -I of CPython's headers")
    what.add_argument("--libs", action="store_true", help="linker flags for a program that calls isan itself, or is compiled with --cflags")
    what.add_argument("--pythonpath", action="store_true", help="the directory of the Python module isan, for"
                                                                " PYTHONPATH")
    what.add_argument("--isan-version", action="store_true", help="isan's version")
    what.add_argument("--python", action="store_true", help="path of a built interpreter")
    parser.add_argument("--flavor", metavar="|".join(pythons.FLAVORS), help="with --python (default: fast)")
    parser.add_argument("--version", metavar="X.Y[.Z]", help=f"with --python (default: {next(iter(pythons.SERIES))})")


def cflags():
    """The flags that instrument an extension: for the forced header, and for the overlay of Python.h."""
    include = os.path.join(isan.ROOT, "include")
    words = ["-include", f"{include}/isan/refcount.h", f"-I{include}", f"-I{include}/isan/overlay"]
    for path in "isan/refcount.h", "isan/overlay/Python.h":
        if not os.path.exists(os.path.join(include, path)):
            raise isan.Problem(f"include/{path} is missing from {isan.ROOT}: this copy of isan is not complete")
    if any(character.isspace() for character in include):
        raise isan.Problem(f"{include} has a space in its name, which compiler flags cannot carry: move isan")
    return words


def main(args):
    if (args.flavor or args.version) and not args.python:
        raise isan.Problem("--flavor and --version go with --python: add it, or leave them out")
    if args.cflags:
        print(" ".join(cflags()))
    elif args.libs:
        # What the program's own checks use is in its executable (include/isan/refcount.h), where libisan.so must find it.
        print(f"-L{isan.ROOT}/build/lib -lisan", *(f"-Wl,--export-dynamic-symbol=isan__{name}" for name in ("hooks", "slot")))
    elif args.pythonpath:
        print(os.path.dirname(os.path.dirname(os.path.abspath(isan.__file__))))
    elif args.isan_version:
        print(isan.__version__)
    else:
        print(pythons.find_python(args.flavor or "fast", args.version))
    return 0
