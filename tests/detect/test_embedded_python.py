"""C programs that load or embed an unmodified Python, under LD_PRELOAD."""
import os
import shutil
import subprocess

import pytest

from helpers.cache_static import CACHE_HOLDER, HEALTHY, IMPORTS, USED
from helpers.programs import TIMEOUT, Run, holder_of, places, who
from helpers.tree import LIBRARY


EMBED = r"""
/* A host that finds Python only when it runs, and may do so twice. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int
main(int argc, char **argv)
{
    void *python = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
    if (python == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 3;
    }
    if (dlerror() != NULL) {
        fprintf(stderr, "dlopen succeeded, and yet there is an error\n");
        return 4;
    }
    void (*initialize)(void) = (void (*)(void))dlsym(python, "Py_Initialize");
    int (*finalize)(void) = (int (*)(void))dlsym(python, "Py_FinalizeEx");
    int (*run)(const char *) = (int (*)(const char *))dlsym(python, "PyRun_SimpleString");
    for (int i = 2; i < argc; i++) {
        char code[4096];
        snprintf(code, sizeof code, "exec(open(%s).read())", argv[i]);
        initialize();
        if (run(code) != 0 || finalize() != 0) {
            return 5;
        }
    }
    return 0;
}
"""


@pytest.fixture(scope="session")
def host(tmp_path_factory):
    """host(name, source) -> a compiled C program."""
    directory = tmp_path_factory.mktemp("host")

    def compile(name, source, *flags):
        (directory / f"{name}.c").write_text(source)
        subprocess.run(["gcc", "-g", "-Wall", "-Wextra", "-Werror", "-o", directory / name, directory / f"{name}.c",
                        *flags], check=True)
        return directory / name
    return compile


def run_host(target, program, *arguments, options="", env=None):
    """Run a host under `isan run`, in the target's environment."""
    directory = target.make_directory("run")
    done = subprocess.run([target.isan, "run", "--log", directory / "log", "--", program, *arguments],
                          env=target.env(options, **(env or {})), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)
    return Run(target.isan, directory, directory / "log", done)


@pytest.fixture(scope="session")
def system(target_of):
    """Debian's Python, which has a shared libpython too."""
    return target_of("system")


@pytest.fixture(scope="session")
def libpython(system):
    name = subprocess.run([system.python, "-c", "import sysconfig as s; print('/'.join(map(s.get_config_var, "
                           "('LIBDIR', 'INSTSONAME'))).replace('.a', '.so.1.0'))"], stdout=subprocess.PIPE, text=True,
                          check=True).stdout.strip()
    for path in name, name.replace("/usr/lib/", "/usr/lib/x86_64-linux-gnu/"):
        if os.path.exists(path):
            return path
    pytest.fail(f"{name} is missing: install python3-dev", pytrace=False)


@pytest.mark.parametrize("times", [1, 2])
def test_python_starts_late(system, libpython, host, times):
    """The process loads a shared libpython when it already runs, starts Python, and perhaps starts it a second time."""
    program = system.program(IMPORTS, {"KIND": "legacy"})
    run = run_host(system, host("embed", EMBED), libpython, *[repr(str(program))] * times)
    assert run.status == 86, run.err
    statics = run.findings("static", type="dict")
    assert len(statics) >= 1 and {holder_of(static) for static in statics} == {CACHE_HOLDER}
    assert holder_of(run.findings("leak", type="dict")[0]) == CACHE_HOLDER
    mains = [i for i in run.report["interpreters"] if i["kind"] == "main"]
    assert len(mains) == times


@pytest.mark.parametrize("then, found", [("", []), ("other = Interpreter('legacy'); other.run('import type_static')",
                                                   [((0, "main"), (1, "legacy"))])])
def test_static_type_when_python_starts_again(system, libpython, host, then, found):
    """The second main interpreter may use the type as the first one left it; a sub-interpreter may not."""
    programs = [system.program("import type_static\n" + more, {}) for more in ("", then)]
    run = run_host(system, host("embed", EMBED), libpython, *[repr(str(program)) for program in programs])
    statics = run.findings("static", static_type=True)
    assert [(who(static["owner"]), who(static["current"])) for static in statics] == found, run.err


def test_python_starts_late_and_is_healthy(system, libpython, host):
    program = system.program(HEALTHY, {"KIND": "legacy"})
    assert run_host(system, host("embed", EMBED), libpython, repr(str(program))).healthy()


