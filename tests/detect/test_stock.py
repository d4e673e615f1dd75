"""An unmodified Python and unmodified extensions: LD_PRELOAD alone."""
import ctypes
import os
import re
import signal
import struct
import subprocess
import sys

import pytest

from helpers.programs import TIMEOUT, Run, holder_of, line_of, places, who
from helpers.tree import LIBRARY, SOAK

CACHE_HOLDER = ("cache", "cache_static.c", line_of("cache_static.c", "static PyObject *cache;"))
CREATED = line_of("cache_static.c", "PyDict_New")
USED = line_of("cache_static.c", "return PyModule_AddObjectRef")

# Importing, ending the interpreter and importing again: nothing else is done with the object.
IMPORTS = """
    first, second = Interpreter(KIND), Interpreter(KIND)
    first.run("import cache_static")
    second.run("import cache_static")
    first.end()
    second.end()
"""
HEALTHY = IMPORTS.replace("cache_static", "cache_state")


def kind_of(stock, kind):
    return "own-gil" if kind == "isolated" and stock.hexversion >= (3, 12) else "legacy"


def check_cache(stock, run, kind="legacy", origin=True):
    """The demo extension's one bug: the variable, its line, the object, the interpreters, the leak."""
    share = run.one("share", type="dict", access="argument")
    static = run.one("static", type="dict")
    leak = run.one("leak", type="dict")
    assert len(run.report["findings"]) == 3
    for finding in share, static, leak:
        assert holder_of(finding) == CACHE_HOLDER
        assert who(finding["owner"]) == (1, kind_of(stock, kind))
        assert finding["object"]["recycled"] == (stock.hexversion < (3, 13) or not origin)
        if origin:
            assert places(finding["stacks"]["created"], "cache_static.c") == [CREATED]
    for finding in share, static:
        assert who(finding["current"]) == (2, kind_of(stock, kind))
        assert (finding["paired"], finding["fate"]) == ([leak["id"]], "leaked")
    assert places(share["stacks"]["used"], "cache_static.c") == [USED]
    assert (leak["paired"], leak["count"]) == (sorted([share["id"], static["id"]]), 1)
    assert static["object"]["serial"] == leak["object"]["serial"] is not None


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_object_in_a_static(stock, kind):
    run = stock.run(IMPORTS, KIND=kind)
    assert run.status == 86, run.err
    check_cache(stock, run, kind)
    assert run.report["process"]["flavor"] == "stock"


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_object_in_module_state(stock, kind):
    assert stock.run(HEALTHY, KIND=kind).healthy()


@pytest.mark.parametrize("env", [
    {"PYTHONMALLOC": "pymalloc"}, {"PYTHONMALLOC": "malloc"}, {"PYTHONMALLOC": "debug"}, {"PYTHONDEVMODE": "1"},
    {"PYTHONTRACEMALLOC": "5"}, {"PYTHONFAULTHANDLER": "1"},
], ids=lambda env: "=".join(*env.items()))
def test_ways_to_start_python(stock, env):
    if "PYTHONTRACEMALLOC" in env and stock.hexversion < (3, 12):
        # There tracemalloc waits for itself as soon as a sub-interpreter is made, isan or not.
        assert stock.run("print([object() for _ in range(9)][:0])", env=env).healthy()
        return
    check_cache(stock, stock.run(IMPORTS, env=env, KIND="legacy"))
    assert stock.run(HEALTHY, env=env, KIND="legacy").healthy()


def test_tracemalloc_started_and_stopped(stock):
    """It has the same tracer of objects as isan (PyRefTracer), and must still see what it would."""
    run = stock.run("""
        import tracemalloc
        tracemalloc.start()
        here = [object() for _ in range(1000)]
        statistics = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, __file__)]).statistics("lineno")
        assert max(s.count for s in statistics) >= 1000, statistics
        tracemalloc.stop()
        first, second = Interpreter("legacy"), Interpreter("legacy")
        first.run("import cache_static")
        second.run("import cache_static")
        first.end()
        second.end()
    """)
    check_cache(stock, run)


def test_object_made_while_tracemalloc_has_the_tracer(stock):
    """Nobody marks it, so it is recognised."""
    run = stock.run("""
        import tracemalloc
        first = Interpreter()
        first.run("import leak_ref")
        tracemalloc.start()
        first.run("leak_ref.make_object()")
        tracemalloc.stop()
        first.end()
    """)
    # Before 3.13 tracemalloc loses tracebacks of its own there, as valgrind says, too.
    assert run.one("leak", type="list")["count"] == 1 and len(run.findings(python=True)) == 1, run.err


