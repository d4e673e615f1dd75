"""isan census: how isolated a Python's extension modules are, or those it can import."""
import sys
import tempfile

from isan import Problem, __version__, reporting
from isan.census.imports import Census, import_all
from isan.census.table import print_text, rows_of
from isan.check import plan
from isan.reports.formats import json as json_format
from isan.reports.symbolize.symbols import Missing, Symbolizer
from isan.reports.wording import escape

FEW = 5                 # up to so many modules are described in full
EPILOG = """\
Each module is imported in a process of its own under isan, in the main interpreter. Types that it makes later are not
seen, but for static ones.

Exit status: 0; 2 for wrong usage and if a module that was named cannot be imported; 130 if interrupted, after printing
what is known by then."""


def add_arguments(parser):
    parser.add_argument("modules", nargs="*", metavar="MODULE",
                        help="the name of a module, or the path of an extension (.so) (default: all that are built into"
                             " that Python, and those in its lib-dynload)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--python", metavar="PY", help="the Python to look at (default: python3)")
    which.add_argument("--flavor", choices=("plain", "fast", "debug", "tsan"), help="look at this one of isan's own")
    parser.add_argument("--version", metavar="V", help="its release, such as 3.13 or 3.14")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("--debuginfo-path", default="", metavar="DIR",
                        help="where separate debug information is (default: the system's directories)")
    parser.add_argument("--full", action="store_true",
                        help="name the types and statics of each module (default: of up to %d)" % FEW)
    parser.epilog = EPILOG


def main(args):
    if args.version and not args.flavor:
        raise Problem("--version goes with --flavor")
    for argument in args.modules:
        plan.locate(argument)
    with tempfile.TemporaryDirectory(prefix="isan-census-") as directory, Symbolizer(
            debuginfo_path=args.debuginfo_path) as symbolizer:
        census = Census(args, directory, symbolizer)
        arguments = args.modules or sorted(
            {*census.builtins, *census.extensions}, key=lambda name: (name.strip("_"), name))
        found, interrupted = {}, False
        try:
            import_all(census, arguments, found)
        except KeyboardInterrupt:
            interrupted = True
        except Missing as error:
            raise Problem(str(error))
        modules = [module for index in sorted(found) for module in found[index]]
        rows = rows_of(modules, census.version)
        if args.format == "json":
            reporting.write(sys.stdout, json_format.render({
                "isan": __version__, "python": census.python, "version": "%d.%d.%d" % census.version,
                "interrupted": interrupted, "rows": rows, "modules": [module.as_json() for module in modules]}))
        elif modules:
            print_text(census, modules, rows, args.full or len(modules) <= FEW)
        if interrupted:
            print("isan census: interrupted: %d of %d modules were looked at" % (len(found), len(arguments)),
                  file=sys.stderr)
            return 130
        for index in sorted(found):
            failed = [module for module in found[index] if module.types is None]
            if args.modules and failed:
                print("isan census: %s: %s" % (escape(failed[0].name), escape(failed[0].trouble)), file=sys.stderr)
                return 2
    return 0
