/* Starts the reporter: see reporter.h.
 *
 * The program must not notice.  A child that the program did not start would send it SIGCHLD, its
 * wait(-1) in another thread would reap it, and with SIGCHLD ignored the exit status would be lost.
 * A child made by clone(2) with the exit signal 0 does none of that (clone(2), "The child
 * termination signal"), unless it calls execve(2).  So such a child, the attendant, starts the
 * reporter, waits for it, and ends with its exit status.
 *
 * The program may be crashing, and its other threads may hold any lock.  So all is prepared when
 * the process starts, and the children make system calls only, through syscall(): the C library's
 * functions may be ThreadSanitizer's. */
#define _GNU_SOURCE
#include "runtime/core/reporter.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/options.h"
#include "runtime/core/log.h"

static char program[PATH_MAX];              /* "": do not run one */
static char suppressions[PATH_MAX];
static char *no_variables[1], **environment = no_variables;

enum { OK = 0, FINDINGS = 86, NOT_RUN = 127 };   /* exit statuses (scripts/isan/cli/report.py) */

/* The isan command is in bin/, beside lib/. */
static void
find_program(void)
{
    Dl_info info;
    char library[PATH_MAX], *slash;
    if (isan__options.log_path[0] == 0 && isan__options.print_summary
        && dladdr((void *)find_program, &info) != 0 && realpath(info.dli_fname, library) != NULL
        && (slash = strrchr(library, '/')) != NULL) {
        snprintf(program, sizeof program, "%.*s/../bin/isan", (int)(slash - library), library);
    }
}

/* The program may be in another directory when it ends. */
static void
find_suppressions(void)
{
    if (isan__options.suppressions[0] != 0
        && (realpath(isan__options.suppressions, suppressions) == NULL || access(suppressions, R_OK) < 0)) {
        isan__die("cannot read suppressions=%s: %s", isan__options.suppressions, strerror(errno));
    }
}

