/* Decodes x86-64 instructions: their length, and what they write to memory at a fixed
 * address (Intel SDM volume 2, chapter 2 and appendix A).
 *
 * The decoder refuses an instruction that it does not know or that compilers do not
 * use.  Its caller then leaves the whole function alone: no code is patched on a guess.
 */
#include "runtime/elf/x86_decode.h"

/* One bit for each opcode of an opcode map. */
typedef const uint32_t opcode_set[8];

static bool
is_in(opcode_set set, uint8_t opcode)
{
    return set[opcode >> 5] >> (opcode & 31) & 1;
}

/* Map 0, the opcodes of one byte: those with a ModRM byte; with 1 byte of immediate
 * operand; with 2 or 4 bytes, by operand size; and those that are invalid in 64-bit mode
 * or are prefixes, which read_prefixes() and read_opcode() have taken before. */
static opcode_set modrm_0 = { 0x0f0f0f0f, 0x0f0f0f0f, 0, 0x00000a08, 0x0000fffb, 0, 0xff0f00c3, 0xc0c00000 };
static opcode_set imm8_0  = { 0x10101010, 0x10101010, 0, 0xffff0c00, 0x00000009, 0x00ff0100, 0x00002043, 0x000008ff };
static opcode_set immz_0  = { 0x20202020, 0x20202020, 0, 0x00000300, 0x00000002, 0x00000200, 0x00000080, 0 };
static opcode_set bad_0   = { 0xc0c040c0, 0x80808080, 0, 0x00000007, 0x04000004, 0, 0x00704000, 0x00000400 };
/* Map 1, the opcodes after 0F: those without a ModRM byte; with 1 byte of immediate
 * operand; and those that the decoder refuses. */
static opcode_set plain_1 = { 0x00000b60, 0x00ff0000, 0, 0x00800000, 0x0000ffff, 0x00000707, 0x0000ff00, 0 };
static opcode_set imm8_1  = { 0, 0, 0, 0x000f0000, 0, 0x04001010, 0x00000074, 0 };
static opcode_set bad_1   = { 0x0000d410, 0xfa4000f0, 0, 0x03000000, 0, 0x000000c0, 0, 0 };
/* Maps 2 (0F 38) and 3 (0F 3A) have a ModRM byte throughout, and map 3 has 1 byte of
 * immediate operand. */

/* Does an opcode of map 0 with a ModRM byte write its operand in memory? */
static bool
writes_0(uint8_t op, uint8_t reg)
{
    switch (op) {
    case 0x80: case 0x81: case 0x83: return reg != 7;                       /* cmp */
    case 0x86: case 0x87: case 0x88: case 0x89: case 0x8c: return true;
    case 0x8f: case 0xc6: case 0xc7: return reg == 0;
    case 0xc0: case 0xc1: case 0xd0: case 0xd1: case 0xd2: case 0xd3: return true;
    case 0xf6: case 0xf7: return reg == 2 || reg == 3;                      /* not, neg */
    case 0xfe: case 0xff: return reg < 2;                                   /* inc, dec */
    default: return op < 0x38 && (op & 7) < 2;
    }
}

/* The number of bytes that an opcode of map 1 writes to its operand in memory.
 * pp: the mandatory prefix: 0 none, 1 66, 2 F3, 3 F2.  operand, vector: sizes in bytes. */
static unsigned
size_written_1(uint8_t op, uint8_t reg, unsigned pp, unsigned operand, unsigned vector)
{
    switch (op) {
    case 0x11: return pp == 2 ? 4 : pp == 3 ? 8 : vector;
    case 0x13: case 0x17: return pp < 2 ? 8 : 0;
    case 0x29: case 0x2b: return pp < 2 ? vector : 0;
    case 0x7e: return pp == 2 ? 0 : operand == 8 ? 8 : 4;
    case 0x7f: return pp != 0 ? vector : 8;
    case 0xd6: return pp == 1 ? 8 : 0;
    case 0xe7: return pp == 1 ? vector : 8;
    case 0xa4: case 0xa5: case 0xac: case 0xad: case 0xab: case 0xb3: case 0xbb: return operand;
    case 0xb0: case 0xc0: return 1;
    case 0xb1: case 0xc1: case 0xc3: return operand;
    case 0xba: return reg > 4 ? operand : 0;
    case 0xc7: return reg == 1 ? 2 * operand : 0;
    default: return op >> 4 == 9 ? 1 : 0;                                   /* setcc */
    }
}

