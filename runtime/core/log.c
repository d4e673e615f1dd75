/* Writes the log: see log.h.  base/log_format.h has the format.
 *
 * With a log_path it is a file, mapped once, over a window larger than it will be.  The file gets
 * real blocks (posix_fallocate) ahead of the writers: a store to a hole on a full disk would be
 * SIGBUS.  Without one it is memory, which becomes a file only for the reporter: however the
 * process ends, it leaves no file.
 */
#define _GNU_SOURCE
#include "runtime/core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/base/check.h"
#include "runtime/core/events.h"
#include "runtime/elf/module.h"

#define WINDOW ((size_t)1 << 30)            /* bytes of log at most */
#define STEP   ((size_t)1 << 18)            /* allocated ahead */

bool isan__recording;

static struct {
    int fd;
    dev_t device;                           /* which file it is */
    ino_t inode;
    char *base;
    size_t room;                            /* bytes that have blocks */
    char name[PATH_MAX];
    char parent[1024];
    uint64_t parent_tail;                   /* 0: it was not forked */
} file = { .fd = -1 };
static bool in_memory;
static char temporary[PATH_MAX];            /* the directory of a file for the reporter */
static uint32_t findings;                   /* in it */

static struct isan_log_header *
header(void)
{
    return (struct isan_log_header *)file.base;
}

/* A program may close all descriptors, as daemons do, and open a file of its own under the same
 * number.  isan must not change or close that file. */
static bool
is_log(int fd)
{
    struct stat now;
    return fd >= 0 && fstat(fd, &now) == 0 && now.st_dev == file.device && now.st_ino == file.inode;
}

/* Gives a descriptor a high number.  Programs rely on low numbers: one that closes 0 and opens a
 * file gets 0 (open(2)).  Few programs have as many descriptors as this; the limit may be below
 * it. */
static int
move_descriptor(int fd)
{
    enum { HIGH = 900 };
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, HIGH);
    if (moved >= 0) {
        close(fd);
    }
    return moved >= 0 ? moved : fd;
}

/* False: it was closed, and cannot be opened any more (chroot, setuid). */
static bool
open_again(void)
{
    int closed = __atomic_load_n(&file.fd, __ATOMIC_RELAXED);
    if (is_log(closed)) {
        return true;
    }
    int fd = open(file.name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && !is_log(fd)) {
        close(fd);
        fd = -1;
    }
    fd = fd < 0 ? -1 : move_descriptor(fd);
    if (!__atomic_compare_exchange_n(&file.fd, &closed, fd, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
        && fd >= 0) {
        close(fd);                          /* another thread was first */
    }
    return fd >= 0;
}

/* posix_fallocate raises SIGXFSZ past RLIMIT_FSIZE, so this checks the limit first. */
static bool
extend(size_t room)
{
    struct rlimit limit;
    if (!in_memory && getrlimit(RLIMIT_FSIZE, &limit) == 0
        && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < room) {
        return false;
    }
    return in_memory ? mprotect(file.base, room, PROT_READ | PROT_WRITE) == 0
        : open_again() && posix_fallocate(file.fd, 0, (off_t)room) == 0;
}

/* The program may change its directory later. */
static void
make_absolute(char name[PATH_MAX])
{
    char cwd[PATH_MAX], path[PATH_MAX];
    if (name[0] != '/' && getcwd(cwd, sizeof cwd) != NULL
        && snprintf(path, sizeof path, "%s/%s", cwd, name) < (int)sizeof path) {
        strcpy(name, path);
    }
}

/* Makes the file of a process's log, for this user alone; -1: it cannot be made. */
static int
create(char path[PATH_MAX], const char *directory, const char *hidden, uint32_t pid)
{
    int n = 0;
    do {
        int length = snprintf(path, PATH_MAX, n ? "%s/%sisan.%u.%d.log" : "%s/%sisan.%u.log", directory, hidden, pid, n);
        if (length >= PATH_MAX) {
            errno = ENAMETOOLONG;
            return -1;
        }
        int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0 || errno != EEXIST) {
            return fd;
        }
    } while (++n < 10000);
    return -1;
}

