/* Pointers in the writable data of loaded modules, and the interpreters that can reach them. */
#ifndef ISAN_DETECT_STATIC_SCAN_H
#define ISAN_DETECT_STATIC_SCAN_H

#include "runtime/base/log_format.h"
#include "runtime/base/table.h"
#include "runtime/core/events.h"

/* The module's static that points at the block or its object; address 0: none. */
struct isan_holder isan__find_static_holder(const void *block, const void *object);
/* Visits every word in a module's writable data that points at a block of slot. */
void isan__visit_statics_of(isan__slot_t slot,
    void (*visit)(const struct isan_holder *where, char *block, void *arg), void *arg);
/* Visits every word that may be a pointer in the writable data of modules that use Python, except
 * the runtime's. */
void isan__visit_statics(void (*word)(const struct isan_holder *where, uint64_t value, void *arg), void *arg);

/* Reports each object in a static of an extension, if a living interpreter other than the object's
 * owner has imported the extension. */
void isan__scan_statics(void);
/* The same for the modules of an import only: subscriber of module_imported. */
void isan__scan_imported_statics(const struct isan__import *import);

/* Puts into `seen` the raw blocks, of any interpreter, that the runtime's statics lead to. */
void isan__mark_runtime_reachable(struct isan__table *seen);

#endif
