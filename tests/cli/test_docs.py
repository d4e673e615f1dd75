"""The documentation: links, examples, options and files.

The test runs fenced blocks of the pages under docs/ that have these info strings.  The blocks of a page run in order, in one
new directory:

    ```c file=spam.c            write this file
    ```sh run status=86         run with sh -e; the exit status (default: 0)
    ```text                     directly after that: expected output, stdout before stderr, or some lines of it

In expected output a line of three dots stands for any lines, and three dots in a line for any text.  Spaces, and the numbers
of findings, frames and threads, do not matter.  Paths are relative to the directory or to this checkout.  PATH begins with
the isan command and a python3.  Extensions of tests/ext that the page imports are compiled for that python3.  ISAN is the
path of this checkout.
"""
import collections
import html
import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from ext.build import build
from helpers.product import __version__, command, suppressions, tables
from helpers.programs import run_group
from helpers.tree import COMMAND, DOCS, DOCUMENTED, EXT, ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
KINDS = [kind.name for kind in tables.KINDS]
# The Python of an example is the newest that is no release to come, unless its page is about what Debian has.
PYTHON = {"embedding.md": "/usr/bin/python3"}
DOTS = "..."

Block = collections.namedtuple("Block", "line language file run status text")


def blocks(page):
    """The fenced blocks of a page."""
    found, lines = [], page.read_text().splitlines()
    number = 0
    while number < len(lines):
        if lines[number].startswith("```"):
            end = lines.index("```", number + 1)
            language, *words = lines[number][3:].split() or [""]
            said = dict(word.partition("=")[::2] for word in words)
            where = f"{page.name}:{number + 1}"
            assert not set(said) - {"file", "run", "status"}, f"{where}: {lines[number]}"
            found.append(Block(where, language, said.get("file"), "run" in said, int(said.get("status", 0)),
                               "".join(line + "\n" for line in lines[number + 1:end])))
            number = end
        number += 1
    return found


def plain_line(line):
    """A line without parts that differ from run to run: spaces, numbers of findings, frames and threads."""
    return re.sub(r"(?<=#)\d+|(?<=thread )\d+", "N", " ".join(line.split()))


def pattern(line):
    return re.compile(".*".join(map(re.escape, plain_line(line).split(DOTS)))).fullmatch


def missing(expected, output):
    """The first expected lines that the output does not have in this order, or None."""
    output = [plain_line(line) for line in output.splitlines()]
    start, part = 0, []
    for line in [*expected.splitlines(), DOTS]:
        if line.strip() != DOTS:
            part.append(line)
            continue
        matches = [pattern(line) for line in part]
        for first in range(start, len(output) - len(part) + 1):
            if all(match(output[first + i]) for i, match in enumerate(matches)):
                start = first + len(part)
                break
        else:
            return "\n".join(part)
        part = []
    return None


@pytest.mark.parametrize("expected, found", [
    ("a\nb", True), ("a\n...\nd", True), ("b\n   c", True), ("...\nd\n...", True), ("a\n...\nx y...z", True),
    ("a\nc", False), ("b\n...\na", False), ("d\n...\nd", False), ("b\nx", False), ("x y", False)])
def test_missing_lines_are_noticed(expected, found):
    assert (missing(expected, "a\nb\n  c\nd\nx  y w z\n") is None) == found


# --- Examples ---------------------------------------------------------------------------------------------------------


class Example:
    """A new directory, in which the blocks of a page are written and run."""

    def __init__(self, page, isan, python, here):
        self.blocks, self.here = blocks(page), here
        texts = "".join(block.text for block in self.blocks if block.language in ("c", "py", "sh"))
        for name in sorted(set(re.findall(r"\w+", " ".join(re.findall(r"import ([\w, ]+)", texts))))):
            if (EXT / f"{name}.c").exists():
                build(f"{name}.c", python, here / "ext")
        self.environment = {name: value for name, value in os.environ.items()
                            if name != "ISAN_OPTIONS" and not name.startswith("PYTHON")}
        self.environment["PATH"] = os.pathsep.join([os.path.dirname(isan), os.path.dirname(python), os.environ["PATH"]])
        self.environment["PYTHONPATH"] = os.fspath(here / "ext")
        self.environment["ISAN"] = os.fspath(ROOT)

    def run(self):
        output = None
        for block in self.blocks:
            if block.file:
                (self.here / block.file).write_text(block.text)
            elif block.run:
                done = run_group(["sh", "-e", "-c", f"cd {shlex.quote(os.fspath(self.here))}\n{block.text}"],
                                 self.environment, None)
                output = done.stdout + done.stderr
                assert done.returncode == block.status, f"{block.line}: status {done.returncode}:\n{output}"
                for directory in self.here, ROOT:
                    output = output.replace(f"{directory}/", "")
            elif output is not None and block.language == "text":
                lines = missing(block.text, output)
                assert lines is None, f"{block.line}: no such lines:\n{lines}\n-- but:\n{output}"
            if not block.run:
                output = None


@pytest.fixture
def example(isan, plain, tmp_path):
    def make(page):
        (tmp_path / "ext").mkdir()
        return Example(page, isan, PYTHON.get(page.name, plain), tmp_path)
    return make


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent != DOCS / "findings"
                                  and any(block.run for block in blocks(page))],
                         ids=lambda page: page.name)