@pytest.mark.parametrize("options", ["", "origin=none"])
def test_memory_over_old_objects_is_no_object(stock, options):
    """Which the program has begun to fill, so that it begins as an object does."""
    run = stock.run("""
        for _ in range(30):
            interpreter = Interpreter()
            interpreter.run("import leak_ref")
            interpreter.run("import leak_ref; leak_ref.use_block()")
            interpreter.end()
    """, options)
    assert (run.one("leak", python=False)["count"], len(run.findings())) == (30, 1), run.err


def test_by_hand(stock):
    done = stock.by_hand(IMPORTS, KIND="legacy")
    assert done.returncode == 86, done.stderr
    assert re.search(r"static `cache` of cache_static\S* \(\S*tests/ext/cache_static.c:%d\)" % CACHE_HOLDER[2], done.stderr)
    assert done.stderr.rstrip().endswith("SUMMARY: isan: 3 findings (1 share, 1 static, 1 leak) in 1 process")


@pytest.mark.parametrize("origin", ["none", "native"])
def test_origins(stock, origin):
    run = stock.run(IMPORTS, f"origin={origin}", KIND="legacy")
    check_cache(stock, run, "legacy", origin != "none")
    if origin == "none":
        assert run.one("leak")["stacks"]["created"] == []


def test_use_after_the_owner_ended(stock):
    run = stock.run("""
        first, second = Interpreter(), Interpreter()
        first.run("import cache_static")
        first.end()
        second.run("import cache_static")
        second.end()
    """)
    stale = run.one("stale", type="dict", access="argument")
    assert holder_of(stale) == CACHE_HOLDER and stale["fate"] == "leaked"
    assert places(stale["stacks"]["used"], "cache_static.c") == [USED]
    assert (who(stale["owner"])[0], who(stale["current"])[0]) == (1, 2)
    assert [frame["function"] for frame in stale["stacks"]["ended"] if frame["kind"] == "python"][-1] == "<module>"
    assert run.one("leak", type="dict")["paired"] == sorted([stale["id"], run.one("static")["id"]])


ELSEWHERE = """
    first, second = Interpreter(KIND), Interpreter(KIND)
    for use in "release", "grow":
        first.run(f"import free_wrong; free_wrong.{PREFIX}alloc()")
        second.run(f"import free_wrong; free_wrong.{PREFIX}{use}()")
    second.run(f"free_wrong.{PREFIX}release()")
    second.end()
    first.end()
"""


@pytest.mark.parametrize("kind", ["isolated", "legacy"])
def test_memory_freed_elsewhere(stock, kind):
    assert stock.run(ELSEWHERE, KIND=kind, PREFIX="raw_").healthy()
    run = stock.run(ELSEWHERE, KIND=kind, PREFIX="")
    if stock.hexversion < (3, 12):          # one heap for all, rules.inc
        assert run.healthy()
        return
    found = {finding["access"]: finding for finding in run.findings("free")}
    assert sorted(found) == ["free", "realloc"]
    for finding in found.values():
        assert (who(finding["owner"]), who(finding["current"])) == ((1, kind_of(stock, kind)), (2, kind_of(stock, kind)))
        assert finding["object"]["type"] is None and len(places(finding["stacks"]["used"], "free_wrong.c")) == 1


# --- Python starts late --------------------------------------------------------------

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


def run_host(subject, program, *arguments, options="", env=None):
    """Under `isan run`, as the subject's programs are."""
    directory = subject.make_directory("run")
    done = subprocess.run([subject.isan, "run", "--log", directory / "log", "--", program, *arguments],
                          env=subject.env(options, **(env or {})), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=TIMEOUT)
    return Run(subject.isan, directory, directory / "log", done)


@pytest.fixture(scope="session")
def system(subject_of):
    """Debian's Python, which has a shared libpython too."""
    return subject_of("system")


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
    """It comes with a shared libpython after the start of the process, and may be started again."""
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
    """The next main interpreter uses it as the one before left it; a sub-interpreter may not."""
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
    """What a thread has deleted is no outer state of it, whosever is there now."""
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
    """Where dlopen() looks depends on who calls it: that is not isan."""
    program = host("beside", LOADS_PLUGIN, "-Wl,-rpath,$ORIGIN")
    host("plugin.so", "int plugin;", "-shared", "-fPIC")
    names = "plugin.so", "$ORIGIN/plugin.so", "${ORIGIN}/plugin.so", "$ORIGIN/none.so", "none.so", str(program.parent / "plugin.so")
    plain, isan = (subprocess.run([program, *names], env=env, cwd="/", stdout=subprocess.PIPE, text=True, timeout=TIMEOUT).stdout
                   for env in ({}, {"LD_PRELOAD": str(LIBRARY)}))
    assert isan == plain and plain.count(" found\n") == 4


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


