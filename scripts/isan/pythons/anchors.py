"""Edits of CPython's source (scripts/cpython/anchors.txt): statements at the entry of functions."""
import collections
import os
import re

import isan
from isan import Problem

from .releases import series_of


Edit = collections.namedtuple("Edit", "file function statement line")


def anchors_path():
    return os.path.join(isan.ROOT, "scripts", "cpython", "anchors.txt")


def read_anchors(path, version):
    """The edits of anchors.txt for a version."""
    edits = []
    with open(path, encoding="utf-8") as anchors:
        for number, text in enumerate(anchors, 1):
            text = text.rstrip("\n")
            if not text.strip() or text.startswith("#"):
                continue
            fields = text.split("\t")
            where = f"{os.path.relpath(path, isan.ROOT)}:{number}"
            if len(fields) != 4 or not all(field.strip() for field in fields):
                raise Problem(f"{where}: want FILE, VERSIONS, FUNCTION and STATEMENT, separated by single tabs")
            file, versions, function, statement = fields
            if os.path.isabs(file) or ".." in file.split("/"):
                raise Problem(f"{where}: '{file}' is not a path inside the source tree")
            if not re.fullmatch(r"\*|\d+\.\d+(,\d+\.\d+)*", versions):
                raise Problem(f"{where}: '{versions}' is neither * nor a list like 3.13,3.14")
            if not re.fullmatch(r"[A-Za-z_]\w*", function):
                raise Problem(f"{where}: '{function}' is not the name of a function")
            if versions == "*" or series_of(version) in versions.split(","):
                edits.append(Edit(file, function, statement, number))
    return edits


def apply_anchors(tree, edits):
    """Insert each statement after the `{` of its function, on the same line, so that no line number changes."""
    for file in sorted({edit.file for edit in edits}):
        path = os.path.join(tree, file)
        try:
            with open(path, encoding="utf-8", newline="") as source:
                text = source.read()
        except OSError:
            raise Problem(f"scripts/cpython/anchors.txt: this CPython has no {file}: the anchors need an update for it"
                          ) from None
        inserts = collections.defaultdict(str)
        for edit in (edit for edit in edits if edit.file == file):
            # A definition has the name in the first column, and no other brace or semicolon before its opening brace.
            found = [m.end() for m in re.finditer(rf"^{edit.function}\([^;{{}}]*^\{{$", text, re.M)]
            if len(found) != 1:
                raise Problem(f"scripts/cpython/anchors.txt:{edit.line}: {file} has {len(found) or 'no'} "
                              f"definition{'s' if len(found) > 1 else ''} of {edit.function}() in the form expected: "
                              "the anchors need an update for this CPython")
            inserts[found[0]] += " " + edit.statement
        for position in sorted(inserts, reverse=True):
            text = text[:position] + inserts[position] + text[position:]
        with open(path, "w", encoding="utf-8", newline="") as source:
            source.write(text)