def test_example(example, page):
    example(page).run()


@pytest.mark.parametrize("kind", KINDS)
def test_finding(isan, example, kind):
    """The page of a kind: its program has that finding, with the text of the page, and its suppression matches it."""
    page = DOCS / "findings" / f"{kind}.md"
    case = example(page)
    case.run()
    done = subprocess.run([isan, "report", "--format", "json", "--suppressions", "known.supp", "log"], cwd=case.here,
                          stdout=subprocess.PIPE, text=True)
    report = json.loads(done.stdout)
    findings = [finding for finding in report["suppressed"] if finding["kind"] == kind]
    assert findings and kind not in [finding["kind"] for finding in report["findings"]], done.stdout
    told = next(block for block in case.blocks if block.language == "text").text
    assert f"isan: {kind} #" in told
    variables = [finding["holder"]["symbol"] for finding in findings if finding["holder"] and finding["holder"]["symbol"]]
    assert variables or kind in ("immortal", "gilstate")
    for variable in variables:
        assert f"static `{variable}`" in told
    assert {s.kind for s in suppressions.read(os.fspath(case.here / "known.supp"))} == {kind}


# --- Pages and links --------------------------------------------------------------------------------------------------


def anchors(page):
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.M)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: os.fspath(page.relative_to(ROOT)))
def test_links(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = html.unescape(link).partition("#")
        if path.startswith("https://"):
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"
    for path in re.findall(r"(?<![\w./-])((?:docs|runtime|hooks|reports|scripts|tests|include)/[\w./-]*\w)", text):
        assert (ROOT / path).exists() or "." not in os.path.basename(path), f"{page.name} names {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: os.fspath(page.relative_to(ROOT)))
def test_commands_and_options_exist(page):
    shell = "\n".join(block.text for block in blocks(page) if block.language in ("sh", ""))
    text = page.read_text()
    commands = re.findall(r"(?:`|bin/)isan ([a-z]+)", text) + re.findall(r"(?:^|\$ )isan ([a-z]+)", shell, re.M)
    assert set(commands) <= {name for name, _ in command.COMMANDS}
    options = [option for given in re.findall(r"ISAN_OPTIONS='?([\w/.$]+=[^`'\s]*)", text) for option in given.split(":")]
    assert {option.partition("=")[0] for option in options} - {"name"} <= set(tables.OPTIONS)


def test_every_page_is_listed():
    listed = re.findall(r"\]\((docs/[^)#]+)\)", (ROOT / "README.md").read_text())
    pages = [os.fspath(page.relative_to(ROOT)) for page in PAGES if page.parent == DOCS]
    assert sorted({*pages, "docs/findings/README.md", "docs/isan.1"} - set(listed)) == []
    index = (DOCS / "findings" / "README.md").read_text()
    assert re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \|", index, re.M) == [(kind, kind) for kind in KINDS]
    assert {page.stem for page in (DOCS / "findings").glob("*.md")} == {"README", *KINDS}


def test_internals_name_every_file():
    """By its path, which may leave out the first folder: `core/shadow.c` is runtime/core/shadow.c."""
    text = (DOCS / "internals.md").read_text()
    sources = [file.relative_to(ROOT) for folder in DOCUMENTED for file in (ROOT / folder).rglob("*")
               if file.suffix in (".c", ".inc", ".txt", ".py", ".supp") and file.name != "__init__.py"]
    assert sources
    assert [file.as_posix() for file in sorted(sources)
            if f"`{file.as_posix()}`" not in text and f"`{file.relative_to(file.parts[0]).as_posix()}`" not in text] == []


# --- The man page -----------------------------------------------------------------------------------------------------

MAN = DOCS / "isan.1"


def section(name):
    """The source of a section of the man page, without escapes of characters."""
    text = MAN.read_text().replace(r"\-", "-").replace(r"\(bu", "*")
    return re.search(rf"^\.SH {name}\n(.*?)(?=^\.SH|\Z)", text, re.M | re.S)[1]


def test_man_page_is_well_formed():
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", MAN], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert f'"isan {__version__}"' in MAN.read_text().splitlines()[1]


def test_man_page_has_the_commands_and_their_options():
    """No more and no fewer than there are."""
    text = section("COMMANDS")
    parts = dict(zip(re.findall(r"^\.SS (\S+)", text, re.M), re.split(r"^\.SS .*\n", text, flags=re.M)[1:]))
    assert sorted(parts) == sorted(name for name, _ in command.COMMANDS)
    for name, part in parts.items():
        done = subprocess.run([sys.executable, "-I", COMMAND, name, "--help"],
                              stdout=subprocess.PIPE, text=True, check=True)
        usage = done.stdout[:done.stdout.index("\n\n")]
        assert sorted(set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", usage)) - {"-h"}) == sorted(
            set(re.findall(r"^\.(?:B|BI|BR) (--?[a-z][\w-]*)", part, re.M))), name


def test_man_page_has_the_options_of_isan_options():
    assert re.findall(r"^\.(?:B|BI) (\w+)=", section("ENVIRONMENT"), re.M) == list(tables.OPTIONS)
