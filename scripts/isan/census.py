"""isan census: how isolated a Python's extension modules are, or those it can import."""
import argparse
import ast
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import types

from reports import json_, packages, symbols, text

from . import Problem, __version__, check, report, residue, run

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT = 60            # seconds that the import of a module may take
FEW = 5                 # modules of which everything is told
LIST = """
import os, sys
from importlib.machinery import EXTENSION_SUFFIXES
directories = [path for path in sys.path if os.path.basename(path) == "lib-dynload"]
print(ascii((sys.version_info[:3], sys.builtin_module_names, sorted({
    file.partition(".")[0] for directory in directories for file in os.listdir(directory)
    if file[len(file.partition(".")[0]):] in EXTENSION_SUFFIXES}))))
"""
# How a type was made -> the functions that make such, the column.
MAKERS = {
    "static": ((), "STATIC"),
    "bound": (("PyType_FromModuleAndSpec", "PyType_FromMetaclass"), "BOUND"),
    "unbound": (("PyType_FromSpec", "PyType_FromSpecWithBases"), "UNBOUND"),
    "called": (("PyErr_NewException", "PyErr_NewExceptionWithDoc"), "CALLED"),
    "sequence": (("PyStructSequence_NewType",), "SEQUENCE"),
}
HEAP = [kind for kind in MAKERS if kind != "static"]
# The rows: key, what is counted, the least release, whether a module is; None: not known.
ROWS = [
    ("multi-phase", "multi-phase initialisation", (3, 11), lambda m: m.phase and m.phase == "multi-phase"),
    ("single-phase", "single-phase initialisation", (3, 11), lambda m: m.phase and m.phase == "single-phase"),
    ("own-gil", "declare that interpreters with own GILs may use them", (3, 12), lambda m: m.declares and m.declares == "own-gil"),
    ("shared-gil", "declare, or are taken to, that only interpreters that share a GIL may", (3, 12),
     lambda m: m.declares and m.declares == "shared-gil"),
    ("main-only", "declare that only the main interpreter may", (3, 12), lambda m: m.declares and m.declares == "main-only"),
    ("state", "module state", (3, 11), lambda m: None if m.state is None else m.state > 0),
    ("static-types", "static types", (3, 11), lambda m: m.has("static")),
    ("heap-types", "heap types, made in any way", (3, 11), lambda m: _any(m.has(kind) for kind in HEAP)),
    ("bound-types", "heap types bound to the module (PyType_FromModuleAndSpec, PyType_FromMetaclass)", (3, 11), lambda m: m.has("bound")),
    ("unbound-types", "heap types bound to none (PyType_FromSpec, PyType_FromSpecWithBases)", (3, 11), lambda m: m.has("unbound")),
    ("holding-statics", "C statics that hold objects after the import", (3, 11), lambda m: None if m.hold is None else bool(m.hold)),
    ("object-statics", "C statics that hold objects or may", (3, 11),
     lambda m: True if m.hold else None if m.may is None else bool(m.may)),
]
COLUMNS = ["MODULE", "", "DECLARES", "STATE", *(column for _, column in MAKERS.values()), "STATICS THAT HOLD OBJECTS"]
LEGEND = """\
STATE: bytes of module state; none; global: a single-phase module that has its state in statics.
Types: STATIC; heap types BOUND to the module by PyType_FromModuleAndSpec or PyType_FromMetaclass, UNBOUND by PyType_FromSpec or
PyType_FromSpecWithBases, made by calling a metatype (CALLED: PyErr_NewException and the like), or struct SEQUENCE types.
?: not known.  docs/census.md tells how each is found and what may be missed."""
EPILOG = """\
Each module is imported in a process of its own under isan, in the main interpreter; types that it makes later are not seen, but
for static ones.  Exit status: 0, 2 for wrong usage and if a module that was named cannot be imported, 130 if interrupted, with what
was done by then."""


def add_arguments(parser):
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="a name that can be imported, or the path of an extension"
                        " (.so) (default: all that are built into that Python, and those in its lib-dynload)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--python", metavar="PY", help="the Python to look at (default: python3)")
    which.add_argument("--flavor", choices=("plain", "fast", "debug", "tsan"), help="look at this one of isan's own")
    parser.add_argument("--version", metavar="V", help="its release, such as 3.13 or 3.14")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("--debuginfo-path", default="", metavar="DIR", help="where separate debug information is (default: the"
                        " system's directories)")
    parser.add_argument("--full", action="store_true", help="name the types and statics of each module (default: of up to %d)" % FEW)
    parser.epilog = EPILOG


