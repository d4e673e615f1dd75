"""Check that functions and files stay short: a function fits on a screen, a file is read in ten minutes.

C and Python files are counted; tables (*.inc) are not.  scripts/sizes.txt lists the exceptions, one a line:
PATH or PATH:FUNCTION, its limit, and the reason.  An exception that is no longer needed is an error.
"""

import argparse
import ast
import re
import subprocess
import sys
from pathlib import Path

FUNCTION_LINES, FILE_LINES = 80, 600
SUFFIXES = (".c", ".h", ".cpp", ".py")
FOLDERS = ("hooks", "include", "reports", "runtime", "scripts", "tests")

NO_NAME = re.compile(r"/\*.*?\*/|__attribute__\s*\(\(.*?\)\)\s*", re.S)      # comments, attributes
C_NAME = re.compile(r"(\w+)\s*\(")


def c_functions(text):
    """(name, first line, lines) of each function that has its braces at the beginning of a line."""
    lines, first, begin = text.splitlines(), 0, None
    for number, line in enumerate(lines):
        if line == "{":
            begin = number
        elif begin is not None and line.startswith("}"):
            head = "\n".join(lines[first:begin])
            name = C_NAME.search(NO_NAME.sub("", head))
            yield name[1] if name else "?", first + 1, number - first + 1
            begin = None
        elif begin is None and (not line.strip() or line[0] in "#}/" or line.startswith(" *") or line.endswith(";")):
            first = number + 1          # the head of a function begins after a line of these


def python_functions(text):
    """The same of Python, methods and inner functions included."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, node.end_lineno - node.lineno + 1


def read_exceptions(path):
    """{what: limit} from the lines of a file."""
    exceptions = {}
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else (), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(None, 2)
        if len(fields) != 3 or not fields[1].isdigit():
            raise SystemExit("%s:%d: an exception is PATH or PATH:FUNCTION, a number of lines, and a reason"
                             % (path, number))
        exceptions[fields[0]] = int(fields[1])
    return exceptions


def measure(root, names):
    """(what, where, lines, limit) of each function and file."""
    for name in names:
        text = (root / name).read_text(errors="replace")
        yield name, name, text.count("\n"), FILE_LINES
        for function, first, lines in (python_functions if name.endswith(".py") else c_functions)(text):
            yield "%s:%s" % (name, function), "%s:%d: %s" % (name, first, function), lines, FUNCTION_LINES


def check(root, names, exceptions):
    """The problems, as texts, and the longest (function, file) as (lines, where)."""
    problems, needed, longest = [], set(), {FUNCTION_LINES: (0, ""), FILE_LINES: (0, "")}
    for what, where, lines, limit in measure(root, names):
        allowed = exceptions.get(what, limit)
        if lines > limit:
            needed.add(what)
        if lines > allowed:
            problems.append("%s has %d lines; at most %d are allowed: split it by subject" % (where, lines, allowed))
        if what not in exceptions:
            longest[limit] = max(longest[limit], (lines, where))
    problems += ["the exception of %s is not needed any more: delete its line" % what
                 for what in exceptions if what not in needed]
    return problems, (longest[FUNCTION_LINES], longest[FILE_LINES])


def tracked(root):
    """The files that git knows or would add, else all there are."""
    done = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard", "--", *FOLDERS],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    names = done.stdout.splitlines() if done.returncode == 0 else [
        path.relative_to(root).as_posix() for folder in FOLDERS for path in (root / folder).rglob("*")]
    return sorted(name for name in set(names) if name.endswith(SUFFIXES) and (root / name).is_file())


def main():
    parser = argparse.ArgumentParser(prog="sizes.py", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent, help="the source tree")
    args = parser.parse_args()
    exceptions = read_exceptions(args.root / "scripts" / "sizes.txt")
    problems, longest = check(args.root, tracked(args.root), exceptions)
    for lines, where in longest:
        print("longest but for exceptions: %3d lines, %s" % (lines, where), flush=True)
    for problem in problems:
        print("sizes: " + problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
