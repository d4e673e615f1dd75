/* What stores.c asks of an instruction. */
#ifndef ISAN_X86_H
#define ISAN_X86_H

#include "runtime/internal.h"

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
