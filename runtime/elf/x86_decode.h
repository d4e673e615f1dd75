/* What race_stores.c asks of an x86-64 instruction. */
#ifndef ISAN_ELF_X86_DECODE_H
#define ISAN_ELF_X86_DECODE_H

#include "runtime/base/compiler.h"

struct isan__x86 {
    const uint8_t *at;
    int32_t disp;                           /* of a `relative` one */
    uint32_t value;                         /* of a `constant` one */
    uint32_t size;                          /* bytes written to memory; 0: none */
    uint8_t length, disp_at;
    bool memory;                            /* it has an operand in memory */
    bool relative;                          /* which is at a fixed place: disp from its end */
    bool segment;
    bool atomic;                            /* writes as one with LOCK, or xchg */
    bool constant;                          /* mov of an immediate operand */
    bool fence;                             /* mfence, or lock or $0, (%rsp) for one */
};

/* The instruction at p, which ends before `end`; false: not known. */
bool isan__x86_decode(struct isan__x86 *to, const uint8_t *p, const uint8_t *end);

#endif
