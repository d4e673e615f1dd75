"""The tables of a census."""
import shutil
import sys
import textwrap

from isan import reporting
from isan.reports import packages
from isan.reports.wording import escape, plural

from .module import MAKERS

HEAP = [kind for kind in MAKERS if kind != "static"]

# The rows: key, what is counted, the least release, whether a module counts (None: not known).
ROWS = [
    ("multi-phase", "multi-phase initialisation", (3, 11), lambda m: m.phase and m.phase == "multi-phase"),
    ("single-phase", "single-phase initialisation", (3, 11), lambda m: m.phase and m.phase == "single-phase"),
    ("own-gil", "declare that interpreters with own GILs may use them", (3, 12),
     lambda m: m.declares and m.declares == "own-gil"),
    ("shared-gil", "declare, or are taken to, that only interpreters that share a GIL may", (3, 12),
     lambda m: m.declares and m.declares == "shared-gil"),
    ("main-only", "declare that only the main interpreter may", (3, 12),
     lambda m: m.declares and m.declares == "main-only"),
    ("state", "module state", (3, 11), lambda m: None if m.state is None else m.state > 0),
    ("static-types", "static types", (3, 11), lambda m: m.has("static")),
    ("heap-types", "heap types, made in any way", (3, 11), lambda m: _any(m.has(kind) for kind in HEAP)),
    ("bound-types", "heap types bound to the module (PyType_FromModuleAndSpec, PyType_FromMetaclass)", (3, 11),
     lambda m: m.has("bound")),
    ("unbound-types", "heap types bound to none (PyType_FromSpec, PyType_FromSpecWithBases)", (3, 11),
     lambda m: m.has("unbound")),
    ("holding-statics", "C statics that hold objects after the import", (3, 11),
     lambda m: None if m.hold is None else bool(m.hold)),
    ("object-statics", "C statics that hold objects or may", (3, 11),
     lambda m: True if m.hold else None if m.may is None else bool(m.may)),
]
COLUMNS = ["MODULE", "", "DECLARES", "STATE", *(column for _, column in MAKERS.values()), "STATICS THAT HOLD OBJECTS"]
LEGEND = """\
STATE: bytes of module state; none; global: a single-phase module that has its state in statics.
Types: STATIC; heap types BOUND to the module by PyType_FromModuleAndSpec or PyType_FromMetaclass, UNBOUND by
PyType_FromSpec or PyType_FromSpecWithBases, made by calling a metatype (CALLED: PyErr_NewException and the like), or
struct SEQUENCE types.
?: not known. docs/census.md says how each is found and what may be missed."""


def _any(values):
    """Whether any of the values is true; None if that is not known."""
    values = list(values)
    return True if True in values else None if None in values else False


def rows_of(modules, version):
    """The counts of the rows, with the names of the modules."""
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
    width = max(60, min(shutil.get_terminal_size((120, 24)).columns, 160))
    lines = summary(census, modules)
    for row in rows if len(modules) > 1 else ():
        unknown = "; not known of %d" % len(row["not_known"]) if row["not_known"] else ""
        percent = round(100 * row["count"] / row["of"])
        lines += ["", "%4d  %3d%%  %s%s" % (row["count"], percent, row["title"], unknown)]
        lines += textwrap.wrap(escape(" ".join(row["modules"])), width, initial_indent=" " * 12,
                               subsequent_indent=" " * 12)
    lines += ["", *table(modules), "", LEGEND]
    for module in modules:
        details = module.details(full)
        for line in [""] * bool(details) + details:
            lines += textwrap.wrap(line, width, subsequent_indent=" " * 6, break_long_words=False,
                                   break_on_hyphens=False) or [""]
    lines += advice(modules)
    reporting.write(sys.stdout, "\n".join(lines) + "\n")


def summary(census, modules):
    """How many modules and types there are."""
    count = {kind: sum(module.count(kind) or 0 for module in modules) for kind in MAKERS}
    total = sum(count.values())
    lines = ["Python %d.%d.%d (%s): %s, %d of them built in" % (
        *census.version, escape(census.python), plural(len(modules), "module"), sum(m.built_in for m in modules))]
    if total:
        heap = total - count["static"]
        lines.append("%s: %d static, %d heap types (%d%%): %s" % (
            plural(total, "type"), count["static"], heap, round(100 * heap / total),
            ", ".join("%d %s" % (count[kind], kind) for kind in HEAP)))
    return lines


def table(modules):
    """A line for each module. A row with fewer cells than COLUMNS ends with what went wrong."""
    rows = [COLUMNS] + [module.row() for module in modules]
    widths = [max(len(row[i]) for row in rows if len(row) == len(COLUMNS)) for i in range(len(COLUMNS))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for row in rows:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths)):
            is_number = 3 <= i < len(COLUMNS) - 1 and len(row) == len(COLUMNS)
            cells.append(escape(cell).rjust(width) if is_number else escape(cell).ljust(width))
        lines.append("  ".join(cells).rstrip())
    return lines


def advice(modules):
    """What to install for files without debug information."""
    bare = sorted({module.image for module in modules if module.debug is False})
    said, lines = packages.advice(bare), []
    for what in sorted(set(said.values())):
        files = [file for file in bare if said[file] == what]
        which = ("%s does" % escape(files[0]) if len(files) == 1
                 else "%d files, such as %s, do" % (len(files), escape(files[0])))
        lines += ["", "note: only debug information shows which statics may hold objects, and %s not have it: %s" % (
            which, what)]
    return lines
