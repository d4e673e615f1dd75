"""Names in the report on a stripped extension, with and without a separate debug file."""
import json
import os
import re
import subprocess

import pytest

from helpers.programs import holder_of, line_of

LEAK = """
    interpreter = Interpreter("legacy")
    interpreter.run("import cache_static; cache_static.cache['names'] = []")
    interpreter.end()
"""


@pytest.fixture
def stripped(stock):
    """The directories of the stripped extension, and of its debug file, found by its build id."""
    directory, debug = stock.extension("cache_static.c", False), stock.make_directory("debug")
    path, = directory.glob("cache_static.*.so")
    notes = subprocess.run(["readelf", "-n", path], stdout=subprocess.PIPE, text=True, check=True).stdout
    build_id = re.search(r"Build ID: ([0-9a-f]+)", notes)[1]
    separate = debug / ".build-id" / build_id[:2] / (build_id[2:] + ".debug")
    separate.parent.mkdir(parents=True)
    subprocess.run(["objcopy", "--only-keep-debug", path, separate], check=True)
    subprocess.run(["strip", path], check=True)
    return directory, debug


def report(run, *options):
    done = subprocess.run([run.isan, "report", "--format", "json", *options, run.log], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 86, done.stderr
    return json.loads(done.stdout)


def notes_of(report):
    return [note["text"] for note in report["notes"] if "debug information" in note["text"]]


def test_stripped_extension(stock, stripped):
    directory, debug = stripped
    run = stock.run(LEAK, extensions=directory)
    leak, = run.report["findings"]
    assert (leak["holder"]["symbol"], leak["holder"]["section"]) == (None, ".bss")
    note, = notes_of(run.report)
    assert note.startswith(str(next(directory.glob("cache_static.*.so")))) and note.endswith("build it with -g")
    assert f"isan: note: {note}\n" in run.err

    found = report(run, "--debuginfo-path", os.path.relpath(debug))
    assert holder_of(found["findings"][0]) == ("cache", "cache_static.c", line_of("cache_static.c", "static PyObject *cache;"))
    assert notes_of(found) == []
