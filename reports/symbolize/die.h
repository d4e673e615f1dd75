/* Names and places of debugging information entries (DWARF calls one a DIE). */
#ifndef SYMBOLIZE_DIE_H
#define SYMBOLIZE_DIE_H

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stdio.h>

bool die_is_cplusplus(Dwarf_Die *die);
/* Is this a tag of a namespace, class, struct or union? */
bool die_is_scope(int tag);
/* The name of a namespace, class, struct or union, or what stands for it in a path. */
const char *die_scope_name(Dwarf_Die *die);
/* "a::b::", the scopes around the declaration of die; the caller frees it. */
char *die_scope_prefix(Dwarf_Die *die);
/* "a::b::name" in C++, "name" elsewhere, NULL without a name; the caller frees it. */
char *die_qualified_name(Dwarf_Die *die);
/* The file that a variable or type is declared in, or NULL. */
const char *die_declaration_file(Dwarf_Die *die);
/* "file":..,"line":..  A relative file is in the directory of the unit, which may be NULL. */
void die_put_place(FILE *out, Dwarf_Die *unit, const char *file, int line);

#endif