POOL = r"""
/* A thread that has a thread state for each task; the next one is where the last was, and another thread's. */
#include <Python.h>
#include <pthread.h>
#include <unistd.h>

static PyMemAllocatorEx before;
static void *deleted, *again;
static int begun[2], done[2];

static void *
allocate(void *ctx, size_t n, size_t size)
{
    void *p = again;
    (void)ctx;
    again = NULL;
    return p ? memset(p, 0, n * size) : before.calloc(before.ctx, n, size);
}

static void
release(void *ctx, void *p)
{
    (void)ctx;
    if (p == NULL || p != deleted) {
        before.free(before.ctx, p);
    }
}

static void *
other(void *state)
{
    char code[200];
    snprintf(code, sizeof code, "import os\ndef elsewhere(): os.write(%d, b'x'), os.read(%d, 1)\nelsewhere()", begun[1], done[0]);
    PyEval_RestoreThread(state);
    PyRun_SimpleString(code);
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
    return NULL;
}

int
main(void)
{
    char byte;
    pthread_t thread;
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &before);
    PyMemAllocatorEx mine = { NULL, before.malloc, allocate, before.realloc, release };
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &mine);
    Py_Initialize();
    PyThreadState *first = Py_NewInterpreter();
    PyRun_SimpleString("import cache_static");
    PyThreadState *second = Py_NewInterpreter(), *task = PyThreadState_New(PyThreadState_GetInterpreter(first)),
                  *next = PyThreadState_New(PyThreadState_GetInterpreter(second));
    PyThreadState_Swap(task);
    PyThreadState_Clear(task);
    deleted = task;
    PyThreadState_DeleteCurrent();
    PyEval_RestoreThread(next);
    again = deleted;
    deleted = NULL;
    if (pipe(begun) < 0 || pipe(done) < 0 || PyThreadState_New(PyThreadState_GetInterpreter(first)) != task) {
        return 3;
    }
    PyEval_SaveThread();
    pthread_create(&thread, NULL, other, task);
    if (read(begun[0], &byte, 1) != 1) {
        return 4;
    }
    PyEval_RestoreThread(next);
    PyRun_SimpleString("import cache_static");
    PyEval_SaveThread();
    if (write(done[1], "x", 1) != 1) {
        return 5;
    }
    pthread_join(thread, NULL);
    return 0;
}
"""


def test_thread_states_of_a_pool(system, host):
    """A deleted thread state is no outer state of its thread, even if another thread's state has its address now."""
    flags = subprocess.run([f"{system.python}-config", "--includes", "--ldflags", "--embed"], stdout=subprocess.PIPE, text=True,
                           check=True).stdout.split()
    run = run_host(system, host("pool", POOL, *flags))
    share = run.one("share", type="dict")
    assert run.status == 86 and places(share["stacks"]["used"], "cache_static.c") == [USED], run.err
    assert "elsewhere" not in {frame["function"] for stack in share["stacks"].values() for frame in stack}


LOADS_PLUGIN = r"""
#include <dlfcn.h>
#include <stdio.h>

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        void *plugin = dlopen(argv[i], RTLD_NOW);
        const char *error = plugin ? NULL : dlerror();
        printf("%s %s\n", argv[i], plugin == NULL ? error : dlsym(plugin, "plugin") ? "found" : "another");
    }
    return 0;
}
"""


def test_plugins_beside_the_program(host):
    """dlopen() searches in the RUNPATH of its caller, which must still be the program, not isan."""
    program = host("beside", LOADS_PLUGIN, "-Wl,-rpath,$ORIGIN")
    host("plugin.so", "int plugin;", "-shared", "-fPIC")
    names = "plugin.so", "$ORIGIN/plugin.so", "${ORIGIN}/plugin.so", "$ORIGIN/none.so", "none.so", str(program.parent / "plugin.so")
    plain, isan = (subprocess.run([program, *names], env=env, cwd="/", stdout=subprocess.PIPE, text=True, timeout=TIMEOUT).stdout
                   for env in ({}, {"LD_PRELOAD": str(LIBRARY)}))
    assert isan == plain and plain.count(" found\n") == 4


COUNTS = r"""
/* A host that hands a list of one interpreter to another, and counts a reference itself. */
#include <Python.h>

static PyObject *handed_over;

int
main(void)
{
    Py_Initialize();
    PyThreadState *first = PyThreadState_Get(), *second = Py_NewInterpreter();
    PyThreadState_Swap(first);
    handed_over = PyByteArray_FromStringAndSize(NULL, 100);
    PyThreadState_Swap(second);
    Py_INCREF(handed_over);
    Py_EndInterpreter(second);
    PyThreadState_Swap(first);
    Py_DECREF(handed_over);
    Py_CLEAR(handed_over);
    return Py_FinalizeEx() < 0;
}
"""


