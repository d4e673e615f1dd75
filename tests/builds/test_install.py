"""isan as users install it: under a PREFIX, and as a wheel in a virtual environment of a stock Python."""
import json
import os
import shutil
import subprocess
import sys

import pytest

from ext.build import build
from helpers.programs import line_of
from helpers.report_schema import PATH, validate
from helpers.sample_report import sample_report
from helpers.tree import DOCS, EXT, LIBRARY_LINK, MAKE_WHEEL


def run(*command, status=0, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clean():
    """Environment variables without those of this checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("ISAN_", "PYTHON", "PIP_"))
            and name not in ("LD_PRELOAD", "MAKEFLAGS", "MAKELEVEL", "DESTDIR", "PREFIX")}


@pytest.fixture(scope="module")
def prefix(root, isan, clean, tmp_path_factory):
    """The prefix after `make install DESTDIR=`, and a move to the final place, as packagers do."""
    staging, prefix = tmp_path_factory.mktemp("staging"), tmp_path_factory.mktemp("place") / "usr"
    run("make", "install", f"DESTDIR={staging}", f"PREFIX={prefix}", cwd=root, env=clean)
    shutil.move(f"{staging}{prefix}", prefix)
    return prefix


@pytest.fixture(scope="module")
def venv(root, plain, clean, tmp_path_factory):
    """A virtual environment of plain 3.13 with the wheel."""
    directory = tmp_path_factory.mktemp("wheel")
    wheel = run("/usr/bin/python3", MAKE_WHEEL, directory / "dist", cwd=root, env=clean).strip()
    run(plain, "-m", "venv", directory / "venv", env=clean)
    run(directory / "venv/bin/python", "-m", "pip", "install", "--no-index", "--disable-pip-version-check", wheel, env=clean)
    return directory / "venv"


@pytest.fixture(params=["prefix", "venv"])
def installed(request):
    return request.getfixturevalue(request.param) / "bin/isan"


def test_run_reports_a_bug(installed, plain, clean, tmp_path):
    for name in "cache_static", "cache_state":
        build(name + ".c", plain, tmp_path)
    out = run(installed, "check", "--python", plain, "--interpreters", "2", "cache_static", "cache_state", cwd=tmp_path,
              env=clean, status=86)
    assert f"static `cache` of cache_static.cpython-313-x86_64-linux-gnu.so ({EXT}/cache_static.c:" \
           f"{line_of('cache_static.c', 'static PyObject *cache;')})" in out
    assert out.splitlines()[2].split()[-2:] == ["own-GIL", "safe"]


def test_flags_name_its_own_files(installed, clean, tmp_path):
    (tmp_path / "a.c").write_text("#include <isan/isan.h>\nint main(void) { return isan_findings() == -1 ? 0 : 1; }\n")
    flags = run(installed, "config", "--cflags", env=clean).split()
    assert str(installed.parent.parent) in " ".join(flags)
    run("gcc", *flags, "-o", tmp_path / "a", tmp_path / "a.c")
    run(tmp_path / "a", env=clean)


def test_does_not_check_itself(installed, plain, clean):
    """LD_PRELOAD is for the program, not for isan's own commands (`isan env` removes libisan.so from it)."""
    env = dict(clean, LD_PRELOAD=f"{LIBRARY_LINK}:libm.so.6")
    assert run(installed, "--version", env=env) == run(installed, "--version", env=clean)
    assert run(installed, "env", "--", "printenv", "LD_PRELOAD", env=env) == "libm.so.6\n"


def test_formats(installed, clean, tmp_path):
    """The formats work, and the schema of the JSON is installed."""
    sample_report(tmp_path)
    for format, beginning in ("html", "<!DOCTYPE html>"), ("sarif", '{"$schema":'), ("junit", "<?xml "):
        assert run(installed, "report", "--format", format, tmp_path, env=clean, status=86).startswith(beginning)
    validate(json.loads(run(installed, "report", "--format", "json", tmp_path, env=clean, status=86)))
    schema, = installed.parent.parent.rglob("reports/schema.json")
    assert schema.read_bytes() == PATH.read_bytes()


def test_pkg_config(prefix, clean, tmp_path):
    env = dict(clean, PKG_CONFIG_PATH=f"{prefix}/lib/pkgconfig")
    flags = run("pkg-config", "--cflags", "isan", env=env).split()
    (tmp_path / "a.c").write_text("#include <isan/isan.h>\nint main(void) { return isan_loaded(); }\n")
    run("gcc", *flags, "-o", tmp_path / "a", tmp_path / "a.c")
    assert run("pkg-config", "--modversion", "isan", env=env) == run(prefix / "bin/isan", "--version", env=clean)


def test_man_page(prefix):
    with open(prefix / "share/man/man1/isan.1") as page, open(DOCS / "isan.1") as ours:
        assert page.read() == ours.read()


def test_wheel_is_the_same_each_time_and_has_the_programs(root, clean, venv, tmp_path):
    one, two = (run(sys.executable, MAKE_WHEEL, tmp_path / name, cwd=root, env=clean).strip() for name in "ab")
    with open(one, "rb") as a, open(two, "rb") as b:
        assert a.read() == b.read()
    out = run(venv / "bin/isan", "doctor", env=clean)
    assert "ok       libisan.so.0\n" in out and "ok       isan-symbolize\n" in out


def test_plugin_of_the_wheel(venv, site, clean, tmp_path):
    """An ordinary pytest of that environment loads the plugin."""
    for name in "exc_static", "exc_state":
        build(name + ".c", venv / "bin/python", tmp_path)
    (tmp_path / "test_it.py").write_text("""
import pytest

@pytest.mark.interpreters(2)
@pytest.mark.parametrize("name", ["exc_static", "exc_state"])
def test(name):
    __import__(name)
""")
    out = run(venv / "bin/python", "-W", "ignore", "-m", "pytest", "-p", "isan.pytest", "-p", "no:cacheprovider", cwd=tmp_path,
              env=dict(clean, PYTHONPATH=f"{tmp_path}:{site}"), status=86)
    assert "FAILED test_it.py::test[exc_static]" in out and "1 failed, 1 passed" in out
    assert f"static `error` of exc_static.cpython-313-x86_64-linux-gnu.so ({EXT}/exc_static.c:" in out
