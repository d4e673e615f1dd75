/* Races of stores into statics, seen as they happen (statics=watch). */
#ifndef ISAN_DETECT_RACE_STORES_H
#define ISAN_DETECT_RACE_STORES_H

#include "runtime/core/events.h"

void isan__race_stores_init(void);          /* exits the process if it cannot watch */
/* dlopen() has loaded the module and those that it needs; they may have been loaded before. */
void isan__race_stores_module_loaded(uintptr_t base);
void isan__race_stores_forked(int unused);  /* subscriber of forked */
/* Subscribers of module_imported and interp_ends: a module may have become one that
 * several interpreters share, or one that they do not share any more. */
void isan__race_stores_module_imported(const struct isan__import *import);
void isan__race_stores_interp_ended(struct isan__interp_end *end);

#endif
