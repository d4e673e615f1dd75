"""Races between interpreters, in an interpreter and extensions built with ThreadSanitizer.

CPython has races of its own, so each test selects the races of its extension.
"""
import os
import re
import shutil
import subprocess

import pytest

from helpers.programs import holder_of, line_of, places, who
from helpers.tree import EXT, LIBRARY

# Two interpreters run the same code at the same time; ONE and TWO are their ids and kinds in the report.
PARALLEL = """
import threading
interpreters = [Interpreter(kind) for kind in kinds]
threads = [threading.Thread(target=interpreter.run, args=(code,)) for interpreter in interpreters]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for interpreter in interpreters:
    interpreter.end()
print("done")
"""
ONE, TWO = (1, "own-gil"), (2, "own-gil")


def race(tsan, name, kind="isolated", together=2, times=1000, **more):
    """Run an extension in two interpreters at once."""
    run = tsan.run(PARALLEL, kinds=[kind, kind], code=f"import {name}; {name}.run({together}, {times})", **more)
    assert run.out == "done\n" and run.report["dropped"] == 0, run.err
    return run


def races(run, name):
    """The races on an extension's memory or in its code."""
    def of_it(path):
        return os.path.basename(path or "").startswith(name + ".")
    return [finding for finding in run.findings("race")
            if finding["holder"] and of_it(finding["holder"]["module"])
            or any(of_it(frame.get("module")) for place in finding["places"] for frame in place["stack"])]


def accesses(finding):
    return [place for place in finding["places"] if place["role"] == "access"]


@pytest.mark.parametrize("name,declared,path,lines", [
    ("race_counter", "static long counter;", None, ["counter++;"]),
    ("race_lazy", "static int *table;", None, ["if (table == NULL) {", "table = fresh;", "if (table[0] != 0) {"]),
    ("race_list", "static struct node *head;", None, ["node->next = head;", "head = node;"]),
    ("race_buffer", "static char buffer[32];", r"\[\d+\]", ["buffer[i] = (char)('a' + i % 26);", "if (strlen(buffer) != sizeof buffer - 1) {"]),
])
def test_race_names_variable_and_interpreters(tsan, name, declared, path, lines):
    run = race(tsan, name)
    assert run.status == 86
    variable, source = re.search(r"(\w+)(\[|;)", declared).group(1), name + ".c"
    found = [finding for finding in races(run, name) if not finding["object"]["size"]]       # a finding on the variable itself
    assert [holder_of(finding) for finding in found] == [(variable, source, line_of(source, declared))], run.err
    finding, = found
    assert path is None and finding["holder"]["path"] is None or re.fullmatch(path, finding["holder"]["path"])
    assert finding["gil"] == "different" and finding["count"] >= 1 and not finding["object"]["size"]
    assert sorted(who(place["interpreter"]) for place in accesses(finding)) == [ONE, TWO]
    assert who(finding["current"]) == who(accesses(finding)[0]["interpreter"])
    assert any(place["write"] for place in accesses(finding))
    for place in accesses(finding):
        assert not place["atomic"] and not place["detached"] and not place["unknown"]
        assert place["amount"] == (1 if name == "race_buffer" and place["write"] else place["amount"])
        assert places(place["stack"], source)[0] in [line_of(source, line) for line in lines]
    first, second = accesses(finding)
    assert first["tid"] and second["tid"] and first["tid"] != second["tid"]
    assert f"static `{variable}" in run.err and f"of {os.path.basename(finding['holder']['module'])} (" in run.err


