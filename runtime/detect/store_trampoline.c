/* Trampolines: see store_trampoline.h.
 *
 * An instruction that stores into a variable of its own module has the variable's
 * distance in it and so is at least 6 bytes long: room for a jump.  The trampolines of a
 * module lie within 2 GiB of its code and data, behind a page with two words: the gate,
 * and the address of isan__store_slow().  A trampoline moves the instruction, with the
 * distance corrected, and calls isan__store_slow() before it while the gate is open.
 *
 * No page is protected and no signal is used, so no system call of the program fails.
 */
#define _GNU_SOURCE
#include "runtime/detect/store_trampoline.h"

#ifdef __x86_64__

#include <cpuid.h>
#include <sys/mman.h>

#include "runtime/base/os.h"
#include "runtime/core/thread.h"

enum { TRAMPOLINE_SIZE = 64 };              /* bytes */

/* The registers that isan__store_slow() and a trampoline have pushed, the last one first. */
struct registers {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, flags, back, rax, rcx;
    char red_zone[128];
};
enum check { CHECK_NOTHING, CHECK_COLLISION, CHECK_AND_PAUSE_FIRST, CHECK_AND_PAUSE_LATER };

__attribute__((visibility("hidden"))) int isan__store_quick(uint32_t index);
__attribute__((visibility("hidden"))) void isan__store_careful(const struct registers *r, uint32_t index, int check);
__attribute__((visibility("hidden"))) void isan__store_slow(void);
__attribute__((visibility("hidden"))) uint8_t isan__has_xsave;
uint8_t isan__has_xsave;

void
isan__store_trampolines_init(void)
{
    unsigned a, b, c = 0, d;
    isan__has_xsave = __get_cpuid(1, &a, &b, &c, &d) && c & bit_OSXSAVE;
}

/* --- what a trampoline calls -------------------------------------------------------------- */

/* Called by isan__store_slow().  Returns what to do at site `index` (enum check). */
ISAN__GENERAL_REGISTERS int
isan__store_quick(uint32_t index)
{
    struct isan__store_site *site = &isan__store_sites[index];
    if (site->reported) {
        return CHECK_NOTHING;
    }
    if (isan__store_has_pause(&site->to)) {
        return CHECK_COLLISION;
    }
    uint64_t bit = 1ull << (isan__self.slot & 63);
    if (!(site->visited & bit)) {
        __atomic_or_fetch(&site->visited, bit, __ATOMIC_RELAXED);
        return CHECK_AND_PAUSE_FIRST;
    }
    uint64_t now = __builtin_ia32_rdtsc();
    return isan__store_pause_is_due(now) && now >= site->next_pause ? CHECK_AND_PAUSE_LATER : CHECK_NOTHING;
}

/* Called by isan__store_slow() with all registers saved.  check: the result of
 * isan__store_quick(). */
void
isan__store_careful(const struct registers *r, uint32_t index, int check)
{
    struct isan__store_site *site = &isan__store_sites[index];
    uint64_t ms = check == CHECK_AND_PAUSE_FIRST ? ISAN__FIRST_PAUSE_MS
        : check == CHECK_AND_PAUSE_LATER ? ISAN__LATER_PAUSE_MS : 0;
    ucontext_t here = { 0 };
    greg_t *g = here.uc_mcontext.gregs;
    g[REG_R15] = (greg_t)r->r15, g[REG_R14] = (greg_t)r->r14, g[REG_R13] = (greg_t)r->r13;
    g[REG_R12] = (greg_t)r->r12, g[REG_R11] = (greg_t)r->r11, g[REG_R10] = (greg_t)r->r10;
    g[REG_R9] = (greg_t)r->r9, g[REG_R8] = (greg_t)r->r8, g[REG_RDI] = (greg_t)r->rdi;
    g[REG_RSI] = (greg_t)r->rsi, g[REG_RBP] = (greg_t)r->rbp, g[REG_RBX] = (greg_t)r->rbx;
    g[REG_RDX] = (greg_t)r->rdx, g[REG_RAX] = (greg_t)r->rax, g[REG_RCX] = (greg_t)r->rcx;
    g[REG_RSP] = (greg_t)(r + 1), g[REG_RIP] = (greg_t)site->at;
    if (check == CHECK_AND_PAUSE_LATER) {
        uint64_t now = __builtin_ia32_rdtsc();
        site->next_pause = now + (isan__store_pause_next(now) << site->n_pauses);
        site->n_pauses += site->n_pauses < 3;
    }
    if (isan__store_collide(&site->to, ms, &here)) {
        site->reported = true;
    }
}

/* Called by a trampoline with the site's index in %eax.  All registers are as they were
 * when it returns, the vector registers included: isan__store_careful() may use them.
 * 0xe7: x87, SSE, AVX and AVX-512 state, which take 2688 bytes at most (Intel SDM
 * volume 1, 13.4). */
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

/* --- writing trampolines ------------------------------------------------------------------- */