def _any(values):
    """Of values that may be unknown, None."""
    values = list(values)
    return True if True in values else None if None in values else False


class Census:
    """A Python, and what is asked about it."""

    def __init__(self, args, directory, symbolizer):
        flavor, python = args.flavor, args.python
        if flavor == "plain":           # without libisan.so, as stock ones
            from . import pythons
            flavor, python = None, pythons.find_python("plain", args.version)
        self.python, self.words, self.preload = run.python_of(argparse.Namespace(
            python=python, flavor=flavor, version=flavor and args.version))
        self.directory, self.symbolizer = directory, symbolizer
        self.env = residue.environment(self.preload, log_path=directory, exitcode=0)
        done = subprocess.run([*self.words, "-P", "-c", LIST], executable=self.python, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Problem("%s does not work, or is older than 3.11: %s" % (
                self.python, (done.stderr.strip().splitlines() or ["status %d" % done.returncode])[-1]))
        self.version, self.builtins, self.extensions = ast.literal_eval(done.stdout.splitlines()[-1])

    def start(self, argument):
        return Import(self, *check.locate(argument))

    def elf(self, file):
        return types.SimpleNamespace(path=file, build_id="", bias=0)


class Import:
    """A process that imports a module."""

    def __init__(self, census, name, path):
        self.name, self.began = name, time.monotonic()
        self.told, self.output = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self.empty = tempfile.TemporaryDirectory(prefix="isan-census-")
        os.set_inheritable(self.told.fileno(), True)
        self.process = subprocess.Popen(
            [*census.words, "-S", "-P", os.path.join(HERE, "tally.py"), repr((self.told.fileno(), name, *path))],
            executable=census.python, env=census.env, cwd=self.empty.name, stdin=subprocess.DEVNULL, stdout=self.output,
            stderr=self.output, pass_fds=[self.told.fileno()], start_new_session=True)
        self.hung = False

    def ended(self):
        if self.process.poll() is None and time.monotonic() - self.began > TIMEOUT:
            self.hung = True
            self.kill()
        return self.process.poll() is not None

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self):
        """The events, and what went wrong, or None."""
        self.kill()     # what it has started
        status = self.process.returncode
        self.told.seek(0)
        self.output.seek(0)
        events = [ast.literal_eval(line.decode()) for line in self.told.read().split(b"\n")[:-1]]
        last = (self.output.read().decode("utf-8", "backslashreplace").strip().splitlines() or [""])[-1]
        for thing in self.told, self.output:
            thing.close()
        self.empty.cleanup()
        failed = next((": ".join(filter(None, event[1:])) for event in events if event[0] == "failed"), None)
        if events and events[-1] == ("end",):
            return events, None
        if failed or self.hung:
            return events, failed or "its import takes more than %d seconds" % TIMEOUT
        what = "crashes with %s" % signal.Signals(-status).name if status < 0 else "ends the process (status %d)" % status
        return events, "%s %s%s" % ("reading it" if ("imported",) in events else "its import", what, ": " + last if last else "")


