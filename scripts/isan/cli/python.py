"""isan python: build a CPython to run programs with."""
import os

from isan.pythons import find_source, make_view
from isan.pythons.build import build
from isan.pythons.releases import FLAVORS, RELEASES, SERIES, check_flavor, series_of


def add_arguments(parser):
    parser.add_argument("--flavor", default="fast", metavar="|".join(FLAVORS),
                        help="; ".join(f"{name}: {flavor.help}" for name, flavor in FLAVORS.items())
                        + " (default: fast)")
    parser.add_argument("--version", metavar="X.Y[.Z]",
                        help=f"one of {', '.join([*SERIES, *RELEASES])} (default: {next(iter(SERIES))})")
    parser.add_argument("--source", metavar="PATH", help="a CPython source tree or tarball to build instead")


def main(args):
    check_flavor(args.flavor)
    source = find_source(args.version, args.source)
    view = make_view(build(source, args.flavor), source.version, args.flavor)
    print(os.path.join(view, "bin", f"python{series_of(source.version)}"))
    return 0
