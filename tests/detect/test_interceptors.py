"""The functions of the C library that isan replaces work as without isan, in every process and at any time."""
import os
import subprocess

import pytest

from helpers.programs import SYSTEM, TIMEOUT
from helpers.tree import LIBRARY

# Its constructor runs before isan's, its destructor after isan's (elf/dl-init.c, elf/dl-fini.c).
AROUND = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

static void *run(void *arg) { return arg; }

static void use_all(const char *when)
{
    static const char *const names[] = { "libm.so.6", "$ORIGIN/libaround.so", "/none.so", "none.so", NULL };
    static int passed;
    pthread_t thread;
    void *result = NULL;
    errno = 77;
    int error = pthread_create(&thread, NULL, run, &passed);
    fprintf(stderr, "%s: thread %d %d", when, error, errno);
    fprintf(stderr, " %d\n", pthread_join(thread, &result) == 0 && result == &passed);
    for (const char *const *name = names; *name != NULL; name++) {
        void *handle = dlopen(*name, RTLD_NOW);
        const char *why = dlerror();
        fprintf(stderr, "%s: %s: %s", when, *name, handle != NULL ? "found" : why != NULL ? why : "no error");
        fprintf(stderr, ", closed: %d\n", handle != NULL ? dlclose(handle) : -1);
    }
}

__attribute__((constructor)) static void begin(void) { use_all("constructor"); }
__attribute__((destructor)) static void end(void) { use_all("destructor"); }
"""


@pytest.fixture(scope="module")
def around(tmp_path_factory):
    """The library, and a program that is linked to it."""
    directory = tmp_path_factory.mktemp("around")
    (directory / "around.c").write_text(AROUND)
    (directory / "host.c").write_text("int main(void) { return 7; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "around.c", "-o", "libaround.so"],
                   cwd=directory, check=True)
    subprocess.run(["gcc", "host.c", "-o", "host", "-Wl,--no-as-needed", "-L.", "-laround", "-Wl,-rpath,$ORIGIN"],
                   cwd=directory, check=True)
    return directory / "libaround.so", directory / "host"


@pytest.mark.parametrize("preload", ["isan lib", "lib isan", "isan"])
@pytest.mark.parametrize("program", ["host", "python", "sh"])
def test_before_and_after_isan(around, program, preload):
    library, host = around
    command = {"host": [host], "python": [SYSTEM, "-c", "pass"], "sh": ["/bin/sh", "-c", "/bin/true; exit 3"]}[program]
    words = {"isan": [LIBRARY], "lib": [library]}

    def run(names):
        env = dict(os.environ, LD_PRELOAD=":".join(str(file) for name in names for file in words[name]))
        done = subprocess.run(command, env=env, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)
        return done.returncode, done.stderr
    names = preload.split()
    plain = run([name for name in names if name != "isan"])
    assert run(names) == plain
    assert program != "host" or plain[1].count("\n") >= 10
