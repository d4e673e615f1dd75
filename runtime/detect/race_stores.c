/* statics=watch: who stores into the statics of extensions, seen in the act.
 *
 * An instruction that stores into a variable of its own module has the place in
 * it, relative to itself, and so is at least 6 bytes long: room for a jump.
 * When an extension has been loaded, and before anything of it runs, each of
 * them is moved to a piece of code of its own, which asks here before it does
 * what it did.  Nothing is protected, so no system call fails, and no signal is
 * used.  Calls of memcpy and its like are led through wrappers here.
 *
 * While interpreters with GILs of their own have the extension, threads are now
 * and then stopped before such a store, for a millisecond or two.  If meanwhile
 * a thread of an interpreter with another GIL comes to a store into the same
 * memory, nothing keeps the two apart: no GIL, no lock of any kind, no once.
 * That is a race, and both are there to tell of it.
 */
#define _GNU_SOURCE
#include "runtime/detect/race_stores.h"

#include <cpuid.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "runtime/base/options.h"
#include "runtime/base/table.h"
#include "runtime/core/attach.h"
#include "runtime/core/origin.h"
#include "runtime/detect/race.h"
#include "runtime/detect/import_map.h"
#include "runtime/elf/imports.h"
#include "runtime/elf/modules.h"
#include "runtime/elf/x86_decode.h"

#ifdef __x86_64__

#define MS 1000000u                         /* ns */
enum {
    MAX_SITES = 1 << 20, MAX_MODULES = 1024, STOPS = 16,
    FIRST = 20,                             /* ms: the first store of each interpreter at each site */
    AGAIN = 5, EVERY = 50,                  /* ms: one of the later ones, of any */
    FREE = 1000, SHARE = 10,                /* ms, and then a tenth of the time: how long threads are stopped */
    PAGE = 4096, PIECE = 64,                /* bytes */
};

static struct site {
    const uint8_t *at;                      /* the instruction */
    struct isan__target to;
    uint64_t visited;                       /* by the interpreter with the serial, modulo 64 */
    uint64_t next;                          /* not to be stopped at before that, in ticks */
    uint8_t length, disp_at, stopped;
    bool told;                              /* the variable has been told of */
} *sites;
static uint32_t n_sites = 1;

static struct module {
    uintptr_t base, start, end;             /* of its writable data */
    uint64_t *gate;                         /* not 0: its stores are looked at */
} modules[MAX_MODULES];
static uint32_t n_modules;
static struct isan__table known = ISAN__TABLE;      /* program headers of a module -> 1: not new any more */
static struct isan__table atomics = ISAN__TABLE;    /* addresses that some instruction changes atomically */

/* A thread that is about to store, and is stopped, or comes to where one is. */
struct access {
    struct isan__target to;
    uint32_t interp, tid, stack;            /* serial; as in the log */
    isan__slot_t slot;
    bool detached;
};
enum { NOBODY, WAITS, MET };
static struct stop {
    uint32_t state;
    uint64_t until;                         /* ns */
    struct access mine, other;
} stops[STOPS];
static struct isan__lock meeting = { .rank = ISAN__RANK_RACE_STORES };
static uint64_t next_stop;                  /* ticks */
static uint64_t stopped_ns;                 /* all threads together */
static struct { uint64_t ticks, ns; } began;

static bool
overlap(const struct isan__target *a, const struct isan__target *b)
{
    return a->address < b->address + b->size && b->address < a->address + a->size;
}

static bool
excused(const struct isan__target *a, const struct isan__target *b)
{
#define ISAN_STORE_RULE(name, reason, condition) if (condition) return true;
#include "runtime/detect/rules.inc"
    return false;
}

/* --- meeting ------------------------------------------------------------------------- */

