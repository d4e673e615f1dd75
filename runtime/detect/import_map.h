/* Which interpreter has imported which module, and has run on which thread. */
#ifndef ISAN_DETECT_IMPORT_MAP_H
#define ISAN_DETECT_IMPORT_MAP_H

#include "runtime/base/table.h"
#include "runtime/core/events.h"

/* The current interpreter imports the module at base, and with it those of its libraries that use
 * Python.  Publishes module_imported. */
void isan__import_module(uintptr_t base);
/* The PyInit function of the module has returned its definition. */
void isan__import_defined(uintptr_t base, const void *definition);
extern uint32_t isan__n_imports;            /* number of imports so far, of any module */
bool isan__import_has(const struct isan__import *import, uintptr_t base);

/* The serial of a living interpreter that has imported the module at base, and has run on the
 * thread with that pointer if `thread` is not 0.  It is the current interpreter if possible, and
 * never the one with the serial `but`.  0: there is none. */
uint32_t isan__importer_of(uintptr_t base, uintptr_t thread, uint32_t but);
/* by_main: the main interpreter has imported the module at base.  Returns the serial of the last
 * other interpreter that has, which may have ended; 0: none. */
uint32_t isan__importers_of(uintptr_t base, bool *by_main);
/* Have two living interpreters that do not share a GIL imported the module? */
bool isan__is_imported_in_parallel(uintptr_t base);

/* Subscribers of interp_ends, thread_entered and thread_changed. */
void isan__forget_imports(struct isan__interp_end *end);
void isan__imports_ran_on_thread(uint32_t serial);
void isan__imports_new_thread(uintptr_t pointer);

#endif