class Module:
    """One extension or built-in module, and what is known of it; None: not known."""

    def __init__(self, name, built_in, file=None, trouble=None):
        self.name, self.built_in, self.file, self.trouble = name, built_in, file, trouble
        self.phase = self.declares = self.state = self.types = self.hold = self.may = None
        self.imports, self.notes, self.debug, self.image = None, [], None, None
        self.doubtful = []      # static types that may be its
        self.in_core = False    # it is defined in a file of CPython's own types

    def count(self, kind):
        return None if self.types is None else sum(one["kind"] == kind for one in self.types)

    def at_least(self, kind):
        """Whether there may be more of them."""
        return kind == "static" and (self.in_core or bool(self.doubtful))

    def has(self, kind):
        """Whether it has types of this kind; if it could not be loaded, by the functions that it uses."""
        if self.types is None:
            functions = MAKERS[kind][0]
            return None if self.imports is None or not functions else not set(functions).isdisjoint(self.imports)
        return self.count(kind) > 0 or (None if self.at_least(kind) else False)

    def loaded(self, facts):
        self.declares, self.state = facts["declares"], facts["state"]
        self.phase = self.declares and ("single-phase" if self.declares == "single-phase" else "multi-phase")
        self.file, self.image = facts["file"], facts["image"]
        self.types = [{"kind": kind, "name": name, "address": address, "symbol": None, "file": None, "line": None}
                      for kind, name, address in facts["types"]]
        self.doubtful = [one for one in self.types if one["kind"] == "static?"]
        self.types = [one for one in self.types if one["kind"] != "static?"]
        if facts["early"]:
            self.notes.append("it was loaded before the census began, so that its heap types are told by their names")

    def look(self, census, facts):
        """What the binary tells."""
        if not self.image:
            return
        elf, symbolizer = census.elf(self.image), census.symbolizer
        statics, imports = symbolizer.statics(elf)
        error = symbolizer.errors.get(elf.path)
        self.debug = None if error else elf.path not in symbolizer.bare
        if error:
            self.notes.append("%s cannot be read: %s" % (elf.path, error))
        if not self.built_in:
            self.imports = imports
        if facts is None:
            used = {"PyModuleDef_Init", "PyModule_Create2"} & set(imports)
            if len(used) == 1:
                self.phase = "multi-phase" if used == {"PyModuleDef_Init"} else "single-phase"
                self.declares = "single-phase" if self.phase == "single-phase" else None
        for one in self.types or ():
            if one["address"] is not None:
                found = symbolizer.data(elf, one["address"])
                one.update({key: found.get(key) for key in ("symbol", "file", "line")})
        if self.built_in:
            source = symbolizer.data(elf, facts["definition"]).get("file") if self.debug and facts and facts["definition"] else None
            self.in_core = bool(source) and os.path.basename(os.path.dirname(source)) == "Objects"
            if not source or self.in_core:
                self.notes.append("its statics and static types are not told from CPython's own: both are in %s" % source if source else
                                  "its statics are not told from CPython's own without debug information of %s" % self.image)
                if self.doubtful:
                    self.notes.append("nor is it known whether these static types are its: " + ", ".join(
                        one["name"] for one in self.doubtful))
                return
            statics = [static for static in statics if _is_of(static["file"], source, self.name)]
            self.doubtful = []
        known = {one["address"] for one in self.types or ()}
        for static in statics if self.types is not None else ():
            for part in static["parts"]:        # those that are not ready yet, and of built-in modules those that were before
                address = static["address"] + part["offset"]
                if part["what"] == "type" and address not in known:
                    self.types.append(dict(_place(static, part), kind="static", name=facts["ready"].get(address), address=address))
        if self.types:
            self.types.sort(key=lambda one: (one["kind"], one["name"] or one["symbol"] or ""))
        hold = {}
        for address, type_name in facts and facts["held"] or ():
            static, part = _part_at(statics, address)
            if self.built_in and static is None:
                continue        # of another file of CPython's
            if static is None:  # a pointer of another type, or nothing is known of types
                found = symbolizer.data(elf, address)
                if found.get("symbol"):
                    static = {**found, "address": address - found["offset"]}
                else:           # whichever it is: each word counts
                    static = {"symbol": None, "file": None, "line": None, "address": address}
                part = {"element": found.get("element")}
            elif part["what"] in ("type", "definition", "parser"):
                continue        # which the runtime fills
            hold.setdefault(static["address"], dict(_place(static, part), holds=type_name, more=0))
            hold[static["address"]]["more"] += 1
        for one in hold.values():
            one["more"] -= 1
        if facts and facts["held"] is None:
            self.notes.append("isan does not know this Python, and so not which of its statics hold objects")
        elif facts:
            self.hold = list(hold.values())
        if self.debug and self.hold is not None:
            self.may = [_place(static, part) for static in statics if static["address"] not in hold
                        for part in [p for p in static["parts"] if p["what"] == "object"][:1]]

    def as_json(self):
        return {
            "name": self.name, "built_in": self.built_in, "file": self.file, "trouble": self.trouble,
            "initialisation": self.phase, "declares": self.declares, "state": self.state,
            "types": None if self.types is None else [{key: value for key, value in one.items() if key != "address"} for one in self.types],
            "counts": {kind: self.count(kind) for kind in MAKERS},
            "at_least": [kind for kind in MAKERS if self.at_least(kind)],
            "statics": {"hold": self.hold, "may_hold": self.may}, "debug_information": self.debug,
            "imports": self.imports and sorted(self.imports), "notes": self.notes}

    def statics_in_short(self):
        if self.hold is None and self.may is None:
            return "?"
        bare = sum(one["symbol"] is None for one in self.hold or ())
        words = ["?" if self.hold is None else str(len(self.hold) - bare) if len(self.hold) > bare or not bare else None,
                 "%s without names" % text.plural(bare, "word") if bare else None]
        if self.may is None:
            words.append("others: ?")
        elif self.may:
            words.append("%d may" % len(self.may))
        return ", ".join(filter(None, words))

    def row(self):
        if self.trouble and self.types is None:
            return [self.name, "built-in" if self.built_in else "", self.declares or self.phase or "?", self.trouble]
        state = ("?" if self.state is None else str(self.state) if self.state > 0 else
                 "none" if self.state == 0 else "global")
        return [self.name, "built-in" if self.built_in else "", self.declares or "?", state,
                *map(self.cell, MAKERS), self.statics_in_short()]

    def cell(self, kind):
        """How many types of a kind."""
        count = self.count(kind)
        if self.at_least(kind):
            return "%d+" % count if count else "?"
        return "?" if count is None else str(count or "-")

    def details(self, full):
        lines = []
        if full:
            for kind in MAKERS:
                names = [_type_name(one) for one in self.types or () if one["kind"] == kind]
                if names:
                    lines.append("  %s types: %s" % (kind, ", ".join(names)))
        lines += ["  %s holds an object of type `%s`%s" % (_variable(one), text.escape(one["holds"]), more)
                  for one in self.hold or () if one["symbol"] for more in [", and %d more" % one["more"] if one["more"] else ""]]
        bare = [one["holds"] for one in self.hold or () if not one["symbol"]]
        if bare:
            lines.append("  %s hold objects: %s" % (text.plural(len(bare), "word of a variable without a name", "words of variables without names"),
                                                   ", ".join("%d `%s`" % (bare.count(name), text.escape(name)) for name in sorted(set(bare)))))
        if full:
            lines += ["  %s may hold an object, and does not after the import" % _variable(one) for one in self.may or ()]
            lines += ["  note: " + text.escape(note) for note in self.notes]
        return [text.escape(self.name) + ":"] + lines if lines else []


