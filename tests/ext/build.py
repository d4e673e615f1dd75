#!/usr/bin/python3
"""Compile a test extension for a given Python, as a user would by hand."""
import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

LOCATIONS = """
import json, os, sysconfig
paths = sysconfig.get_paths()
print(json.dumps([paths["include"], paths["platinclude"], os.path.dirname(sysconfig.get_config_h_filename()),
                  sysconfig.get_config_var("EXT_SUFFIX")]))
"""


@functools.lru_cache(None)
def locations(python):
    """Include directories and file name suffix, from the Python itself."""
    found = subprocess.run([python, "-I", "-c", LOCATIONS], stdout=subprocess.PIPE, text=True, check=True)
    *includes, suffix = json.loads(found.stdout)
    return list(dict.fromkeys(includes)), suffix


def build(source, python, directory=None, cflags=(), compiler="gcc"):
    """Compile tests/ext/SOURCE (or any path) for `python`; the path of the extension.

    It is put into `directory` (default: a new temporary one).  If lib/SOURCE exists, it is compiled into a library, to which
    the extension is linked.
    """
    includes, suffix = locations(os.fspath(python))
    source = HERE / source
    directory = Path(directory or tempfile.mkdtemp(prefix="isan-ext-"))
    target = directory / (source.stem + suffix)
    library = source.parent / "lib" / source.name
    link = []
    if library.exists():
        file = directory / f"lib{source.stem}.so"
        run_compiler(compiler, library, file, includes, cflags, [f"-Wl,-soname,{file.name}"])
        link = [file, "-Wl,-rpath,$ORIGIN"]
    run_compiler("g++" if source.suffix == ".cc" else compiler, source, target, includes, cflags, link)
    return target


def run_compiler(compiler, source, target, includes, cflags, link):
    # The flags come first: their include directories must precede Python's.
    subprocess.run([*compiler.split(), "-shared", "-fPIC", "-g", "-O1", "-Wall", "-Wextra", "-Werror", *cflags,
                    *(f"-I{path}" for path in includes), "-o", target, source, *link], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, epilog="Prints the path of the extension.")
    parser.add_argument("source", help="a C or C++ file; a name alone is looked for beside this script")
    parser.add_argument("--python", required=True, help="the interpreter to compile for")
    parser.add_argument("-o", dest="directory", help="where to put it (default: a new temporary directory)")
    parser.add_argument("--cflags", default="", help="more flags for the compiler")
    args = parser.parse_args()
    path = Path(args.source)
    try:
        print(build(path.resolve() if path.exists() else path, args.python, args.directory, args.cflags.split()))
    except FileNotFoundError as error:
        print(f"build.py: {error.filename} is not there: install it or correct the path.", file=sys.stderr)
        sys.exit(2)
    except subprocess.CalledProcessError as error:     # the compiler has printed why
        sys.exit(error.returncode)
