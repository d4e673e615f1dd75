/* runtime/elf/x86_decode.c: lengths of instructions, and what they do to memory. */
#include "runtime/elf/x86_decode.h"

#include "unit.h"

/* Decodes the bytes of a string literal, which may have NULs. */
#define DECODE(to, bytes) \
    isan__x86_decode(to, (const uint8_t *)(bytes), (const uint8_t *)(bytes) + sizeof(bytes) - 1)

/* With and without nops behind: the length does not depend on them. */
#define EXPECT_LENGTH(bytes) \
    do { \
        struct isan__x86 x; \
        EXPECT(DECODE(&x, bytes)); \
        EXPECT_EQ(x.length, sizeof(bytes) - 1); \
        EXPECT(DECODE(&x, bytes "\x90\x90\x90\x90\x90\x90\x90\x90")); \
        EXPECT_EQ(x.length, sizeof(bytes) - 1); \
    } while (0)

#define EXPECT_UNKNOWN(bytes) \
    do { \
        struct isan__x86 x; \
        EXPECT(!DECODE(&x, bytes "\x00\x00\x00\x00\x00\x00\x00\x00")); \
    } while (0)

TEST(lengths_of_map_0)
{
    EXPECT_LENGTH("\x90");                                     /* nop */
    EXPECT_LENGTH("\x55");                                     /* push %rbp */
    EXPECT_LENGTH("\x41\x57");                                 /* push %r15 */
    EXPECT_LENGTH("\x48\x89\xe5");                             /* mov %rsp, %rbp */
    EXPECT_LENGTH("\x83\xc0\x01");                             /* add $1, %eax */
    EXPECT_LENGTH("\x81\xc3\x00\x01\x00\x00");                 /* add $256, %ebx */
    EXPECT_LENGTH("\x66\x81\xc3\x00\x01");                     /* add $256, %bx */
    EXPECT_LENGTH("\x48\x81\xc3\x00\x01\x00\x00");             /* add $256, %rbx */
    EXPECT_LENGTH("\xb8\x01\x00\x00\x00");                     /* mov $1, %eax */
    EXPECT_LENGTH("\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08"); /* movabs $.., %rax */
    EXPECT_LENGTH("\xa1\x01\x02\x03\x04\x05\x06\x07\x08");     /* movabs 0x.., %eax */
    EXPECT_LENGTH("\xe8\x00\x00\x00\x00");                     /* call */
    EXPECT_LENGTH("\x66\x66\x48\xe8\x00\x00\x00\x00");         /* call, of __tls_get_addr */
    EXPECT_LENGTH("\xeb\xfe");                                 /* jmp, short */
    EXPECT_LENGTH("\xc2\x08\x00");                             /* ret $8 */
    EXPECT_LENGTH("\xc8\x10\x00\x00");                         /* enter $16, $0 */
    EXPECT_LENGTH("\xf6\xc1\x01");                             /* test $1, %cl */
    EXPECT_LENGTH("\xf6\xd1");                 /* not %cl: the same opcode, no immediate */
    EXPECT_LENGTH("\xf7\xc1\x01\x00\x00\x00"); /* test $1, %ecx */
    EXPECT_LENGTH("\xf7\xd1");                 /* not %ecx */
}

TEST(lengths_by_addressing)
{
    EXPECT_LENGTH("\x8b\x00");                                 /* mov (%rax), %eax */
    EXPECT_LENGTH("\x8b\x40\x08");                             /* mov 8(%rax), %eax */
    EXPECT_LENGTH("\x8b\x80\x00\x01\x00\x00");                 /* mov 256(%rax), %eax */
    EXPECT_LENGTH("\x8b\x04\x24");                             /* mov (%rsp), %eax */
    EXPECT_LENGTH("\x8b\x44\x24\x08");                         /* mov 8(%rsp), %eax */
    EXPECT_LENGTH("\x8b\x04\x25\x00\x10\x00\x00");             /* mov 0x1000, %eax */
    EXPECT_LENGTH("\x8b\x04\x85\x00\x10\x00\x00");             /* mov 0x1000(,%rax,4), %eax */
    EXPECT_LENGTH("\x8b\x05\x00\x10\x00\x00");                 /* mov 0x1000(%rip), %eax */
    EXPECT_LENGTH("\xc7\x05\x00\x10\x00\x00\x01\x00\x00\x00"); /* movl $1, 0x1000(%rip) */
}

