/* Which interpreter has imported which module, and has run on which thread. */
#ifndef ISAN_DETECT_IMPORT_MAP_H
#define ISAN_DETECT_IMPORT_MAP_H

#include "runtime/base/table.h"
#include "runtime/core/events.h"

/* The current interpreter imports the module at base, and with it the libraries
 * that it is linked to and that use Python themselves.  Publishes module_imported. */
void isan__import_module(uintptr_t base);
void isan__import_defined(uintptr_t base, const void *definition);     /* by its PyInit function */
extern uint32_t isan__n_imports;              /* how many there were, of any module */
bool isan__import_has(const struct isan__import *import, uintptr_t base);

/* Has the interpreter, but for the one with that serial, imported the module at base (or run
 * on the thread with that pointer), and not ended? */
bool isan__has_imported(isan__slot_t slot, uintptr_t base, uint32_t but);
/* The serial of an interpreter that has, the current one if it is one, and has run on the
 * thread if that is not 0.  0: there is none. */
uint32_t isan__importer_of(uintptr_t base, uintptr_t thread, uint32_t but);
/* Who has imported the module at base: the main interpreter, and the serial of
 * the last other one, which may have ended; 0: none. */
uint32_t isan__importers_of(uintptr_t base, bool *by_main);
/* Have interpreters that live, and do not share a GIL, imported the module? */
bool isan__is_imported_in_parallel(uintptr_t base);

/* Subscribers of interp_ends, thread_entered and thread_changed. */
void isan__forget_imports(struct isan__interp_end *end);
void isan__imports_ran_on_thread(uint32_t serial);
void isan__imports_new_thread(uintptr_t pointer);

#endif