def _place(static, part):
    return {"symbol": static["symbol"], "element": part["element"] or None, "file": static["file"], "line": static["line"]}


def _line(one):
    return text.escape("%s:%s" % (os.path.normpath(one["file"]), one["line"]))


def _variable(one):
    where = " (%s)" % _line(one) if one["file"] else ""
    return "`%s%s`%s" % (text.escape(one["symbol"]), text.escape(one["element"] or ""), where)


def _type_name(one):
    name = text.escape(one["name"] or one["symbol"] or "?")
    where = ", ".join(filter(None, ["not ready" if one["name"] is None else None,
                                    _line(one) if one["file"] else None]))
    return name + (" (%s)" % where if where else "")


def _is_of(file, source, name):
    """Whether a variable of this file is one of the module that is defined in `source`: that file, or all in a directory of
    the module's own (Modules/_io)."""
    if file is None:
        return False
    directory = os.path.dirname(source)
    return file == source or (os.path.basename(directory).strip("_") == name.strip("_") and os.path.dirname(file) == directory)


def _part_at(statics, address):
    """The variable at an address, and the part of it."""
    for static in statics:
        if 0 <= address - static["address"] < static["size"]:
            parts = [part for part in static["parts"] if part["offset"] <= address - static["address"]]
            if parts and (parts[-1]["what"] != "object" or parts[-1]["offset"] == address - static["address"]):
                return static, parts[-1]
    return None, None


def modules_of(census, done, built_in):
    """The modules that an import has shown."""
    events, trouble = done.close()
    found = [event[1] for event in events if event[0] == "made"]
    result = []
    for facts in found:
        module = Module(facts["name"], facts["file"] is None, trouble=trouble)
        module.loaded(facts)
        module.look(census, facts)
        result.append(module)
    if not found:
        module = Module(done.name, built_in, trouble=trouble or "it loads no extension of its own")
        module.file = module.image = next((event[2] for event in events if event[:2] == ("creating", done.name)), None)
        module.look(census, None)
        result.append(module)
    return result


class Progress:
    """What is being done, on stderr, if it takes more than two seconds."""

    def __init__(self, total):
        self.total, self.began, self.said = total, time.monotonic(), 0

    def tell(self, done, names):
        now = time.monotonic()
        if now - self.began > 2 and now - self.said > (0.2 if sys.stderr.isatty() else 20):
            self.said = now
            line = "%d of %d: %s" % (done, self.total, " ".join(names))
            print("\r\x1b[K%s" % line if sys.stderr.isatty() else "isan census: " + line,
                  end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)

    def clear(self):
        if self.said and sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def take(census, arguments, modules):
    """Fill in what is found about each argument, in their order: a list each, so that what is there is right at any time."""
    waiting, running = list(enumerate(arguments)), {}
    progress = Progress(len(arguments))
    try:
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                index, argument = waiting.pop(0)
                running[index] = census.start(argument)
            for index in [index for index, one in running.items() if one.ended()]:
                done = running.pop(index)
                modules[index] = modules_of(census, done, done.name in census.builtins)
            progress.tell(len(modules), [one.name for one in running.values()])
            time.sleep(0.01)
    finally:
        for one in running.values():
            one.kill()
        progress.clear()