TEST(lengths_of_other_maps_and_of_vectors)
{
    EXPECT_LENGTH("\x0f\x84\x00\x01\x00\x00");         /* je */
    EXPECT_LENGTH("\x0f\xb6\xc0");                     /* movzbl %al, %eax */
    EXPECT_LENGTH("\x0f\xba\xe8\x03");                 /* bts $3, %eax */
    EXPECT_LENGTH("\x0f\x05");                         /* syscall */
    EXPECT_LENGTH("\x66\x0f\x38\x00\xc1");             /* pshufb %xmm1, %xmm0 */
    EXPECT_LENGTH("\x66\x0f\x3a\x0f\xc1\x04");         /* palignr $4, %xmm1, %xmm0 */
    EXPECT_LENGTH("\xf3\x0f\x1e\xfa");                 /* endbr64 */
    EXPECT_LENGTH("\xc5\xf8\x77");                     /* vzeroupper */
    EXPECT_LENGTH("\xc5\xfa\x11\x05\x00\x10\x00\x00"); /* vmovss %xmm0, 0x1000(%rip) */
    EXPECT_LENGTH("\xc4\xe2\x7d\x18\x00");             /* vbroadcastss (%rax), %ymm0 */
    EXPECT_LENGTH("\xc4\xe3\x7d\x39\xc0\x01");         /* vextracti128 $1, %ymm0, %xmm0 */
    EXPECT_LENGTH("\x62\xf1\x7c\x48\x11\x00");         /* vmovups %zmm0, (%rax) */
}

TEST(a_store_to_a_fixed_place)
{
    struct isan__x86 x;
    static const char store[] = "\x48\x89\x05\x10\x20\x00\x00"; /* mov %rax, 0x2010(%rip) */
    EXPECT(DECODE(&x, store));
    EXPECT(x.at == (const uint8_t *)store);
    EXPECT(x.memory && x.relative && !x.segment && !x.atomic && !x.constant);
    EXPECT_EQ(x.size, 8);
    EXPECT_EQ(x.disp, 0x2010);
    EXPECT_EQ(x.disp_at, 3);
}

TEST(a_negative_displacement)
{
    struct isan__x86 x;
    EXPECT(DECODE(&x, "\x89\x05\xf0\xff\xff\xff")); /* mov %eax, -16(%rip) */
    EXPECT_EQ(x.disp, -16);
    EXPECT_EQ(x.size, 4);
}

TEST(a_store_of_a_constant)
{
    struct isan__x86 x;
    EXPECT(DECODE(&x, "\xc7\x05\x00\x10\x00\x00\x2a\x00\x00\x00")); /* movl $42, 0x1000(%rip) */
    EXPECT(x.constant);
    EXPECT_EQ(x.value, 42);
    EXPECT_EQ(x.size, 4);
    EXPECT(DECODE(&x, "\xc6\x05\x00\x10\x00\x00\x01")); /* movb $1, 0x1000(%rip) */
    EXPECT(x.constant);
    EXPECT_EQ(x.value, 1);
    EXPECT_EQ(x.size, 1);
}

