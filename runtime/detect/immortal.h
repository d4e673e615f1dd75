/* Changed reference counts of immortal objects. */
#ifndef ISAN_DETECT_IMMORTAL_H
#define ISAN_DETECT_IMMORTAL_H

#include "runtime/core/events.h"

void isan__immortals_init(void);
void isan__immortals_forked(int unused);     /* subscriber of forked */
/* Subscriber of module_imported: these modules may change counts from now on. */
void isan__immortal_add_suspects(const struct isan__import *import);
/* Compares all counts.  The text names the occasion, such as "the import of x.so". */
void isan__scan_immortals(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