def rows_of(modules, version):
    """The counts, with the names behind them."""
    rows = []
    for key, title, since, test in ROWS:
        if version < since:
            continue
        answers = [(module.name, test(module)) for module in modules]
        rows.append({"key": key, "title": title, "count": sum(bool(is_) for _, is_ in answers), "of": len(modules),
                     "modules": [name for name, is_ in answers if is_],
                     "not_known": [name for name, is_ in answers if is_ is None]})
    return rows


def print_text(census, modules, rows, full):
    lines, width = [], max(60, min(shutil.get_terminal_size((120, 24)).columns, 160))
    count = {kind: sum(module.count(kind) or 0 for module in modules) for kind in MAKERS}
    total = sum(count.values())
    lines.append("Python %d.%d.%d (%s): %s, %d of them built in" % (
        *census.version, text.escape(census.python), text.plural(len(modules), "module"), sum(m.built_in for m in modules)))
    if total:
        heap = total - count["static"]
        lines.append("%s: %d static, %d heap types (%d%%): %s" % (
            text.plural(total, "type"), count["static"], heap, round(100 * heap / total),
            ", ".join("%d %s" % (count[kind], kind) for kind in HEAP)))
    for row in rows if len(modules) > 1 else ():
        unknown = "; not known of %d" % len(row["not_known"]) if row["not_known"] else ""
        lines += ["", "%4d  %3d%%  %s%s" % (row["count"], round(100 * row["count"] / row["of"]), row["title"], unknown)]
        lines += textwrap.wrap(text.escape(" ".join(row["modules"])), width, initial_indent=" " * 12, subsequent_indent=" " * 12)
    table = [COLUMNS] + [module.row() for module in modules]
    widths = [max(len(row[i]) for row in table if len(row) == len(COLUMNS)) for i in range(len(COLUMNS))]
    widths[0] = max(len(row[0]) for row in table)
    lines.append("")
    for row in table:
        lines.append("  ".join(text.escape(cell).rjust(w) if 3 <= i < len(COLUMNS) - 1 and len(row) == len(COLUMNS) else text.escape(cell).ljust(w)
                               for i, (cell, w) in enumerate(zip(row, widths))).rstrip())
    lines += ["", LEGEND]
    for module in modules:
        details = module.details(full)
        for line in [""] * bool(details) + details:
            lines += textwrap.wrap(line, width, subsequent_indent=" " * 6, break_long_words=False, break_on_hyphens=False) or [""]
    bare = {module.image for module in modules if module.debug is False}
    advice = packages.advice(sorted(bare))
    for what in sorted(set(advice.values())):
        files = [file for file in sorted(bare) if advice[file] == what]
        lines += ["", "note: which statics may hold objects is told by debug information, which %s not have: %s" % (
            "%s does" % text.escape(files[0]) if len(files) == 1 else "%d files, such as %s, do" % (len(files), text.escape(files[0])), what)]
    report.write(sys.stdout, "\n".join(lines) + "\n")


def main(args):
    if args.version and not args.flavor:
        raise Problem("--version goes with --flavor")
    for argument in args.modules:
        check.locate(argument)
    with tempfile.TemporaryDirectory(prefix="isan-census-") as directory, symbols.Symbolizer(
            debuginfo_path=args.debuginfo_path) as symbolizer:
        census = Census(args, directory, symbolizer)
        arguments = args.modules or sorted({*census.builtins, *census.extensions}, key=lambda name: (name.strip("_"), name))
        found, interrupted = {}, False
        try:
            take(census, arguments, found)
        except KeyboardInterrupt:
            interrupted = True
        except symbols.Missing as error:
            raise Problem(str(error))
        modules = [module for index in sorted(found) for module in found[index]]
        rows = rows_of(modules, census.version)
        if args.format == "json":
            report.write(sys.stdout, json_.render({
                "isan": __version__, "python": census.python, "version": "%d.%d.%d" % census.version, "interrupted": interrupted,
                "rows": rows, "modules": [module.as_json() for module in modules]}))
        elif modules:
            print_text(census, modules, rows, args.full or len(modules) <= FEW)
        if interrupted:
            print("isan census: interrupted: %d of %d modules were looked at" % (len(found), len(arguments)), file=sys.stderr)
            return 130
        for index in sorted(found):
            failed = [module for module in found[index] if module.types is None]
            if args.modules and failed:
                print("isan census: %s: %s" % (text.escape(failed[0].name), text.escape(failed[0].trouble)), file=sys.stderr)
                return 2
    return 0