static uint64_t
monotonic(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t
ticks(uint64_t ms)
{
    uint64_t ns = monotonic() - began.ns;
    return ns < MS ? ms * 2000000 : ms * ((__builtin_ia32_rdtsc() - began.ticks) / (ns / 1000)) * 1000;
}

static struct stop *
met(const struct access *mine, uint64_t now)
{
    for (struct stop *s = stops; s < stops + STOPS; s++) {
        if (s->state == WAITS && now < s->until && overlap(&s->mine.to, &mine->to)
            && s->mine.tid != mine->tid && !isan__share_gil(s->mine.slot, mine->slot)
            && !excused(&s->mine.to, &mine->to)) {
            return s;
        }
    }
    return NULL;
}

static struct stop *
vacant(uint64_t now)
{
    for (struct stop *s = stops; s < stops + STOPS; s++) {
        /* Long since over: a signal handler has jumped out of it. */
        if (s->state == NOBODY || now > s->until + 1000 * MS) {
            return s;
        }
    }
    return NULL;
}

static void
tell(const struct access *mine, const struct access *other)
{
    uint64_t address = mine->to.address;
    struct isan__race race = {
        .holder = { .address = address }, .current = mine->interp, .used = mine->stack,
        .key = isan__table_key(ISAN__KEY_RACE_STORE, &address, sizeof address),
    };
    const struct isan_rec_finding *r = isan__report_race(&race);
    if (r == NULL) {
        return;
    }
    const struct access *const both[] = { mine, other };
    for (int i = 0; i < 2; i++) {
        isan__finding_add_place(&(struct isan_rec_place){
            .finding = r->id, .role = ISAN__PLACE_access,
            .flags = ISAN_PLACE_WRITE | (both[i]->detached ? ISAN_PLACE_DETACHED : 0),
            .stack = both[i]->stack, .tid = both[i]->tid, .interp = both[i]->interp,
            .amount = both[i]->to.size }, "");
    }
    isan__publish_finding_made(r->id);
}

/* Somebody else's store and this thread's meet if both are here at a time.
 * ms: how long to wait for that.  True: the variable has been told of. */
static bool
meet(struct access *mine, uint64_t ms, ucontext_t *here)
{
    uint64_t now = monotonic(), until = now + ms * MS;
    isan__lock(&meeting);
    struct stop *s = met(mine, now);
    if (s != NULL) {
        isan__unlock(&meeting);
        mine->stack = isan__record_stack(here);
        isan__lock(&meeting);
        s = met(mine, monotonic());
        if (s != NULL) {
            s->other = *mine;
            s->state = MET;
            syscall(SYS_futex, &s->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
        }
        isan__unlock(&meeting);
        return s != NULL;
    }
    s = ms != 0 ? vacant(now) : NULL;
    if (s == NULL) {
        isan__unlock(&meeting);
        return false;
    }
    s->mine = *mine;
    s->until = until;
    s->state = WAITS;
    isan__unlock(&meeting);
    while (__atomic_load_n(&s->state, __ATOMIC_ACQUIRE) == WAITS && (now = monotonic()) < until) {
        struct timespec left = { .tv_nsec = (long)(until - now) };
        syscall(SYS_futex, &s->state, FUTEX_WAIT_PRIVATE, WAITS, &left, NULL, 0);
    }
    isan__lock(&meeting);
    bool told = s->state == MET;
    struct access other = s->other;
    s->state = NOBODY;
    isan__unlock(&meeting);
    if (told) {
        mine->stack = isan__record_stack(here);
        tell(mine, &other);
    }
    return told;
}

/* Not where this thread holds what meeting may need. */
static bool
about_to_store(struct access *mine, uint64_t ms, ucontext_t *here)
{
    if (isan__lock_state.held != 0 || isan__self.nested || isan__lock_state.crashing || !isan__recording) {
        return false;
    }
    int error = errno;
    bool told = false;
    isan__sync_thread_state(true);
    mine->slot = isan__self.slot;
    const struct isan__interp *i = isan__interp_of(mine->slot);
    if (i->serial != 0 && !i->ended) {
        mine->interp = i->serial;
        mine->tid = isan__tid();
        mine->detached = isan__slot == 0;
        uint64_t start = monotonic();
        if (stopped_ns > (FREE * (uint64_t)MS) + (start - began.ns) / SHARE) {
            ms = 0;
        }
        told = meet(mine, ms, here);
        if (ms != 0) {
            __atomic_add_fetch(&stopped_ns, monotonic() - start, __ATOMIC_RELAXED);
        }
    }
    errno = error;
    return told;
}

/* --- what the pieces call --------------------------------------------------------------- */

/* As pushed below, the last one first. */
struct registers {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, flags, back, rax, rcx;
    char red_zone[128];
};
enum { PASS, LOOK, STOP_FIRST, STOP };

__attribute__((visibility("hidden"))) int isan__store_quick(uint32_t index);
__attribute__((visibility("hidden"))) void isan__store_careful(const struct registers *r, uint32_t index, int what);
__attribute__((visibility("hidden"))) void isan__store_slow(void);
__attribute__((visibility("hidden"))) uint8_t isan__has_xsave;
uint8_t isan__has_xsave;

/* Only the general registers have been saved. */
__attribute__((target("general-regs-only"))) int
isan__store_quick(uint32_t index)
{
    struct site *site = &sites[index];
    if (site->told) {
        return PASS;
    }
    for (const struct stop *s = stops; s < stops + STOPS; s++) {
        if (__atomic_load_n(&s->state, __ATOMIC_RELAXED) == WAITS
            && s->mine.to.address < site->to.address + site->to.size
            && site->to.address < s->mine.to.address + s->mine.to.size) {
            return LOOK;
        }
    }
    uint64_t bit = 1ull << (isan__self.slot & 63);
    if (!(site->visited & bit)) {
        __atomic_or_fetch(&site->visited, bit, __ATOMIC_RELAXED);
        return STOP_FIRST;
    }
    uint64_t now = __builtin_ia32_rdtsc();
    return now >= next_stop && now >= site->next ? STOP : PASS;
}

void
isan__store_careful(const struct registers *r, uint32_t index, int what)
{
    struct site *site = &sites[index];
    struct access mine = { .to = site->to };
    ucontext_t here = { 0 };
    greg_t *g = here.uc_mcontext.gregs;
    g[REG_R15] = (greg_t)r->r15, g[REG_R14] = (greg_t)r->r14, g[REG_R13] = (greg_t)r->r13;
    g[REG_R12] = (greg_t)r->r12, g[REG_R11] = (greg_t)r->r11, g[REG_R10] = (greg_t)r->r10;
    g[REG_R9] = (greg_t)r->r9, g[REG_R8] = (greg_t)r->r8, g[REG_RDI] = (greg_t)r->rdi;
    g[REG_RSI] = (greg_t)r->rsi, g[REG_RBP] = (greg_t)r->rbp, g[REG_RBX] = (greg_t)r->rbx;
    g[REG_RDX] = (greg_t)r->rdx, g[REG_RAX] = (greg_t)r->rax, g[REG_RCX] = (greg_t)r->rcx;
    g[REG_RSP] = (greg_t)(r + 1), g[REG_RIP] = (greg_t)site->at;
    if (what == STOP) {
        uint64_t now = __builtin_ia32_rdtsc(), every = ticks(EVERY);
        next_stop = now + every;
        site->next = now + (every << site->stopped);
        site->stopped += site->stopped < 3;
    }
    if (about_to_store(&mine, what == STOP_FIRST ? FIRST : what == STOP ? AGAIN : 0, &here)) {
        site->told = true;
    }
}

/* All registers are as they were when this returns, the vectors included: what
 * is called may use them.  0xe7: x87, SSE, AVX and AVX-512 state, which take 2688
 * bytes at most (Intel SDM volume 1, 13.4). */
__asm__(
    ".text\n"
    ".type isan__store_slow, @function\n"
    "isan__store_slow:\n"
    "    pushfq\n"
    "    pushq %rdx\n    pushq %rbx\n    pushq %rbp\n    pushq %rsi\n    pushq %rdi\n"
    "    pushq %r8\n    pushq %r9\n    pushq %r10\n    pushq %r11\n"
    "    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq %r15\n"
    "    cld\n"
    "    movq %rsp, %rbx\n"
    "    movl %eax, %ebp\n"
    "    andq $-64, %rsp\n"
    "    movl %ebp, %edi\n"
    "    call isan__store_quick\n"
    "    testl %eax, %eax\n"
    "    jz 3f\n"
    "    movl %eax, %r12d\n"
    "    subq $2816, %rsp\n"
    "    cmpb $0, isan__has_xsave(%rip)\n"
    "    je 1f\n"
    "    xorl %eax, %eax\n"
    "    leaq 512(%rsp), %rdi\n"
    "    movl $8, %ecx\n"
    "    rep stosq\n"
    "    movl $0xe7, %eax\n"
    "    xorl %edx, %edx\n"
    "    xsave64 (%rsp)\n"
    "    jmp 2f\n"
    "1:  fxsave64 (%rsp)\n"
    "2:  movq %rbx, %rdi\n"
    "    movl %ebp, %esi\n"
    "    movl %r12d, %edx\n"
    "    call isan__store_careful\n"
    "    cmpb $0, isan__has_xsave(%rip)\n"
    "    je 1f\n"
    "    movl $0xe7, %eax\n"
    "    xorl %edx, %edx\n"
    "    xrstor64 (%rsp)\n"
    "    jmp 3f\n"
    "1:  fxrstor64 (%rsp)\n"
    "3:  movq %rbx, %rsp\n"
    "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n"
    "    popq %r11\n    popq %r10\n    popq %r9\n    popq %r8\n"
    "    popq %rdi\n    popq %rsi\n    popq %rbp\n    popq %rbx\n    popq %rdx\n"
    "    popfq\n"
    "    ret\n"
    ".size isan__store_slow, . - isan__store_slow\n"
);

/* --- functions that store ------------------------------------------------------------------ */

static void
stored(void *to, size_t size, void *from)
{
    static uint64_t visited[1024];          /* as of a site, by where the call returns to */
    uintptr_t at = (uintptr_t)to;
    uint32_t n = __atomic_load_n(&n_modules, __ATOMIC_ACQUIRE);
    const struct module *m = modules;
    while (m < modules + n && at - m->start >= m->end - m->start) {
        m++;
    }
    if (m == modules + n || *m->gate == 0 || size == 0) {
        return;
    }
    struct access mine = { .to = { .address = at, .size = size < UINT32_MAX ? (uint32_t)size : UINT32_MAX } };
    uint64_t now = __builtin_ia32_rdtsc(), ms = 0;
    uint64_t *seen = &visited[isan__hash(&from, sizeof from, 0) % 1024], bit = 1ull << (isan__self.slot & 63);
    if (!(__atomic_fetch_or(seen, bit, __ATOMIC_RELAXED) & bit)) {
        ms = FIRST;
    }
    else if (now >= next_stop) {
        next_stop = now + ticks(EVERY);
        ms = AGAIN;
    }
    about_to_store(&mine, ms, NULL);
}

/* Where the compiler knows how large the memory is (_FORTIFY_SOURCE). */
void *__memcpy_chk(void *, const void *, size_t, size_t);
void *__memmove_chk(void *, const void *, size_t, size_t);
void *__memset_chk(void *, int, size_t, size_t);
char *__strcpy_chk(char *, const char *, size_t);
char *__strncpy_chk(char *, const char *, size_t, size_t);
int __vsprintf_chk(char *, int, size_t, const char *, va_list);
int __vsnprintf_chk(char *, size_t, int, size_t, const char *, va_list);

#define STORES(result, name, arguments, to, size, call)                         \
    static result store_##name arguments                                        \
    {                                                                           \
        stored(to, size, __builtin_return_address(0));                          \
        return call;                                                            \
    }
STORES(void *, memcpy, (void *to, const void *from, size_t n), to, n, memcpy(to, from, n))
STORES(void *, memmove, (void *to, const void *from, size_t n), to, n, memmove(to, from, n))
STORES(void *, memset, (void *to, int c, size_t n), to, n, memset(to, c, n))
STORES(char *, strcpy, (char *to, const char *from), to, strlen(from) + 1, strcpy(to, from))
STORES(char *, strncpy, (char *to, const char *from, size_t n), to, n, strncpy(to, from, n))
STORES(int, vsnprintf, (char *to, size_t n, const char *format, va_list args), to, n != 0,
       vsnprintf(to, n, format, args))
STORES(void *, __memcpy_chk, (void *to, const void *from, size_t n, size_t room), to, n,
       __memcpy_chk(to, from, n, room))
STORES(void *, __memmove_chk, (void *to, const void *from, size_t n, size_t room), to, n,
       __memmove_chk(to, from, n, room))
STORES(void *, __memset_chk, (void *to, int c, size_t n, size_t room), to, n, __memset_chk(to, c, n, room))
STORES(char *, __strcpy_chk, (char *to, const char *from, size_t room), to, strlen(from) + 1,
       __strcpy_chk(to, from, room))
STORES(char *, __strncpy_chk, (char *to, const char *from, size_t n, size_t room), to, n,
       __strncpy_chk(to, from, n, room))

/* Of those with any number of arguments only that they write the first byte. */
#define PRINTS(name, arguments, last, n, call)                                  \
    static int store_##name arguments                                           \
    {                                                                           \
        va_list args;                                                           \
        stored(to, n != 0, __builtin_return_address(0));                        \
        va_start(args, last);                                                   \
        int result = call;                                                      \
        va_end(args);                                                           \
        return result;                                                          \
    }
PRINTS(sprintf, (char *to, const char *format, ...), format, 1, vsprintf(to, format, args))
PRINTS(snprintf, (char *to, size_t n, const char *format, ...), format, n, vsnprintf(to, n, format, args))
PRINTS(__sprintf_chk, (char *to, int flag, size_t room, const char *format, ...), format, 1,
       __vsprintf_chk(to, flag, room, format, args))
PRINTS(__snprintf_chk, (char *to, size_t n, int flag, size_t room, const char *format, ...), format, n,
       __vsnprintf_chk(to, n, flag, room, format, args))

static void *
substitute(const char *name, bool call, void *arg)
{
    static const struct { const char *name; void *function; } functions[] = {
#define FUNCTION(name) { #name, (void *)store_##name }
        FUNCTION(memcpy), FUNCTION(memmove), FUNCTION(memset), FUNCTION(strcpy), FUNCTION(strncpy),
        FUNCTION(vsnprintf), FUNCTION(sprintf), FUNCTION(snprintf),
        FUNCTION(__memcpy_chk), FUNCTION(__memmove_chk), FUNCTION(__memset_chk),
        FUNCTION(__strcpy_chk), FUNCTION(__strncpy_chk), FUNCTION(__sprintf_chk), FUNCTION(__snprintf_chk),
#undef FUNCTION
    };
    (void)call;
    (void)arg;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (strcmp(functions[i].name, name) == 0) {
            return functions[i].function;
        }
    }
    return NULL;
}

/* --- finding the stores of a module ------------------------------------------------------------ */

struct scan {
    const struct isan__module *module;
    uintptr_t start, end, text, text_end;   /* of writable data; of code */
    uint32_t first;                         /* site */
};

static bool
is_data(const struct scan *s, uint64_t address)
{
    for (size_t i = 0; i < s->module->n_data; i++) {
        const struct isan__range *data = &s->module->data[i];
        if (address - data->start < data->end - data->start) {
            return true;
        }
    }
    return false;
}

/* A function that is understood from beginning to end: linear, as compilers
 * keep data out of code. */
static void
scan_function(struct scan *s, const uint8_t *p, const uint8_t *end)
{
    struct isan__x86 x;
    uint32_t before = n_sites;
    const uint8_t *const start = p;
    for (; p < end; p += x.length) {
        if (!isan__x86_decode(&x, p, end)) {
            n_sites = before;
            return;
        }
    }
    bool last = false;                      /* the instruction before is the last site */
    for (p = start; p < end && n_sites < MAX_SITES; p += x.length) {
        isan__x86_decode(&x, p, end);
        if (last && x.fence) {              /* mov and mfence: an atomic store */
            isan__table_put_or_drop(&atomics, sites[n_sites - 1].to.address, 1);
        }
        last = false;
        uint64_t address = (uint64_t)(p + x.length) + (uint64_t)(int64_t)x.disp;
        if (x.relative && x.size != 0 && is_data(s, address)) {
            if (x.atomic) {
                isan__table_put_or_drop(&atomics, address, 1);
                continue;
            }
            sites[n_sites++] = (struct site){
                .at = p, .length = x.length, .disp_at = x.disp_at,
                .to = { .address = address, .size = x.size, .constant = x.constant, .value = x.value },
            };
            last = true;
        }
    }
}

/* Linux Standard Base, .eh_frame_hdr and .eh_frame: one entry for each function
 * that an exception could leave, which with gcc and clang are all. */
static void
scan_functions(struct scan *s, const uint8_t *header, size_t size)
{
    enum { PCREL_SDATA4 = 0x1b, UDATA4 = 0x03, DATAREL_SDATA4 = 0x3b };
    struct { int32_t function, entry; } row;
    uint32_t n;
    if (size < 12 || header[0] != 1 || header[1] != PCREL_SDATA4 || header[2] != UDATA4
        || header[3] != DATAREL_SDATA4) {
        return;
    }
    memcpy(&n, header + 8, sizeof n);
    for (uint32_t i = 0; i < n && 12 + (i + 1) * sizeof row <= size; i++) {
        struct { uint32_t length, cie; int32_t begin; uint32_t range; } entry;
        memcpy(&row, header + 12 + i * sizeof row, sizeof row);
        memcpy(&entry, header + row.entry, sizeof entry);
        const uint8_t *p = header + row.function;
        /* Encoded as usual, or it is something else. */
        if (header + row.entry + 8 + entry.begin == p && (uintptr_t)p >= s->text
            && (uintptr_t)p < s->text_end && entry.range <= s->text_end - (uintptr_t)p) {
            scan_function(s, p, p + entry.range);
        }
    }
}

/* Memory that 32-bit displacements reach from all of [start, end). */
static char *
map_near(uintptr_t start, uintptr_t end, size_t size)
{
    for (intptr_t step = 1; step < 1 << 10; step++) {
        for (int up = 0; up < 2; up++) {
            uintptr_t at = up ? ((end + PAGE - 1) & ~(uintptr_t)(PAGE - 1)) + (uintptr_t)(step - 1) * (1 << 20)
                : (start & ~(uintptr_t)(PAGE - 1)) - size - (uintptr_t)(step - 1) * (1 << 20);
            void *p = mmap((void *)at, size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
            if (p == (void *)at) {
                return p;
            }
            if (p != MAP_FAILED) {
                munmap(p, size);
            }
        }
    }
    return NULL;
}

static char *
put(char *to, const void *bytes, size_t n)
{
    return (char *)memcpy(to, bytes, n) + n;
}

static char *
put_relative(char *to, const char *opcode, size_t n, const void *target)
{
    to = put(to, opcode, n);
    int32_t distance = (int32_t)((const char *)target - (to + 4));
    return put(to, &distance, sizeof distance);
}

/* The piece of code that takes the place of a store.  Nothing on the fast way
 * changes the flags, and what is below the stack pointer is the function's. */
static void
write_piece(char *to, const struct site *site, const char *data)
{
    to = put(to, "\x48\x8d\x64\x24\x80", 5);                    /* lea -128(%rsp), %rsp */
    to = put(to, "\x51", 1);                                    /* push %rcx */
    to = put_relative(to, "\x48\x8b\x0d", 3, data);             /* mov gate(%rip), %rcx */
    to = put(to, "\xe3\x0d", 2);                                /* jrcxz past the call */
    to = put(to, "\x50\xb8", 2);                                /* push %rax; mov $index, %eax */
    uint32_t index = (uint32_t)(site - sites);
    to = put(to, &index, sizeof index);
    to = put_relative(to, "\xff\x15", 2, data + 8);             /* call *slow(%rip) */
    to = put(to, "\x58", 1);                                    /* pop %rax */
    to = put(to, "\x59", 1);                                    /* pop %rcx */
    to = put(to, "\x48\x8d\xa4\x24\x80\x00\x00\x00", 8);        /* lea 128(%rsp), %rsp */
    int32_t distance;
    memcpy(&distance, site->at + site->disp_at, sizeof distance);
    distance += (int32_t)((const char *)site->at - to);
    char *moved = to;
    to = put(to, site->at, site->length);
    memcpy(moved + site->disp_at, &distance, sizeof distance);
    put_relative(to, "\xe9", 1, site->at + site->length);       /* jmp back */
}

static bool
patch(const struct scan *s, uint32_t n)
{
    size_t size = PAGE + (((size_t)n * PIECE + PAGE - 1) & ~(size_t)(PAGE - 1));
    uintptr_t low = s->text < s->start ? s->text : s->start, high = s->end > s->text_end ? s->end : s->text_end;
    uintptr_t text = s->text & ~(uintptr_t)(PAGE - 1);
    size_t text_size = ((s->text_end + PAGE - 1) & ~(uintptr_t)(PAGE - 1)) - text;
    char *data = high - low < 1u << 30 ? map_near(low, high, size) : NULL;
    if (data == NULL) {
        return false;
    }
    void (*slow)(void) = isan__store_slow;
    memcpy(data + 8, &slow, sizeof slow);
    for (uint32_t i = 0; i < n; i++) {
        write_piece(data + PAGE + (size_t)i * PIECE, &sites[s->first + i], data);
    }
    /* All writable at a time, as a thread that a constructor has started may
     * be anywhere in it. */
    if (mprotect(data + PAGE, size - PAGE, PROT_READ | PROT_EXEC) != 0
        || mprotect((void *)text, text_size, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) {
        munmap(data, size);
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        char *at = (char *)sites[s->first + i].at;
        put_relative(at, "\xe9", 1, data + PAGE + (size_t)i * PIECE);
    }
    mprotect((void *)text, text_size, PROT_READ | PROT_EXEC);
    modules[n_modules].gate = (uint64_t *)data;
    return true;
}

/* Some instruction changes it atomically, so what else stores there may be an
 * atomic store, which looks like any other. */
static uint32_t
drop_atomics(uint32_t first)
{
    uint32_t kept = first;
    for (uint32_t i = first; i < n_sites; i++) {
        sites[i].to.atomic = isan__table_get(&atomics, sites[i].to.address) != 0;
        if (!excused(&sites[i].to, &sites[i].to)) {
            sites[kept++] = sites[i];
        }
    }
    return kept;
}

static void
watch(const struct isan__module *module)
{
    static uint64_t ungated;
    struct scan s = { .module = module, .start = UINTPTR_MAX, .first = n_sites,
                      .text = module->text.start, .text_end = module->text.end };
    for (size_t i = 0; i < module->n_data; i++) {
        s.start = module->data[i].start < s.start ? module->data[i].start : s.start;
        s.end = module->data[i].end > s.end ? module->data[i].end : s.end;
    }
    if (module->unwind.start == 0 || module->n_text != 1 || s.end == 0 || n_modules == MAX_MODULES) {
        return;
    }
    scan_functions(&s, (const uint8_t *)module->unwind.start, module->unwind.end - module->unwind.start);
    n_sites = drop_atomics(s.first);
    struct module *m = &modules[n_modules];
    *m = (struct module){ module->base, s.start, s.end, &ungated };
    if (n_sites != s.first && !patch(&s, n_sites - s.first)) {
        n_sites = s.first;
        isan__log_note("statics=watch: the code of %s cannot be changed, so its stores into its "
                       "variables are not seen", module->path);
        return;
    }
    if (m->gate == &ungated) {              /* it only calls functions that store */
        m->gate = isan__map(sizeof *m->gate);
    }
    if (m->gate != NULL) {
        __atomic_store_n(&n_modules, n_modules + 1, __ATOMIC_RELEASE);
        isan__imports_rewrite(module, substitute, NULL);
    }
}

/* The modules that dlopen() has brought, or has found there. */
struct opened {
    uintptr_t base;
    bool all_known;
};

static bool
note_unknown(const struct isan__module *module, void *arg)
{
    struct opened *opened = arg;
    opened->all_known &= isan__table_get(&known, (uint64_t)module->headers) != 0;
    return opened->all_known;
}

/* Known when it is changed, as other threads do not wait for what is known. */
static bool
watch_new(const struct isan__module *module, void *arg)
{
    (void)arg;
    if (isan__table_get(&known, (uint64_t)module->headers) != 0) {
        return false;
    }
    if (!module->is_excluded && !module->has_runtime && module->imports & ISAN__IMPORTS_PYTHON) {
        watch(module);
    }
    isan__table_put_or_drop(&known, (uint64_t)module->headers, 1);
    return true;
}

/* Called for each module, as long as it returns true. */
static bool
watch_opened(const struct isan__module *module, void *arg)
{
    const struct opened *opened = arg;
    (void)module;
    isan__visit_module_closure(opened->base, watch_new, NULL);
    return false;
}

/* A module does not run before the dlopen() that brought it has returned, and its caller
 * comes here first: so the first thread here may change it, and the others wait for it,
 * as only one is in isan__visit_kept_modules().  But the constructors of what it needs
 * may have started threads: those that use nothing of Python's are left alone. */
void
isan__race_stores_module_loaded(uintptr_t base)
{
    struct opened opened = { base, true };
    if (isan__options.statics != ISAN__STATICS_watch) {
        return;
    }
    isan__visit_module_closure(base, note_unknown, &opened);
    while (!opened.all_known && !isan__visit_kept_modules(isan__modules_refresh(), watch_opened, &opened)) {
    }
}

void
isan__race_stores_update(void)
{
    uint32_t n = __atomic_load_n(&n_modules, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < n; i++) {
        *modules[i].gate = isan__is_imported_in_parallel(modules[i].base);
    }
}

static bool
note_known(const struct isan__module *module, void *arg)
{
    (void)arg;
    isan__table_put_or_drop(&known, (uint64_t)module->headers, 1);
    return true;
}

void
isan__race_stores_init(void)
{
    if (isan__options.statics != ISAN__STATICS_watch) {
        return;
    }
    unsigned a, b, c = 0, d;
    isan__has_xsave = __get_cpuid(1, &a, &b, &c, &d) && c & bit_OSXSAVE;
    began.ticks = __builtin_ia32_rdtsc();
    began.ns = monotonic();
    sites = isan__map(MAX_SITES * sizeof *sites);
    if (sites == NULL) {
        isan__die("no memory for statics=watch; raise the limit (ulimit -v)");
    }
    isan__visit_modules(note_known, NULL);  /* it may be running */
}

/* In the child, where nobody waits any more. */
void
isan__race_stores_forked(int unused)
{
    (void)unused;
    memset(stops, 0, sizeof stops);
}

#else

void isan__race_stores_module_loaded(uintptr_t base) { (void)base; }
void isan__race_stores_update(void) {}
void isan__race_stores_forked(int unused) { (void)unused; }

void
isan__race_stores_init(void)
{
    if (isan__options.statics == ISAN__STATICS_watch) {
        isan__die("statics=watch is there for x86-64 only: leave it out");
    }
}

#endif

void
isan__race_stores_module_imported(const struct isan__import *import)
{
    (void)import;
    isan__race_stores_update();
}

void
isan__race_stores_interp_ended(struct isan__interp_end *end)
{
    (void)end;
    isan__race_stores_update();
}
