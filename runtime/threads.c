/* The threads that have run an interpreter, and their own memory: what their
 * thread-local variables hold.
 *
 * No other thread can be asked, so each leaves its pointer here when it first
 * attaches a thread state.  What is there is x86-64 glibc's: the thread's
 * pointer is to a tcbhead_t (sysdeps/x86_64/nptl/tls.h), which begins with a
 * pointer to itself and one to the thread's dtv, the table of where it has the
 * TLS block of each module (sysdeps/generic/dl-dtv.h); nptl_db relies on it,
 * too.  A block that a thread has of a module that was unloaded meanwhile may
 * be taken for that of the module that got its number.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/internal.h"

enum { MAX_THREADS = 4096 };
#define CLAIMED 0xffffffffu                 /* `pointer` is about to be stored */

static struct {
    uint32_t tid;                           /* 0: free */
    uintptr_t pointer;
    uint32_t maker, made_at;                /* serial of an interpreter, stack */
} threads[MAX_THREADS];
static uint32_t highest;                    /* threads[highest] and up were never used */

bool
isan__thread_lives(uint32_t tid)
{
    return syscall(SYS_tgkill, getpid(), tid, 0) == 0;
}

static bool
take(uint32_t i, uint32_t from, uintptr_t pointer, uint32_t tid)
{
    if (!__atomic_compare_exchange_n(&threads[i].tid, &from, CLAIMED, false,
                                     __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        return false;
    }
    __atomic_store_n(&threads[i].pointer, pointer, __ATOMIC_RELAXED);
    threads[i].maker = isan__self.creator_serial;
    threads[i].made_at = isan__self.creator_stack;
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
            isan__imports_new_thread(pointer);
        }
    }
}

static void
remember(uintptr_t pointer)
{
    uint32_t tid = isan__tid(), n = __atomic_load_n(&highest, __ATOMIC_ACQUIRE);
    /* One whose pointer was the same has ended: glibc uses its stack again. */
    for (uint32_t i = 0; i < n; i++) {
        uint32_t before = __atomic_load_n(&threads[i].tid, __ATOMIC_RELAXED);
        if (before != 0 && threads[i].pointer == pointer && take(i, before, pointer, tid)) {
            return;
        }
    }
    for (int again = 0; again < 2; again++) {
        for (uint32_t i = 0; i < MAX_THREADS; i++) {
            if (__atomic_load_n(&threads[i].tid, __ATOMIC_RELAXED) == 0 && take(i, 0, pointer, tid)) {
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

static uintptr_t
own_pointer(void)
{
    uintptr_t pointer = 0;
#ifdef __x86_64__
    __asm__("movq %%fs:0, %0" : "=r"(pointer));
#endif
    return pointer;
}

void
isan__thread_note_interp(uint32_t serial)
{
    uintptr_t pointer = own_pointer();
    if (pointer == 0 || serial == 0) {
        return;
    }
    if (!isan__self.registered) {
        isan__self.registered = 1;
        isan__imports_new_thread(pointer);
        remember(pointer);
    }
    isan__imports_ran_on_thread(pointer, serial);
}

/* In the child, which has no other. */
void
isan__threads_forked(void)
{
    memset(threads, 0, sizeof threads);
    highest = 0;
    if (isan__self.registered) {
        remember(own_pointer());
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
isan__thread_creator(uint32_t tid, uint32_t *by)
{
    uint32_t n = __atomic_load_n(&highest, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < n; i++) {
        if (__atomic_load_n(&threads[i].tid, __ATOMIC_ACQUIRE) == tid) {
            *by = threads[i].maker;
            return threads[i].made_at;
        }
    }
    *by = 0;
    return 0;
}

const char *
isan__tls_block(uintptr_t pointer, size_t module)
{
    struct { uintptr_t self; const char *dtv; } tcb;
    size_t last;                            /* dtv[-1]: how many there are */
    const char *block;
    if (!isan__peek(&tcb, (void *)pointer, sizeof tcb) || tcb.self != pointer
        || !isan__peek(&last, tcb.dtv - 16, sizeof last) || module > last
        || !isan__peek(&block, tcb.dtv + 16 * module, sizeof block)
        || (intptr_t)block == -1) {         /* TLS_DTV_UNALLOCATED */
        return NULL;
    }
    return block;
}
