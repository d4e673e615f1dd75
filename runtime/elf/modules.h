/* THE registry of the modules that are loaded.
 *
 * Readers.  The modules are an immutable snapshot of immutable records, which a reader
 * takes without any lock.  A visitor gets a record that stays until it returns.  What a
 * newer snapshot has replaced is freed by the first refresh that finds no reader; so
 * besides what is loaded there is only what has been replaced during the longest visit.
 *
 * Refresh.  Only isan__modules_begin() and the hooks of dlopen and dlclose call
 * dl_iterate_phdr(), and they only when the linker's function has just loaded or
 * unloaded something, for which it has taken the same lock.  Nothing else may: a
 * callback of the program's, which runs with that lock, may wait for the GIL of a thread
 * that is in a check, an allocation or a finding.  So a module that the C library loads
 * for itself (iconv, NSS, libgcc_s) is not known before the next refresh, nor is one while
 * its constructors run.  One in another namespace (dlmopen(3)) is never known.
 *
 * Unloading.  A module may be unmapped while another thread visits its record.  Its
 * memory is therefore read with isan__peek() or isan__scan_unstable(), and written to
 * from isan__visit_kept_modules() only: nothing is unloaded during that. */
#ifndef ISAN_ELF_MODULES_H
#define ISAN_ELF_MODULES_H

#include "runtime/elf/module.h"

void isan__modules_begin(const void *runtime);          /* &_PyRuntime */
void isan__modules_forked(int unused);                  /* in the child */

/* The generation of the current snapshot: the number of loads and unloads before it (dlpi_adds +
 * dlpi_subs).  isan__modules_refresh() makes a new snapshot first.  0: there is none. */
uint64_t isan__modules_refresh(void);
uint64_t isan__modules_generation(void);
uint64_t isan__modules_unloaded(void);                  /* the unloads only */
/* dlclose() has been called for the module with that dynamic section: was it unloaded? */
void isan__modules_closed(const void *dynamic);

/* In the order in which they were loaded. */
void isan__visit_modules(isan__module_visitor *visit, void *arg);
/* The same while nothing is loaded or unloaded.  It runs in a callback of dl_iterate_phdr(), so
 * call it after dlopen() only.  False: the generation has changed, and nothing was visited.
 * Generation 0 has no modules. */
bool isan__visit_kept_modules(uint64_t generation, isan__module_visitor *visit, void *arg);
/* Visits the module at that load address and those that it needs (DT_NEEDED), each once.
 * If visit() returns false, what that module needs is left out. */
void isan__visit_module_closure(uintptr_t base, isan__module_visitor *visit, void *arg);
/* The module that the address is in.  False: it is in none. */
bool isan__visit_module_at(uint64_t address, isan__module_visitor *visit, void *arg);
/* The load address of that module, or UINTPTR_MAX. */
uintptr_t isan__module_base(uint64_t address);
static inline bool
isan__is_in_module(uint64_t address)
{
    return isan__module_base(address) != UINTPTR_MAX;
}
/* Is the module at that load address, with the path that the linker has for it, known? */
bool isan__module_is_known(uintptr_t base, const char *path);

#endif