/* A process that cannot have a log ends with a message.  A forked child goes on without a log. */
static void ISAN__PRINTF(1, 2)
no_log(const char *format, ...)
{
    char why[768];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    if (file.parent_tail == 0) {
        isan__die("%s", why);
    }
    isan__recording = false;
    isan__say("%s; nothing more is recorded of process %d", why, (int)getpid());
}

static bool
open_file(const char *directory)
{
    if (mkdir(directory, 0700) < 0 && errno != EEXIST) {
        no_log("cannot make the log directory %s: %s; give another log_path",
               directory, strerror(errno));
        return false;
    }
    struct stat made;
    int fd = create(file.name, directory, "", (uint32_t)getpid());
    if (fd < 0 || fstat(fd, &made) < 0) {
        no_log("cannot write a log in %s: %s; give another log_path",
               directory, strerror(errno));
        return false;
    }
    file.device = made.st_dev;
    file.inode = made.st_ino;
    make_absolute(file.name);
    file.fd = move_descriptor(fd);
    char *base = !extend(STEP) ? NULL
        : mmap(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);
    if (base == NULL || base == MAP_FAILED) {
        unlink(file.name);
        close(file.fd);
        no_log(base == NULL ? "no room for a log in %s; give another log_path"
               : "no address space for a log in %s; raise the limit (ulimit -v)", directory);
        return false;
    }
    file.base = base;
    return true;
}

/* The window becomes writable step by step, because mlockall(2) fills all writable memory. */
static bool
open_memory(void)
{
    if (temporary[0] == 0) {                /* a forked child must not call getenv() (stdlib/setenv.c) */
        const char *directory = getenv("TMPDIR");
        snprintf(temporary, sizeof temporary, "%s", directory != NULL && directory[0] != 0 ? directory : "/tmp");
        make_absolute(temporary);
    }
    file.base = isan__map(WINDOW);
    if (file.base == NULL || mprotect(file.base, WINDOW, PROT_NONE) < 0 || !extend(STEP)) {
        file.base = NULL;
        no_log("no address space for a log; raise the limit (ulimit -v)");
        return false;
    }
    return true;
}

void
isan__log_open(void)
{
    if (file.base != NULL) {
        return;
    }
    in_memory = isan__options.log_path[0] == 0;
    if (!(in_memory ? open_memory() : open_file(isan__options.log_path))) {
        return;
    }
    file.room = STEP;
    struct isan_log_header *h = header();
    memcpy(h->magic, ISAN_LOG_MAGIC, sizeof h->magic);
    h->version = ISAN_LOG_VERSION;
    h->header_size = ISAN_LOG_HEADER;
    h->pid = (uint32_t)getpid();
    h->ppid = (uint32_t)getppid();
    h->start_ns = isan__now();
    h->parent_tail = file.parent_tail;
    memcpy(h->parent, file.parent, sizeof h->parent);
    __atomic_store_n(&h->tail, ISAN_LOG_HEADER, __ATOMIC_RELEASE);
    isan__recording = true;
}

void
isan__log_close(void)
{
    if (file.base == NULL) {
        return;
    }
    struct isan_rec_exit *r = isan__log_reserve(sizeof *r);
    if (r != NULL) {
        r->time_ns = isan__now();
        isan__log_publish(r, ISAN_REC_EXIT);
    }
    /* Other threads may still write.  So the map stays, only the blocks past the tail go, and
     * records that are reserved from now on are dropped. */
    isan__recording = false;
    __atomic_store_n(&file.room, 0, __ATOMIC_SEQ_CST);
    uint64_t tail = __atomic_load_n(&header()->tail, __ATOMIC_ACQUIRE);
    if (!in_memory && open_again() && ftruncate(file.fd, (off_t)((tail + ISAN__PAGE - 1) & -(uint64_t)ISAN__PAGE)) < 0) {
        ISAN__TRACE(1, "the log keeps its reserve: ftruncate failed");
    }
}

