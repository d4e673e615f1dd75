/* The start and end of the process, forks and crashes, and the order of all subscribers of
 * events. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <ucontext.h>
#include <unistd.h>

#include "hooks/alloc.h"
#include "hooks/arena.h"
#include "hooks/boundary.h"
#include "hooks/instrumented.h"
#include "hooks/reftrace.h"
#include "hooks/stock.h"
#include "runtime/api/callbacks.h"
#include "runtime/api/pymodule.h"
#include "runtime/api/query.h"
#include "runtime/base/check.h"
#include "runtime/base/sanitizer.h"
#include "runtime/core/attach.h"
#include "runtime/core/finding.h"
#include "runtime/core/lifetime.h"
#include "runtime/core/origin.h"
#include "runtime/core/reporter.h"
#include "runtime/core/thread_registry.h"
#include "runtime/core/transfer.h"
#include "runtime/detect/gc_survey.h"
#include "runtime/detect/gilstate.h"
#include "runtime/detect/immortal.h"
#include "runtime/detect/import_map.h"
#include "runtime/detect/leak.h"
#include "runtime/detect/race_stores.h"
#include "runtime/detect/race_tsan.h"
#include "runtime/detect/static_scan.h"
#include "runtime/elf/modules.h"

static bool allowed, active;                /* isan may begin here; it has begun */

