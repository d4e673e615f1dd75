"""Check that the C files of the recorder keep to their layers, and print the ladder of layers.

A file uses its own layer and lower ones.  What a file uses is read from its #include lines and from the symbols
of its object file.  Three things are errors: an include that goes up, a symbol use that goes up, and a cycle of files.
A file outside all layers is an error, too.
"""

import argparse
import collections
import os
import re
import subprocess
import sys
from pathlib import Path

# From low to high.  A layer is a folder or a file.
LAYERS = ("include/isan", "runtime/base", "runtime/elf", "runtime/cpython", "runtime/core", "runtime/detect",
          "runtime/api", "hooks", "runtime/process.c")
FOLDERS = ("include", "runtime", "hooks")
SUFFIXES = (".c", ".h", ".inc")

SYMBOL = re.compile(r"_?isan_")
INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')

ADVICE_UP = ("Move what is used down into the layer of its user or below, or have the lower file publish an event\n"
             "  (runtime/core/events) that the higher one subscribes to.")
ADVICE_CYCLE = ("Open a cycle at the uses that close it: move what they use into a file below both, or have the file\n"
                "  that calls publish an event (runtime/core/events) that the other subscribes to.")
BY_INCLUDE = "{user}, line {names}, includes {used}"
BY_SYMBOL = "{user} uses {names} of {used}"
MOST_USES = 12              # printed of a cycle


def layer_of(file):
    """The number of the layer of a file, from 0; None: it is in no layer."""
    for number, layer in enumerate(LAYERS):
        if file == layer or file.startswith(layer + "/"):
            return number
    return None


class Uses:
    """Who uses whom: (user, used) -> names of symbols, or lines of includes."""

    def __init__(self, edges=()):
        self.names = collections.defaultdict(set)
        for user, used, name in edges:
            self.add(user, used, name)

    def add(self, user, used, name):
        if user != used:
            self.names[user, used].add(name)

    def within(self, files):
        part = Uses()
        part.names.update((edge, names) for edge, names in self.names.items() if set(edge) <= files)
        return part

    def after(self):
        """user -> sorted files that it uses."""
        found = collections.defaultdict(list)
        for user, used in sorted(self.names):
            found[user].append(used)
        return found


def symbol_uses(definitions, undefined):
    """Uses from {object's file: {symbol: is it weak?}} and {file: symbols that it needs}.

    A symbol with only weak definitions in several files is from a header (isan__slot of isan/refcount.h).
    """
    definers = collections.defaultdict(list)
    for file, symbols in definitions.items():
        for symbol, weak in symbols.items():
            definers[symbol].append((weak, file))
    uses = Uses()
    for file, symbols in undefined.items():
        for symbol in symbols:
            where = sorted(definers.get(symbol, []))
            if where and (len(where) == 1 or not where[0][0]):
                uses.add(file, where[0][1], symbol)
    return uses


def cycles(uses):
    """Groups of files that use each other, directly or through others: the strongly connected components of two files
    and more (Tarjan's algorithm, without recursion)."""
    after, index, low, stack, on_stack, found = uses.after(), {}, {}, [], set(), []
    for start in list(after):
        if start in index:
            continue
        work = [(start, iter(after[start]))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            file, rest = work[-1]
            for used in rest:
                if used not in index:
                    index[used] = low[used] = len(index)
                    stack.append(used)
                    on_stack.add(used)
                    work.append((used, iter(after.get(used, ()))))
                    break
                if used in on_stack:
                    low[file] = min(low[file], index[used])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[file])
                if low[file] == index[file]:
                    at = stack.index(file)
                    group, stack[at:] = stack[at:], []
                    on_stack.difference_update(group)
                    if len(group) > 1:
                        found.append(sorted(group))
    return sorted(found)


def closing_uses(uses, group):
    """Few uses without which the files of a group would be a ladder, those of the fewest symbols first: of a group of
    several layers those that go up.  Otherwise the files are put in an order in which few symbols are used of an
    earlier file, by moving one file at a time to a better place."""
    part = uses.within(set(group))
    closing = [(user, used) for user, used, _ in upward(part)]
    if not closing:
        weight = {edge: len(names) for edge, names in part.names.items()}
        order = sorted(group, key=lambda file: sum((edge[1] == file) - (edge[0] == file) for edge in weight))
        better = True
        while better:
            better = False
            for file in group:
                rest = [other for other in order if other != file]
                # What it costs to put it before rest[0], rest[1], ..., behind them all.
                costs = [sum(weight.get((other, file), 0) for other in rest)]
                for other in rest:
                    costs.append(costs[-1] - weight.get((other, file), 0) + weight.get((file, other), 0))
                best = costs.index(min(costs))
                if costs[best] < costs[order.index(file)]:
                    order, better = rest[:best] + [file] + rest[best:], True
        place = {file: number for number, file in enumerate(order)}
        closing = [edge for edge in weight if place[edge[0]] > place[edge[1]]]
    return sorted(closing, key=lambda edge: (len(part.names[edge]), edge))


def some(names, most=6):
    names = sorted(names)
    return ", ".join(names[:most]) + (" and %d more" % (len(names) - most) if len(names) > most else "")


