/* Interpreters and their slots. */
#ifndef ISAN_CORE_INTERP_H
#define ISAN_CORE_INTERP_H

#include "isan/refcount.h"
#include "runtime/core/events.h"
#include "runtime/core/log.h"

struct isan__interp {
    void *interp;                           /* PyInterpreterState*; NULL once it has ended */
    const uint32_t *ends;                   /* becomes non-zero when it begins to end */
    uint32_t serial;                        /* 0: the slot is free */
    uint16_t kind;                          /* enum isan_interp_kind */
    uint8_t  shares_main;                   /* the obmalloc and interned strings of the main interpreter */
    uint8_t  running;                       /* its creation is complete */
    uint8_t  finalizing;                    /* its end has begun */
    uint8_t  ended;                         /* its memory was freed */
    uint8_t  counted;                       /* it has ended, and `left` is valid */
    uint8_t  marked;                        /* PyRefTracer has marked all its objects */
    int64_t  id;                            /* PyInterpreterState_GetID() */
    uint32_t left;                          /* blocks that it left */
    uint32_t end_stack;
};
extern isan__slot_t isan__main_slot;        /* 0: none yet */
extern bool isan__reftrace_active;          /* PyRefTracer reports every object (hooks/reftrace.c) */

void isan__interps_init(void);
/* Never NULL: slot 0 and free slots have serial 0. */
struct isan__interp *isan__interp_of(isan__slot_t slot);
isan__slot_t isan__slot_of_interp(const void *interp);      /* 0: none; any pointer may be given */
isan__slot_t isan__next_live_slot(isan__slot_t slot);       /* after it; 0: no more */
/* True if no other thread can free this interpreter's blocks now: the current thread is in
 * it, or it has ended. */
bool isan__memory_is_stable(isan__slot_t slot);
bool isan__share_obmalloc(isan__slot_t a, isan__slot_t b);
bool isan__share_gil(isan__slot_t a, isan__slot_t b);

void isan__retag(char *block, isan__slot_t to);             /* gives the block another owner */
void isan__interp_block_freed(isan__slot_t slot);           /* one of `left` was freed */
void isan__interps_clear_marked(void);                      /* objects may lack their mark from now on */

/* For lifetime.c. */
isan__slot_t isan__interp_take_slot(const void *interp);     /* for a new interpreter; 0: none is free */
void isan__interp_forget(struct isan__interp *i);           /* it has ended: its address is free */
void isan__interp_counted(isan__slot_t slot, uint32_t left);    /* it has ended and left so many blocks */
void isan__interp_record(const struct isan__interp *interp, int event, uint32_t stack);

#endif