static void
record_process(void)
{
    char exe[PATH_MAX] = "", cwd[PATH_MAX] = "", words[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    if (getcwd(cwd, sizeof cwd) == NULL) {
        cwd[0] = 0;
    }
    const char *options = getenv("ISAN_OPTIONS");
    options = options ? options : "";
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? 0 : read(fd, words, sizeof words - 1);
    if (fd >= 0) {
        close(fd);
    }
    if (n < 0) {
        n = 0;
    }
    if (n > 0 && words[n - 1] != 0) {
        words[n++] = 0;
    }
    uint32_t argc = 0;
    for (ssize_t i = 0; i < n; i++) {
        argc += words[i] == 0;
    }
    /* A pydebug build exports the negative-refcount reporter; a fast one not. */
    const char *flavor = isan__stock ? "stock" : isan__tsan ? "tsan"
        : isan__python_symbol("_Py_NegativeRefcount") ? "debug" : "fast";
    const char *text[] = { exe, cwd, flavor, options };
    struct isan_rec_process *r = isan__log_reserve(sizeof *r + isan__log_strings_size(text, 4) + (size_t)n);
    if (r != NULL) {
        r->py_hexversion = isan__py.hexversion;
        r->argc = argc;
        memcpy(isan__log_put_strings(r->text, text, 4), words, (size_t)n);
        isan__log_publish(r, ISAN_REC_PROCESS);
    }
}

/* With halt_on_error=1: print the report and abort. */
static void
halt_if_requested(uint32_t finding)
{
    (void)finding;
    if (!isan__options.halt_on_error) {
        return;
    }
    isan__log_close();
    isan__report(false);
    signal(SIGABRT, SIG_DFL);
    abort();
}

static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
static struct sigaction previous_actions[NSIG];

static void
record_crash(int signal, siginfo_t *info, void *ucontext)
{
    isan__lock_state.crashing = 1;
    struct isan_rec_crash *r = isan__log_reserve(sizeof *r);
    if (r != NULL) {
        r->signal = signal;
        r->code = info->si_code;
        r->address = (uint64_t)info->si_addr;
        r->tid = isan__tid();
        r->current = isan__interp_of(isan__slot)->serial;
        isan__log_publish(r, ISAN_REC_CRASH);
        r->stack = isan__record_stack(ucontext);
        if (signal == SIGABRT) {
            isan__gilstate_end_aborted(r->stack);
        }
#ifdef __x86_64__
        if (signal == SIGSEGV) {
            isan__gilstate_check_crash(r->address, (uint64_t)((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RIP], r->stack);
        }
#endif
    }
    isan__scan_immortals("the crash");
    isan__report(true);
}

/* An alternate stack may have room for little more than what the kernel puts there (MINSIGSTKSZ of
 * sigaltstack(2)), and nothing may be below it.  So a crash is recorded on a stack of isan's. */
enum { CRASH_STACK = 1 << 18, CRASH_STACK_END = 4096 };     /* zeros at its end: no frame follows */
static char *crash_stack;

static void
record_crash_on_own_stack(int signal, siginfo_t *info, void *ucontext)
{
    static int used;
#ifdef __x86_64__
    if (crash_stack != NULL && !__atomic_exchange_n(&used, 1, __ATOMIC_ACQUIRE)) {
        __asm__ volatile("movq %%rsp, %%rbx\n\tmovq %3, %%rsp\n\tcall *%4\n\tmovq %%rbx, %%rsp"
                         : "+D"(signal), "+S"(info), "+d"(ucontext)
                         : "r"(crash_stack + CRASH_STACK - CRASH_STACK_END), "r"(record_crash)
                         : "rax", "rbx", "rcx", "r8", "r9", "r10", "r11", "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3",
                           "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
                           "xmm15");
        __atomic_store_n(&used, 0, __ATOMIC_RELEASE);
        return;
    }
#endif
    record_crash(signal, info, ucontext);
}

/* The handler of fatal signals.  It has SA_RESETHAND, so a fault in here is final.  After it
 * returns, the instruction runs again with the program's own disposition.  All other signals are
 * blocked: a handler of theirs would take the alternate stack for unused. */
static void
crashed(int signal, siginfo_t *info, void *ucontext)
{
    record_crash_on_own_stack(signal, info, ucontext);
    sigaction(signal, &previous_actions[signal], NULL);
    if (info->si_code <= 0) {               /* the signal was sent: no instruction repeats it */
        raise(signal);
    }
}

static void
before_fork(void)
{
    isan__locks_fork(ISAN__FORK_BEFORE);
}

static void
after_fork(void)
{
    isan__locks_fork(ISAN__FORK_PARENT);
}

static void
forked(void)
{
    isan__locks_fork(ISAN__FORK_CHILD);
    isan__os_forked();
    isan__log_forked();
    isan__publish_forked(0);
}

/* Was Python built with isan/refcount.h?  Then the module that has the runtime has an isan__hooks of
 * its own.  So may have a host of a stock Python, which is built with that header itself. */
static bool
instrumented(void)
{
    Dl_info python, theirs;
    void *module = dladdr(isan__py.runtime, &python) != 0 ? dlopen(python.dli_fname, RTLD_LAZY | RTLD_NOLOAD) : NULL;
    const void *hooks = dlsym(module != NULL ? module : RTLD_DEFAULT, "isan__hooks");   /* NULL: the executable */
    if (module != NULL) {
        dlclose(module);
    }
    return hooks != NULL && dladdr(hooks, &theirs) != 0 && theirs.dli_fbase == python.dli_fbase;
}

/* Keeps isan out of the programs that this process executes. */
static void
leave_children(void)
{
    const char *given = getenv("LD_PRELOAD");
    char kept[4096], *to = kept;
    if (given == NULL || strlen(given) >= sizeof kept) {
        return;
    }
    while (*given != 0) {                   /* a list, with spaces or colons (ld.so(8)) */
        size_t n = strcspn(given, " :");
        const char *name = given + n;
        while (name > given && name[-1] != '/') {
            name--;
        }
        if (n > 0 && strncmp(name, "libisan.so", 10) != 0) {
            to = mempcpy(to, given, n);
            *to++ = ':';
        }
        given += n + (given[n] != 0);
    }
    *to = 0;
    if (to == kept) {
        unsetenv("LD_PRELOAD");
    }
    else {
        to[-1] = 0;
        setenv("LD_PRELOAD", kept, 1);
    }
}

static void
stop_recording(void)
{
    isan__recording = false;
}

static void
ignore_timers_at_end(isan__slot_t slot)
{
    (void)slot;
    /* Python itself ends (Python/pylifecycle.c, Py_FinalizeEx).  A filter may kill for getitimer(). */
    if (!isan__initialized() && !isan__has_syscall_filter()) {
        isan__ignore_periodic_timers();
    }
}

static void
scan_immortals_at_end(isan__slot_t slot)
{
    isan__scan_immortals("the end of interpreter %lld", (long long)isan__interp_of(slot)->id);
}

static void
scan_statics_at_end(isan__slot_t slot)
{
    (void)slot;
    isan__scan_statics();
}

/* Closes the log and reports.  Returns the exit status.  If another thread does that now, as when
 * main() returns and a thread calls _exit(), this waits for it, and the report counts for both. */
static int
end_with(int status)
{
    static pid_t reporting;                 /* a forked child has its own end */
    static int reported;
    const struct timespec pause = { .tv_nsec = 2000000 };
    const pid_t self = getpid();
    bool is_second = __atomic_exchange_n(&reporting, self, __ATOMIC_ACQ_REL) == self;
    if (!is_second) {
        isan__log_close();
        reported = isan__report_at_end();
        __atomic_store_n(&reporting, 0, __ATOMIC_RELEASE);
    }
    for (long n = 0; is_second && __atomic_load_n(&reporting, __ATOMIC_ACQUIRE) == self
                     && n < (isan__options.report_timeout + 20) * 500; n++) {
        nanosleep(&pause, NULL);
    }
    return reported == 86 && isan__options.exitcode != 0 ? (int)isan__options.exitcode : status;
}

/* A signal handler may be here, so this scans nothing.  execve() may fail, so the log stays open. */
static void
end_at_once(int *status)
{
    if (!isan__log_is_own()) {
        return;
    }
    if (status != NULL) {
        *status = end_with(*status);
    }
    else {
        isan__report(false);
    }
}

/* quick_exit() calls its handlers in reverse order, then glibc's internal _exit(), which
 * hooks/exit.c does not see. */
static void
end_quickly(void)
{
    enum { UNCHANGED = -1 };
    int status = UNCHANGED;
    end_at_once(&status);
    if (status != UNCHANGED) {
        _exit(status);
    }
}

/* There is a Python in this process. */
static void
begin(void)
{
    isan__options_init();
    isan__reporter_init();
    if (!isan__python_init()) {
        return;
    }
    isan__tsan_init();
    isan__race_tsan_init();
    isan__shadow_init();
    isan__interps_init();
    isan__block_init();
    isan__stock = !instrumented();
    isan__on_check_failed = stop_recording;
    isan__log_open();
    if (!isan__options.follow_children) {
        leave_children();
    }
    record_process();
    pthread_atfork(before_fork, after_fork, forked);
    (void)at_quick_exit(end_quickly);
    if (isan__options.handle_crash) {
        crash_stack = isan__map(CRASH_STACK);
        for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
            struct sigaction action = { 0 };
            action.sa_sigaction = crashed;
            sigfillset(&action.sa_mask);
            action.sa_flags = SA_SIGINFO | SA_RESETHAND | SA_ONSTACK;
            sigaction(fatal[i], &action, &previous_actions[fatal[i]]);
        }
    }
    isan__query_init();
    isan__module_init();
    isan__immortals_init();
    isan__race_stores_init();
    active = true;
    isan__hooks = &isan__hook_table;
    if (isan__stock) {
        isan__stock_begin();
    }
    isan__boundary_wrap_modules(NULL);
}

/* A host has loaded a plug-in, which may have loaded Python, or Python has loaded an extension. */
static void
module_loaded(void *handle)
{
    if (allowed && isan__python_in(handle)) {
        allowed = false;
        begin();
    }
    else if (active) {
        struct link_map *map;
        if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0) {
            isan__boundary_wrap_modules(map);
            isan__sync_thread_state(true);
            isan__scan_immortals("the import of %s in interpreter %lld", isan__file_name(map->l_name),
                                 (long long)isan__interp_of(isan__slot)->id);
            isan__race_stores_module_loaded(map->l_addr);
            isan__import_module(map->l_addr);
            if (isan__tsan) {
                isan__race_tsan_check_module(handle, map);
            }
        }
    }
}

