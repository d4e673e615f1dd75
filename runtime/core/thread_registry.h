/* The threads that have run an interpreter. */
#ifndef ISAN_CORE_THREAD_REGISTRY_H
#define ISAN_CORE_THREAD_REGISTRY_H

#include "runtime/base/compiler.h"

void isan__thread_note_interp(uint32_t serial);     /* this thread is in that interpreter from now on */
void isan__threads_forked(int unused);       /* subscriber of forked */
/* The stack that created the thread in a sub-interpreter, and that interpreter's serial; 0:
 * unknown. */
uint32_t isan__thread_creator(uint32_t tid, uint32_t *creator);
void isan__threads_forget_ended(void);      /* removes the threads that have ended */
void isan__visit_threads(void (*visit)(uint32_t tid, uintptr_t pointer, void *arg), void *arg);

#endif
