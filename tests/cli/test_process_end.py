"""How a process ends when isan reports on it: as without isan, and with status 86 after all else if there are findings."""
import shutil
import signal
import subprocess

import pytest

from helpers.cache_static import IMPORTS
from helpers.programs import OPTIONS
from helpers.tree import LIBRARY

FINDING = 'KIND = "legacy"\nimport ctypes, os, signal, sys\nlib = ctypes.CDLL(LIB)\n' + IMPORTS.replace("\n    ", "\n")
CLEAN = FINDING.replace("cache_static", "cache_state")

HELPERS = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void *set_variables(void *arg)
{
    static char text[20000];
    memset(text, 'x', sizeof text - 1);
    for (;;) {
        setenv("LARGE", text, 1);
    }
    return arg;
}
static void *reap_children(void *arg)
{
    for (;;) {
        if (waitpid(-1, NULL, 0) > 0) {
            ssize_t n = write(2, "reaped\n", 7);
            (void)n;
        }
        usleep(100);
    }
    return arg;
}
static void *sleep_on(void *arg)
{
    for (;;) {
        pause();
    }
    return arg;
}
static void say(int signal)
{
    ssize_t n = write(2, signal == SIGCHLD ? "SIGCHLD\n" : "signal\n", signal == SIGCHLD ? 8 : 7);
    (void)n;
}
static void start(void *(*function)(void *))
{
    pthread_t thread;
    pthread_create(&thread, NULL, function, NULL);
}
void environment(void) { start(set_variables); start(set_variables); }
void reap(void) { start(reap_children); }
void another_thread(void) { start(sleep_on); }
void handle(int number) { signal(number, say); }
void no_zombies(void)
{
    struct sigaction action = { .sa_handler = say, .sa_flags = SA_NOCLDWAIT };
    sigaction(SIGCHLD, &action, NULL);
}

static void start_timer(void)
{
    setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 50000 }, { 0, 100000 } }, NULL);
}
void timer_at_exit(void) { atexit(start_timer); }

void exit_by_system_call(void) { syscall(SYS_exit_group, 5); }
static int late;
static void send_late(void)
{
    if (fork() == 0) {
        usleep(200000);                 /* a report takes longer */
        kill(getppid(), late);
        exit_by_system_call();
    }
}
void signal_at_exit(int signal)
{
    late = signal;
    atexit(send_late);
}
static void interrupt_late(void)
{
    if (fork() == 0) {
        signal(SIGINT, SIG_IGN);
        usleep(200000);
        kill(0, SIGINT);                /* as Ctrl-C does */
        exit_by_system_call();
    }
}
void interrupt_at_exit(void) { atexit(interrupt_late); }
static void *exit_late(void *arg)
{
    usleep(50000);                      /* a report takes longer */
    _exit(7);
    return arg;
}
static void start_late(void) { start(exit_late); }
void exit_twice(void) { atexit(start_late); }

static void at_exit(void) { printf("atexit\n"); }
static void end_at_once(int signal) { _exit(signal); }
void exit_in_handler(void)
{
    signal(SIGSEGV, end_at_once);
    raise(SIGSEGV);
}
int vfork_and_exit(void)
{
    int status;
    pid_t child = vfork();
    if (child == 0) {
        _exit(3);
    }
    return waitpid(child, &status, 0) == child ? WEXITSTATUS(status) : -1;
}
void replace(void)
{
    char *words[] = { "sh", "-c", "echo replaced; exit 4", NULL };
    execvp("sh", words);
}

