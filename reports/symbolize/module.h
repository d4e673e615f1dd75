/* The ELF files that requests ask about, each opened once. */
#ifndef SYMBOLIZE_MODULE_H
#define SYMBOLIZE_MODULE_H

#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <stdbool.h>
#include <stdio.h>

#include "reports/symbolize/functions.h"
#include "reports/symbolize/members.h"
#include "reports/symbolize/variables.h"

/* Damaged debug information can be nested without an end. */
enum { MAX_DEPTH = 64 };

struct module {
    struct module *next;
    char *path, *build_id;
    char error[300]; /* "": the file can be used */
    Dwfl *dwfl;
    Dwfl_Module *mod;
    Dwarf *dwarf;    /* NULL: no debug information */
    Dwarf_Addr bias; /* address in the ELF file minus address in the debug information */
    struct function_index code;
    struct variable_index data;
    struct object_layouts layouts;
};

/* Directories with separate debug information.  NULL: those of elfutils, which are the system's. */
extern char *module_debuginfo_path;

/* The module of this file.  Its `error` says why it cannot be used.  `build_id` in hexadecimal: the
 * file has to have it; "": any file will do. */
struct module *module_open(const char *path, const char *build_id);
/* The next unit of the debug information.  *offset is 0 for the first one and is advanced; false:
 * there is no other. */
bool module_next_unit(struct module *module, Dwarf_Off *offset, Dwarf_Die *unit);
/* The end of each answer that is no error. */
void module_put_end(FILE *out, const struct module *module);

#endif
