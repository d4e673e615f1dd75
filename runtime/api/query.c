/* The functions of include/isan/isan.h that return what isan knows or scan at once, and the scan
 * that the signal of the option `signal` requests. */
#define _GNU_SOURCE
#include "runtime/api/query.h"

#include <limits.h>
#include <signal.h>

#include "isan/isan.h"
#include "runtime/base/options.h"
#include "runtime/core/attach.h"
#include "runtime/core/block.h"
#include "runtime/detect/gc_survey.h"
#include "runtime/detect/immortal.h"
#include "runtime/detect/leak.h"
#include "runtime/detect/static_scan.h"

static struct sigaction previous_action;    /* of that signal */

int
(isan_findings)(void)
{
    uint32_t n = isan__log_findings();
    return !isan__recording ? -1 : n < INT_MAX ? (int)n : INT_MAX;
}

int
(isan_look)(void)
{
    if (isan__recording) {
        isan__sync_thread_state(true);
        isan__scan_statics();
        isan__scan_immortals("a look on demand");
    }
    return (isan_findings)();
}

/* Records what the interpreters under this thread's GIL own, and returns how many
 * blocks that is.  traverse: tp_traverse may be called, as the collector could run here. */
static long long
report_owned(bool traverse)
{
    long long blocks = 0;
    isan__sync_thread_state(true);
    isan__publish_thread_synced(0);
    isan__slot_t here = isan__slot;
    if (!isan__recording || here == 0) {
        return -1;
    }
    for (isan__slot_t slot = 0; (slot = isan__next_live_slot(slot)) != 0;) {
        const struct isan__interp *i = isan__interp_of(slot);
        if (i->finalizing || !isan__share_gil(slot, here)) {
            continue;
        }
        if (traverse) {
            isan__survey_traverse(slot);
        }
        uint32_t n = isan__report_owned(slot);
        isan__survey_forget(slot);
        if (n == UINT32_MAX) {
            return -1;                      /* they cannot be counted */
        }
        blocks += n;
    }
    return blocks;
}

long long
(isan_owned)(void)
{
    return report_owned(true);
}

int
(isan_log)(char *path, size_t size)
{
    const char *name = isan__log_name();
    size_t n = strlen(name);
    if (!isan__recording || n == 0) {
        return -1;
    }
    if (size > 0) {
        size_t copied = n < size ? n : size - 1;
        memcpy(path, name, copied);
        path[copied] = 0;
    }
    return (int)n;
}

long long
(isan_owner)(const void *object)
{
    const char *block = isan__block_of_checked(object);
    if (block == NULL) {
        return -1;
    }
    const struct isan__interp *i = isan__interp_of((isan__slot_t)isan__load_tag(block));
    return i->serial != 0 ? (long long)i->id : -1;
}

/* The signal's handler.  A scan takes locks, so a handler cannot make it.  The next thread that
 * gets to slow_free() in hooks/alloc.c makes it (isan__scan_if_requested()).  This thread gets
 * there with the next block that it frees, as no block has the slot ISAN__NO_INTERP.  Other
 * threads do from their next isan__thread_update_slots() on. */
static void
request_scan(int signal, siginfo_t *info, void *ucontext)
{
    __atomic_store_n(&isan__scan_requested, 1, __ATOMIC_SEQ_CST);
    isan__self.free_slot = ISAN__NO_INTERP;
    if (previous_action.sa_flags & SA_SIGINFO) {
        previous_action.sa_sigaction(signal, info, ucontext);
    }
    else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
        previous_action.sa_handler(signal);
    }
}

/* Takes at most a tenth of the time: signals that come faster are ignored. */
static void
report_owned_sometimes(void)
{
    static uint64_t next;
    uint64_t begin = isan__now(), due = __atomic_load_n(&next, __ATOMIC_RELAXED);
    if (begin >= due && __atomic_compare_exchange_n(&next, &due, UINT64_MAX, false,
                                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        report_owned(false);
        uint64_t end = isan__now();
        __atomic_store_n(&next, end + 9 * (end - begin), __ATOMIC_RELAXED);
    }
}

void
isan__scan_if_requested(void)
{
    if (isan__self.nested || isan__lock_state.held != 0) {
        return;
    }
    if (__atomic_exchange_n(&isan__scan_requested, 0, __ATOMIC_SEQ_CST)) {
        (isan_look)();
        report_owned_sometimes();
    }
    isan__thread_update_slots();
}

void
isan__query_init(void)
{
    struct sigaction action = { 0 };
    action.sa_sigaction = request_scan;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    if (isan__options.signal != 0 && sigaction((int)isan__options.signal, &action, &previous_action) < 0) {
        isan__die("signal=%ld cannot be caught; SIGUSR1 (%d) and SIGUSR2 (%d) are free in most "
                  "programs", isan__options.signal, SIGUSR1, SIGUSR2);
    }
}
