"""The table of the C API, hooks/api.inc, compared with the headers of each Python.

Each function that takes or returns objects is wrapped, or left out with a reason; the arguments and results in the table are
those of the headers.
"""
import os
import re
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest

from ext.build import locations
from helpers.tree import API_TABLE as TABLE

# Some are not in Python.h; some functions have another name with one of the macros.
HEADERS = ["Python.h", "structmember.h", "frameobject.h", "marshal.h", "datetime.h"]
VARIANTS = [(), ("-DPY_SSIZE_T_CLEAN",), ("-DPy_LIMITED_API=0x03020000",)]
# The comment in the table above functions that newer headers do not have.
GONE, GONE_SINCE = "/* --- Gone from the headers after 3.12. */", (3, 13)

# --- the headers ------------------------------------------------------------------------

Function = namedtuple("Function", "parameters result")

ATTRIBUTE = re.compile(r"__attribute__\s*\(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\)")
OBJECT = re.compile(r"\b(_?Py\w*Object|PyModuleDef|_?PyWeakReference)\b(?!\s*\()")


def declarations(text):
    """Top-level declarations: without the bodies of functions and structures."""
    depth, kept = 0, []
    for part in re.split(r"([{}])", text):
        depth += {"{": 1, "}": -1}.get(part, 0)
        if part == "}" and depth == 0:
            kept.append(";")
        elif depth == 0 and part not in "{}":
            kept.append(part)
    return "".join(kept).split(";")


def parameters(text):
    depth, found = 0, [""]
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            found.append("")
        else:
            found[-1] += char
    found = [parameter.strip() for parameter in found]
    return [] if found in ([""], ["void"]) else found


def parse(text):
    """The exported functions of preprocessed text: name -> Function."""
    found = {}
    for declaration in declarations(text):
        if "visibility" in declaration:
            declaration = " ".join(ATTRIBUTE.sub(" ", declaration).split())
            match = re.fullmatch(r"(?:extern )?([\w *]+?)\b(\w+) ?\((.*)\)", declaration)
            if match:
                result, name, rest = match.groups()
                found[name] = Function(parameters(rest), result.strip())
    return found


class Headers:
    """The functions in the headers of one Python: `public`, a dictionary for each variant of macros, and `internal`."""

    def __init__(self, python):
        include = next((path for path in locations(python)[0] if os.path.exists(os.path.join(path, "Python.h"))), None)
        if include is None:
            pytest.fail(f"the headers of {python} are missing: run make deps DEPS=test", pytrace=False)
        include = os.path.realpath(include)
        major_minor = re.search(r"#define PY_M\w+_VERSION\s+(\d+)\s+#define PY_M\w+_VERSION\s+(\d+)",
                                (Path(include) / "patchlevel.h").read_text())
        self.version = tuple(map(int, major_minor.groups()))
        self.public = [parse(self.preprocessed(include, flags)) for flags in VARIANTS]
        self.internal = {}
        for path in Path(include, "internal").glob("*.h"):
            text = re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
            for result, name, rest in re.findall(r"PyAPI_FUNC\(([^)]*)\)\s*(\w+)\s*\(([^;{]*)\)\s*;", text):
                self.internal[name] = Function(parameters(rest), result)

    @staticmethod
    def preprocessed(include, flags):
        source = "".join(f"#include <{name}>\n" for name in HEADERS if os.path.exists(os.path.join(include, name)))
        text = subprocess.run(["gcc", "-E", *flags, f"-I{include}", "-"], input=source, stdout=subprocess.PIPE,
                              text=True, check=True).stdout
        kept, ours = [], False
        for line in text.splitlines():
            marker = re.match(r'# \d+ "(.*?)"', line)
            if marker:
                ours = marker[1].startswith(include)
            elif ours:
                kept.append(line)
        return "\n".join(kept)

    def knows(self, name):
        return name in self.internal or any(name in functions for functions in self.public)

    def functions(self):
        """(name, Function) of all variants, those of the public headers first."""
        for functions in [*self.public, self.internal]:
            yield from functions.items()