/* The program's settings must not reach the reporter's own Python. */
static bool
is_unset(const char *variable)
{
    static const char *const unset[] = {
        "LD_PRELOAD=", "ISAN_OPTIONS=", "PYTHONHOME=", "PYTHONPATH=",
    };
    for (size_t i = 0; i < sizeof unset / sizeof *unset; i++) {
        if (strncmp(variable, unset[i], strlen(unset[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* Another thread may be in setenv(), which moves the array (stdlib/setenv.c): so this peeks. */
static void
copy_environment(void)
{
    enum { VARIABLES = 1 << 15, BYTES = 1 << 22 };  /* as many as execve(2) takes, with its usual limits */
    char **to = isan__map(VARIABLES * sizeof *to + BYTES);
    if (to == NULL) {
        return;
    }
    char *text = (char *)(to + VARIABLES), *end = text + BYTES;
    environment = to;
    for (char **from = environ, *variable;
         isan__peek(&variable, from, sizeof variable) && variable != NULL && to < environment + VARIABLES - 1; from++) {
        if (isan__peek_string(text, variable, (size_t)(end - text)) && !is_unset(text)) {
            *to++ = text;
            text += strlen(text) + 1;
        }
    }
}

void
isan__reporter_init(void)
{
    find_program();
    find_suppressions();
    if (program[0] != 0) {
        copy_environment();
    }
}

/* The kernel's struct sigaction. */
struct action {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};
static const struct action default_action = { .handler = SIG_DFL };

static void
change_mask(const uint64_t *mask, uint64_t *before)
{
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, mask, before, sizeof *mask);
}

/* As fork(), without the handlers of pthread_atfork(): these would give the child a log of its
 * own, and may wait for a lock. */
static pid_t
make_child(int exit_signal)
{
    return (pid_t)syscall(SYS_clone, exit_signal, NULL, NULL, NULL, NULL);
}

static _Noreturn void
end_child(int status)
{
    for (;;) {
        syscall(SYS_exit_group, status);
    }
}

static pid_t
wait_for(pid_t child, int *status, int options)
{
    pid_t ended;
    do {
        ended = (pid_t)syscall(SYS_wait4, child, status, options, NULL);
    } while (ended < 0 && errno == EINTR);
    return ended;
}

#define BIT(signal) (1ull << ((signal) - 1))

static void
ignore_if_default(int signal)
{
    static const struct action ignore = { .handler = SIG_IGN };
    struct action action;
    if (syscall(SYS_rt_sigaction, signal, NULL, &action, sizeof action.mask) == 0 && action.handler == SIG_DFL) {
        syscall(SYS_rt_sigaction, signal, &ignore, NULL, sizeof ignore.mask);
    }
}

/* Python restores the default actions of signals when it is finalised (Modules/signalmodule.c,
 * _PySignal_Fini), and does not stop timers.  A periodic one would kill the process with its next
 * signal.  Mostly the process has ended by then; with isan that takes longer. */
void
isan__ignore_periodic_timers(void)
{
    static const int timers[][2] = { { ITIMER_REAL, SIGALRM }, { ITIMER_VIRTUAL, SIGVTALRM }, { ITIMER_PROF, SIGPROF } };
    for (size_t i = 0; i < sizeof timers / sizeof *timers; i++) {
        struct itimerval timer;
        if (syscall(SYS_getitimer, timers[i][0], &timer) == 0
            && (timer.it_interval.tv_sec != 0 || timer.it_interval.tv_usec != 0)) {
            ignore_if_default(timers[i][1]);
        }
    }
}

/* What timers and other processes send, and what is fatal by default (signal(7)).  Not the signals
 * that are meant to end a process. */
static void
ignore_notices(void)
{
    static const int notices[] = { SIGALRM, SIGVTALRM, SIGPROF, SIGUSR1, SIGUSR2, SIGIO, SIGPIPE };
    for (size_t i = 0; i < sizeof notices / sizeof *notices; i++) {
        ignore_if_default(notices[i]);
    }
    for (int signal = SIGRTMIN; signal <= SIGRTMAX; signal++) {
        ignore_if_default(signal);
    }
}

static _Noreturn void
execute(const char *log)
{
    static const uint64_t no_mask;
    const char *arguments[] = { "isan", "report", "--if-any", log, suppressions[0] ? "--suppressions" : NULL, suppressions, NULL };
    for (int signal = 1; signal < NSIG; signal++) {
        syscall(SYS_rt_sigaction, signal, &default_action, NULL, sizeof no_mask);
    }
    static const int of_terminals[] = { SIGINT, SIGQUIT, SIGHUP, SIGTSTP };     /* sent to the program's whole group */
    for (size_t i = 0; i < sizeof of_terminals / sizeof *of_terminals; i++) {
        ignore_if_default(of_terminals[i]);
    }
    change_mask(&no_mask, NULL);
    int fd;                                 /* the program may have closed the standard streams */
    while ((fd = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO) {
    }
    syscall(SYS_dup3, STDERR_FILENO, STDOUT_FILENO, 0);
    syscall(SYS_execve, program, arguments, environment);
    isan__say("cannot run %s", program);
    end_child(NOT_RUN);
}

/* Returns the reporter's exit status; -1: it did not end by itself.  All signals are blocked. */
static int
run_reporter(const char *log)
{
    const uint64_t awaited = BIT(SIGCHLD) | BIT(SIGALRM);
    const struct itimerval limit = { .it_value.tv_sec = isan__options.report_timeout };
    int status = 0;
    syscall(SYS_rt_sigaction, SIGCHLD, &default_action, NULL, sizeof awaited);  /* not ignored: it leaves a status */
    syscall(SYS_setitimer, ITIMER_REAL, &limit, NULL);
    pid_t child = make_child(SIGCHLD);
    if (child == 0) {
        execute(log);
    }
    while (child > 0 && wait_for(child, &status, WNOHANG) == 0) {
        if (syscall(SYS_rt_sigtimedwait, &awaited, NULL, NULL, sizeof awaited) == SIGALRM) {
            isan__say("the report took longer than report_timeout=%ld seconds", isan__options.report_timeout);
            syscall(SYS_kill, child, SIGKILL);
            wait_for(child, &status, 0);
            break;
        }
    }
    return child > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The program's own limits are not meant for the reporter. */
static void
raise_limits(void)
{
    static const int limits[] = { RLIMIT_AS, RLIMIT_DATA, RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_NOFILE };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit limit;
        if (syscall(SYS_prlimit64, 0, limits[i], NULL, &limit) == 0) {
            limit.rlim_cur = limit.rlim_max;
            syscall(SYS_prlimit64, 0, limits[i], &limit, NULL);
        }
    }
}

/* What the attendant does. */
static _Noreturn void
attend(void)
{
    raise_limits();
    /* Readers of the program's pipes wait until all copies are closed.  And the program may have used up
     * its descriptors. */
    syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, 0);
    const char *log = isan__log_save();
    int status = log != NULL ? run_reporter(log) : NOT_RUN;
    if (status == OK || status == FINDINGS) {
        isan__log_unsave();
    }
    else if (log != NULL) {                 /* what was found must not be lost */
        isan__say("the report failed, or lacks something; the log is %s", log);
    }
    end_child(status & 0xff);
}

/* The attendant ends within report_timeout, unless a signal stops it.  This bounds the wait then. */
static bool
wait_for_attendant(pid_t child, int *status)
{
    const struct timespec pause = { .tv_nsec = 2000000 };
    pid_t ended = 0;
    for (long n = 0; ended == 0 && n < (isan__options.report_timeout + 10) * 500; n++) {
        ended = wait_for(child, status, __WALL | WNOHANG);
        if (ended == 0) {
            syscall(SYS_nanosleep, &pause, NULL);
        }
    }
    if (ended == 0) {
        isan__say("there is no report: the process that waits for it has stopped");
        syscall(SYS_kill, child, SIGKILL);
        ended = wait_for(child, status, __WALL);
    }
    return ended == child;
}

/* Does nothing if the same has been reported: after execve() failed, or by a handler of crashes that
 * calls _exit().  All signals are blocked. */
static int
report(bool crashed)
{
    static pid_t reported_by;
    static uint32_t reported;
    static int status;
    if (program[0] == 0 || !isan__log_is_own()) {
        return -1;
    }
    if (!crashed && reported_by == getpid() && reported == isan__log_findings()) {
        return status;
    }
    reported_by = getpid();
    reported = isan__log_findings();
    status = -1;
    pid_t child = make_child(0);
    if (child == 0) {
        attend();
    }
    if (child < 0) {
        const char *log = isan__log_save();
        isan__say("cannot start the reporter: there is no process for it; the log is %s", log ? log : "lost");
        return -1;
    }
    int ended;
    if (wait_for_attendant(child, &ended) && WIFEXITED(ended)) {
        status = WEXITSTATUS(ended);
    }
    return status;
}

int
isan__report(bool crashed)
{
    const uint64_t all = ~0ull;
    uint64_t before;
    change_mask(&all, &before);
    int status = report(crashed);
    change_mask(&before, NULL);
    return status;
}

int
isan__report_at_end(void)
{
    const uint64_t all = ~0ull;
    const struct timespec now = { 0 };
    uint64_t before;
    if (program[0] == 0 || !isan__log_is_own() || !isan__log_has_findings()) {
        return OK;
    }
    change_mask(&all, &before);
    ignore_notices();                       /* other threads do not block them */
    int status = report(false);
    for (int n = 0; n < 10000 && syscall(SYS_rt_sigtimedwait, &all, NULL, &now, sizeof all) > 0; n++) {
    }
    change_mask(&before, NULL);
    return status;
}
