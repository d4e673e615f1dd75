"""isan test, and the pytest plugin, on the test suites of small projects."""
import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from ext.build import build
from helpers.programs import SYSTEM, line_of, release
from helpers.tree import DOCS, EXT, SCRIPTS

# Debian 12's Python has no interpreters with GILs of their own.
DEBIAN_12 = release(SYSTEM) == "3.11"
# Newer releases of pytest put the name of the exception first.
SUMMARY = re.compile(r"^(?:FAILED|ERROR) (\S+)(?: - (?:Failed: )?(.*))?$", re.M)


class Project:
    """A directory with tests and the extensions that they need, and methods that run them in one Python."""

    def __init__(self, isan, how, python, directory, site, cflags=()):
        self.isan, self.python, self.directory, self.cflags = isan, python, directory, cflags
        self.command = [isan, "test", *how]
        self.path = ":".join(map(str, [directory] + [site] * (python != SYSTEM)))
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("ISAN_", "PYTHON", "PYTEST"))}
        self.env.update(PYTHONPATH=self.path, COLUMNS="300", PYTHONPYCACHEPREFIX=str(site / "cache"))

    def extension(self, source, name=None):
        """Compile an extension of tests/ext, perhaps under another name."""
        if name:
            text = (EXT / source).read_text().replace(source[:-2], name)
            source = self.directory / (name + ".c")
            source.write_text(text)
        build(source, self.python, self.directory, self.cflags)

    def file(self, name, text):
        (self.directory / name).write_text(text)

    def run(self, *command, env=()):
        done = subprocess.run([*command, "-p", "no:cacheprovider", "-W", "ignore"], cwd=self.directory,
                              env=dict(self.env, **dict(env)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=600)
        return Done(done)

    def test(self, *arguments, env=()):
        return self.run(*self.command, *arguments, env=env)


class Done:
    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.failed = {name.partition("::")[2]: why for name, why in SUMMARY.findall(self.out)}

    def __repr__(self):
        return "%s\n%s\n%s" % (self.status, self.out, self.err)

    def report(self, test):
        """The text about a failed test."""
        return re.search(r"^_+ %s _+\n(.*?)(?=^_+ \S+ _+$|^=+ )" % re.escape(test), self.out, re.M | re.S)[1]

    def counts(self):
        return dict((what, int(n)) for n, what in re.findall(r"(\d+) (\w+)", self.out.splitlines()[-1].partition(" in ")[0]))


@pytest.fixture
def project_of(isan, flavor_python, tmp_path, site):
    """project_of(name, *extensions): name is "system", or version-flavor."""
    def make(name, *extensions):
        if name == "system":
            project = Project(isan, ["--python", SYSTEM], SYSTEM, tmp_path, site)
        else:
            version, flavor = name.split("-")
            python = flavor_python(flavor, version)
            flags = subprocess.run([isan, "config", "--cflags"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
            project = (Project(isan, ["--python", python], python, tmp_path, site) if flavor == "plain" else
                       Project(isan, ["--flavor", flavor, "--version", version], python, tmp_path, site, flags))
        for source in extensions:
            project.extension(source)
        return project
    return make


@pytest.fixture(scope="session")
def example():
    """The test file in docs/testing.md."""
    with open(DOCS / "testing.md", encoding="utf-8") as file:
        return re.search(r"```python\n(.*?)```", file.read(), re.S)[1]


def test_refusal_is_one_line(project_of):
    """An extension does not load in the interpreter: the failure is the reason in one line, not a traceback through pytest."""
    project = project_of("3.13-plain", "single_init.c")
    project.file("test_it.py", "import pytest\nimport single_init\n\n@pytest.mark.interpreters(2)\ndef test_there(): pass\n")
    done = project.test("test_it.py")
    assert done.status == 1, done
    assert done.failed == {"test_there": "in interpreters 1, 2 of 2 (own GIL): ImportError: module single_init does not support"
                                         " loading in subinterpreters"}
    assert "test_it.py:2: in <module>" in done.report("test_there") and "_hooks.py" not in done.out


@pytest.mark.parametrize("name", ["system", "3.13-fast"])
def test_exception_class_in_a_static_and_its_healthy_twin(project_of, name, example):
    project = project_of(name)
    project.file("test_mymod.py", example)
    project.extension("exc_static.c", "mymod")
    done = project.test()
    assert done.status == 86, done
    assert "test_in_the_main_interpreter" not in done.failed and "test_fail" in done.failed, done
    line, kind = line_of("exc_static.c", "static PyObject *error;"), "legacy" if name == "system" and DEBIAN_12 else "own GIL"
    assert re.search(r"isan: static #\d+: static `error` of mymod\.cpython-\S+\.so \(mymod\.c:%d\) holds a `type` of"
                     r" interpreter 0 \(main\)\n  created in interpreter 0 \(main\) at mymod\.c:%d in exc_exec:\n" % (
                         line, line_of("exc_static.c", "PyErr_NewException")), done.report("test_fail")), done
    # The place varies: the scan runs when one of the two interpreters next imports an extension.
    assert re.search(r"  reached from interpreter [12] \(%s\), which has imported it too: found " % kind, done.out), done.out
    assert "Move the variable into module state" in done.out
    assert "_pytest/" not in done.report("test_fail").partition("isan: ")[2]
    project.extension("exc_state.c", "mymod")
    done = project.test()
    assert (done.status, done.counts()) == (0, {"passed": 4}), done
    assert done.err.splitlines()[-1] == "isan test: 0 tests failed by findings"


SUITE = """
import os
import sys
import pytest
import cache_static
import leak_ref
import leak_clean

MAIN = %r

@pytest.fixture(scope="module")
def value():
    return 3

@pytest.fixture
def broken():
    raise KeyError("gone")

@pytest.mark.isan_allow("static:cache", reason="filled before there are others")
@pytest.mark.isan_allow("share:cache", reason="filled before there are others")
@pytest.mark.interpreters
def test_allowed():
    pass

class TestClass:
    @classmethod
    def setup_class(cls):
        cls.attribute = 1

    @pytest.mark.interpreters(2)
    @pytest.mark.parametrize("x", [object], ids=["a::b[c]"])
    def test_all_that_a_test_has(self, value, x, tmp_path, capsys):
        assert (self.attribute, value, x is not None) == (1, 3, True)
        print(tmp_path)
        assert capsys.readouterr().out.strip() == str(tmp_path)
        (tmp_path / "mine").mkdir()
        assert os.getpid() == MAIN or not sys.stdout.isatty()

@pytest.mark.interpreters(2)
def test_fails(value):
    print("said so")
    assert [value] == [4]

@pytest.mark.interpreters
def test_setup_fails(broken):
    pass

@pytest.mark.interpreters
def test_skips():
    pytest.skip("not here")

@pytest.mark.interpreters
@pytest.mark.xfail(strict=True)
def test_expected():
    assert not value

@pytest.mark.interpreters
@pytest.mark.xfail(strict=True)
def test_unexpected():
    pass

@pytest.mark.limit_leaks("0 B")
def test_leaks():
    leak_ref.make_object()

@pytest.mark.limit_leaks("0 B", warmups=1)
def test_leaks_each_time():
    leak_ref.make_object()

@pytest.mark.limit_leaks("0 B", warmups=1)
def test_leaks_once():
    if os.environ.setdefault("ISAN_TEST_ONCE", "") == "":
        os.putenv("ISAN_TEST_ONCE", "done")
        leak_ref.make_object()

@pytest.mark.limit_leaks("1 KB")
def test_leaks_little():
    leak_ref.make_object()

@pytest.mark.xfail
def test_expected_leak(make_interpreter):
    interpreters = make_interpreter("legacy"), make_interpreter()
    for interpreter in interpreters:
        interpreter.run("import leak_ref; leak_ref.make_object()")
        interpreter.end()

def test_leak_of_a_fixture(fresh_interpreter):
    fresh_interpreter.run("import leak_ref; leak_ref.use_block()")

@pytest.mark.limit_leaks("0 B")
def test_clean():
    leak_clean.make_object()

def test_interpreter_fails(fresh_interpreter):
    fresh_interpreter.run("x = 1")
    fresh_interpreter.run("assert x == 2, 'it is %%d' %% x")
"""


def test_markers(project_of):
    project = project_of("3.13-plain", "cache_static.c", "leak_ref.c", "leak_clean.c")
    project.file("test_all.py", SUITE % os.getpid())
    done = project.test()
    assert done.status == 86
    assert set(done.failed) == {"test_fails", "test_setup_fails", "test_unexpected", "test_leaks", "test_leaks_each_time",
                                "test_interpreter_fails", "test_leak_of_a_fixture"}, done
    assert done.counts() == {"failed": 6, "passed": 6, "skipped": 1, "xfailed": 2, "error": 1}, done
    assert done.failed["test_fails"] == "in interpreters 1, 2 of 2 (own GIL): assert [3] == [4]"
    assert "    assert [value] == [4]\nE       assert [3] == [4]" in done.report("test_fails")
    assert "said so" in done.report("test_fails")
    assert done.failed["test_setup_fails"] == "in interpreter 1 of 1 (own GIL): KeyError: 'gone'"
    for test in "test_leaks", "test_leaks_each_time":
        assert done.failed[test] == "the test left behind 64 bytes, and the limit is 0 bytes"
        line = project.directory.joinpath("test_all.py").read_text().split("def %s()" % test)[0].count("\n") + 2
        assert "1 object of type `list`, 64 bytes, of interpreter" in done.report(test)
        assert "created at test_all.py:%d in %s\n" % (line, test) in done.report(test)
    assert "1 block of memory (PyMem_Malloc), 64 bytes, of interpreter" in done.report("ERROR at teardown of test_leak_of_a_fixture")
    assert "memory that nothing points at: never freed" in done.report("ERROR at teardown of test_leak_of_a_fixture")
    assert "AssertionError: it is 1" in done.report("test_interpreter_fails")


def test_option_and_selection(project_of):
    """--isan-interpreters, --isan-kind, -k, -x, and findings that belong to no test."""
    project = project_of("3.13-plain", "cache_static.c")
    project.file("test_some.py", """
import subprocess
import sys
import pytest

def test_own():
    import readline

def test_legacy():
    import _interpreters
    assert _interpreters.get_current()[0] > 0

@pytest.mark.interpreters(0)
def test_main():
    import _interpreters
    assert _interpreters.get_current()[0] == 0

@pytest.mark.interpreters(0)
def test_child():
    subprocess.run([sys.executable, "-c", "import _interpreters, cache_static\\n"
                    "_interpreters.exec(_interpreters.create(), 'import cache_static')"], check=True)
""")
    done = project.test("-x", "--isan-interpreters=2")
    assert list(done.failed) == ["test_own"] and done.status == 1 and done.counts() == {"failed": 1}, done
    assert "module readline does not support loading in subinterpreters" in done.report("test_own")
    done = project.test("-k", "not own", "--isan-interpreters=1", "--isan-kind=legacy")
    assert (done.status, done.counts()) == (86, {"passed": 3, "deselected": 1}), done
    line = line_of("cache_static.c", "static PyObject *cache;")
    assert "isan test: of no test in particular:\n" in done.err
    assert re.search(r"static `cache` of cache_static\.\S+ \(\S+/cache_static\.c:%d\) holds a `dict`" % line, done.err), done


CACHE = """
import ctypes
import os
import cache_static

def test_one(fresh_interpreter):
    fresh_interpreter.run("import cache_static")

def test_two():
    pass

def test_three():
    pass

def test_crash():
    if "CRASH" in os.environ:
        ctypes.string_at(0)
"""


def test_xdist_and_junit(project_of):
    project = project_of("system", "cache_static.c")
    project.file("test_cache.py", CACHE)
    done = project.test("-n", "2", "--junitxml", "result.xml")
    assert (done.status, list(done.failed), done.counts()) == (86, ["test_one"], {"failed": 1, "passed": 3}), done
    cases = {case.get("name"): case for case in ElementTree.parse(project.directory / "result.xml").iter("testcase")}
    assert {name: len(case) for name, case in cases.items()} == {"test_one": 1, "test_two": 0, "test_three": 0, "test_crash": 0}
    failure = cases["test_one"].find("failure")
    assert re.match(r"(Failed: )?isan: (share|static) #\d+: ", failure.get("message"))
    assert "static `cache` of cache_static" in failure.text and re.search(r"py <module> +test_cache\.py:4\n", failure.text)
    assert "execnet" not in failure.text and "_pytest/" not in failure.text


def test_crash_names_the_test(project_of):
    project = project_of("system", "cache_static.c")
    project.file("test_cache.py", CACHE)
    done = project.test("-k", "two or crash", env={"CRASH": "1"})
    assert done.status == 128 + 11, done
    assert "isan test: the tests ended with a crash in test_cache.py::test_crash\n" in done.err
    assert "isan: crash: the program was killed by SIGSEGV in interpreter 0 (main)" in done.err
    assert re.search(r"py test_crash +test_cache\.py:17\n\n", done.err), done


def test_loaded_by_an_ordinary_pytest(project_of):
    project = project_of("system", "cache_static.c")
    project.file("test_cache.py", CACHE)
    path = {"PYTHONPATH": "%s:%s" % (project.path, SCRIPTS)}
    done = project.run(project.python, "-m", "pytest", "-p", "isan.pytest", "-x", "-q", env=path)
    assert (done.status, list(done.failed), done.counts()) == (86, ["test_one"], {"failed": 1}), done
    project.file("conftest.py", "pytest_plugins = ['isan.pytest']\nprint('to be captured')\n")
    done = project.run(project.python, "-m", "pytest", "-k", "two", env=path)
    assert (done.status, done.counts()) == (0, {"passed": 1, "deselected": 3}), done


def test_wrong_usage(project_of, plain):
    project = project_of("system")
    for mark, message in [
            ("isan_allow('leak:x')", "isan_allow: give a reason"),
            ("isan_allow('leak:x', reason=' ')", "isan_allow: give a reason"),
            ("isan_allow('leek:x', reason='r')", "isan_allow: write kind:pattern, the kind one of share, stale, free, "),
            ("limit_leaks('much')", "limit_leaks: write limit_leaks(\"24 KB\", warmups=2)"),
            ("interpreters(2, kind='own')", "interpreters: kind is own-gil or legacy, not 'own'"),
            *([("interpreters(kind='own-gil')", "interpreters: Python 3.11 has no interpreters with GILs of their own")]
              if DEBIAN_12 else []),
    ]:
        project.file("test_%d.py" % len(message), "import pytest\n@pytest.mark.%s\ndef test(): pass\n" % mark)
        done = project.test("test_%d.py" % len(message))
        assert done.status == 4 and "ERROR: test_%d.py::test: @pytest.mark.%s" % (len(message), message) in done.err, done
    done = project.run(project.isan, "run", project.python, "-m", "pytest", "-p", "isan.pytest",
                       env={"PYTHONPATH": str(SCRIPTS)})
    assert done.status == 4 and "ERROR: isan.pytest is for `isan test`, not for `isan run`" in done.err, done
    done = project.run(project.isan, "test", "--python", plain, env={"PYTHONPATH": ""})
    assert done.status == 2 and done.err.startswith("isan: %s has no pytest: install it there" % plain), done