def stars(declaration):
    """2: the address of an object's address, 1: an object's address, 0: neither."""
    if "(*" in declaration or not OBJECT.search(declaration):
        return 0
    return declaration.count("*") + declaration.count("[")


# --- the table --------------------------------------------------------------------------

Row = namedtuple("Row", "kind letters result gone")


def read(text):
    """The rows, name -> Row, and the names that are left out, name -> (reason, gone)."""
    current, _, gone = text.partition(GONE)
    rows, left_out, problems = {}, {}, []
    for part, is_gone in (current, False), (gone, True):
        for line in part.splitlines():
            if not line.startswith("ISAN_API"):
                continue
            row = re.fullmatch(r'ISAN_API(|_SLOT|_JUMP)\((\w+), "([-oaidxmprRvteE*+f]*)"(?:, \'([-onmd=sS.])\')?\)', line)
            left = re.fullmatch(r'ISAN_API_LEFT_OUT\((\w+), "(.{10,})"\)', line)
            name = row[2] if row else left[1] if left else None
            if name is None or (row and (row[1] == "_JUMP") != (row[4] is None)):
                problems.append(f"cannot be read: {line}")
            elif name in rows or name in left_out:
                problems.append(f"{name} is there twice")
            elif row:
                rows[name] = Row(row[1], row[3], row[4], is_gone)
            else:
                left_out[name] = (left[2], is_gone)
    return rows, left_out, problems


def misfit(row, function):
    """The difference between a row and the header, or None."""
    letters = iter(row.letters)
    params = function.parameters
    for number, parameter in enumerate(params, 1):
        if parameter == "...":
            extra = "".join(letters)
            return None if extra in ("", "*", "+") else f"has {extra!r} for ..."
        letter = next(letters, None)
        if letter is None:
            return f"has no letter for argument {number}"
        wanted = {0: "-", 1: "oaidxm", 2: "prR-"}[stars(parameter)]
        if stars(parameter) == 2 and "*const" in parameter.replace(" ", ""):
            wanted = "v-"
        elif parameter.startswith("void *") or parameter == "void*":
            wanted = "-o"
        elif parameter.startswith("PyThreadState *"):
            wanted = "-te"
        elif parameter.startswith("PyInterpreterState *"):
            wanted = "-E"
        elif letter == "f" and parameter.startswith("const char") and params[number:] == ["..."]:
            wanted = "f"
        if letter not in wanted:
            return f"has {letter!r} for argument {number}, {parameter}"
    rest = "".join(letters)
    return None if set(rest) <= {"-"} else f"has {rest!r} for more arguments than there are"


def misfit_result(row, function):
    jump = len(function.parameters) > 6 or any(re.match(r"\.\.\.|(double|float|Py_complex)\b", parameter)
                                               for parameter in function.parameters)
    if jump != (row.kind == "_JUMP"):
        return "must be ISAN_API_JUMP" if jump else "need not be ISAN_API_JUMP"
    if row.kind == "_JUMP":
        return None
    is_object = stars(function.result) == 1
    return None if row.result in ("onmd=" if is_object else "." if function.result in ("double", "Py_complex") else "-sS") else f"has result {row.result!r}, the header {function.result}"


def check(text, pythons):
    """The errors in the table, as sentences, and the number of functions compared."""
    rows, left_out, problems = read(text)
    compared = set()
    for headers in pythons:
        of = "the headers of %d.%d" % headers.version
        for name, function in headers.functions():
            if name in rows:
                compared.add(name)
                wrong = misfit(rows[name], function) or misfit_result(rows[name], function)
                if wrong:
                    problems.append(f"{name}, as in {of}: {wrong}")
            elif name not in left_out and name not in headers.internal and any(map(stars, [*function.parameters, function.result])):
                problems.append(f"{name} of {of} takes or returns an object and is not in the table")
    for name, is_gone in [*((name, row.gone) for name, row in rows.items()), *((name, gone) for name, (_, gone) in left_out.items())]:
        where = [headers for headers in pythons if headers.knows(name) and (not is_gone or headers.version < GONE_SINCE)]
        if not where and not (is_gone and all(headers.version >= GONE_SINCE for headers in pythons)):
            problems.append(f"{name} is in no header" + (" before 3.13" if is_gone else ""))
    return problems, len(compared)


