/* What replaces libc where libc may not be used: see internal.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "runtime/owner.h"

/* isan's memory is asked for next to the owner tags, where nothing else goes:
 * so it can be told from the program's (tests/bench/soak.py).  The kernel takes
 * another place if that one is taken. */
#define REGION      (ISAN__SHADOW - REGION_SIZE)
#define REGION_SIZE (1ull << 44)
#define PAGE 4096u

/* System calls: the functions may be ThreadSanitizer's own, which take locks. */
void *
isan__map(size_t size)
{
    static uint64_t next;
    uint64_t pages = (size + 4095) & ~(uint64_t)4095;
    uint64_t at = __atomic_fetch_add(&next, pages, __ATOMIC_RELAXED) & (REGION_SIZE - 1);
    void *p = (void *)syscall(SYS_mmap, REGION + at, size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void
isan__unmap(void *p, size_t size)
{
    if (p != NULL) {
        syscall(SYS_munmap, p, size);
    }
}

static void
say(const char *format, va_list args)
{
    char line[1024] = "isan: ";
    size_t n = strlen(line);
    vsnprintf(line + n, sizeof line - n - 1, format, args);
    n = strlen(line);
    line[n++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, n);
    (void)ignored;
}

void
isan__say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
}

void
isan__die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
    _exit(2);
}

static pid_t pid;                           /* 0: this process has not asked yet */

/* A system call takes as long as a hundred looks at a tag.  Raw memory may be
 * given back by any thread. */
static bool
within_sound_block(const char *from, size_t size)
{
    if (isan__main_slot == 0 || (uintptr_t)from < PAGE || (uintptr_t)from >> 47 != 0) {
        return false;
    }
    const char *block = isan__block_of(from);
    uint32_t word = block ? isan__load(block) : 0;
    return block != NULL && !(word & ISAN__RAW) && isan__sound((isan__slot_t)word)
        && (size_t)(from - block) + size <= isan__block_size(block);
}

/* Has the process a filter of system calls?  What it does not allow may be fatal,
 * and those of services (systemd.exec(5), SystemCallFilter=@system-service) have
 * no process_vm_readv.  Some install theirs late. */
static bool
filtered(void)
{
    static bool is;
    if (!is && syscall(SYS_prctl, PR_GET_SECCOMP, 0L, 0L, 0L, 0L) != 0) {
        is = true;
    }
    return is;
}

/* rt_sigprocmask(2), which every program may call, copies the set before it looks
 * at what to do with it: that is nothing, and EINVAL (kernel/signal.c).  Another
 * thread may unmap the memory right after. */
static bool
readable(const char *from, size_t size)
{
    enum { NOTHING = -1, SET = 8 };
    uintptr_t end = (uintptr_t)from + size;
    for (uintptr_t at = (uintptr_t)from & -(uintptr_t)SET; at < end; at = (at & -(uintptr_t)PAGE) + PAGE) {
        if (syscall(SYS_rt_sigprocmask, (long)NOTHING, at, NULL, (long)SET) == 0 || errno != EINVAL) {
            return false;
        }
    }
    return true;
}

static bool
copy_readable(void *to, const void *from, size_t size)
{
    if (pid == 0) {
        pid = getpid();
    }
    struct iovec local = { to, size }, remote = { (void *)from, size };
    if (!filtered()) {
        ssize_t n = syscall(SYS_process_vm_readv, pid, &local, 1L, &remote, 1L, 0L);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM)) {
            return n == (ssize_t)size;
        }
    }
    bool can = readable(from, size);
    if (can) {
        memcpy(to, from, size);
    }
    return can;
}

/* process_vm_readv(2) on oneself reports EFAULT where a load would be fatal.  The
 * program's errno stays: this is called in its malloc and free. */
bool
isan__peek(void *to, const void *from, size_t size)
{
    /* CPython's static types and the like, which are asked for most. */
    if ((uintptr_t)from - (uintptr_t)isan__py.data < isan__py.data_size
        && size <= isan__py.data_size - ((uintptr_t)from - (uintptr_t)isan__py.data)) {
        memcpy(to, from, size);
        return true;
    }
    if (within_sound_block(from, size)) {
        memcpy(to, from, size);
        return true;
    }
    int error = errno;
    bool copied = copy_readable(to, from, size);
    errno = error;
    return copied;
}

bool
isan__peek_string(char *to, const char *from, size_t size)
{
    size_t n = 0;
    while (n < size - 1) {
        /* A chunk that stays within its page, so that only a string that
         * runs into an unmapped page fails. */
        size_t chunk = 64 - ((uintptr_t)(from + n) & 63);
        if (chunk > size - 1 - n) {
            chunk = size - 1 - n;
        }
        if (!isan__peek(to + n, from + n, chunk)) {
            return false;
        }
        if (memchr(to + n, 0, chunk) != NULL) {
            return true;
        }
        n += chunk;
    }
    to[n] = 0;
    return true;
}

/* FNV-1a by 8 bytes with a finaliser: the keys are small and not hostile. */
uint64_t
isan__hash(const void *data, size_t size, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t h = seed ^ 0xcbf29ce484222325u;
    while (size >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
        p += 8, size -= 8;
    }
    while (size-- > 0) {
        h = (h ^ *p++) * 0x100000001b3u;
    }
    h ^= h >> 32;
    return h;
}

