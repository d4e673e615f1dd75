/* Pointers in the writable data of loaded modules, and the interpreters that can reach them. */
#ifndef ISAN_DETECT_STATIC_SCAN_H
#define ISAN_DETECT_STATIC_SCAN_H

#include "runtime/base/log_format.h"
#include "runtime/base/table.h"
#include "runtime/core/events.h"

/* The module's static that points at the block or its object; address 0: none. */
struct isan_holder isan__find_static_holder(const void *block, const void *object);
/* Every word in a module's writable data that points at a block of slot. */
void isan__visit_statics_of(isan__slot_t slot,
    void (*visit)(const struct isan_holder *where, char *block, void *arg), void *arg);
/* Every word that may be a pointer in the writable data of what uses Python, but for
 * the runtime. */
void isan__visit_statics(void (*word)(const struct isan_holder *where, uint64_t value, void *arg), void *arg);

/* The current interpreter imports the module at base, and with it the libraries
 * that it is linked to and that use Python themselves. */
void isan__import_module(uintptr_t base);
void isan__import_defined(uintptr_t base, const void *definition);     /* by its PyInit function */
extern uint32_t isan__n_imports;              /* how many there were, of any module */
/* Who has imported the module at base: the main interpreter, and the serial of
 * the last other one, which may have ended; 0: none. */
uint32_t isan__importers_of(uintptr_t base, bool *by_main);
/* Subscribers of interp_ends, thread_entered and thread_changed. */
void isan__forget_imports(struct isan__interp_end *end);
void isan__imports_ran_on_thread(uint32_t serial);
void isan__imports_new_thread(uintptr_t pointer);
/* Report what the statics of extensions hold of one interpreter, living or not,
 * when another that has imported the extension lives. */
void isan__scan_statics(void);
/* Have interpreters that live, and do not share a GIL, imported the module? */
bool isan__is_imported_in_parallel(uintptr_t base);

/* Raw blocks, of any interpreter, that the runtime's statics lead to. */
void isan__mark_runtime_reachable(struct isan__table *seen);

#endif