/* The order of all that happens because of an event. */
static void
subscribe(void)
{
    isan__subscribe_module_loaded(module_loaded);

    isan__subscribe_interp_begins(isan__alloc_interp_begins);

    isan__subscribe_interp_about_to_finalize(ignore_timers_at_end);
    isan__subscribe_interp_about_to_finalize(isan__reftrace_interp_finalizes);
    isan__subscribe_interp_about_to_finalize(scan_immortals_at_end);
    isan__subscribe_interp_finalizes(scan_statics_at_end);      /* while it lives */
    isan__subscribe_interp_finalizes(isan__survey_traverse);

    isan__subscribe_interp_ends(isan__forget_imports);
    isan__subscribe_interp_ends(isan__race_stores_interp_ended);
    isan__subscribe_interp_ends(isan__report_leaks);
    isan__subscribe_interp_ends(isan__survey_interp_ended);     /* after the leaks, which use it */
    isan__subscribe_interp_unused(isan__arenas_of_ended);

    isan__subscribe_tstate_attached(isan__gilstate_attached);
    isan__subscribe_thread_synced(isan__reftrace_install);
    isan__subscribe_thread_entered(isan__imports_ran_on_thread);
    isan__subscribe_thread_entered(isan__race_tsan_thread_entered);
    isan__subscribe_thread_changed(isan__imports_new_thread);

    isan__subscribe_noted_block_freed(isan__gilstate_block_freed);
    isan__subscribe_noted_block_freed(isan__transfer_block_freed);
    isan__subscribe_noted_block_moved(isan__transfer_block_moved);

    isan__subscribe_module_imported(isan__immortal_add_suspects);
    isan__subscribe_module_imported(isan__race_stores_module_imported);
    isan__subscribe_module_imported(isan__scan_imported_statics);   /* last, as a finding may end the process */

    isan__subscribe_finding_published(isan__findings_changed);
    isan__subscribe_finding_made(halt_if_requested);

    isan__subscribe_process_ends(end_at_once);

    isan__subscribe_forked(isan__modules_forked);
    isan__subscribe_forked(isan__findings_forked);
    isan__subscribe_forked(isan__immortals_forked);
    isan__subscribe_forked(isan__threads_forked);
    isan__subscribe_forked(isan__race_stores_forked);
    isan__subscribe_forked(isan__callbacks_forked);
}

