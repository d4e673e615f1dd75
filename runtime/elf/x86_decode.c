/* x86-64 instructions: how long one is, and what it does to memory at a fixed
 * place (Intel SDM volume 2, chapter 2 and appendix A).
 *
 * What is not known here, or not used by compilers, is refused, and with it the
 * whole function it is in: nothing is ever patched on a guess.
 */
#include "runtime/elf/x86_decode.h"

/* A bit for each opcode of a map. */
typedef const uint32_t set[8];

static bool
in(set of, uint8_t opcode)
{
    return of[opcode >> 5] >> (opcode & 31) & 1;
}

/* Map 0: with a ModRM byte; with 1 byte of immediate; with 2 or 4, by operand
 * size; invalid in 64-bit mode, or prefixes dealt with elsewhere. */
static set modrm_0 = { 0x0f0f0f0f, 0x0f0f0f0f, 0, 0x00000a08, 0x0000fffb, 0, 0xff0f00c3, 0xc0c00000 };
static set imm8_0  = { 0x10101010, 0x10101010, 0, 0xffff0c00, 0x00000009, 0x00ff0100, 0x00002043, 0x000008ff };
static set immz_0  = { 0x20202020, 0x20202020, 0, 0x00000300, 0x00000002, 0x00000200, 0x00000080, 0x00000300 };
static set bad_0   = { 0xc0c040c0, 0x80808080, 0, 0x00000007, 0x04000004, 0, 0x00704000, 0x00000400 };
/* Map 1 (0F): without a ModRM byte; with 1 byte of immediate; refused. */
static set plain_1 = { 0x00000b60, 0x00ff0000, 0, 0x00800000, 0x0000ffff, 0x00000707, 0x0000ff00, 0 };
static set imm8_1  = { 0, 0, 0, 0x000f0000, 0, 0x04001010, 0x00000074, 0 };
static set bad_1   = { 0x0000d410, 0xfa4000f0, 0, 0x03000000, 0, 0x000000c0, 0, 0 };

/* What the destination of a map-0 opcode with a ModRM byte is: does it write
 * the operand in memory? */
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

/* The bytes a map-1 opcode writes to its operand in memory; 0: it does not.
 * pp: the mandatory prefix, 0, 66, F3 or F2 as 0 to 3; vector: bytes. */
static unsigned
writes_1(uint8_t op, uint8_t reg, unsigned pp, unsigned operand, unsigned vector)
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