/* --- a log in memory, for the reporter ------------------------------------------------
 *
 * It is saved in a child, in which locks may be held for ever.  So this makes system calls, as the C
 * library's functions may be ThreadSanitizer's. */

/* The logs of the processes that this one was forked from, the oldest first, up to the fork.  Then
 * this process's own. */
enum { MAX_GENERATIONS = 16 };
static struct generation {
    char *base;
    size_t size;
    char path[PATH_MAX];                    /* once it is written */
} generations[MAX_GENERATIONS];
static int n_ancestors;

static size_t
round_to_pages(size_t size)
{
    return (size + ISAN__PAGE - 1) & -(size_t)ISAN__PAGE;
}

/* A forked child has its own copy of the memory. */
static void
keep_ancestor(void)
{
    size_t size = round_to_pages(file.parent_tail);
    if (n_ancestors == MAX_GENERATIONS - 1) {
        isan__unmap(generations[0].base, round_to_pages(generations[0].size));
        memmove(generations, generations + 1, (MAX_GENERATIONS - 1) * sizeof *generations);
        n_ancestors--;
    }
    isan__unmap(file.base + size, WINDOW - size);
    generations[n_ancestors].base = file.base;
    generations[n_ancestors++].size = file.parent_tail;
}

static bool
write_log(struct generation *log, const char *parent)
{
    struct isan_log_header *h = (struct isan_log_header *)log->base;
    snprintf(h->parent, sizeof h->parent, "%s", parent);
    int fd = create(log->path, temporary, ".", h->pid);
    if (fd < 0) {
        log->path[0] = 0;
        return false;
    }
    size_t done = 0;
    ssize_t n = 1;
    while (done < log->size && n > 0) {
        n = syscall(SYS_write, fd, log->base + done, log->size - done);
        done += n > 0 ? (size_t)n : 0;
    }
    syscall(SYS_close, fd);
    return n > 0;
}

const char *
isan__log_save(void)
{
    struct generation *own = &generations[n_ancestors];
    const char *parent = "";
    own->base = file.base;
    own->size = __atomic_load_n(&header()->tail, __ATOMIC_ACQUIRE);
    for (struct generation *log = generations; log <= own; log++) {
        if (!write_log(log, parent)) {
            int error = errno;
            isan__log_unsave();
            if (strcmp(temporary, "/tmp") != 0) {
                strcpy(temporary, "/tmp");
                return isan__log_save();
            }
            isan__say("cannot write the log in %s: %s; give a log_path", temporary, strerrordesc_np(error));
            return NULL;
        }
        parent = isan__file_name(log->path);
    }
    return own->path;
}

void
isan__log_unsave(void)
{
    for (struct generation *log = generations; log <= &generations[n_ancestors]; log++) {
        if (log->path[0] != 0) {
            syscall(SYS_unlinkat, AT_FDCWD, log->path, 0);
        }
    }
}

/* --------------------------------------------------------------------------------------- */

/* The child opens a log of its own with its first record.  A mapped file is shared with the parent,
 * so the child must not write to it. */
void
isan__log_forked(void)
{
    if (file.base == NULL) {
        return;
    }
    file.parent_tail = __atomic_load_n(&header()->tail, __ATOMIC_RELAXED);
    if (in_memory) {
        keep_ancestor();
    }
    else {
        const char *name = isan__file_name(file.name);
        size_t n = strlen(name);
        memcpy(file.parent, name, n < sizeof file.parent ? n + 1 : 0);
        munmap(file.base, WINDOW);
        if (is_log(file.fd)) {
            close(file.fd);
        }
    }
    file.base = NULL;
    file.fd = -1;
    findings = 0;
}

const char *
isan__log_name(void)
{
    return file.base ? file.name : "";
}

bool
isan__log_is_own(void)
{
    return file.base != NULL && header()->pid == (uint32_t)getpid();
}

bool
isan__log_has_findings(void)
{
    return isan__log_findings() != 0 || header()->dropped != 0;
}

