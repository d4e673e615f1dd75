/* Thread states, and the threads that use them. */
#ifndef ISAN_DETECT_GILSTATE_H
#define ISAN_DETECT_GILSTATE_H

#include "runtime/core/events.h"
#include "runtime/core/thread.h"

/* pc: where the caller of the C-API function goes on. */
void isan__gilstate_attached(char *tstate);    /* by this thread, which last had another */
void isan__gilstate_created(const char *tstate, void *pc);
void isan__gilstate_deleted(const char *tstate);   /* not by the runtime */
void isan__gilstate_block_freed(const struct isan__noted_block *noted);     /* subscriber of noted_block_freed */
/* Might the thread state not be this thread's, that the thread is about to attach? */
static inline bool
isan__gilstate_may_be_foreign(const void *tstate)
{
    return tstate != NULL && (tstate != isan__self.detached || isan__epoch != isan__self.epoch);
}
void isan__gilstate_check_attach(const char *tstate, const char *function, void *pc);
void isan__gilstate_check_ensure(void *pc);                /* PyGILState_Ensure is about to be called */
void isan__gilstate_released(void);                  /* PyGILState_Release has been called */
void isan__gilstate_check_call(const char *function, void *pc);  /* called, perhaps without a thread state */
void isan__gilstate_check_crash(uint64_t address, uint64_t pc, uint32_t stack);
/* An object of that interpreter was used, in a finding with this serial. */
void isan__gilstate_foreign_object(uint32_t owner, uint32_t object);
void isan__gilstate_end_interp(const void *interp, void *pc);    /* Py_EndInterpreter is about to be called; NULL: it has returned */
void isan__gilstate_end_aborted(uint32_t stack);  /* the process */

#endif
