"""The formats of `isan report` as a command."""
import json
import subprocess

import pytest

from helpers.sample_report import Logs, sample_report

BEGINNINGS = {"text": "isan: share #1: ", "json": "{\n", "html": "<!DOCTYPE html>\n", "sarif": '{"$schema":', "junit": "<?xml ", "markdown": "<h3>isan: "}


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A directory with logs that have findings of every kind."""
    directory = tmp_path_factory.mktemp("formats")
    sample_report(directory)
    return directory


def report(isan, *arguments, cwd=None):
    return subprocess.run([isan, "report", *map(str, arguments)], cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60)


@pytest.mark.parametrize("format", BEGINNINGS)
def test_to_a_file_and_to_stdout(isan, logs, tmp_path, format):
    done = report(isan, "--format", format, logs)
    assert done.returncode == 86 and done.stdout.startswith(BEGINNINGS[format]), done.stderr
    file = tmp_path / "report"
    again = report(isan, "--format", format, "-o", file, logs)
    assert (again.returncode, again.stdout) == (86, "") and file.read_text() == done.stdout


def test_the_root_of_sources(isan, logs):
    """It is the current directory by default."""
    for more, cwd in ((["--srcroot", logs], None), ([], logs)):
        run, = json.loads(report(isan, "--format", "sarif", *more, logs, cwd=cwd).stdout)["runs"]
        uris = {location["physicalLocation"]["artifactLocation"]["uri"] for result in run["results"] for location in result["locations"]}
        assert "src/app.py" in uris


@pytest.mark.parametrize("format", BEGINNINGS)
def test_nothing_found(isan, tmp_path, format):
    logs = Logs(tmp_path)
    logs.begin()
    logs.end()
    done = report(isan, "--format", format, *logs.paths)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout
