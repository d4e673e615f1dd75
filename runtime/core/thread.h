/* The state of a thread, as isan sees it. */
#ifndef ISAN_CORE_THREAD_H
#define ISAN_CORE_THREAD_H

#include "isan/refcount.h"
#include "runtime/base/lock.h"
#include "runtime/core/events.h"

enum { ISAN__NESTED = 8 };

/* Program counters are return addresses: where the caller of a C-API function goes on. */
struct isan__thread {
    isan__slot_t slot;                      /* the last interpreter attached; stays while detached */
    isan__slot_t free_slot;                 /* hook_free() takes its fast path for blocks of this slot */
    uint8_t nested;                         /* inside the allocator of MEM or OBJECT (hooks/alloc.c) */
    uint8_t finalizing;                     /* it ends the interpreter that it is in */
    uint32_t n_findings;                    /* findings made on this thread, ignored ones included */
    uint8_t scope;                          /* of ISAN_SCOPE (refcount.h) */
    uint8_t fast_origin;                    /* isan__current_origin() may take its fast path */
    uint8_t running;                        /* the creation of its interpreter is complete */
    uint8_t registered;                     /* in thread_registry.c */
    uint8_t depth;                          /* number of suspended_tstates[] in use */
    /* The thread that started this one, if it was in another interpreter than the main one
     * (hooks/thread.c): serial of the interpreter, stack, tid. */
    uint32_t creator_serial, creator_stack, creator_tid;
    uint8_t unwinding;                      /* in libunwind, called by isan (hooks/dlopen.c) */
    uint8_t opening;                        /* calls of dlopen() that it is in (hooks/dlopen.c) */
    uint8_t ignoring;                       /* open scopes of isan_ignore_begin() */
    const char *reason[ISAN__NESTED];       /* their reasons, the outer ones first */
    uint32_t ending;                        /* serial of the interpreter that it ends (gilstate.c) */
    void *ending_pc;                        /* of the call that ends it */
    void *ensure_pc;                        /* of the PyGILState_Ensure that entered the main interpreter */
    const char *requested_tstate;           /* the last that it called the C API to attach (3.11) */
    void *detach_pc;                        /* of the last call that detached its thread state */
    char *tstate;                           /* attached now, or NULL */
    const uint32_t *ends;                   /* becomes non-zero when its interpreter begins to end */
    uint32_t epoch;                         /* isan__epoch when `tstate` was looked up */
    char *detached;                         /* the last one attached */
    char *suspended_tstates[ISAN__NESTED];  /* detached for a nested interpreter on this thread */
};
extern __thread struct isan__thread isan__self __attribute__((tls_model("initial-exec")));

extern uint32_t isan__epoch;                /* goes up when a thread state or an interpreter is gone */
extern bool isan__scan_requested;           /* a signal asked for a scan (api/query.c) */
void isan__thread_end_is_known(void);       /* isan knows that its interpreter ends: *ends stays 0 from now on */
void isan__thread_update_slots(void);       /* sets `free_slot` and isan__slot, after tstate or scope have changed */

#endif