# --- fork, exec, threads -----------------------------------------------------------------

def test_fork(stock):
    """Each process has a log of its own and tells of its own."""
    run = stock.run("""
        import os, sys
        child = os.fork()                                   # which leaves only the main interpreter
        first, second = Interpreter("legacy"), Interpreter("legacy")
        if child == 0:
            first.run("import cache_static")
            second.run("import cache_static")
        else:
            first.run("import cache_state")
            second.run("import cache_state")
        first.end()
        second.end()
        if child:
            _, status = os.waitpid(child, 0)
            sys.exit(os.waitstatus_to_exitcode(status))
    """)
    assert run.status == 86, run.err
    child = run.one("static")["pid"]
    assert {finding["pid"] for finding in run.report["findings"]} == {child}
    assert len({process["pid"] for process in run.report["processes"]}) == 2


@pytest.mark.parametrize("follow", [1, 0])
def test_executed_children(stock, follow):
    run = stock.run("""
        import subprocess, sys, textwrap
        subprocess.run([sys.executable, "-c", textwrap.dedent(CHILD)], check=True)
    """, f"follow_children={follow}",
        CHILD='from interpreters import Interpreter\nKIND = "legacy"' + "\n" + "\n".join(
            line[4:] for line in IMPORTS.splitlines()))
    assert len(run.report["processes"]) == 1 + follow
    assert (run.status, bool(run.findings("static"))) == ((86, True) if follow else (0, False)), run.err


LIBC = ctypes.CDLL(None, use_errno=True)


