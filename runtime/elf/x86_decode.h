/* x86-64 instructions: their length, and what they write to memory. */
#ifndef ISAN_ELF_X86_DECODE_H
#define ISAN_ELF_X86_DECODE_H

#include "runtime/base/compiler.h"

struct isan__x86 {
    const uint8_t *at;
    int32_t disp;                           /* of a `relative` operand */
    uint32_t value;                         /* of a `constant` store */
    uint32_t size;                          /* bytes written to memory; 0: none */
    uint8_t length, disp_at;                /* bytes; where in the instruction `disp` is */
    bool memory;                            /* it has an operand in memory */
    bool relative;                          /* the operand is at a fixed address: `disp` from the instruction's end */
    bool segment;                           /* prefix FS or GS */
    bool atomic;                            /* it writes with LOCK, or is an xchg */
    bool constant;                          /* mov of an immediate operand */
    bool fence;                             /* mfence, or the lock or $0, (%rsp) in its place */
};

/* Decodes the instruction at p, which ends before `end`.  False: it is refused. */
bool isan__x86_decode(struct isan__x86 *to, const uint8_t *p, const uint8_t *end);

#endif
