/* Interpreters and their slots. */
#ifndef ISAN_CORE_INTERP_H
#define ISAN_CORE_INTERP_H

#include "isan/refcount.h"
#include "runtime/core/events.h"
#include "runtime/core/log.h"

struct isan__interp {
    void *interp;                           /* PyInterpreterState*, NULL once it has ended */
    const uint32_t *ends;                   /* not 0 from the beginning of its end on */
    uint32_t serial;                        /* 0: the slot is free */
    uint16_t kind;                          /* enum isan_interp_kind */
    uint8_t  shares_main;                   /* main's obmalloc and interned strings */
    uint8_t  running, finalizing, ended;    /* made; its modules go; its memory is gone */
    uint8_t  counted;                       /* ended, and `left` is valid */
    uint8_t  marked;                        /* by hooks/reftrace.c, all its objects */
    int64_t  id;
    uint32_t left;                          /* blocks it left behind, when ended */
    uint32_t end_stack;
};
extern isan__slot_t isan__main_slot;        /* 0: none yet */
extern bool isan__reftrace_active;          /* PyRefTracer tells of every object (hooks/reftrace.c) */
void isan__interps_init(void);
/* Never NULL: slot 0 and free slots have serial 0. */
struct isan__interp *isan__interp_of(isan__slot_t slot);
/* Its memory stays as it is while this thread looks: it is of the interpreter
 * this thread runs in, or of one that has ended. */
bool isan__memory_is_stable(isan__slot_t slot);
isan__slot_t isan__slot_of_interp(const void *interp);        /* 0: none; it may be any pointer */
isan__slot_t isan__next_live_slot(isan__slot_t slot);           /* after it; 0: none has not ended */
void isan__interps_clear_marked(void);          /* objects of those there are may have no mark */
void isan__interp_block_freed(isan__slot_t slot);            /* one of `left` was freed */
bool isan__share_obmalloc(isan__slot_t a, isan__slot_t b);
bool isan__share_gil(isan__slot_t a, isan__slot_t b);
void isan__retag(char *block, isan__slot_t to);             /* it is another's now */

/* For lifetime.c: a new interpreter takes a slot (0: none now); it has ended and is
 * known no more by its address; its blocks have been counted. */
isan__slot_t isan__interp_take_slot(const void *interp);
void isan__interp_forget(struct isan__interp *i);
void isan__interp_counted(isan__slot_t slot, uint32_t left);
void isan__interp_record(const struct isan__interp *interp, int event, uint32_t stack);

#endif
