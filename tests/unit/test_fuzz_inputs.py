"""The seeds of `make fuzz`, and the inputs with which it made isan fail: isan takes each of them now."""
import os
import subprocess

import pytest

from helpers.tree import FUZZ, ROOT


def inputs(target):
    return sorted([*(FUZZ / "seeds" / target).glob("*"), *(FUZZ / "crashes" / target).glob("*")])


def each(target):
    return pytest.mark.parametrize("path", inputs(target), ids=lambda path: path.name)


@each("log")
def test_log(path):
    import fuzz_log
    fuzz_log.one(path.read_bytes())


def test_seeds_are_complete_logs(tmp_path):
    import fuzz_log
    import seeds
    for name, content in seeds.logs():
        assert fuzz_log.whole(fuzz_log.short(content)) == content, name
        fuzz_log.one(fuzz_log.short(content))
        (tmp_path / "isan.1.log").write_bytes(content)
        report = fuzz_log.report_on(tmp_path / "isan.1.log")
        assert report["findings"] or report["crashes"] or report["owned"], name
        assert [error["offset"] for error in report["errors"]] == [64] * name.startswith("leak-"), name    # no parent


@each("suppressions")
def test_suppressions(path):
    import fuzz_suppressions
    fuzz_suppressions.one(path.read_bytes())


def test_options(tmp_path):
    """The C parser runs under AddressSanitizer and UndefinedBehaviorSanitizer."""
    program = tmp_path / "options"
    subprocess.run(["clang-19", "-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-I.", "-Iinclude",
                    "-o", program, FUZZ / "options.c"], cwd=ROOT, check=True)
    files = inputs("options")
    assert files
    done = subprocess.run([program, *files], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert all("Running: " + os.fspath(file) in done.stdout for file in files)