def filter_calls(action):
    """seccomp(2): process_vm_readv, which few programs need, is answered so; all others are allowed."""
    PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER, ALLOW, NUMBER = 22, 38, 2, 0x7fff0000, 310
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in (
        (0x20, 0, 0, 0),                                # load the number of the call (linux/bpf_common.h)
        (0x15, 1, 0, NUMBER),                           # if it is that one, skip the next
        (0x06, 0, 0, ALLOW), (0x06, 0, 0, action)))
    kept = ctypes.create_string_buffer(program)
    rules = struct.pack("HP", len(program) // 8, ctypes.addressof(kept))
    for what in (PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, MODE_FILTER, rules):
        assert LIBC.prctl(*what, 0, 0) == 0, os.strerror(ctypes.get_errno())


@pytest.mark.parametrize("action", [0x80000000, 0x00050001], ids=["kill", "EPERM"])
def test_filter_of_system_calls(stock, action):
    """As services have from systemd (SystemCallFilter=), and containers."""
    run = stock.run(IMPORTS, preexec=lambda: filter_calls(action), KIND="legacy")
    assert run.status == 86 and run.report["crashes"] == [], run.err
    check_cache(stock, run)


RESERVED = """
    import ctypes
    libc, private_anonymous_noreserve, failed = ctypes.CDLL(None), 0x4022, 2 ** 64 - 1
    libc.mmap.restype, libc.mmap.argtypes = ctypes.c_size_t, [ctypes.c_size_t] * 6
    assert libc.mmap(0, 16 << 40, 3, private_anonymous_noreserve, failed, 0) != failed
"""


def test_address_space_taken_by_another_sanitizer(stock):
    """What is reserved by the terabyte is not walked page by page when an interpreter ends."""
    check_cache(stock, stock.run(RESERVED + IMPORTS, KIND="legacy"))


def test_daemon_threads_at_exit(stock):
    """They run into the end of the interpreter, which holds them for good or ends them; isan is not in the way."""
    run = stock.run("""
        import threading, time
        def work():
            while True:
                [object() for _ in range(100)]
        for _ in range(4):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.05)                                    # until they run; nothing depends on it
        print("end")
    """)
    assert (run.status, run.out, run.report["crashes"]) == (0, "end\n", []), run.err


def test_setuid(system, host, libpython, tmp_path):
    """AT_SECURE: what runs with somebody else's rights takes no orders from the environment."""
    program = host("setuid", EMBED, LIBRARY, f"-Wl,--no-as-needed,-rpath,{LIBRARY.parent}")
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


def test_a_hundred_interpreters_in_turn(stock):
    """Nothing grows; see tests/bench/soak.py."""
    done = subprocess.run([sys.executable, SOAK, "--stock", "--python", stock.python,
                           "--count", "102"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0 and "flat: " in done.stdout, done.stdout


def test_crash(stock):
    run = stock.run("import faulthandler; faulthandler._sigsegv()")
    assert run.status == 128 + signal.SIGSEGV
    assert [crash["signal"] for crash in run.report["crashes"]] == [signal.SIGSEGV]


# --- what the runtime does on behalf of another interpreter -----------------------------------------

SINGLE_PHASE = """
    first, second = Interpreter("legacy"), Interpreter("legacy")
    first.run("import " + MODULE)
    second.run("import " + MODULE + AND)
    second.end()
    first.end()
"""


def test_module_copied_by_the_runtime(stock):
    """The dictionary of a single-phase module is copied for each interpreter (Python/import.c), its values are not."""
    run = stock.run(SINGLE_PHASE, MODULE="single_copy", AND="")
    assert run.findings("share", "stale", "free", "static") == [], run.err
    # What is copied is left behind by the interpreter that made it, if that was not the main one.
    assert {finding["object"]["type"] for finding in run.findings()} <= {"list"}


def test_module_each_interpreter_makes(stock):
    assert stock.run(SINGLE_PHASE, MODULE="single_init_clean", AND="; single_init_clean.shared.append(None)").healthy()
    run = stock.run(SINGLE_PHASE, MODULE="single_init", AND="")
    assert run.status == 86
    holder = ("list", "single_init.c", line_of("single_init.c", "static PyObject *list;"))
    shares = [finding for finding in run.findings("share", "stale", type="list", access="argument")
              if places(finding["stacks"]["used"], "single_init.c") == [line_of("single_init.c", "PyModule_AddObjectRef")]]
    assert shares and {holder_of(finding) for finding in shares} == {holder}
    assert holder in {holder_of(finding) for finding in run.findings("static")}


def test_where_a_single_phase_module_made_what_it_shares(stock):
    """From 3.13 on in the main interpreter, which has no Python frame there (Python/import.c, switch_to_main_interpreter)."""
    run = stock.run(SINGLE_PHASE, MODULE="single_class", AND="; single_class.use(single_class.error)")
    shares = run.findings("share", type="type", access="argument")
    assert shares, run.err
    for share in shares:
        assert who(share["owner"]) == ((0, "main") if stock.hexversion >= (3, 13) else (1, "legacy"))
        assert who(share["current"])[0] in (1, 2)
        assert places(share["stacks"]["created"], "single_parts.c") == [line_of("single_parts.c", "PyErr_NewException")]
        assert places(share["stacks"]["used"], "single_parts.c") == [line_of("single_parts.c", "PyObject_IsTrue")]


SEND = {
    "queue": """
        from interpreters import queues
        queue = queues().create()
        sender, receiver = Interpreter(), Interpreter()
        sender.run(f"from interpreters import queues; queues().Queue({queue.id}).put(('text', 10 ** 30, 1.5))")
        receiver.run(f"from interpreters import queues; x = queues().Queue({queue.id}).get(); assert x[1] == 10 ** 30")
        receiver.end()
        sender.end()
    """,
    "channel": """
        import interpreters
        channels = interpreters.channels()
        channel = channels.create()
        sender, receiver = Interpreter("legacy"), Interpreter("legacy")
        sender.run(f"import interpreters; interpreters.channels().send({int(channel)}, b'bytes' * 9)")
        receiver.run(f"import interpreters; assert interpreters.channels().recv({int(channel)}) == b'bytes' * 9")
        receiver.end()
        sender.end()
    """,
}


@pytest.mark.parametrize("way", SEND)
def test_data_sent(stock, way):
    """A receiver gets an object of its own; the data between is the process's."""
    if way == "queue" and stock.hexversion < (3, 13):
        way = "channel"                     # there are no queues yet
    elif way == "channel" and stock.hexversion >= (3, 13):
        way = "queue"
    assert stock.run(SEND[way]).healthy()


def test_names_of_arguments(stock):
    """CPython makes the tuple of a function's argument names once, in the main interpreter (Python/getargs.c)."""
    script = """
        import arg_parser
        arg_parser.keep(NAME)
        other = Interpreter("legacy")
        other.run("import arg_parser")
        other.end()
    """
    assert stock.run(script, NAME="name").healthy()
    if stock.hexversion < (3, 12):          # in any interpreter, there
        made = """
            other = Interpreter("legacy")
            other.run(f"import arg_parser; arg_parser.keep({NAME!r})")
            other.end()
        """
        assert stock.run(made, NAME="name").healthy()
        assert stock.run(made, NAME="other").one("leak", type="tuple")["holder"]["path"] == ".kwtuple"
    static = stock.run(script, NAME="other").one("static", type="tuple")
    assert (who(static["owner"]), who(static["current"])) == ((0, "main"), (1, "legacy"))
    assert static["holder"]["symbol"] == "parser" and static["holder"]["path"] == ".kwtuple"
    assert static["holder"]["line"] == line_of("arg_parser.c", "} parser =")
