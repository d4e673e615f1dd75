"""tests/unit/c: unit.h and run.py see every way in which a unit test of C can fail."""

import re
import subprocess
import sys

import pytest

from helpers import tree

HARNESS = tree.TESTS / "unit" / "c"
TESTS = r"""
#include "unit.h"
#include <limits.h>

static int statics = 1;
static volatile int zero;

TEST(good_first) { EXPECT_EQ(statics++, 1); EXPECT_STR("a", "a"); }
TEST(good_statics_are_as_at_the_start) { EXPECT_EQ(statics++, 1); }
TEST(good_death) { EXPECT_DEATH(fputs("it says why", stderr); abort(), "says why"); }
TEST(good_death_by_status) { EXPECT_DEATH(fputs("no room", stderr); _exit(2), "no room"); }
TEST(bad_condition) { EXPECT(zero == 1); }
TEST(bad_number) { EXPECT_EQ(zero, 7); }
TEST(bad_string) { EXPECT_STR("a", "b"); }
TEST(bad_null) { EXPECT_STR(NULL, "b"); }
TEST(bad_no_death) { EXPECT_DEATH((void)0, ""); }
TEST(bad_other_death) { EXPECT_DEATH(abort(), "says why"); }
TEST(bad_abort) { abort(); }
TEST(bad_read_behind) { char *p = malloc(4); p[4 + zero] = 1; free(p); }
TEST(bad_leak) { *(char *volatile *)&(char *){ NULL } = malloc(4); }
TEST(bad_overflow) { int n = INT_MAX; n += 1 + zero; EXPECT(n != 1); }
"""
MESSAGES = {
    "bad_condition": "not true: zero == 1", "bad_number": "zero is 0 (0), not 7 (0x7)", "bad_string": 'is "a", not "b"',
    "bad_null": 'is "(null)", not "b"', "bad_no_death": "(void)0 does not end the process",
    "bad_other_death": 'abort() ends the process without "says why"', "bad_abort": "Aborted",
    "bad_read_behind": "heap-buffer-overflow", "bad_leak": "detected memory leaks",
    "bad_overflow": "signed integer overflow",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("harness") / "made_up_test"
    path.with_suffix(".c").write_text(TESTS)
    subprocess.run(["gcc", "-std=gnu11", "-g", "-Wall", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
                    "-I", HARNESS, path.with_suffix(".c"), "-o", path], check=True)
    return path


def run(*programs):
    return subprocess.run([sys.executable, HARNESS / "run.py", *programs], stdout=subprocess.PIPE, text=True)


def test_failures_are_seen(program):
    done = run(program)
    lines = re.findall(r"^(ok|FAILED) +made_up_test: (\w+)", done.stdout, re.M)
    assert lines == [("ok" if name.startswith("good") else "FAILED", name)
                     for name in re.findall(r"^TEST\((\w+)\)", TESTS, re.M)]
    assert done.returncode == 1
    assert re.fullmatch(r"C unit tests: 4 passed, 10 failed in \S+ s", done.stdout.splitlines()[-1])
    # What a test writes is before its line.
    texts = re.split(r"^(?:ok|FAILED) +made_up_test: ", done.stdout, flags=re.M)
    for name, message in MESSAGES.items():
        at = next(i for i, text in enumerate(texts) if re.match(name + r"\b", text))
        assert message in texts[at - 1] + texts[at].splitlines()[0], name


def test_success_is_seen_and_tests_are_chosen(program, tmp_path):
    good = tmp_path / "good_test"
    good.write_text('#!/bin/sh\nexec "%s" good\n' % program)
    good.chmod(0o755)
    done = run(good, good)
    assert done.returncode == 0 and "C unit tests: 8 passed, 0 failed in" in done.stdout


def test_a_program_that_dies_itself_has_failed(tmp_path):
    bad = tmp_path / "bad_test"
    bad.write_text('#!/bin/sh\necho "ok      bad_test: one"\nexit 3\n')
    bad.chmod(0o755)
    done = run(bad)
    assert done.returncode == 1
    assert "exit status 3" in done.stdout and "1 passed, 1 failed" in done.stdout