__attribute__((constructor)) static void
start(void)
{
    /* ld.so ignores LD_PRELOAD for set-user-ID programs unless the library is
     * in a trusted directory; so does isan (getauxval(3), AT_SECURE). */
    allowed = getauxval(AT_SECURE) == 0;
    subscribe();
    if (allowed && isan__python_in(RTLD_DEFAULT)) {
        allowed = false;                    /* once is enough */
        begin();
    }
}

/* Runs after the destructors of all libraries: see prepare_end(). */
static void
end(int status, void *unused)
{
    (void)unused;
    int changed = end_with(status);
    if (changed != status) {
        exit(changed);                      /* which does the rest of what exit() does (stdlib/exit.c) */
    }
}

/* exit() calls the destructors of all libraries in one of its handlers, _dl_fini().  After it, exit()
 * calls the handlers that were registered meanwhile. */
__attribute__((destructor)) static void
prepare_end(void)
{
    allowed = false;
    if (!active || !isan__recording) {
        return;
    }
    active = false;
    isan__scan_immortals("the end of the process");
    if (isan__options.leaks_at_exit && isan__main_slot != 0 && !isan__initialized()) {
        isan__main_end(isan__main_slot);
    }
    if (isan__tables_dropped() != 0) {
        isan__log_note("isan ran out of memory for %llu entries of its tables: findings may be repeated, or lack what "
                       "names them", (unsigned long long)isan__tables_dropped());
    }
    if (on_exit(end, NULL) != 0) {
        end(0, NULL);
    }
}