def test_race_on_the_dictionary_of_a_static_type(tsan):
    """The interpreters race on the dictionary and its table; the variable of the type holds them."""
    run = race(tsan, "race_type")
    found = races(run, "race_type")
    for finding in found:
        assert finding["gil"] == "different" and who(finding["owner"]) in (ONE, TWO), run.err
        assert sorted(who(place["interpreter"]) for place in accesses(finding)) == [ONE, TWO]
        assert places(finding["stacks"]["used"], "race_type.c")[0] in [
            line_of("race_type.c", f'"hits", {value});') for value in ("Py_True", "Py_False")]

    def is_the_dictionary(finding):
        return (finding["object"]["type"] == "dict" and finding["holder"]["path"] == ".tp_dict"
                and holder_of(finding) == ("Thing", "race_type.c", line_of("race_type.c", "static PyTypeObject Thing = {")))
    if tsan.hexversion < (3, 14):
        finding = next(finding for finding in found if is_the_dictionary(finding))
    else:       # has no version that each change counts: only the table is written, which the dictionary keeps alive
        finding = found[0]
        assert any(is_the_dictionary(leak) for leak in run.findings("leak") if leak["id"] in finding["paired"]), run.err
    paired = {other["kind"] for other in run.findings() if other["id"] in finding["paired"]}
    assert paired >= ({"static", "leak"} if is_the_dictionary(finding) else {"leak"})


@pytest.mark.parametrize("name", ["race_mutex", "race_atomic", "race_once", "race_thread", "race_state"])
def test_healthy(tsan, name):
    run = race(tsan, name)
    assert races(run, name) == [], run.err
    assert not any("ThreadSanitizer" in note["text"] for note in run.report["notes"])


def test_one_gil_keeps_interpreters_apart(tsan):
    """The shared GIL orders the accesses of legacy interpreters."""
    assert races(race(tsan, "race_counter", "legacy", together=1), "race_counter") == []


def test_race_of_interpreters_that_have_released_their_gil(tsan):
    """The report distinguishes them from races of own-GIL interpreters."""
    run = race(tsan, "race_released", "legacy", together=1, times=100000)
    found, = races(run, "race_released")
    assert holder_of(found) == ("counter", "race_released.c", line_of("race_released.c", "static long counter;"))
    assert found["gil"] == "same" and "Own-GIL" not in found["hint"]
    assert accesses(found)[0]["detached"]
    assert sorted(who(place["interpreter"]) for place in accesses(found)) == [(1, "legacy"), (2, "legacy")]


def test_extension_without_thread_sanitizer_is_named(tsan):
    directory = tsan.extension("race_counter.c", False)
    run = race(tsan, "race_counter", extensions=directory)
    assert races(run, "race_counter") == []
    notes = [note["text"] for note in run.report["notes"]]
    assert any(re.match(rf"{re.escape(str(directory))}/race_counter\S*\.so was not built with ThreadSanitizer", note)
               for note in notes), notes
    assert not any(str(EXT) in note or "lib-dynload" in note for note in notes)