TEST(a_load_and_a_comparison_write_nothing)
{
    struct isan__x86 x;
    EXPECT(DECODE(&x, "\x8b\x05\x00\x10\x00\x00")); /* mov 0x1000(%rip), %eax */
    EXPECT(x.memory && x.relative);
    EXPECT_EQ(x.size, 0);
    EXPECT(DECODE(&x, "\x83\x3d\x00\x10\x00\x00\x01")); /* cmpl $1, 0x1000(%rip) */
    EXPECT_EQ(x.size, 0);
    EXPECT(DECODE(&x, "\x83\x05\x00\x10\x00\x00\x01")); /* addl $1, 0x1000(%rip): one bit away */
    EXPECT_EQ(x.size, 4);
    EXPECT(DECODE(&x, "\x39\x05\x00\x10\x00\x00")); /* cmp %eax, 0x1000(%rip) */
    EXPECT_EQ(x.size, 0);
    EXPECT(DECODE(&x, "\x8d\x05\x00\x10\x00\x00")); /* lea 0x1000(%rip), %eax */
    EXPECT_EQ(x.size, 0);
    EXPECT(DECODE(&x, "\x89\xc3")); /* mov %eax, %ebx */
    EXPECT(!x.memory);
    EXPECT_EQ(x.size, 0);
}

TEST(atomic_stores_and_fences)
{
    struct isan__x86 x;
    EXPECT(DECODE(&x, "\xf0\x83\x05\x00\x10\x00\x00\x01")); /* lock addl $1, 0x1000(%rip) */
    EXPECT(x.atomic && !x.fence);
    EXPECT(DECODE(&x, "\x87\x05\x00\x10\x00\x00")); /* xchg %eax, 0x1000(%rip): locks by itself */
    EXPECT(x.atomic);
    EXPECT(DECODE(&x, "\x0f\xae\xf0")); /* mfence */
    EXPECT(x.fence);
    EXPECT(DECODE(&x, "\xf0\x83\x0c\x24\x00")); /* lock orl $0, (%rsp) */
    EXPECT(x.fence);
    EXPECT(DECODE(&x, "\x83\x0c\x24\x00")); /* orl $0, (%rsp) */
    EXPECT(!x.fence && !x.atomic);
}

TEST(sizes_of_vector_stores)
{
    struct isan__x86 x;
    EXPECT(DECODE(&x, "\x0f\x11\x05\x00\x10\x00\x00")); /* movups %xmm0, 0x1000(%rip) */
    EXPECT_EQ(x.size, 16);
    EXPECT(DECODE(&x, "\xf3\x0f\x11\x05\x00\x10\x00\x00")); /* movss */
    EXPECT_EQ(x.size, 4);
    EXPECT(DECODE(&x, "\xf2\x0f\x11\x05\x00\x10\x00\x00")); /* movsd */
    EXPECT_EQ(x.size, 8);
    EXPECT(DECODE(&x, "\xc5\xfc\x11\x05\x00\x10\x00\x00")); /* vmovups %ymm0 */
    EXPECT_EQ(x.size, 32);
    EXPECT(DECODE(&x, "\x62\xf1\x7c\x48\x11\x05\x00\x10\x00\x00")); /* vmovups %zmm0 */
    EXPECT_EQ(x.size, 64);
}

TEST(sizes_of_map_1)
{
    struct isan__x86 x;
    EXPECT(DECODE(&x, "\xf0\x0f\xb1\x0d\x00\x10\x00\x00")); /* lock cmpxchg %ecx, 0x1000(%rip) */
    EXPECT(x.atomic);
    EXPECT_EQ(x.size, 4);
    EXPECT(DECODE(&x, "\xf0\x48\x0f\xc1\x0d\x00\x10\x00\x00")); /* lock xadd %rcx, 0x1000(%rip) */
    EXPECT_EQ(x.size, 8);
    EXPECT(DECODE(&x, "\x0f\x94\x05\x00\x10\x00\x00")); /* sete 0x1000(%rip) */
    EXPECT_EQ(x.size, 1);
    EXPECT(DECODE(&x, "\x0f\xba\x2d\x00\x10\x00\x00\x03")); /* btsl $3, 0x1000(%rip) */
    EXPECT_EQ(x.size, 4);
    EXPECT(DECODE(&x, "\x0f\xba\x25\x00\x10\x00\x00\x03")); /* btl $3, 0x1000(%rip): reads */
    EXPECT_EQ(x.size, 0);
    EXPECT(DECODE(&x, "\x0f\xb6\x05\x00\x10\x00\x00")); /* movzbl 0x1000(%rip), %eax */
    EXPECT_EQ(x.size, 0);
}

