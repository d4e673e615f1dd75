/* Hardware breakpoints on the counts of immortal objects.  The option `immortal` names up to four
 * objects, as many as a processor has debug registers; the kernel stops each thread that writes
 * there (perf_event_open(2), PERF_TYPE_BREAKPOINT, sigtrap; Linux 5.13).
 *
 * The signal arrives right after the instruction, in the thread that executed it.  The runtime
 * itself may have written: before 3.14 it counts references to an object with a changed count like
 * those to any other object, and so undoes what an extension did.
 */
#define _GNU_SOURCE
#include "runtime/detect/immortal_watch.h"

#include <errno.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "runtime/base/table.h"
#include "runtime/core/attach.h"
#include "runtime/core/finding.h"
#include "runtime/core/origin.h"
#include "runtime/core/thread_registry.h"
#include "runtime/cpython/immortal_count.h"
#include "runtime/detect/immortal_finding.h"

enum { MAX_WATCHED = 4, MAX_THREADS = 256, MAX_STOPS = 1000, PERF_TRAP = 6 /* TRAP_PERF */ };

static struct watched {
    const char *op;
    char name[128];
    int64_t by;                             /* the difference of its count, as last seen */
    uint32_t finding;                       /* 0: none yet */
    int stops;                              /* since the last comparison */
    int n, fd[MAX_THREADS];
} watched[MAX_WATCHED];
static int n_watched;
/* Object and instruction -> its record.  Without an entry a write is reported again. */
static struct isan__table by_place = ISAN__TABLE;
static struct sigaction handler_before;

static void
control_events(struct watched *w, unsigned long request)
{
    for (int i = 0; i < w->n; i++) {
        ioctl(w->fd[i], request, 0);
    }
}

/* May Py_INCREF or Py_DECREF of this release have made the change?  They do count references to an
 * immortal object with a low count. */
static bool
is_maybe_healthy(int64_t was, int64_t by)
{
    return (by == 1 && isan__immortal_counted(was, true)) || (by == -1 && isan__immortal_counted(was, false));
}

static void
report_write(struct watched *w, int64_t was, int64_t by, ucontext_t *at)
{
    greg_t *rip = &at->uc_mcontext.gregs[REG_RIP], pc = *rip;
    struct { uint64_t op, pc; } key = { (uint64_t)w->op, (uint64_t)pc };
    uint64_t hash = isan__table_key(ISAN__KEY_IMMORTAL_WRITE, &key, sizeof key);
    struct isan_rec_place *record = (void *)isan__table_get(&by_place, hash);
    if ((record == NULL && is_maybe_healthy(was, by)) || isan__ignores()) {
        return;
    }
    if (record == NULL) {
        struct isan_rec_place place = { .role = ISAN__PLACE_changed, .tid = isan__tid() };
        isan__sync_thread_state(true);
        *rip = pc - 1;                      /* in the instruction that wrote, not the next one */
        place.stack = isan__record_stack(at);
        *rip = pc;
        place.interp = isan__interp_of(isan__slot)->serial;
        place.finding = isan__report_immortal(w->op, 0, w->name, place.stack);
        w->finding = w->finding ? w->finding : place.finding;
        record = isan__finding_add_place(&place, w->name);
        if (record != NULL) {
            isan__table_put_or_drop(&by_place, hash, (uint64_t)record);
        }
    }
    if (record != NULL) {
        __atomic_add_fetch(&record->amount, by, __ATOMIC_RELAXED);
    }
    isan__publish_finding_made(w->finding);
}