static char *
emit_bytes(char *to, const void *bytes, size_t n)
{
    return (char *)memcpy(to, bytes, n) + n;
}

/* Writes an instruction that ends with the distance from its end to the target. */
static char *
emit_relative(char *to, const char *opcode, size_t n, const void *target)
{
    to = emit_bytes(to, opcode, n);
    int32_t distance = (int32_t)((const char *)target - (to + 4));
    return emit_bytes(to, &distance, sizeof distance);
}

/* page: the gate and the address of isan__store_slow().  As long as the gate is closed
 * nothing here changes the flags, and the 128 bytes below the stack pointer stay: the
 * function may use them (System V ABI, x86-64, red zone). */
static void
write_trampoline(char *to, uint32_t index, const char *page)
{
    const struct isan__store_site *site = &isan__store_sites[index];
    to = emit_bytes(to, "\x48\x8d\x64\x24\x80", 5);                     /* lea -128(%rsp), %rsp */
    to = emit_bytes(to, "\x51", 1);                                     /* push %rcx */
    to = emit_relative(to, "\x48\x8b\x0d", 3, page);                    /* mov gate(%rip), %rcx */
    to = emit_bytes(to, "\xe3\x0d", 2);                                 /* jrcxz past the call */
    to = emit_bytes(to, "\x50\xb8", 2);                                 /* push %rax; mov $index, %eax */
    to = emit_bytes(to, &index, sizeof index);
    to = emit_relative(to, "\xff\x15", 2, page + 8);                    /* call *slow(%rip) */
    to = emit_bytes(to, "\x58", 1);                                     /* pop %rax */
    to = emit_bytes(to, "\x59", 1);                                     /* pop %rcx */
    to = emit_bytes(to, "\x48\x8d\xa4\x24\x80\x00\x00\x00", 8);         /* lea 128(%rsp), %rsp */
    int32_t distance;
    memcpy(&distance, site->at + site->disp_at, sizeof distance);
    distance += (int32_t)((const char *)site->at - to);
    char *moved = to;
    to = emit_bytes(to, site->at, site->length);
    memcpy(moved + site->disp_at, &distance, sizeof distance);
    emit_relative(to, "\xe9", 1, site->at + site->length);              /* jmp back */
}

static uintptr_t
page_start(uintptr_t address)
{
    return address & ~(uintptr_t)(ISAN__PAGE - 1);
}

static uintptr_t
page_end(uintptr_t address)
{
    return page_start(address + ISAN__PAGE - 1);
}

/* Memory that 32-bit distances reach from all of [start, end), or NULL. */
static char *
map_near(uintptr_t start, uintptr_t end, size_t size)
{
    enum { STEPS = 1 << 10, STEP = 1 << 20 };
    if (end - start >= 1u << 30) {
        return NULL;
    }
    for (uintptr_t step = 0; step < STEPS - 1; step++) {
        const uintptr_t places[] = { page_start(start) - size - step * STEP, page_end(end) + step * STEP };
        for (int i = 0; i < 2; i++) {
            void *p = mmap((void *)places[i], size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
            if (p == (void *)places[i]) {
                return p;
            }
            if (p != MAP_FAILED) {          /* Linux before 4.17 ignores the flag */
                munmap(p, size);
            }
        }
    }
    return NULL;
}

uint64_t *
isan__store_trampolines_install(const struct isan__store_code *code)
{
    size_t size = ISAN__PAGE + page_end((uintptr_t)code->n_sites * TRAMPOLINE_SIZE);
    uintptr_t low = code->text < code->data ? code->text : code->data;
    uintptr_t high = code->data_end > code->text_end ? code->data_end : code->text_end;
    char *page = map_near(low, high, size);
    if (page == NULL) {
        return NULL;
    }
    char *trampolines = page + ISAN__PAGE;
    void (*slow)(void) = isan__store_slow;
    memcpy(page + 8, &slow, sizeof slow);
    for (uint32_t i = 0; i < code->n_sites; i++) {
        write_trampoline(trampolines + (size_t)i * TRAMPOLINE_SIZE, code->first_site + i, page);
    }
    /* The code stays executable while it is written: a thread that a constructor has
     * started may be anywhere in it. */
    void *text = (void *)page_start(code->text);
    size_t text_size = page_end(code->text_end) - page_start(code->text);
    if (mprotect(trampolines, size - ISAN__PAGE, PROT_READ | PROT_EXEC) != 0
        || mprotect(text, text_size, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) {
        munmap(page, size);
        return NULL;
    }
    for (uint32_t i = 0; i < code->n_sites; i++) {
        char *at = (char *)isan__store_sites[code->first_site + i].at;
        emit_relative(at, "\xe9", 1, trampolines + (size_t)i * TRAMPOLINE_SIZE);    /* jmp */
    }
    mprotect(text, text_size, PROT_READ | PROT_EXEC);
    return (uint64_t *)page;
}

#endif
