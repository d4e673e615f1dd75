/* Thread states, and the threads that use them. */
#ifndef ISAN_DETECT_GILSTATE_H
#define ISAN_DETECT_GILSTATE_H

#include "runtime/core/thread.h"

/* pc, below: the return address of the call of the C API. */

/* This thread has attached the thread state, and had another one before. */
void isan__gilstate_attached(char *tstate);
/* PyThreadState_New() has returned it; PyThreadState_Delete() is about to be called. */
void isan__gilstate_created(const char *tstate, void *pc);
void isan__gilstate_deleted(const char *tstate);
void isan__gilstate_block_freed(const struct isan__noted_block *noted);     /* subscriber of noted_block_freed */

/* Before this thread attaches a thread state: may it be another thread's? */
static inline bool
isan__gilstate_may_be_foreign(const void *tstate)
{
    return tstate != NULL && (tstate != isan__self.detached || isan__epoch != isan__self.epoch);
}
/* `function` is about to attach the thread state. */
void isan__gilstate_check_attach(const char *tstate, const char *function, void *pc);
void isan__gilstate_check_ensure(void *pc);     /* PyGILState_Ensure is about to be called */
void isan__gilstate_released(void);             /* PyGILState_Release has been called */
void isan__gilstate_check_call(const char *function, void *pc);  /* reports a call without a thread state */
/* The process has crashed at pc, because of that address. */
void isan__gilstate_check_crash(uint64_t address, uint64_t pc, uint32_t stack);
/* This thread has used an object of the interpreter `owner`.  object: its serial. */
void isan__gilstate_foreign_object(uint32_t owner, uint32_t object);
/* Py_EndInterpreter() is about to be called; NULL: it has returned. */
void isan__gilstate_end_interp(const void *interp, void *pc);
/* The process aborts, perhaps because of Py_EndInterpreter(). */
void isan__gilstate_end_aborted(uint32_t stack);

#endif