/* An instruction as far as it has been read. */
struct decoder {
    struct isan__x86 *to;
    uint8_t byte[32];                       /* a copy, followed by zeros */
    const uint8_t *p;                       /* the next byte to read, in `byte` */
    bool wide;                              /* REX.W, VEX.W, EVEX.W */
    bool lock, operand16, address32;        /* prefixes F0, 66, 67 */
    bool vex;                               /* encoded with VEX or EVEX */
    unsigned pp, map;                       /* mandatory prefix (size_written_1()), opcode map */
    unsigned operand, vector;               /* sizes in bytes */
    uint8_t op, reg;                        /* opcode; the field of that name in the ModRM byte */
};

/* False: there are too many. */
static bool
read_prefixes(struct decoder *d)
{
    for (;; d->p++) {
        switch (*d->p) {
        case 0x66: d->operand16 = true; d->pp = d->pp ? d->pp : 1; continue;
        case 0xf3: d->pp = 2; continue;
        case 0xf2: d->pp = 3; continue;
        case 0xf0: d->lock = true; continue;
        case 0x67: d->address32 = true; continue;
        case 0x64: case 0x65: d->to->segment = true; continue;
        case 0x2e: case 0x36: case 0x3e: case 0x26: continue;
        default: break;
        }
        break;
    }
    if (d->p - d->byte > 14) {
        return false;
    }
    if ((*d->p & 0xf0) == 0x40) {           /* REX */
        d->wide = *d->p++ & 8;
    }
    return true;
}

/* The rest of a VEX or EVEX prefix that begins with `first`, and the opcode after it. */
static bool
read_vector_opcode(struct decoder *d, uint8_t first)
{
    unsigned last;                          /* the byte with pp, and L of VEX */
    d->vex = true;
    if (first == 0xc5) {
        d->map = 1;
        last = *d->p++;
        d->vector = last & 4 ? 32 : 16;
    }
    else {
        d->map = first == 0xc4 ? *d->p & 0x1f : *d->p & 7;
        last = d->p[1];
        d->wide = last & 0x80;
        d->vector = last & 4 ? 32 : 16;
        if (first == 0x62) {
            d->vector = d->p[2] & 0x40 ? 64 : d->p[2] & 0x20 ? 32 : 16;
            if (*d->p & 8 || !(last & 4)) {
                return false;               /* APX */
            }
            d->p++;
        }
        d->p += 2;
    }
    d->pp = last & 3;
    d->op = *d->p++;
    return d->map > 0 && d->map <= 3;
}

/* False: an opcode that the decoder refuses. */
static bool
read_opcode(struct decoder *d)
{
    d->op = *d->p++;
    if (d->op == 0xc5 || d->op == 0xc4 || d->op == 0x62) {
        return read_vector_opcode(d, d->op);
    }
    if (d->op != 0x0f) {
        return !is_in(bad_0, d->op);
    }
    d->op = *d->p++;
    if (d->op == 0x38 || d->op == 0x3a) {
        d->map = d->op == 0x38 ? 2 : 3;
        d->op = *d->p++;
        return true;
    }
    d->map = 1;
    return !is_in(bad_1, d->op);
}

static bool
has_modrm(const struct decoder *d)
{
    if (d->map == 0) {
        return is_in(modrm_0, d->op);
    }
    if (d->map == 1) {
        return d->vex ? d->op != 0x77 : !is_in(plain_1, d->op);     /* 77: vzeroupper */
    }
    return true;
}

