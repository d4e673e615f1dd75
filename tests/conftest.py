import os
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, "scripts"), ROOT]

from isan import Problem, pythons  # noqa: E402
from subject import VERSIONS, Subject  # noqa: E402


@pytest.fixture(scope="session")
def root():
    """This checkout."""
    return ROOT


@pytest.fixture(scope="session")
def isan():
    """The isan command."""
    path = os.path.join(ROOT, "build", "bin", "isan")
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


@pytest.fixture(scope="session", params=VERSIONS)
def subject(request, isan, flavor_python, tmp_path_factory):
    """The fast interpreter of each release, to run programs under isan with."""
    return Subject(isan, flavor_python("fast", request.param), tmp_path_factory.mktemp, request.param)


@pytest.fixture(scope="session", params=["system", *VERSIONS, *os.environ.get("ISAN_TEST_PYTHONS", "").split()])
def stock(request, isan, flavor_python, tmp_path_factory):
    """Stock Pythons: Debian's own, plain builds, and those ISAN_TEST_PYTHONS names."""
    python = ("/usr/bin/python3" if request.param == "system"
              else flavor_python("plain", request.param) if request.param in VERSIONS else request.param)
    return Subject(isan, python, tmp_path_factory.mktemp, stock=True)