void
isan__log_dropped(void)
{
    if (file.base != NULL) {
        __atomic_add_fetch(&header()->dropped, 1, __ATOMIC_RELAXED);
    }
}

/* Extends the file to `needed` bytes.  This makes system calls that can block, so it holds no lock:
 * two threads that are here at a time both extend the file. */
static bool
extend_to(size_t needed)
{
    size_t room = __atomic_load_n(&file.room, __ATOMIC_ACQUIRE);
    while (room < needed) {
        size_t more = needed + STEP;
        if (!isan__recording || more > WINDOW || !extend(more)) {
            return false;
        }
        if (__atomic_compare_exchange_n(&file.room, &room, more, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            return true;
        }
    }
    return true;
}

void *
isan__log_reserve(size_t size)
{
    if (!isan__recording) {
        return NULL;
    }
    if (file.base == NULL) {
        isan__log_open();
        if (file.base == NULL) {
            return NULL;
        }
    }
    size = (size + 7) & ~(size_t)7;
    uint64_t tail = __atomic_load_n(&header()->tail, __ATOMIC_RELAXED);
    do {
        if (!extend_to(tail + size)) {
            isan__log_dropped();
            return NULL;
        }
    } while (!__atomic_compare_exchange_n(&header()->tail, &tail, tail + size, false,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    struct isan_rec *rec = (struct isan_rec *)(file.base + tail);
    rec->size = (uint32_t)size;
    return rec;
}

uint32_t
isan__log_findings(void)
{
    return __atomic_load_n(&findings, __ATOMIC_RELAXED);
}

void
isan__log_publish(void *record, uint32_t type)
{
    if (type == ISAN_REC_FINDING
        || (type == ISAN_REC_LEAK && ((struct isan_rec_leak *)record)->residue == 0
            && ((struct isan_rec_leak *)record)->query == 0)) {
        uint32_t number = __atomic_add_fetch(&findings, 1, __ATOMIC_RELAXED);
        *(type == ISAN_REC_FINDING ? &((struct isan_rec_finding *)record)->number
          : &((struct isan_rec_leak *)record)->number) = number;
    }
    __atomic_store_n(&((struct isan_rec *)record)->type, type, __ATOMIC_RELEASE);
    if (type == ISAN_REC_FINDING || type == ISAN_REC_LEAK) {
        isan__publish_finding_published(type == ISAN_REC_FINDING ? ((struct isan_rec_finding *)record)->id
                                        : ((struct isan_rec_leak *)record)->id);
    }
}

/* The next published record after rec (NULL: the first one).  NULL: there is none, or another
 * thread is about to write one. */
const struct isan_rec *
isan__log_next(const struct isan_rec *rec)
{
    if (file.base == NULL) {
        return NULL;
    }
    uint64_t tail = __atomic_load_n(&header()->tail, __ATOMIC_ACQUIRE);
    uint64_t at = rec ? (uint64_t)((const char *)rec - file.base) + rec->size : ISAN_LOG_HEADER;
    while (at < tail) {
        rec = (const struct isan_rec *)(file.base + at);
        uint32_t size = __atomic_load_n(&rec->size, __ATOMIC_RELAXED);
        if (size == 0) {
            break;
        }
        if (__atomic_load_n(&rec->type, __ATOMIC_ACQUIRE) != ISAN_REC_NONE) {
            return rec;
        }
        at += size;
    }
    return NULL;
}

void
isan__log_note(const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    struct isan_rec_note *r = isan__log_reserve(sizeof *r + strlen(line) + 1);
    if (r != NULL) {
        strcpy(r->text, line);
        isan__log_publish(r, ISAN_REC_NOTE);
    }
}

size_t
isan__log_strings_size(const char *const *strings, size_t n)
{
    size_t size = 0;
    for (size_t i = 0; i < n; i++) {
        size += strlen(strings[i]) + 1;
    }
    return size;
}

char *
isan__log_put_strings(char *to, const char *const *strings, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to = stpcpy(to, strings[i]) + 1;
    }
    return to;
}