def upward(uses):
    """(user, used, names) of uses that go up a layer."""
    for (user, used), names in sorted(uses.names.items()):
        low, high = layer_of(user), layer_of(used)
        if low is not None and high is not None and low < high:
            yield user, used, names


def cycle_problem(uses, group, where, phrase):
    lines = ["%d files %suse each other in a cycle: %s; these uses close it:" % (len(group), where, some(group, 12))]
    closing = closing_uses(uses, group)
    for user, used in closing[:MOST_USES]:
        lines.append("    " + phrase.format(user=user, used=used, names=some(uses.names[user, used])))
    if len(closing) > MOST_USES:
        lines.append("    and %d more" % (len(closing) - MOST_USES))
    return "\n".join(lines)


def check(files, includes, symbols):
    """The problems, as texts, of these files with these uses."""
    problems, up, closed = [], [], []
    homeless = [file for file in files if layer_of(file) is None]
    if homeless:
        problems.append("%d file%s not in a layer; move it into the folder of one: %s"
                        % (len(homeless), " is" if len(homeless) == 1 else "s are", some(homeless, 100)))
    for uses, phrase in (includes, BY_INCLUDE), (symbols, BY_SYMBOL):
        for user, used, names in upward(uses):
            up.append(phrase.format(user=user, used=used, names=some(names)) + ", of a higher layer")
        seen = []
        for number, layer in enumerate(LAYERS):
            part = uses.within({file for file in files if layer_of(file) == number})
            for group in cycles(part):
                seen.append(group)
                closed.append(cycle_problem(part, group, "of %s " % layer, phrase))
        closed += [cycle_problem(uses, group, "", phrase) for group in cycles(uses) if group not in seen]
    if up:
        up[-1] += "\n  " + ADVICE_UP
    if closed:
        closed[-1] += "\n  " + ADVICE_CYCLE
    return problems + up + closed


def ladder(files, symbols):
    """Lines: each layer with its files, how many files each uses, and how many use it."""
    uses, used_by = collections.Counter(), collections.Counter()
    for user, used in symbols.names:
        uses[user] += 1
        used_by[used] += 1
    lines = ["%-40s %6s %8s" % ("", "uses", "used by")]
    for number, layer in [*enumerate(LAYERS), (None, "not in a layer")]:
        members = sorted(file for file in files if layer_of(file) == number and file.endswith(".c"))
        if not members:
            continue
        lines.append(layer)
        for file in members:
            name = file[len(layer) + 1:] if file.startswith(layer + "/") else file
            lines.append("    %-36s %6d %8d" % (name, uses[file], used_by[file]))
    return lines


def read_files(root):
    return sorted(path.relative_to(root).as_posix() for folder in FOLDERS for path in (root / folder).rglob("*")
                  if path.suffix in SUFFIXES)


def read_includes(root, files):
    uses, known = Uses(), set(files)
    for file in files:
        for number, line in enumerate((root / file).read_text(errors="replace").splitlines(), 1):
            found = INCLUDE.match(line)
            if not found:
                continue
            near = os.path.normpath(os.path.join(os.path.dirname(file), found[1]))
            for name in near, found[1], "include/" + found[1]:
                if name in known:
                    uses.add(file, name, str(number))
                    break
    return uses


def read_symbols(root, objects, files):
    """The uses in object files, which are at objects/FILE without .c and with .o."""
    paths = {os.fspath(objects / file[:-2]) + ".o": file for file in files if file.endswith(".c")}
    old = [file for path, file in paths.items()
           if not os.path.exists(path) or os.path.getmtime(path) < os.path.getmtime(root / file)]
    if old:
        print("layers: newer than their object files in %s: %s; run make first" % (objects, some(old)), file=sys.stderr)
        raise SystemExit(2)
    definitions, undefined = collections.defaultdict(dict), collections.defaultdict(set)
    nm = subprocess.run(["nm", "-A", "-P", *paths], stdout=subprocess.PIPE, text=True, check=True) if paths else None
    for line in nm.stdout.splitlines() if nm else ():
        path, symbol, kind = line.split()[:3]
        file = paths[path[:-1]]
        if not SYMBOL.match(symbol):
            continue
        if kind in "Uw":
            undefined[file].add(symbol)
        elif kind.isupper():
            definitions[file][symbol] = kind in "VW"
    return symbol_uses(definitions, undefined)


def main():
    parser = argparse.ArgumentParser(
        prog="layers.py", description=__doc__,
        epilog="Layers, low to high: " + ", ".join(LAYERS) + ".  The status is 1 if something is wrong.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent, help="the source tree")
    parser.add_argument("--objects", type=Path, help="folder of the object files (default: build/obj of the tree)")
    parser.add_argument("--quiet", action="store_true", help="print problems only, not the ladder")
    args = parser.parse_args()
    files = read_files(args.root)
    symbols = read_symbols(args.root, args.objects or args.root / "build" / "obj", files)
    if not args.quiet:
        print("\n".join(ladder(files, symbols)), flush=True)
    problems = check(files, read_includes(args.root, files), symbols)
    for problem in problems:
        print("layers: " + problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
