/* Where an object was created: creation sites and stacks. */
#ifndef ISAN_CORE_ORIGIN_H
#define ISAN_CORE_ORIGIN_H

#include "runtime/base/options.h"
#include "runtime/core/shadow.h"
#include "runtime/core/thread.h"
#include "runtime/cpython/layout.h"

bool isan__in_python_frame(void);                   /* does this thread run Python code? */
bool isan__tstate_runs_python(const char *tstate);  /* the same of a thread state that exists */
uint32_t isan__current_site(void);                  /* of the current Python frame; 0: none */

/* Stacks in the log; each returns the id of one, 0: none. */
uint32_t isan__record_stack(void *ucontext);        /* of this thread; ucontext: of a signal, or NULL */
uint32_t isan__record_return_address(const void *pc);   /* a single frame */
/* A stack with n native addresses from elsewhere; `here`: it is this thread's. */
uint32_t isan__record_native_stack(const uint64_t *native, int n, bool here);

uint32_t isan__origin_slow(void);                   /* the creation site or stack of an allocation now */
bool isan__origin_is_stack(uint32_t origin);

/* Marks in the shadow word that a code object has at ISAN__CODE_SITE, above the number of
 * its first site. */
#define ISAN__CODE_IMPORTS 0x40000000u      /* importlib's function that runs init functions */
#define ISAN__CODE_LOADS   0x20000000u      /* importlib's loader of extension modules */

/* The creation site of an allocation now.  The usual case is here: a Python frame with
 * registered code, from 3.13 on. */
static inline uint32_t
isan__current_origin(void)
{
    const struct isan__thread *self = &isan__self;
    if (ISAN__LIKELY(self->fast_origin)) {
        const char *frame, *code, *instr;
        memcpy(&frame, self->tstate + isan__py.ts_frame, sizeof frame);
        if (ISAN__LIKELY(frame != NULL)) {
            memcpy(&code, frame + isan__py.frame_executable, sizeof code);
            code = (const char *)((uintptr_t)code & ~(uintptr_t)3);
            uint32_t word = *isan__tag_word(code + ISAN__CODE_SITE);
            if (ISAN__LIKELY(word - 2 < ISAN__CODE_LOADS - 2)) {
                memcpy(&instr, frame + isan__py.frame_instr, sizeof instr);
                return word + (uint32_t)((size_t)(instr - code - isan__py.code_units) / 2);
            }
        }
    }
    return isan__options.origin == ISAN__ORIGIN_none ? 0 : isan__origin_slow();
}

#endif
