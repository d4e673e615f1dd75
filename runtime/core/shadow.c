/* Owner tags: the reservation, and walking it.  See shadow.h. */
#define _GNU_SOURCE
#include "runtime/core/shadow.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/base/check.h"
#include "runtime/base/sanitizer.h"
#include "runtime/core/log.h"

#define SHADOW_SIZE ((size_t)1 << 45)       /* 2^47 bytes of address space / 4 */

/* Nothing else is at ISAN__SHADOW: it is below the 1.5 TiB in which the kernel
 * loads position-independent executables (0x555555554000 and up), above where
 * it maps files without a limit on the stack (a third of the address space).
 *
 * It also fits ThreadSanitizer's map of the address space (compiler-rt, clang
 * 18 and newer, tsan_platform.h, Mapping48AddressSpace):
 *
 *   0x100000000000 - 0x300000000000   its shadow
 *   0x300000000000 - 0x380000000000   its shadow of locks and blocks
 *   0x380000000000 - 0x550000000000   nothing (PROT_NONE)
 *   0x550000000000 - 0x5a0000000000   executables
 *   0x720000000000 - 0x730000000000   malloc
 *   0x7a0000000000 - 0x800000000000   libraries, mmap, stacks
 *
 * The tags of the last three are in the gap, which isan takes over.  Tags before the gap
 * would be of memory that only executables at fixed addresses have; TSan keeps its own
 * memory there. */
#define TSAN_APP_LOW  0x020000000000ull
#define TSAN_GAP      0x380000000000ull
#define TSAN_APP_HIGH 0x550000000000ull
_Static_assert(ISAN__SHADOW + SHADOW_SIZE == TSAN_APP_HIGH, "the tags end where the gap does");

void
isan__shadow_init(void)
{
    uintptr_t from = isan__tsan ? TSAN_GAP : ISAN__SHADOW;
    size_t size = TSAN_APP_HIGH - from;
    /* Not through mmap(), for which TSan has a function of its own. */
    void *p = (void *)syscall(SYS_mmap, from, size, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        | (isan__tsan ? MAP_FIXED : MAP_FIXED_NOREPLACE), -1, 0);
    if (p == MAP_FAILED && errno == EEXIST) {
        isan__die("the place of the owner tags (32 TiB at %#llx) is taken: is another libisan.so loaded "
                  "(LD_PRELOAD)?", (unsigned long long)ISAN__SHADOW);
    }
    if (p == MAP_FAILED || p != (void *)from) {
        isan__die("cannot reserve address space for the owner tags (32 TiB at %#llx: %s); "
                  "lift the limit (ulimit -v unlimited), and allow overcommit "
                  "(sysctl vm.overcommit_memory=0)",
                  (unsigned long long)ISAN__SHADOW, strerror(errno));
    }
    /* A huge page for one written word would cost 2 MiB. */
    madvise(p, size, MADV_NOHUGEPAGE);
    madvise(p, size, MADV_DONTDUMP);
}

void
isan__shadow_release(const void *start, size_t size)
{
    uintptr_t from = ((uintptr_t)isan__tag_word(start) + ISAN__PAGE - 1) & ~(uintptr_t)(ISAN__PAGE - 1);
    uintptr_t to = (uintptr_t)isan__tag_word((const char *)start + size) & ~(uintptr_t)(ISAN__PAGE - 1);
    memset(isan__tag_word(start), 0,
           (from < to ? from : (uintptr_t)isan__tag_word((const char *)start + size))
           - (uintptr_t)isan__tag_word(start));
    if (from < to) {
        madvise((void *)from, to - from, MADV_DONTNEED);
        memset((void *)to, 0, (uintptr_t)isan__tag_word((const char *)start + size) - to);
    }
}

bool
isan__shadow_trim(const void *start, size_t size)
{
    static const char zeros[ISAN__PAGE];
    uintptr_t from = (uintptr_t)isan__tag_word(start);
    uintptr_t to = (uintptr_t)isan__tag_word((const char *)start + size);
    bool empty = true;
    for (uintptr_t p = from & ~(uintptr_t)(ISAN__PAGE - 1); p < to; p += ISAN__PAGE) {
        uintptr_t low = p < from ? from : p, high = p + ISAN__PAGE > to ? to : p + ISAN__PAGE;
        if (memcmp((void *)low, zeros, high - low) != 0) {
            empty = false;
        }
        else if (high - low == ISAN__PAGE) {
            madvise((void *)p, ISAN__PAGE, MADV_DONTNEED);
        }
    }
    return empty;
}

/* The words of a block agree: its first granules have the same slot, and of them only
 * the first has START. */
static bool
block_is_valid(const uint32_t *w)
{
    int n = w[0] & ISAN__LONG ? 3 : 2;
    for (int i = 1; i < n; i++) {
        if ((w[i] & 0xffff) != (w[0] & 0xffff) || w[i] & ISAN__START) {
            return false;
        }
    }
    return (w[0] & 0xffff) != 0 && (n == 2 || w[2] >> 16 != 0);
}