bool
isan__x86_decode(struct isan__x86 *to, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *const start = p;
    uint8_t byte[32] = { 0 };
    size_t room = (size_t)(end - p);
    memcpy(byte, p, room < 15 ? room : 15);         /* the longest there is */
    p = byte;
    *to = (struct isan__x86){ 0 };
    bool wide = false, lock = false, osize = false, address32 = false, vex = false;
    unsigned pp = 0, map = 0, vector = 16;
    for (;; p++) {
        switch (*p) {
        case 0x66: osize = true; pp = pp ? pp : 1; continue;
        case 0xf3: pp = 2; continue;
        case 0xf2: pp = 3; continue;
        case 0xf0: lock = true; continue;
        case 0x67: address32 = true; continue;
        case 0x64: case 0x65: to->segment = true; continue;
        case 0x2e: case 0x36: case 0x3e: case 0x26: continue;
        default: break;
        }
        break;
    }
    if (p - byte > 14) {
        return false;
    }
    if ((*p & 0xf0) == 0x40) {
        wide = *p++ & 8;
    }
    uint8_t op = *p++;
    if (op == 0xc5 || op == 0xc4 || op == 0x62) {
        vex = true;
        unsigned last;
        if (op == 0xc5) {
            map = 1;
            last = *p++;
            vector = last & 4 ? 32 : 16;
        }
        else {
            map = op == 0xc4 ? *p & 0x1f : *p & 7;
            last = p[1];
            wide = last & 0x80;
            vector = last & 4 ? 32 : 16;
            if (op == 0x62) {
                vector = p[2] & 0x40 ? 64 : p[2] & 0x20 ? 32 : 16;
                if (*p & 8 || !(last & 4)) {
                    return false;                   /* APX */
                }
                p++;
            }
            p += 2;
        }
        pp = last & 3;
        if (map == 0 || map > 3) {
            return false;
        }
        op = *p++;
    }
    else if (op == 0x0f) {
        map = 1;
        op = *p++;
        if (op == 0x38 || op == 0x3a) {
            map = op == 0x38 ? 2 : 3;
            op = *p++;
        }
    }
    if (map == 0 ? in(bad_0, op) : map == 1 && !vex && in(bad_1, op)) {
        return false;
    }
    bool modrm = map == 0 ? in(modrm_0, op) : map > 1 || !in(plain_1, op);
    if (map == 1 && vex) {
        modrm = op != 0x77;                         /* vzeroupper */
    }
    unsigned operand = wide ? 8 : osize ? 2 : 4, reg = 0;
    if (modrm) {
        uint8_t m = *p++, mod = m >> 6, rm = m & 7;
        reg = m >> 3 & 7;
        if (map == 0 && op == 0x8f && reg != 0) {
            return false;                           /* XOP */
        }
        if (mod != 3) {
            uint8_t sib = rm == 4 ? *p++ : 0;
            to->memory = true;
            if (mod == 0 && rm == 5) {
                to->relative = !address32 && !to->segment;
                to->disp_at = (uint8_t)(p - byte);
                memcpy(&to->disp, p, 4);
                p += 4;
            }
            else {
                p += mod == 1 ? 1 : mod == 2 || (rm == 4 && (sib & 7) == 5) ? 4 : 0;
            }
        }
    }
    const uint8_t *immediate = p;
    if (map == 3 || (map == 1 && in(imm8_1, op)) || (map == 0 && in(imm8_0, op))) {
        p += 1;
    }
    else if (map == 0) {
        if (in(immz_0, op) || (op == 0xf7 && reg < 2)) {
            p += osize && !wide ? 2 : 4;
        }
        else if (op >= 0xb8 && op <= 0xbf) {
            p += wide ? 8 : osize ? 2 : 4;
        }
        else if (op >= 0xa0 && op <= 0xa3) {
            p += address32 ? 4 : 8;
        }
        else if (op == 0xe8 || op == 0xe9) {
            if (osize) {
                return false;                       /* 2 or 4 bytes, by the processor */
            }
            p += 4;
        }
        else if (op == 0xc2 || op == 0xca) {
            p += 2;
        }
        else if (op == 0xc8) {
            p += 3;
        }
        else if (op == 0xf6 && reg < 2) {
            p += 1;
        }
    }
    else if (map == 1 && !vex && op >> 4 == 8) {
        p += 4;                                     /* jcc */
    }
    to->length = (uint8_t)(p - byte);
    if ((size_t)to->length > room || to->length > 15) {
        return false;
    }
    if (to->memory) {
        to->size = map == 0 ? (writes_0(op, (uint8_t)reg) ? (op & 1 || op == 0x8c ? operand : 1) : 0)
            : map == 1 ? writes_1(op, (uint8_t)reg, pp, operand, vector) : 0;
        to->atomic = to->size != 0 && (lock || (map == 0 && (op == 0x86 || op == 0x87)));
        to->constant = map == 0 && (op == 0xc6 || op == 0xc7);
        if (to->constant) {
            memcpy(&to->value, immediate, (size_t)(p - immediate));
        }
    }
    to->fence = (lock && map == 0 && op == 0x83 && reg == 1 && byte[to->length - 2] == 0x24)
        || (map == 1 && op == 0xae && !to->memory && reg == 6 && pp == 0);
    to->at = start;
    return true;
}
