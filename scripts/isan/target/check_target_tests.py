"""Runs the tests of `isan check --tests` in each interpreter, in the place of an --exercise file.

It uses pytest if the main interpreter could import it, else unittest's discovery. check_target.py gives isan_check: the
path of the tests, those to leave out, what ran them in the main interpreter.
"""
import os
import sys


def with_pytest(given):
    import pytest
    tell, skip = given["tell"], set(given["skip"])
    ran = set()

    class Telling:
        @staticmethod
        def pytest_collection_modifyitems(items):
            items[:] = [item for item in items if item.nodeid not in skip]

        @staticmethod
        def pytest_runtest_logstart(nodeid):
            tell("call", nodeid)
            ran.add(nodeid)

        @staticmethod
        def pytest_runtest_logreport(report):
            if report.failed:
                tell("test", report.nodeid, why(report.longrepr))

        @staticmethod
        def pytest_collectreport(report):
            if report.failed and report.nodeid not in skip:
                tell("test", report.nodeid, why(report.longrepr))

    # A suite's settings are for one interpreter in a process. Several cannot share coverage and processes (addopts),
    # signals (faulthandler) and file descriptors (--capture=fd).
    status = pytest.main(["-qq", "-o", "addopts=", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--capture=sys",
                          "--continue-on-collection-errors", given["tests"]], plugins=[Telling])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED,
                      pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError("pytest ends with status %d" % status)
    return len(ran)


def why(repr):
    """The line of a traceback that says most."""
    crash = getattr(repr, "reprcrash", None)
    lines = [line for line in str(crash.message if crash else repr).splitlines() if line.strip()]
    return lines[0 if crash else -1] if lines else ""


def with_unittest(given):
    import unittest
    tell, skip = given["tell"], set(given["skip"])
    start, pattern = given["tests"], "test*.py"
    if os.path.isfile(start):
        start, pattern = os.path.split(start)
    top = start
    while os.path.exists(os.path.join(top, "__init__.py")):
        top = os.path.dirname(top)

    def each(suite):
        for test in suite:
            if isinstance(test, unittest.TestSuite):
                yield from each(test)
            elif test.id() not in skip:
                yield test

    class Telling(unittest.TestResult):
        def startTest(self, test):
            super().startTest(test)
            tell("call", test.id())

        def addError(self, test, error):
            super().addError(test, error)
            tell("test", test.id(), "%s: %s" % (error[0].__name__, error[1]))

        addFailure = addError

        def addSubTest(self, test, subtest, error):
            if error:
                self.addError(test, error)

    suite = unittest.TestSuite(each(unittest.TestLoader().discover(start, pattern, top)))
    result = Telling()
    suite.run(result)
    return result.testsRun


def main(given):
    sys.dont_write_bytecode = True      # these are the user's files
    runner = given["runner"]
    if runner is None:
        try:
            runner = __import__("pytest").__name__
        except ImportError:
            runner = "unittest"
    ran = {"pytest": with_pytest, "unittest": with_unittest}[runner](given)
    given["tell"]("tests", runner, ran)


main(globals()["isan_check"])