void crash_on_small_stack(int number)
{
    enum { GUARD = 1 << 16 };
    size_t size = getauxval(AT_MINSIGSTKSZ) + 1024;
    char *memory = mmap(NULL, 2 * GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack = { .ss_sp = memory + GUARD, .ss_size = size };
    mprotect(memory, GUARD, PROT_NONE);
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    if (sigaltstack(&stack, NULL) == 0) {
        number == SIGABRT ? abort() : (void)(*(volatile int *)0 = 1);
    }
}

static void at_quick(void) { fprintf(stderr, "at quick exit\n"); }
void quick(int status)
{
    at_quick_exit(at_quick);
    quick_exit(status);
}

static int talking;
void talk_at_end(void) { talking = 1; atexit(at_exit); printf("running\n"); }
__attribute__((destructor)) static void end(void)
{
    if (talking) {
        printf("destructor\n");
    }
}
"""


@pytest.fixture(scope="module")
def lib(tmp_path_factory):
    directory = tmp_path_factory.mktemp("helpers")
    (directory / "helpers.c").write_text(HELPERS)
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", directory / "helpers.so",
                    directory / "helpers.c"], check=True)
    return str(directory / "helpers.so")


@pytest.fixture
def end(either, lib, tmp_path):
    """end(program, status, findings): the program ends with this status, and leaves nothing.  Its output."""
    return ending(either, lib, tmp_path)


def ending(target, lib, directory):
    def run(program, status, findings, **more):
        done = target.by_hand(program, env={"TMPDIR": str(directory)}, LIB=lib, **more)
        assert done.returncode == status, done.stderr
        assert done.stderr.count("SUMMARY: isan: ") == findings, done.stderr
        assert findings or "isan" not in done.stderr
        assert list(directory.iterdir()) == []
        return done
    return run


@pytest.mark.parametrize("before", [
    "signal.signal(signal.SIGCHLD, signal.SIG_IGN)", "lib.no_zombies()", "lib.handle(signal.SIGCHLD)", "lib.reap()", "lib.environment()",
], ids=["ignored", "no zombies", "handler", "reaper", "setenv"])
def test_the_program_does_not_see_the_reporter(end, before):
    done = end(FINDING + before, 86, 1)
    assert "SIGCHLD" not in done.stderr and "reaped" not in done.stderr
    end(CLEAN + before + "\nsys.exit(5)", 5, 0)


@pytest.mark.parametrize("thread", [False, True])
def test_timers_go_on_during_the_report(end, thread):
    """One begins right before the process would end."""
    end(FINDING + "lib.timer_at_exit()\nif THREAD: lib.another_thread()", 86, 1, THREAD=thread)


def test_python_takes_off_the_handler_of_a_periodic_timer(target, lib, tmp_path):
    ending(target, lib, tmp_path)(FINDING + """
class Slow:
    def __del__(self, sleep=__import__("time").sleep):
        sleep(.6)
slow = Slow()
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, .3, .05)
""", 86, 1)


def test_a_timer_that_is_meant_to_kill(end):
    """No handler, and not periodic: it is left alone."""
    end(CLEAN + "signal.setitimer(signal.ITIMER_REAL, .01)\nsignal.pause()", -signal.SIGALRM, 0)


def test_all_that_runs_at_the_end_runs(end):
    for program, status, findings in (FINDING, 86, 1), (CLEAN, 7, 0):
        done = end(program + "lib.talk_at_end(); sys.exit(7)", status, findings)
        assert done.stdout == "running\natexit\ndestructor\n"


# --- other ends -----------------------------------------------------------------------------------

def test_exit_at_once(end):
    end(FINDING + "os._exit(7)", 86, 1)
    end(CLEAN + "os._exit(7)", 7, 0)


def test_quick_exit(end):
    for program, status, findings in (FINDING, 86, 1), (CLEAN, 7, 0):
        assert end(program + "lib.quick(7)", status, findings).stderr.count("at quick exit") == 1


def test_a_crash_handler_that_exits(end):
    end(FINDING + "lib.exit_in_handler()", 86, 1)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT], ids=["SIGSEGV", "SIGABRT"])
def test_a_crash_on_a_small_alternate_stack(end, number):
    """It has room for the kernel's frame and a small handler.  What is below it stays as it is."""
    done = end(FINDING + "lib.crash_on_small_stack(NUMBER)", -number, 1, NUMBER=int(number))
    assert "the program was killed by %s" % number.name in done.stderr


@pytest.mark.parametrize("call", ["os.execv('/bin/sh', words)", "os.execve('/bin/sh', words, {})", "os.execvp('sh', words)",
                                  "os.execve(os.open('/bin/sh', os.O_RDONLY), words, {})", "lib.replace()"])
def test_another_program_replaces_this_one(end, call):
    words = "words = ['sh', '-c', 'echo replaced; exit 4']\n"
    assert end(FINDING + words + call, 4, 1).stdout == "replaced\n"
    assert end(CLEAN + words + call, 4, 0).stdout == "replaced\n"