/* Visits the blocks with their first tag in [from, to), a range of shadow words. */
static void
visit_tags(const uint32_t *from, const uint32_t *to, isan__slot_t slot,
     void (*visit)(char *, void *), void *arg)
{
    for (const uint32_t *w = from; w < to; w++) {
        uint32_t word = *(const volatile uint32_t *)w;
        if (word & ISAN__START && (slot == 0 || (word & 0xffff) == slot)) {
            /* Another thread may be freeing the block of a living interpreter. */
            ISAN__EXPENSIVE(slot == 0 || block_is_valid(w) || *(const volatile uint32_t *)w != word);
            visit((char *)(((uintptr_t)w - ISAN__SHADOW) << 2), arg);
        }
    }
}

/* Only pages that were written can have tags.  /proc/PID/pagemap has one 64-bit entry for
 * each page, bit 63 present, bit 62 swapped (proc(5), Linux
 * Documentation/admin-guide/mm/pagemap.rst). */
static void
visit_pages(int pagemap, uintptr_t from, uintptr_t to, isan__slot_t slot,
           void (*visit)(char *, void *), void *arg)
{
    uint64_t entries[512];
    while (from < to) {
        size_t pages = (to - from) / ISAN__PAGE;
        if (pages > 512) {
            pages = 512;
        }
        ssize_t n = pagemap < 0 ? -1
            : pread(pagemap, entries, pages * 8, (off_t)(from / ISAN__PAGE * 8));
        for (size_t i = 0; i < pages; i++, from += ISAN__PAGE) {
            if (n < 0 || (size_t)n < (i + 1) * 8 || entries[i] >> 62) {
                visit_tags((const uint32_t *)from, (const uint32_t *)(from + ISAN__PAGE), slot, visit, arg);
            }
        }
    }
}

/* A mapping of the process, as a line of /proc/self/maps (proc(5)) has it:
 * "start-end rwxp ...". */
struct mapping {
    uintptr_t start, end;
    bool private_writable;
};

static uintptr_t
parse_hex(const char **p)
{
    uintptr_t n = 0;
    for (;; ++*p) {
        char c = **p;
        if (c >= '0' && c <= '9') {
            n = n * 16 + (uintptr_t)(c - '0');
        }
        else if (c >= 'a' && c <= 'f') {
            n = n * 16 + (uintptr_t)(c - 'a' + 10);
        }
        else {
            return n;
        }
    }
}

static struct mapping
parse_mapping(const char *line)
{
    struct mapping m;
    m.start = parse_hex(&line);
    line++;
    m.end = parse_hex(&line);
    m.private_writable = line[0] == ' ' && line[2] == 'w' && line[4] == 'p';
    return m;
}

/* Reads a file line by line through a small buffer, since stdio would allocate. */
struct line_reader {
    int fd;
    ssize_t n, at;                          /* bytes in the buffer, the next one */
    char buffer[4096];
};

/* The next line, cut to fit; false: there is none. */
static bool
read_line(struct line_reader *r, char *line, size_t size)
{
    size_t length = 0;
    for (;;) {
        if (r->at == r->n) {
            r->n = read(r->fd, r->buffer, sizeof r->buffer);
            r->at = 0;
            if (r->n <= 0) {
                r->n = 0;
                return false;
            }
        }
        char c = r->buffer[r->at++];
        if (c == '\n') {
            line[length] = 0;
            return true;
        }
        if (length < size - 1) {
            line[length++] = c;
        }
    }
}

/* No allocator maps as much at a time.  AddressSanitizer maps 14 TiB for its shadow, where it would
 * take minutes to find no tag. */
#define LARGEST_MAPPING ((uintptr_t)1 << 40)

static bool
may_have_blocks(const struct mapping *m)
{
    return m->private_writable && m->end >> 47 == 0 && m->end - m->start <= LARGEST_MAPPING
        && !(m->start >= (isan__tsan ? TSAN_APP_LOW : ISAN__SHADOW) && m->start < TSAN_APP_HIGH);
}

/* If the program has used up its descriptors, this raises the limit by two for the moment. */
static int
open_for_reading(const char *path)
{
    struct rlimit limit;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == EMFILE && getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max - limit.rlim_cur >= 2) {
        const struct rlimit more = { limit.rlim_cur + 2, limit.rlim_max };
        setrlimit(RLIMIT_NOFILE, &more);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    return fd;
}

/* Only private writable mappings are visited: allocators have no others. */
bool
isan__visit_blocks(isan__slot_t slot, void (*visit)(char *block, void *arg), void *arg)
{
    struct line_reader maps = { .fd = open_for_reading("/proc/self/maps") };
    if (maps.fd < 0) {
        isan__log_note("leaks cannot be counted: /proc/self/maps cannot be read");
        return false;
    }
    int pagemap = open_for_reading("/proc/self/pagemap");
    char line[256];
    uintptr_t done = 0;                     /* shadow pages below have been visited */
    while (read_line(&maps, line, sizeof line)) {
        const struct mapping m = parse_mapping(line);
        if (!may_have_blocks(&m)) {
            continue;
        }
        const uintptr_t page = ISAN__PAGE - 1;
        uintptr_t from = (uintptr_t)isan__tag_word((void *)m.start) & ~page;
        uintptr_t to = ((uintptr_t)isan__tag_word((void *)m.end) + page) & ~page;
        if (from < done) {
            from = done;
        }
        if (from < to) {
            visit_pages(pagemap, from, to, slot, visit, arg);
            done = to;
        }
    }
    close(maps.fd);
    if (pagemap >= 0) {
        close(pagemap);
    }
    return true;
}
