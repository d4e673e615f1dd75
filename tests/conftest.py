import functools
import importlib.util
import os
import signal

import pytest

pytest.register_assert_rewrite("helpers")       # a failing assert in a helper shows its values, too

from helpers.product import Problem, pythons
from helpers.programs import FAST, STOCK, SYSTEM, TSAN, VERSIONS, Target
from helpers.tree import ISAN, ROOT

# A shell without job control starts background commands with SIGINT ignored (POSIX, 2.11).  Programs that tests interrupt
# would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Variables that change what Python does must not change what a test sees.
for name in [name for name in os.environ if name.startswith("PYTHON")]:
    del os.environ[name]


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
def python_of(flavor_python):
    """python_of(name) -> the executable of an interpreter; for names see target_of."""
    def find(name):
        version, _, flavor = name.partition("-")
        return SYSTEM if name == "system" else flavor_python(flavor, version) if version in VERSIONS else name
    return find


@pytest.fixture(scope="session")
def target_of(isan, python_of, tmp_path_factory):
    """target_of(name) -> a Target.  Names are "3.13-fast", "3.13-debug", "3.13-tsan", "3.13-plain", "system", and paths of
    stock Pythons."""
    # pytest-xdist gives each of its worker processes a directory inside the one of the session.
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared

    @functools.lru_cache(None)
    def make(name):
        version, _, flavor = name.partition("-")
        directory = shared / ("ext-" + name.replace("/", "_"))
        instrumented = (version, flavor) if flavor in ("fast", "debug", "tsan") else ()
        return Target(isan, python_of(name), tmp_path_factory.mktemp, directory, *instrumented)
    return make


@pytest.fixture(scope="session", params=FAST)
def target(request, target_of):
    """The fast interpreter of each release, to run programs under isan with."""
    return target_of(request.param)


@pytest.fixture(scope="session", params=TSAN)
def tsan(request, target_of):
    """The interpreters built with ThreadSanitizer: of 3.13, and those in ISAN_TEST_PYTHONS."""
    return target_of(request.param)


@pytest.fixture(scope="session", params=STOCK)
def stock(request, target_of):
    """Stock Pythons: Debian's own, plain builds, and those in ISAN_TEST_PYTHONS."""
    return target_of(request.param)


@pytest.fixture(scope="session", params=FAST + STOCK)
def either(request, target_of):
    """The fast interpreters and the stock Pythons."""
    return target_of(request.param)


@pytest.fixture(scope="session", params=FAST + ["3.13-debug"] + STOCK)
def every(request, target_of):
    """The fast interpreters, the debug interpreter (it is slow) and the stock Pythons."""
    return target_of(request.param)


# Packages and modules of Debian's pytest.
PYTEST = ["pytest", "_pytest", "pluggy", "iniconfig", "packaging"]
OLDER = ["attr", "attrs", "py"]         # newer releases of pytest do not need them


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