static void
handle_trap(int signal, siginfo_t *info, void *ucontext)
{
    int saved = errno;
    struct watched *w = NULL;
    for (int i = 0; i < n_watched && info->si_code == PERF_TRAP; i++) {
        if (info->si_addr == watched[i].op) {
            w = &watched[i];
        }
    }
    if (w == NULL) {                        /* not isan's */
        sigaction(signal, &handler_before, NULL);
        raise(signal);
        return;
    }
    /* Another thread may have changed the count since. */
    ucontext_t *at = ucontext;
    const char *pc = (const char *)at->uc_mcontext.gregs[REG_RIP];
    int64_t now = isan__immortal_difference(w->op);
    int64_t was = __atomic_exchange_n(&w->by, now, __ATOMIC_RELAXED);
    if (now != was && isan__lock_state.held == 0 && !isan__runtime_runs(pc - 1)) {
        report_write(w, was, now - was, at);
    }
    if (__atomic_add_fetch(&w->stops, 1, __ATOMIC_RELAXED) == MAX_STOPS) {
        control_events(w, PERF_EVENT_IOC_DISABLE);      /* until the next comparison */
    }
    errno = saved;
}

static void
watch_on_thread(uint32_t tid, uintptr_t pointer, void *failed)
{
    (void)pointer;
    for (int i = 0; i < n_watched; i++) {
        struct watched *w = &watched[i];
        struct perf_event_attr attr = {
            .type = PERF_TYPE_BREAKPOINT, .size = sizeof attr, .sample_period = 1,
            .bp_type = HW_BREAKPOINT_W, .bp_addr = (uint64_t)w->op, .bp_len = HW_BREAKPOINT_LEN_4,
            .exclude_kernel = 1, .exclude_hv = 1, .sigtrap = 1, .remove_on_exec = 1,
            .inherit = 1, .inherit_thread = 1,      /* for the threads that this one creates */
        };
        int fd = w->n < MAX_THREADS
            ? (int)syscall(SYS_perf_event_open, &attr, (pid_t)tid, -1, -1, PERF_FLAG_FD_CLOEXEC) : -1;
        if (fd >= 0) {
            w->fd[w->n++] = fd;
        }
        else if (errno != ESRCH) {
            *(int *)failed = errno;
        }
    }
}

bool
isan__immortal_watch_wanted(const char *name)
{
    size_t n = strlen(name);
    for (const char *p = isan__options.immortal; *p != 0;) {
        size_t size = strcspn(p, ",");
        if (size == n && strncmp(p, name, n) == 0) {
            return true;
        }
        p += size + (p[size] != 0);
    }
    return false;
}

void
isan__immortal_watch_add(const char *op, const char *name)
{
    if (n_watched < MAX_WATCHED) {
        struct watched *w = &watched[n_watched++];
        w->op = op;
        snprintf(w->name, sizeof w->name, "%s", name);
    }
}

void
isan__immortal_watch_begin(void)
{
    struct sigaction action = { .sa_sigaction = handle_trap, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK };
    int failed = 0;
    if (n_watched == 0) {
        isan__say("immortal=%s: there is no such object; give names as a finding has them", isan__options.immortal);
        return;
    }
    sigaction(SIGTRAP, &action, &handler_before);
    isan__visit_threads(watch_on_thread, &failed);
    if (failed != 0) {
        isan__say("immortal=%s: the kernel does not let isan watch memory (%s): be root, have "
                  "kernel.perf_event_paranoid at most 2 (sysctl), and Linux 5.13 or newer outside a container that forbids "
                  "perf_event_open", isan__options.immortal, strerrorname_np(failed));
    }
}

void
isan__immortal_watch_resume(void)
{
    for (int i = 0; i < n_watched; i++) {
        struct watched *w = &watched[i];
        __atomic_store_n(&w->by, isan__immortal_difference(w->op), __ATOMIC_RELAXED);
        if (__atomic_exchange_n(&w->stops, 0, __ATOMIC_RELAXED) >= MAX_STOPS) {
            control_events(w, PERF_EVENT_IOC_ENABLE);
        }
    }
}

uint32_t
isan__immortal_watch_finding(const char *op)
{
    for (int i = 0; i < n_watched; i++) {
        if (watched[i].op == op) {
            return watched[i].finding;
        }
    }
    return 0;
}

/* The events belong to the parent's threads. */
void
isan__immortal_watch_forked(void)
{
    for (int i = 0; i < n_watched; i++) {
        struct watched *w = &watched[i];
        while (w->n > 0) {
            close(w->fd[--w->n]);
        }
        w->finding = 0;
    }
    isan__table_clear(&by_place);
    n_watched = 0;
}
