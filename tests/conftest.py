import functools
import importlib.util
import os
import signal

import pytest

from helpers.product import Problem, pythons
from helpers.programs import FAST, STOCK, TSAN, VERSIONS, Subject
from helpers.tree import ISAN, ROOT

# A shell without job control has what it starts with & ignore it (POSIX, 2.11), and so would what tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def root():
    """This checkout."""
    return str(ROOT)


@pytest.fixture(scope="session")
def isan():
    """The isan command."""
    path = str(ISAN)
    if not os.path.exists(path):
        pytest.fail("build/bin/isan is missing: run make", pytrace=False)
    return path


@pytest.fixture(scope="session")
def flavor_python():
    """flavor_python(flavor, version) -> the executable of a built interpreter."""
    def find(flavor="fast", version=None):
        try:
            return pythons.find_python(flavor, version)
        except Problem as problem:
            message = str(problem)
        pytest.fail(message, pytrace=False)
    return find


@pytest.fixture(scope="session")
def plain(flavor_python):
    """The default release without isan."""
    return flavor_python("plain")


@pytest.fixture(scope="session")
def subject_of(isan, flavor_python, tmp_path_factory):
    """subject_of(name) -> that Subject: "3.13-fast", -debug or -tsan, "3.13-plain", "system", or the path of a stock
    Python."""
    # Each process that the tests run in has a directory of its own there (pytest-xdist).
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared

    @functools.lru_cache(None)
    def make(name):
        version, _, flavor = name.partition("-")
        directory = shared / ("ext-" + name.replace("/", "_"))
        if flavor in ("fast", "debug", "tsan"):
            return Subject(isan, flavor_python(flavor, version), tmp_path_factory.mktemp, directory, version, flavor)
        python = ("/usr/bin/python3" if name == "system"
                  else flavor_python(flavor, version) if version in VERSIONS else name)
        return Subject(isan, python, tmp_path_factory.mktemp, directory)
    return make


@pytest.fixture(scope="session", params=FAST)
def subject(request, subject_of):
    """The fast interpreter of each release, to run programs under isan with."""
    return subject_of(request.param)


@pytest.fixture(scope="session", params=TSAN)
def tsan(request, subject_of):
    """The interpreter built with ThreadSanitizer, of 3.13 and what ISAN_TEST_PYTHONS names."""
    return subject_of(request.param)


@pytest.fixture(scope="session", params=STOCK)
def stock(request, subject_of):
    """Stock Pythons: Debian's own, plain builds, and those ISAN_TEST_PYTHONS names."""
    return subject_of(request.param)


@pytest.fixture(scope="session", params=FAST + STOCK)
def either(request, subject_of):
    """All of them."""
    return subject_of(request.param)


@pytest.fixture(scope="session", params=FAST + ["3.13-debug"] + STOCK)
def every(request, subject_of):
    """And the debug interpreter, which takes its time."""
    return subject_of(request.param)


# What Debian's pytest consists of.
PYTEST = ["pytest", "_pytest", "pluggy", "iniconfig", "packaging"]
OLDER = ["attr", "attrs", "py"]         # newer ones do without


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A directory with Debian's pytest, for interpreters that have none."""
    directory = tmp_path_factory.mktemp("site")
    for name in PYTEST + [name for name in OLDER if importlib.util.find_spec(name)]:
        file = importlib.import_module(name).__file__
        if os.path.basename(file) == "__init__.py":
            file = os.path.dirname(file)
        os.symlink(file, directory / os.path.basename(file))
    return directory
