/* Requests for data: the variable at an address. */
#ifndef SYMBOLIZE_VARIABLES_H
#define SYMBOLIZE_VARIABLES_H

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct module;

/* A variable, or a part of one that the compiler gave a place of its own. */
struct variable {
    Dwarf_Addr start;      /* address, or offset in the module's block of thread-local variables */
    Dwarf_Word size;       /* of the part */
    Dwarf_Word whole_size; /* of the variable */
    Dwarf_Word offset;     /* of the part in the variable */
    char *name;
    Dwarf_Die die; /* .addr is NULL: from the symbol table */
};

struct variables {
    struct variable *at; /* sorted by start */
    size_t n, capacity;
};

/* [0]: static variables; [1]: thread-local ones. */
struct variable_index {
    bool done;
    struct variables from_debug[2], from_symbols[2];
};

struct variable_index *variables_get_index(struct module *module);
/* path: what the pointer at the address leads to, in n_steps steps: the offset of the next pointer
 * in each piece of memory. */
void variables_answer(struct module *module, Dwarf_Addr vaddr, bool thread_local,
                      const uint64_t *path, int n_steps, FILE *out);

#endif
