/* The functions that a module imports: its global offset table (GOT). */
#ifndef ISAN_ELF_IMPORTS_H
#define ISAN_ELF_IMPORTS_H

#include "runtime/base/compiler.h"

struct dl_phdr_info;                        /* <link.h> */

/* Calls substitute() for each function that the module imports.  It returns the
 * function to be called instead, or NULL.  `call`: the module only calls it (a PLT
 * entry), and neither compares nor stores its address. */
void isan__imports_rewrite(const struct dl_phdr_info *info,
    void *(*substitute)(const char *name, bool call, void *arg), void *arg);
/* The names with this tag in a module's dynamic section (DT_NEEDED, DT_SONAME). */
void isan__visit_dynamic_names(const struct dl_phdr_info *info, long tag,
    void (*visit)(const char *name, void *arg), void *arg);
bool isan__module_has_soname(const struct dl_phdr_info *info, const char *name);
/* Does the module import a function of the C API? */
bool isan__module_uses_python(const struct dl_phdr_info *info);
/* isan itself, its unwinder, the C library and the dynamic linker hold addresses for
 * reasons of their own. */
bool isan__module_is_excluded(const struct dl_phdr_info *info);

#endif