/* The ModRM byte, and the SIB byte and displacement that it asks for. */
static bool
read_modrm(struct decoder *d)
{
    struct isan__x86 *to = d->to;
    uint8_t modrm = *d->p++, mod = modrm >> 6, rm = modrm & 7;
    d->reg = modrm >> 3 & 7;
    if (d->map == 0 && d->op == 0x8f && d->reg != 0) {
        return false;                       /* XOP */
    }
    if (mod == 3) {
        return true;                        /* a register */
    }
    uint8_t sib = rm == 4 ? *d->p++ : 0;
    to->memory = true;
    if (mod == 0 && rm == 5) {
        to->relative = !d->address32 && !to->segment;
        to->disp_at = (uint8_t)(d->p - d->byte);
        memcpy(&to->disp, d->p, 4);
        d->p += 4;
    }
    else {
        d->p += mod == 1 ? 1 : mod == 2 || (rm == 4 && (sib & 7) == 5) ? 4 : 0;
    }
    return true;
}

/* Bytes of the immediate operand of an opcode of map 0; -1: the decoder refuses it. */
static int
immediate_size_0(const struct decoder *d)
{
    uint8_t op = d->op;
    if (is_in(imm8_0, op) || (op == 0xf6 && d->reg < 2)) {
        return 1;
    }
    if (is_in(immz_0, op) || (op == 0xf7 && d->reg < 2)) {
        return d->operand16 && !d->wide ? 2 : 4;
    }
    if (op >= 0xb8 && op <= 0xbf) {
        return (int)d->operand;
    }
    if (op >= 0xa0 && op <= 0xa3) {
        return d->address32 ? 4 : 8;
    }
    switch (op) {
    case 0xe8: case 0xe9: return d->operand16 && !d->wide ? -1 : 4;     /* 2 or 4 bytes, by the processor */
    case 0xc2: case 0xca: return 2;
    case 0xc8: return 3;
    default: return 0;
    }
}

static int
immediate_size(const struct decoder *d)
{
    switch (d->map) {
    case 0: return immediate_size_0(d);
    case 1: return is_in(imm8_1, d->op) ? 1 : !d->vex && d->op >> 4 == 8 ? 4 : 0;     /* 4: jcc */
    case 2: return 0;
    default: return 1;
    }
}

/* What the instruction does to its operand in memory.  `immediate` has n bytes. */
static void
note_store(const struct decoder *d, const uint8_t *immediate, size_t n)
{
    struct isan__x86 *to = d->to;
    if (d->map == 0 && writes_0(d->op, d->reg)) {
        to->size = d->op & 1 || d->op == 0x8c ? d->operand : 1;
    }
    else if (d->map == 1) {
        to->size = size_written_1(d->op, d->reg, d->pp, d->operand, d->vector);
    }
    bool xchg = d->map == 0 && (d->op == 0x86 || d->op == 0x87);
    to->atomic = to->size != 0 && (d->lock || xchg);
    to->constant = d->map == 0 && (d->op == 0xc6 || d->op == 0xc7);
    if (to->constant) {
        memcpy(&to->value, immediate, n);
    }
}

/* mfence, or the `lock or $0, (%rsp)` that compilers prefer to it. */
static bool
is_fence(const struct decoder *d)
{
    if (d->map == 0) {
        return d->lock && d->op == 0x83 && d->reg == 1 && d->byte[d->to->length - 2] == 0x24;
    }
    return d->map == 1 && d->op == 0xae && !d->to->memory && d->reg == 6 && d->pp == 0;
}

bool
isan__x86_decode(struct isan__x86 *to, const uint8_t *p, const uint8_t *end)
{
    enum { LONGEST = 15 };
    struct decoder d = { .to = to, .vector = 16 };
    size_t room = (size_t)(end - p);
    memcpy(d.byte, p, room < LONGEST ? room : LONGEST);
    d.p = d.byte;
    *to = (struct isan__x86){ .at = p };
    if (!read_prefixes(&d) || !read_opcode(&d)) {
        return false;
    }
    d.operand = d.wide ? 8 : d.operand16 ? 2 : 4;
    if (has_modrm(&d) && !read_modrm(&d)) {
        return false;
    }
    int n = immediate_size(&d);
    if (n < 0) {
        return false;
    }
    const uint8_t *immediate = d.p;
    to->length = (uint8_t)(immediate + n - d.byte);
    if (to->length > room || to->length > LONGEST) {
        return false;
    }
    if (to->memory) {
        note_store(&d, immediate, (size_t)n);
    }
    to->fence = is_fence(&d);
    return true;
}
