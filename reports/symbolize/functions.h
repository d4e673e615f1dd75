/* Requests for code: the functions and lines at an address. */
#ifndef SYMBOLIZE_FUNCTIONS_H
#define SYMBOLIZE_FUNCTIONS_H

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stdio.h>

struct module;

struct range {
    Dwarf_Addr start, end;
    Dwarf_Die die;
};

struct ranges {
    struct range *at; /* sorted by start */
    size_t n, capacity;
};

/* Addresses as the debug information has them. */
struct function_index {
    bool done;
    struct ranges units, functions;
};

void functions_answer(struct module *module, Dwarf_Addr vaddr, FILE *out);
/* The unit with the code at an address of the ELF file, or NULL, and the source file of that code,
 * or NULL. */
Dwarf_Die *functions_find_unit(struct module *module, Dwarf_Addr vaddr, const char **source);

#endif
