/* Memory, messages, time and threads: what replaces the C library where it may
 * not be called (os.h). */
#define _GNU_SOURCE
#include "runtime/base/os.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* isan's memory is next to the owner tags (core/shadow.c), where nothing else is mapped.  So a
 * test can tell it from the program's memory (tests/bench/soak.py).  If the place is taken, the
 * kernel chooses another one. */
#define REGION_SIZE (1ull << 44)
#define REGION      (0x350000000000ull - REGION_SIZE)

bool (*isan__is_known_memory)(const char *from, size_t size);

/* System calls: the functions may be ThreadSanitizer's own, which take locks. */
void *
isan__map(size_t size)
{
    static uint64_t next;
    uint64_t pages = (size + ISAN__PAGE - 1) & ~(uint64_t)(ISAN__PAGE - 1);
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

bool
isan__grow(void *array, size_t *room, size_t first, size_t size)
{
    void *before, *after = isan__map((*room != 0 ? 2 * *room : first) * size);
    if (after == NULL) {
        return false;
    }
    memcpy(&before, array, sizeof before);
    if (*room != 0) {
        memcpy(after, before, *room * size);
    }
    isan__unmap(before, *room * size);
    memcpy(array, &after, sizeof after);
    *room = *room != 0 ? 2 * *room : first;
    return true;
}

static void
write_line(const char *format, va_list args)
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
    write_line(format, args);
    va_end(args);
}

void
isan__die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    write_line(format, args);
    va_end(args);
    _exit(2);
}

/* --- reading memory that may be gone -------------------------------------------------- */

static pid_t own_pid;                       /* 0: this process has not asked yet */

/* Has the process a filter of system calls?  A call that the filter does not allow may be
 * fatal.  Filters of services do not allow process_vm_readv (systemd.exec(5),
 * SystemCallFilter=@system-service).  Some programs install their filter late. */
bool
isan__has_syscall_filter(void)
{
    static bool has;
    if (!has && syscall(SYS_prctl, PR_GET_SECCOMP, 0L, 0L, 0L, 0L) != 0) {
        has = true;
    }
    return has;
}

/* Every program may call rt_sigprocmask(2).  It copies the set before it looks at
 * the operation.  There is no operation -1, so it fails with EINVAL if the set could
 * be read (kernel/signal.c).  Another thread may unmap the memory right after. */
static bool
is_readable(const char *from, size_t size)
{
    enum { NO_OPERATION = -1, SET = 8 };
    uintptr_t end = (uintptr_t)from + size;
    for (uintptr_t at = (uintptr_t)from & -(uintptr_t)SET; at < end;
         at = (at & -(uintptr_t)ISAN__PAGE) + ISAN__PAGE) {
        if (syscall(SYS_rt_sigprocmask, (long)NO_OPERATION, at, NULL, (long)SET) == 0 || errno != EINVAL) {
            return false;
        }
    }
    return true;
}

/* process_vm_readv(2) on the own process reports EFAULT where a load would be fatal. */
static bool
copy_if_readable(void *to, const void *from, size_t size)
{
    if (own_pid == 0) {
        own_pid = getpid();
    }
    struct iovec local = { to, size }, remote = { (void *)from, size };
    if (!isan__has_syscall_filter()) {
        ssize_t n = syscall(SYS_process_vm_readv, own_pid, &local, 1L, &remote, 1L, 0L);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM)) {
            return n == (ssize_t)size;
        }
    }
    bool readable = is_readable(from, size);
    if (readable) {
        memcpy(to, from, size);
    }
    return readable;
}

bool
isan__peek(void *to, const void *from, size_t size)
{
    if (isan__is_known_memory != NULL && isan__is_known_memory(from, size)) {
        memcpy(to, from, size);
        return true;
    }
    int error = errno;
    bool copied = copy_if_readable(to, from, size);
    errno = error;
    return copied;
}

bool
isan__peek_string(char *to, const char *from, size_t size)
{
    size_t n = 0;
    while (n < size - 1) {
        /* A chunk stays within its page, so that only a string that runs into an
         * unmapped page fails. */
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

/* --- time and threads ------------------------------------------------------------------ */

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

bool
isan__thread_lives(uint32_t tid)
{
    return syscall(SYS_tgkill, getpid(), tid, 0) == 0;
}

void
isan__os_forked(void)
{
    own_pid = 0;
}