TEST(memory_of_a_thread_is_at_no_fixed_place)
{
    struct isan__x86 x;
    EXPECT(DECODE(&x, "\x64\x8b\x04\x25\x28\x00\x00\x00")); /* mov %fs:0x28, %eax */
    EXPECT(x.segment && !x.relative);
    EXPECT(DECODE(&x, "\x67\x8b\x05\x00\x10\x00\x00")); /* mov 0x1000(%eip), %eax */
    EXPECT(!x.relative);
}

TEST(what_is_not_known_is_refused)
{
    EXPECT_UNKNOWN("\x06");                 /* push %es: not in 64-bit mode */
    EXPECT_UNKNOWN("\xea");                 /* far jmp: not in 64-bit mode */
    EXPECT_UNKNOWN("\x8f\x48");             /* XOP */
    EXPECT_UNKNOWN("\xd5\x11\x01\xc0");     /* APX: REX2 */
    EXPECT_UNKNOWN("\x0f\x0f\xc1\xb4");     /* 3DNow! */
    EXPECT_UNKNOWN("\xc4\xe8\x78\x00\xc0"); /* a VEX map that is not there */
}

TEST(an_instruction_that_is_cut_off_is_refused)
{
    static const uint8_t store[] = { 0x48, 0xc7, 0x05, 0, 0x10, 0, 0, 1, 0, 0, 0 };
    struct isan__x86 x;
    EXPECT(isan__x86_decode(&x, store, store + sizeof store));
    for (size_t n = 1; n < sizeof store; n++) {
        /* At the end of a block of its own, where AddressSanitizer sees a read behind it. */
        uint8_t *cut = malloc(n);
        memcpy(cut, store, n);
        EXPECT(!isan__x86_decode(&x, cut, cut + n));
        free(cut);
    }
}

TEST(a_call_whose_length_depends_on_the_processor_is_refused)
{
    EXPECT_UNKNOWN("\x66\xe8");
    EXPECT_UNKNOWN("\x66\xe9");
}

TEST(prefixes_without_an_end_are_refused)
{
    uint8_t prefixes[32];
    struct isan__x86 x;
    memset(prefixes, 0x66, sizeof prefixes);
    EXPECT(!isan__x86_decode(&x, prefixes, prefixes + sizeof prefixes));
    prefixes[14] = 0x90; /* 15 bytes are the most that an instruction has */
    EXPECT(isan__x86_decode(&x, prefixes, prefixes + sizeof prefixes));
    EXPECT_EQ(x.length, 15);
    prefixes[14] = 0x66;
    prefixes[15] = 0x90;
    EXPECT(!isan__x86_decode(&x, prefixes, prefixes + sizeof prefixes));
}

/* No bytes make it read or write elsewhere, or find an instruction longer than the room for it. */
TEST(random_bytes_do_no_harm)
{
    uint64_t random = 88172645463325252u;
    struct isan__x86 x;
    for (int i = 0; i < 300000; i++) {
        uint8_t bytes[16];
        for (size_t at = 0; at < sizeof bytes; at += 8) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            memcpy(bytes + at, &random, 8);
        }
        size_t n = 1 + random % 15;
        uint8_t *block = malloc(n);
        memcpy(block, bytes, n);
        bool known = isan__x86_decode(&x, block, block + n);
        EXPECT(!known || (x.length > 0 && x.length <= n));
        free(block);
    }
}
