/* The state of a thread, as isan sees it. */
#ifndef ISAN_CORE_THREAD_H
#define ISAN_CORE_THREAD_H

#include "isan/refcount.h"
#include "runtime/base/lock.h"
#include "runtime/core/events.h"

enum { ISAN__NESTED = 8 };
struct isan__thread {
    isan__slot_t slot;                      /* last slot attached, even when detached now */
    isan__slot_t free_slot;                 /* what a freed block must carry for the fast path */
    uint8_t nested;                         /* in the allocator of MEM or OBJECT (hooks/alloc.c) */
    uint8_t finalizing;                     /* ending the interpreter it is in */
    uint32_t n_findings;                       /* how often it was in a finding, or would have been */
    uint8_t scope;                          /* of ISAN_SCOPE (refcount.h) */
    uint8_t fast_origin;                        /* isan__current_origin() may take the short way */
    uint8_t running;                        /* the interpreter it is in has been made */
    uint8_t registered;                          /* to threads.c */
    uint8_t depth;                          /* used entries of suspended_tstates[] */
    uint32_t creator_serial, creator_stack, creator_tid; /* who started this thread, when it was in another
                                             * interpreter than the main one (hooks/thread.c) */
    uint8_t ignoring;                       /* scopes of isan_ignore_begin() that it is in */
    const char *reason[ISAN__NESTED];       /* why, the outer ones first */
    uint32_t ending;                        /* serial of the interpreter that it ends (gilstate.c) */
    void *ending_pc;                        /* where that was asked for */
    void *ensure_pc;                          /* where PyGILState_Ensure put it into the main interpreter */
    const char *requested_tstate;                      /* what it last asked the API to attach (3.11) */
    void *detach_pc;                             /* where it last gave up its thread state */
    char *tstate;                           /* attached now, or NULL */
    const uint32_t *ends;                   /* of its interpreter, if its end is news */
    uint32_t epoch;                         /* in which `tstate` is known */
    char *detached;                         /* the last one attached */
    char *suspended_tstates[ISAN__NESTED];              /* detached for a nested interpreter on this thread */
};
extern __thread struct isan__thread isan__self __attribute__((tls_model("initial-exec")));

extern uint32_t isan__epoch;                /* goes up when a thread state or an interpreter is gone */
extern bool isan__scan_requested;           /* a signal asked for a scan (api/query.c) */
void isan__thread_end_is_known(void);        /* of the interpreter it is in: *isan__self.ends stays 0 */
void isan__thread_update_slots(void);       /* what this thread's checks compare with */

#endif
