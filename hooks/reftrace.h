/* The hook of PyRefTracer. */
#ifndef ISAN_HOOKS_REFTRACE_H
#define ISAN_HOOKS_REFTRACE_H

#include "runtime/core/events.h"

/* Installs the tracer, again if another one has replaced it.  Subscribers of thread_synced and
 * interp_about_to_finalize. */
void isan__reftrace_install(int unused);
void isan__reftrace_interp_finalizes(isan__slot_t slot);

#endif