def test_a_replacement_that_fails(end):
    """The program goes on, and what it does then is reported, too."""
    fails = """
try:
    os.execv(NAME, ["name"])
except OSError:
    print("goes on", flush=True)
"""
    for name in "/none", "/":
        assert end(FINDING + fails, 86, 1, NAME=name).stdout == "goes on\n"
        assert end(CLEAN + fails, 0, 0, NAME=name).stdout == "goes on\n"
    again = FINDING.replace("cache_static", "exc_static").split("ctypes.CDLL(LIB)")[1]
    done = end(FINDING + fails + again, 86, 2, NAME="/")
    assert "exc_static" in done.stderr
    done = end(FINDING + fails + "os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV, 2, NAME="/")
    assert "the program was killed by SIGSEGV" in done.stderr


def test_children_that_have_this_memory_do_not_report(end):
    """vfork(), posix_spawn(), system(), and a child that ends at once."""
    children = """
import subprocess
assert subprocess.call(["/bin/sh", "-c", "exit 3"]) == 3
assert subprocess.call(["sh", "-c", "exit 3"], preexec_fn=lambda: None) == 3
assert os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "exit 3"], {}), 0)[1] == 3 << 8
assert os.system("exit 3") == 3 << 8
assert lib.vfork_and_exit() == 3
try:
    subprocess.call(["/none"])
except FileNotFoundError:
    print("done")
"""
    for program, status, findings in (FINDING, 86, 1), (CLEAN, 0, 0):
        assert end(program + children, status, findings).stdout == "done\n"


# Its own interpreters, in code that was there before the fork.
CHILD = """
import multiprocessing, os, signal, sys
def work():
    KIND = "legacy"
%s
if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    process = multiprocessing.Process(target=work)
    process.start()
    process.join()
    print(process.exitcode)
""" % IMPORTS


def test_a_child_of_multiprocessing(end):
    done = end(CHILD, 0, 1)
    assert done.stdout == "86\n" and " py work " in done.stderr and "cannot be read" not in done.stderr
    assert end(CHILD.replace("cache_static", "cache_state"), 0, 0).stdout == "0\n"


@pytest.mark.parametrize("call, status", [("os.kill(os.getpid(), signal.SIGKILL)", -9), ("os.kill(os.getpid(), signal.SIGTERM)", -15),
                                          ("lib.exit_by_system_call()", 5)])
def test_an_end_that_isan_does_not_see(end, call, status):
    end(FINDING + call, status, 0)


def test_descriptors_are_closed(end):
    end(FINDING + "os.closerange(3, 4096)", 86, 1)
    for streams in (2,), (0, 1, 2):         # the report goes nowhere
        done = end(FINDING + f"print('done', flush=True)\nfor fd in {streams}: os.close(fd)", 86, 0)
        assert (done.stdout, done.stderr) == ("done\n", "")


def test_no_descriptor_is_left(end):
    end(FINDING + """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
try:
    while True:
        os.dup(1)
except OSError:
    pass
""", 86, 1)


def test_the_temporary_directory_is_gone(either, lib, tmp_path):
    done = either.by_hand(FINDING + "os.rmdir(os.environ['TMPDIR'])", env={"TMPDIR": str(tmp_path)}, LIB=lib)
    assert done.returncode == 86 and "SUMMARY: isan: " in done.stderr


@pytest.mark.parametrize("limit", ["RLIMIT_FSIZE, 1000", "RLIMIT_CPU, 1", "RLIMIT_NOFILE, 8"])
def test_the_limits_of_the_program_are_not_the_reporters(end, limit):
    what, size = limit.split(", ")
    end(FINDING + f"""
import resource
resource.setrlimit(resource.{what}, ({size}, resource.getrlimit(resource.{what})[1]))
""", 86, 1)


def test_there_is_no_file_of_the_log(end):
    assert end("import _isan; print(_isan.log())", 0, 0).stdout == "None\n"


def test_signals_during_the_report(end):
    """They come too late to change how the process ends."""
    end(FINDING + "lib.signal_at_exit(signal.SIGTERM)", 86, 1)


@pytest.mark.parametrize("call", [36, 21], ids=["getitimer", "access"])
def test_a_filter_of_system_calls_that_only_isan_would_make(end, call):
    """The program has no finding, so isan has nothing to do at its end, nor before it executes another program."""
    end(CLEAN + f"import syscall_filter as filter\nfilter.filter_call({call}, filter.KILL)\n"
        "try: os.execve('/', ['/'], {})\nexcept OSError: pass\n", 0, 0)


def test_ctrl_c_during_the_report(end):
    end(FINDING + "lib.interrupt_at_exit()", 86, 1)


def test_two_threads_end_the_process(end):
    """One calls exit(); while isan reports, another calls _exit()."""
    end(FINDING + "lib.exit_twice()", 86, 1)


# --- the reporter fails ---------------------------------------------------------------------------

@pytest.fixture
def sleeping(tmp_path):
    """A libisan.so whose reporter does not end."""
    for directory in "lib", "bin":
        (tmp_path / directory).mkdir()
    shutil.copy(LIBRARY, tmp_path / "lib")
    (tmp_path / "bin" / "isan").write_text("#!/bin/sh\nexec sleep 1000\n")
    (tmp_path / "bin" / "isan").chmod(0o755)
    return tmp_path / "lib" / LIBRARY.name


def test_a_report_that_takes_too_long(target_of, lib, sleeping, tmp_path):
    target, temporary = target_of("system"), tmp_path / "temporary"
    temporary.mkdir()
    program = target.program(FINDING + "sys.exit(5)", {"LIB": lib})
    options = ":".join(filter(None, [OPTIONS, "report_timeout=1"]))
    done = subprocess.run([target.python, program], stderr=subprocess.PIPE, text=True, timeout=30,
                          env=target.env(options, LD_PRELOAD=str(sleeping), TMPDIR=str(temporary)))
    kept, = temporary.iterdir()
    assert done.returncode == 5
    assert done.stderr == (f"isan: the report took longer than report_timeout=1 seconds\n"
                           f"isan: the report failed, or lacks something; the log is {kept}\n")
    assert subprocess.run([target.isan, "report", kept], stdout=subprocess.DEVNULL).returncode == 86
