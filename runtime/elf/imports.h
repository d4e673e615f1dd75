/* A module's dynamic section: names, and the functions that it imports. */
#ifndef ISAN_ELF_IMPORTS_H
#define ISAN_ELF_IMPORTS_H

#include "runtime/elf/module.h"

/* The names with this tag (DT_NEEDED, DT_SONAME) in the dynamic section of the module with
 * that load address. */
void isan__visit_dynamic_names(uintptr_t base, const void *dynamic, long tag,
    void (*visit)(const char *name, void *arg), void *arg);
/* ISAN__IMPORTS_* */
uint32_t isan__imports_of(uintptr_t base, const void *dynamic);
/* Calls substitute() for each function that the module imports.  It returns the
 * function to be called instead, or NULL.  `call`: the module only calls it (a PLT
 * entry), and neither compares nor stores its address.
 *
 * Writes to the module: call it from isan__visit_kept_modules() only. */
void isan__imports_rewrite(const struct isan__module *module,
    void *(*substitute)(const char *name, bool call, void *arg), void *arg);

#endif
