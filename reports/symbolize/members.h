/* Requests for members: the C member at an offset in an object. */
#ifndef SYMBOLIZE_MEMBERS_H
#define SYMBOLIZE_MEMBERS_H

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stdio.h>

struct module;

/* A C struct that begins with a PyObject. */
struct object_layout {
    Dwarf_Word size;
    Dwarf_Die die;
};

struct object_layouts {
    bool done;
    struct object_layout *at;
    size_t n, capacity;
};

/* vaddr: the code of a function of the object's type. */
void members_answer(struct module *module, Dwarf_Addr vaddr, Dwarf_Word size, Dwarf_Word offset,
                    FILE *out);

#endif
