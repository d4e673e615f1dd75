/* The threads that have run an interpreter.
 *
 * A thread cannot find another thread's thread-local variables by itself.  So each thread enters
 * its thread pointer here when it first attaches a thread state.
 */
#include "runtime/core/thread_registry.h"

#include "runtime/base/os.h"
#include "runtime/core/log.h"
#include "runtime/core/thread.h"
#include "runtime/elf/tls.h"

enum { MAX_THREADS = 4096 };
#define CLAIMED 0xffffffffu                 /* `pointer` is about to be stored */

static struct {
    uint32_t tid;                           /* 0: free */
    uintptr_t pointer;
    uint32_t creator, creator_stack;        /* serial of the interpreter that created it, stack */
} threads[MAX_THREADS];
static uint32_t highest;                    /* threads[highest] and up were never used */

static bool
take_entry(uint32_t i, uint32_t from, uintptr_t pointer, uint32_t tid)
{
    if (!__atomic_compare_exchange_n(&threads[i].tid, &from, CLAIMED, false,
                                     __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        return false;
    }
    __atomic_store_n(&threads[i].pointer, pointer, __ATOMIC_RELAXED);
    threads[i].creator = isan__self.creator_serial;
    threads[i].creator_stack = isan__self.creator_stack;
    __atomic_store_n(&threads[i].tid, tid, __ATOMIC_RELEASE);
    uint32_t below = __atomic_load_n(&highest, __ATOMIC_RELAXED);
    while (below <= i && !__atomic_compare_exchange_n(&highest, &below, i + 1, false,
                                                     __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
    return true;
}

void
isan__threads_forget_ended(void)
{
    uint32_t n = __atomic_load_n(&highest, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t tid = __atomic_load_n(&threads[i].tid, __ATOMIC_RELAXED);
        uintptr_t pointer = __atomic_load_n(&threads[i].pointer, __ATOMIC_RELAXED);
        if (tid != 0 && tid != CLAIMED && !isan__thread_lives(tid)
            && __atomic_compare_exchange_n(&threads[i].tid, &tid, 0, false,
                                           __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
            isan__publish_thread_changed(pointer);
        }
    }
}

static void
register_thread(uintptr_t pointer)
{
    uint32_t tid = isan__tid(), n = __atomic_load_n(&highest, __ATOMIC_ACQUIRE);
    /* A thread with the same pointer has ended: glibc has reused its stack. */
    for (uint32_t i = 0; i < n; i++) {
        uint32_t before = __atomic_load_n(&threads[i].tid, __ATOMIC_RELAXED);
        if (before != 0 && threads[i].pointer == pointer && take_entry(i, before, pointer, tid)) {
            return;
        }
    }
    for (int again = 0; again < 2; again++) {
        for (uint32_t i = 0; i < MAX_THREADS; i++) {
            if (__atomic_load_n(&threads[i].tid, __ATOMIC_RELAXED) == 0 && take_entry(i, 0, pointer, tid)) {
                return;
            }
        }
        isan__threads_forget_ended();
    }
    static bool said;
    if (!said) {
        said = true;
        isan__log_note("more than %d threads: what the thread-local variables of the others hold "
                       "is not looked at", MAX_THREADS);
    }
}

void
isan__thread_note_interp(uint32_t serial)
{
    uintptr_t pointer = isan__thread_pointer();
    if (pointer == 0 || serial == 0) {
        return;
    }
    if (!isan__self.registered) {
        isan__self.registered = 1;
        isan__publish_thread_changed(pointer);
        register_thread(pointer);
    }
    isan__publish_thread_entered(serial);
}

/* This thread is the only one of the child. */
void
isan__threads_forked(int unused)
{
    (void)unused;
    memset(threads, 0, sizeof threads);
    highest = 0;
    if (isan__self.registered) {
        register_thread(isan__thread_pointer());
    }
}

void
isan__visit_threads(void (*visit)(uint32_t tid, uintptr_t pointer, void *arg), void *arg)
{
    uint32_t n = __atomic_load_n(&highest, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t tid = __atomic_load_n(&threads[i].tid, __ATOMIC_ACQUIRE);
        uintptr_t pointer = __atomic_load_n(&threads[i].pointer, __ATOMIC_RELAXED);
        if (tid != 0 && tid != CLAIMED) {
            visit(tid, pointer, arg);
        }
    }
}

uint32_t
isan__thread_creator(uint32_t tid, uint32_t *creator)
{
    uint32_t n = __atomic_load_n(&highest, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < n; i++) {
        if (__atomic_load_n(&threads[i].tid, __ATOMIC_ACQUIRE) == tid) {
            *creator = threads[i].creator;
            return threads[i].creator_stack;
        }
    }
    *creator = 0;
    return 0;
}
