"""isan config: what build systems need to know."""
import os

import isan
from isan import pythons


def add_arguments(parser):
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--cflags", action="store_true", help="compiler flags that instrument an extension")
    what.add_argument("--libs", action="store_true", help="linker flags for a program that calls isan itself")
    what.add_argument("--isan-version", action="store_true", help="isan's version")
    what.add_argument("--python", action="store_true", help="path of a built interpreter")
    parser.add_argument("--flavor", metavar="|".join(pythons.FLAVORS), help="with --python (default: fast)")
    parser.add_argument("--version", metavar="X.Y[.Z]", help=f"with --python (default: {next(iter(pythons.SERIES))})")


def main(args):
    if (args.flavor or args.version) and not args.python:
        raise isan.Problem("--flavor and --version go with --python: add it, or leave them out")
    include = os.path.join(isan.ROOT, "include")
    if args.cflags:
        print(f"-include {include}/isan/refcount.h -I{include}")
    elif args.libs:
        print(f"-L{isan.ROOT}/build/lib -lisan")
    elif args.isan_version:
        print(isan.__version__)
    else:
        print(pythons.find_python(args.flavor or "fast", args.version))
    return 0