# --- the tests --------------------------------------------------------------------------

@pytest.fixture(scope="module")
def pythons(flavor_python):
    return [Headers(python) for python in ("/usr/bin/python3", flavor_python("plain", "3.13"), flavor_python("plain", "3.14"))]


def test_table(pythons):
    problems, compared = check(TABLE.read_text(), pythons)
    assert problems == []
    assert compared > 800


def test_headers_are_read(pythons):
    """The parser finds functions of each shape; if it missed some, test_table would prove nothing."""
    for headers in pythons:
        functions = dict(headers.functions())
        assert functions["PyObject_GetAttr"] == Function(["PyObject *", "PyObject *"], "PyObject *")
        assert [stars(parameter) for parameter in functions["PyObject_Vectorcall"].parameters] == [1, 2, 0, 1]
        assert functions["PyArg_ParseTuple"].parameters[-1] == "..."
        assert functions["PyFloat_AsDouble"].result == "double"
        assert functions["PyEval_SaveThread"] == Function([], "PyThreadState *")
        assert len(functions) > 1000


@pytest.mark.parametrize("line, doctored, problem", [
    ('ISAN_API(PyList_Append, "oo", \'-\')', "", "PyList_Append of the headers of 3.13 takes or returns an object and is not in the table"),
    ('(PyList_Append, "oo"', '(PyList_Append, "o-"', "PyList_Append, as in the headers of 3.14: has '-' for argument 2, PyObject *"),
    ('(PyList_Append, "oo"', '(PyList_Append, "o"', "PyList_Append, as in the headers of 3.14: has no letter for argument 2"),
    ('(PyList_Append, "oo"', '(PyList_Append, "ooo"', "PyList_Append, as in the headers of 3.13: has 'o' for more arguments than there are"),
    ('(PyList_GetItem, "o-", \'o\'', '(PyList_GetItem, "o-", \'-\'', "PyList_GetItem, as in the headers of 3.13: has result '-', the header PyObject *"),
    ('(PyLong_AsDouble, "o", \'.\'', '(PyLong_AsDouble, "o", \'-\'', "PyLong_AsDouble, as in the headers of 3.13: has result '-', the header double"),
    ('(PyDict_Next, "o-RR"', '(PyDict_Next, "o-oR"', "PyDict_Next, as in the headers of 3.13: has 'o' for argument 3, PyObject **key"),
    ('ISAN_API_JUMP(PyErr_Format, "o-")', 'ISAN_API(PyErr_Format, "o-", \'-\')', "PyErr_Format, as in the headers of 3.13: must be ISAN_API_JUMP"),
    ("(PyList_Append,", "(PyList_Apend,", "PyList_Apend is in no header"),
    ("ISAN_API_LEFT_OUT(Py_Is,", "ISAN_API_LEFT_OUT(Py_Isnt,", "Py_Isnt is in no header"),
    (GONE, GONE + "\nISAN_API(PyList_Append, \"oo\", '-')", "PyList_Append is there twice"),
    (GONE, "\nISAN_API(PyList_Append \"oo\", '-')" + GONE, "cannot be read: ISAN_API(PyList_Append \"oo\", '-')"),
])
def test_doctored_table(pythons, line, doctored, problem):
    text = TABLE.read_text()
    assert text.count(line) == 1
    problems, _ = check(text.replace(line, doctored), pythons)
    assert problem in problems
