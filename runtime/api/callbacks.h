/* User callbacks for new findings (isan_on_finding). */
#ifndef ISAN_API_CALLBACKS_H
#define ISAN_API_CALLBACKS_H

#include "runtime/base/compiler.h"

void isan__findings_changed(uint32_t id);   /* subscriber of finding_published */
void isan__callbacks_wake(void);            /* every isan__callbacks_wait() returns */
uint32_t isan__callbacks_event(void);       /* a number that changes with each finding and wake */
void isan__callbacks_wait(uint32_t seen);   /* until the number is another one */
void isan__callbacks_forked(int unused);    /* subscriber of forked */

#endif