uint64_t
isan__now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint32_t
isan__tid(void)
{
    return (uint32_t)syscall(SYS_gettid);
}

/* A fork waits until no lock is held, and until it is done none is taken, so
 * that the child finds what they guard whole.  Who has one may take another. */
static int locked, forking;

static void
enter(void)
{
    while (isan__self.locks == 0) {
        __atomic_add_fetch(&locked, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&forking, __ATOMIC_SEQ_CST) == 0) {
            break;
        }
        __atomic_sub_fetch(&locked, 1, __ATOMIC_SEQ_CST);
        sched_yield();
    }
    isan__self.locks++;
}

void
isan__locks_fork(enum isan__fork when)
{
    switch (when) {
    case ISAN__FORK_BEFORE:
        __atomic_add_fetch(&forking, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&locked, __ATOMIC_SEQ_CST) != 0) {
            sched_yield();
        }
        break;
    case ISAN__FORK_PARENT:
        __atomic_sub_fetch(&forking, 1, __ATOMIC_SEQ_CST);
        break;
    case ISAN__FORK_CHILD:
        locked = forking = 0;
        pid = 0;
    }
}

void
isan__lock(isan__lock_t *lock)
{
    enter();
    int expected = 0;
    if (__atomic_compare_exchange_n(&lock->word, &expected, 1, false,
                                    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        return;
    }
    while (__atomic_exchange_n(&lock->word, 2, __ATOMIC_ACQUIRE) != 0) {
        /* A thread that crashed may hold it itself. */
        struct timespec second = { .tv_sec = 1 };
        if (syscall(SYS_futex, &lock->word, FUTEX_WAIT_PRIVATE, 2,
                    isan__self.crashing ? &second : NULL, NULL, 0) < 0
            && errno == ETIMEDOUT) {
            return;
        }
    }
}

void
isan__unlock(isan__lock_t *lock)
{
    if (__atomic_exchange_n(&lock->word, 0, __ATOMIC_RELEASE) == 2) {
        syscall(SYS_futex, &lock->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    if (--isan__self.locks == 0) {
        __atomic_sub_fetch(&locked, 1, __ATOMIC_SEQ_CST);
    }
}

/* Open addressing, linear probing, at most three quarters full; removal
 * shifts the rest of the run back (Knuth 6.4, algorithm R). */
static size_t
home(const struct isan__table *t, uint64_t key)
{
    return (size_t)(key * 0x9e3779b97f4a7c15u >> 20) & (t->size - 1);
}

static size_t
find(const struct isan__table *t, uint64_t key)
{
    size_t i = home(t, key);
    while (t->slot[i].key != 0 && t->slot[i].key != key) {
        i = (i + 1) & (t->size - 1);
    }
    return i;
}

static bool
grow(struct isan__table *t)
{
    struct isan__table bigger = { .size = t->size ? 2 * t->size : 1024, .used = t->used };
    bigger.slot = isan__map(bigger.size * sizeof *bigger.slot);
    if (bigger.slot == NULL) {
        return false;
    }
    for (size_t i = 0; i < t->size; i++) {
        if (t->slot[i].key != 0) {
            bigger.slot[find(&bigger, t->slot[i].key)] = t->slot[i];
        }
    }
    isan__unmap(t->slot, t->size * sizeof *t->slot);
    t->slot = bigger.slot;
    t->size = bigger.size;
    return true;
}

static inline void
begin(struct isan__table *t)
{
    if (!t->alone) {
        isan__lock(&t->lock);
    }
}

static inline void
done(struct isan__table *t)
{
    if (!t->alone) {
        isan__unlock(&t->lock);
    }
}

uint64_t
isan__table_get(struct isan__table *t, uint64_t key)
{
    begin(t);
    uint64_t value = 0;
    if (t->size != 0) {
        size_t i = find(t, key);
        value = t->slot[i].key ? t->slot[i].value : 0;
    }
    done(t);
    return value;
}

bool
isan__table_put(struct isan__table *t, uint64_t key, uint64_t value)
{
    begin(t);
    bool ok = (t->used + 1) * 4 <= t->size * 3 || grow(t);
    if (ok) {
        size_t i = find(t, key);
        t->used += t->slot[i].key == 0;
        t->slot[i].key = key;
        t->slot[i].value = value;
    }
    done(t);
    return ok;
}

uint64_t
isan__table_take(struct isan__table *t, uint64_t key)
{
    begin(t);
    uint64_t value = 0;
    if (t->size != 0) {
        size_t i = find(t, key);
        if (t->slot[i].key != 0) {
            value = t->slot[i].value;
            t->used--;
            size_t hole = i, mask = t->size - 1;
            for (size_t j = (i + 1) & mask; t->slot[j].key != 0; j = (j + 1) & mask) {
                size_t h = home(t, t->slot[j].key);
                if (((j - h) & mask) >= ((j - hole) & mask)) {
                    t->slot[hole] = t->slot[j];
                    hole = j;
                }
            }
            t->slot[hole].key = 0;
        }
    }
    done(t);
    return value;
}

void
isan__table_clear(struct isan__table *t)
{
    isan__unmap(t->slot, t->size * sizeof *t->slot);
    *t = (struct isan__table){ .alone = t->alone };
}
