"""End one interpreter and write the nanoseconds that this takes: end_one.py CASE MEGABYTES DIRECTORY FILE

ending.py starts it, and defines the cases.  DIRECTORY has the extensions.
"""
import importlib.machinery
import importlib.util
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "ext"))
from interpreters import Interpreter  # noqa: E402

MAKE = """
import gc
gc.disable()                        # collections would take longer than creating the objects

def make(number):
    return {"number": number, "name": f"item {number}", "pair": (number, float(number)),
            "list": [number, number + 1], "bytes": bytes(32 + number % 64)}

def size(op):                       # with what is before it for the collector, rounded as blocks are
    parts = op.values() if type(op) is dict else op if type(op) in (list, tuple) else ()
    return (op.__sizeof__() + 16 * gc.is_tracked(op) + 15 & ~15) + sum(map(size, parts))

MANY = 1000
each = sum(size(make(number)) for number in range(MANY)) / MANY
items = [make(number) for number in range(int(MEGABYTES * 1e6 / each))]
gc.enable()
"""
LEAK = """
import sys
sys.path.insert(0, DIRECTORY)
import cache_static
cache_static.cache["items"] = items
"""


def import_copies(directory, many):
    """Import this many copies of a module; their files must exist while they are loaded."""
    original, = [name for name in os.listdir(directory) if name.startswith("megabyte.")]
    modules = []
    for number in range(many):
        path = os.path.join(directory, f"copy{number}_{original}")
        shutil.copy(os.path.join(directory, original), path)
        loader = importlib.machinery.ExtensionFileLoader("megabyte", path)
        module = importlib.util.module_from_spec(importlib.util.spec_from_file_location("megabyte", path, loader=loader))
        loader.exec_module(module)
        modules.append(module)
    return modules


def main(case, megabytes, directory, file):
    make, leak = MAKE.replace("MEGABYTES", megabytes), LEAK.replace("DIRECTORY", repr(directory))
    keep = {}
    if case == "main":
        exec(make, keep)
    elif case == "modules":
        keep["modules"] = import_copies(directory, int(megabytes))
    interpreter = Interpreter()
    interpreter.run({"freed": make, "leaked": make + leak}.get(case, "pass"))
    start = time.monotonic_ns()
    interpreter.end()
    end = time.monotonic_ns()
    if case == "leaked":            # is it still there?
        sys.path.insert(0, directory)
        import cache_static
        assert cache_static.cache
    with open(file, "w") as output:
        output.write(str(end - start))
    os._exit(0)                     # what the process's own end takes is another matter


if __name__ == "__main__":
    main(*sys.argv[1:])