# The project has its own build backend (PEP 517), since the interpreters have no setuptools.
BACKEND = """
import os, shlex, subprocess, sysconfig, zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    file, info, wheel = NAME + sysconfig.get_config_var("EXT_SUFFIX"), NAME + "-1.dist-info/", NAME + "-1-py3-none-any.whl"
    compiler, flags = os.environ.get("CC", "gcc"), os.environ.get("CFLAGS", "-O1 -g")
    subprocess.run([*shlex.split(compiler), "-shared", "-fPIC", *shlex.split(flags), "-I" + sysconfig.get_path("include"),
                    "-o", file, NAME + ".c"], check=True)
    texts = {"METADATA": "Metadata-Version: 2.1\\nName: %s\\nVersion: 1\\n" % NAME,
             "WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: false\\nTag: py3-none-any\\n",
             "RECORD": "".join(name + ",,\\n" for name in (file, info + "METADATA", info + "WHEEL", info + "RECORD"))}
    with zipfile.ZipFile(os.path.join(directory, wheel), "w") as archive:
        archive.write(file)
        for name, text in texts.items():
            archive.writestr(info + name, text)
    return wheel
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@pytest.mark.parametrize("instrumented", [True, False])
def test_what_pip_builds(tsan, isan, tmp_path, instrumented):
    """Under `isan env` pip builds an extension with ThreadSanitizer; without it, the report says that its races are not
    visible."""
    for name in "race_counter.c", "races.h":
        shutil.copy(EXT / name, tmp_path)
    (tmp_path / "backend.py").write_text("NAME = 'race_counter'\n" + BACKEND)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    environment = {name: value for name, value in tsan.environment.items()
                   if name not in ("CC", "CXX", "CFLAGS", "CXXFLAGS") and not name.startswith("PIP_")}
    python = subprocess.run([isan, "config", "--python", *tsan.how], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    done = subprocess.run([*([isan, "env", "--flavor", "tsan", "--"] if instrumented else []), python, "-m", "pip", "install",
                           "--no-index", "--no-build-isolation", "--no-cache-dir", "--target", "installed", "."],
                          cwd=tmp_path, env=dict(environment, PIP_CONFIG_FILE=os.devnull), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180)
    assert done.returncode == 0 and "isan:" not in done.stdout, done.stdout
    run = race(tsan, "race_counter", extensions=tmp_path / "installed")
    found, uninstrumented = races(run, "race_counter"), [
        note["text"] for note in run.report["notes"] if "not built with ThreadSanitizer" in note["text"]]
    if instrumented:
        assert uninstrumented == [] and run.status == 86
        finding, = found
        assert holder_of(finding) == ("counter", "race_counter.c", line_of("race_counter.c", "static long counter;"))
        assert os.path.dirname(finding["holder"]["module"]) == str(tmp_path / "installed")
        assert finding["gil"] == "different"
        assert sorted(who(place["interpreter"]) for place in accesses(finding)) == [ONE, TWO]
        for place in accesses(finding):
            assert [frame["line"] for frame in place["stack"] if os.path.basename(frame["file"] or "") == "race_counter.c"] == [
                line_of("race_counter.c", "counter++;")]
    else:
        assert found == []
        text, = uninstrumented
        assert text.startswith(str(tmp_path / "installed" / "race_counter.")) and text in " ".join(run.err.split()), run.err


LEGACY = """
import threading
barrier = threading.Barrier(2)
def work():
    for _ in range(2):
        interpreter = Interpreter("legacy")
        barrier.wait()
        interpreter.run("for _ in range(30_000): pass")
        barrier.wait()
        interpreter.end()
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_races_on_an_interpreter_itself(tsan):
    """CPython 3.13 has a race on the interpreter state where interpreters with one GIL end (reports/cpython-3.13.supp).
    isan once took the state for an object, and its serial for that of the main interpreter, which then counted as ended."""
    run = tsan.run(LEGACY)
    assert run.findings() == [], run.err
    assert sorted((interp["kind"], interp["ended_ns"] is None) for interp in run.report["interpreters"]) \
        == [("legacy", False)] * 4 + [("main", True)]


def test_the_users_options_of_thread_sanitizer_count(tsan):
    run = race(tsan, "race_counter", env={"TSAN_OPTIONS": "report_bugs=0"})
    assert run.findings("race") == []


def test_thread_sanitizer_itself_says_nothing(tsan):
    run = race(tsan, "race_counter")
    assert "WARNING: ThreadSanitizer" not in run.err


def test_libisan_calls_no_intercepted_function():
    """ThreadSanitizer's interceptors wait for its locks.  isan may hold the dynamic linker's lock then: three of four
    programs that import much in parallel hung (runtime/base/libc.c)."""
    called = subprocess.run(["nm", "-D", "--undefined-only", LIBRARY], stdout=subprocess.PIPE, text=True, check=True).stdout
    names = {name.partition("@")[0] for name in called.split()}
    # isan wraps strncpy for extensions (runtime/detect/race_stores.c), and calls the others only elsewhere.
    assert "mmap" in names and {name for name in names if re.match(
        "mem|str|stp|v?snprintf|clock_|mprotect", name)} <= {"strncpy", "strtol", "strerror", "strerrorname_np", "strerrordesc_np"}
