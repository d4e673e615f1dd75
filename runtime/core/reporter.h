/* Starts the reporter on this process's log (isan report). */
#ifndef ISAN_CORE_REPORTER_H
#define ISAN_CORE_REPORTER_H

#include "runtime/base/compiler.h"

void isan__reporter_init(void);             /* exits the process on an option that is wrong */
/* Runs the reporter and waits for it.  Returns its exit status; -1: there is no report.  crashed: also
 * if all findings have been reported.  It is async-signal-safe. */
int isan__report(bool crashed);
/* The same at the end of the process.  Signals that the program gets meanwhile have no effect. */
int isan__report_at_end(void);
void isan__ignore_periodic_timers(void);    /* for when Python is finalised */

#endif