@pytest.mark.parametrize("link", ["-rdynamic", "--libs"])
def test_host_that_checks_its_own_counts(system, isan, host, link):
    """The host is built with isan's header and exports what that defines; its Python is not built with that header."""
    def config(option):
        return subprocess.run([isan, "config", option], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    checks, link = config("--cflags"), [link] if link == "-rdynamic" else config("--libs")
    flags = subprocess.run([f"{system.python}-config", "--includes", "--ldflags", "--embed"], stdout=subprocess.PIPE, text=True,
                           check=True).stdout.split()
    run = run_host(system, host("counts", COUNTS, *checks, *flags, *link))
    share = run.one("share", type="bytearray", access="incref")
    assert share["holder"]["symbol"] == "handed_over" and who(share["current"])[0] == 1, run.err
    assert run.report["process"]["flavor"] == "stock"


OPENS_LIBRARIES = r"""
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        errno = 1000;
        void *library = dlopen(argv[i], RTLD_NOW);
        int error = errno;
        const char **from = library ? dlsym(library, "from") : NULL;
        printf("%s %s %d\n", argv[i], from ? *from : dlerror(), error);
    }
    return 0;
}
"""


@pytest.mark.parametrize("library_path", [False, True])
def test_libraries_along_the_runpath(host, tmp_path, library_path):
    """dlopen() loads the library, and leaves the errno, that it would without isan: LD_LIBRARY_PATH comes before the caller's RUNPATH, and in each
    directory comes first what is for this processor (ld.so(8))."""
    program = host("opens", OPENS_LIBRARIES, f"-Wl,-rpath,{tmp_path}/run")
    for place in "run/libone.so", "run/libtwo.so", "run/glibc-hwcaps/x86-64-v2/libtwo.so", "other/libone.so", "other/libthree.so":
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        library = host(place.replace("/", "_"), f'const char *from = "{place}";', "-shared", "-fPIC")
        shutil.copy(library, tmp_path / place)
    names = "libone.so", "libtwo.so", "libthree.so", "libz.so.1", "none.so"
    extra = {"LD_LIBRARY_PATH": f"{tmp_path}/other"} if library_path else {}
    plain, isan = (subprocess.run([program, *names], env={**env, **extra}, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT).stdout
                   for env in ({}, {"LD_PRELOAD": str(LIBRARY)}))
    assert isan == plain and plain.startswith(f"libone.so {'other' if library_path else 'run'}/libone.so "), plain


STRANGER = r"""
#include <stdio.h>
char _PyRuntime[64];
const char *Py_GetVersion(void) { return "%s (main)"; }
int main(void) { puts("ran"); return 7; }
"""


@pytest.mark.parametrize("version", ["2.7.18", "3.10.13", "3.15.0a1"])
def test_unknown_release(host, version):
    program = host("python" + version, STRANGER % version, "-rdynamic")
    done = subprocess.run([program], env={"LD_PRELOAD": str(LIBRARY)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=TIMEOUT)
    series = ".".join(version.split(".")[:2])
    assert (done.returncode, done.stdout) == (7, "ran\n")
    assert done.stderr == f"isan: this is Python {series}; isan knows 3.11 to 3.14 and stays out of its way\n"


def test_setuid(system, host, libpython, tmp_path):
    """AT_SECURE: a setuid or setgid program ignores ISAN_OPTIONS."""
    # Other users may not be able to read this checkout.
    library = shutil.copy(LIBRARY, tmp_path)
    program = host("setuid", EMBED, library, f"-Wl,--no-as-needed,-rpath,{tmp_path}")
    log = tmp_path / "log"
    log.mkdir()
    os.chmod(log, 0o777)
    for directory in [*log.parents][:-1]:
        os.chmod(directory, os.stat(directory).st_mode | 0o011)
    for directory in [*program.parents][:-1]:
        os.chmod(directory, os.stat(directory).st_mode | 0o011)
    nothing = tmp_path / "nothing.py"
    nothing.write_text("")
    results = []
    if os.getuid() == 0:
        secure, who = 0o4755, {"user": 65534, "group": 65534, "extra_groups": []}
    else:
        others = [group for group in os.getgroups() if group != os.getgid()]
        if not others:
            pytest.skip("needs root, or a user with a second group, for a program with other rights than its caller")
        os.chown(program, -1, others[0])
        secure, who = 0o2755, {}
    for mode in 0o755, secure:
        os.chmod(program, mode)
        done = subprocess.run([program, libpython, repr(str(nothing))], **who,
                              env={"ISAN_OPTIONS": f"log_path={log}"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=TIMEOUT)
        assert done.returncode == 0, done.stderr
        results.append(len(list(log.iterdir())))
    assert results == [1, 1]
