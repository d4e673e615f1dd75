import pytest

from helpers import compiled
from helpers.product import symbols


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """The path of isan-symbolize."""
    return compiled.symbolize(tmp_path_factory.mktemp("symbolize"))


@pytest.fixture(scope="session")
def foo(tmp_path_factory):
    return compiled.foo(tmp_path_factory.mktemp("foo"))


@pytest.fixture(scope="session")
def spam(tmp_path_factory):
    return compiled.spam(tmp_path_factory.mktemp("spam"))


@pytest.fixture
def symbolizer(program):
    with symbols.Symbolizer(program) as s:
        yield s
