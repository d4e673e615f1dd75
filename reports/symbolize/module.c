/* The ELF files that requests ask about, each opened once. */
#define _GNU_SOURCE
#include "reports/symbolize/module.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "reports/symbolize/arrays.h"

char *module_debuginfo_path;

static struct module *modules;

static const Dwfl_Callbacks callbacks = {
    .find_elf = dwfl_build_id_find_elf,
    .find_debuginfo = dwfl_standard_find_debuginfo,
    .section_address = dwfl_offline_section_address,
    .debuginfo_path = &module_debuginfo_path,
};

static bool
build_id_differs(Dwfl_Module *mod, const char *expected)
{
    const unsigned char *bits;
    GElf_Addr vaddr;
    int n = dwfl_module_build_id(mod, &bits, &vaddr);
    if (*expected == '\0' || n <= 0) {
        return false;
    }
    if (strlen(expected) != 2 * (size_t)n) {
        return true;
    }
    for (int i = 0; i < n; i++) {
        char hex[3];
        snprintf(hex, sizeof hex, "%02x", bits[i]);
        if (strncasecmp(hex, expected + 2 * i, 2) != 0) {
            return true;
        }
    }
    return false;
}

static void
read_file(struct module *module)
{
    struct stat st;
    if (stat(module->path, &st) != 0) {
        snprintf(module->error, sizeof module->error, "cannot open it: %s", strerror(errno));
        return;
    }
    /* Opening a FIFO would block. */
    if (!S_ISREG(st.st_mode)) {
        snprintf(module->error, sizeof module->error, "not a regular file");
        return;
    }
    module->dwfl = dwfl_begin(&callbacks);
    if (module->dwfl != NULL) {
        dwfl_report_begin(module->dwfl);
        module->mod = dwfl_report_elf(module->dwfl, module->path, module->path, -1, 0, true);
        dwfl_report_end(module->dwfl, NULL, NULL);
    }
    if (module->mod == NULL) {
        snprintf(module->error, sizeof module->error, "not a readable ELF file: %s",
                 dwfl_errmsg(-1));
        return;
    }
    if (build_id_differs(module->mod, module->build_id)) {
        snprintf(module->error, sizeof module->error,
                 "the file has changed since it was recorded (its build-id is another)");
        return;
    }
    module->dwarf = dwfl_module_getdwarf(module->mod, &module->bias);
    /* A file may have unwind tables and no other debug information. */
    Dwarf_Off next;
    size_t header;
    if (module->dwarf != NULL
        && dwarf_nextcu(module->dwarf, 0, &next, &header, NULL, NULL, NULL) != 0) {
        module->dwarf = NULL;
    }
}

struct module *
module_open(const char *path, const char *build_id)
{
    struct module *module;
    for (module = modules; module != NULL; module = module->next) {
        if (strcmp(module->path, path) == 0 && strcmp(module->build_id, build_id) == 0) {
            return module;
        }
    }
    module = calloc(1, sizeof *module);
    if (module == NULL) {
        abort();
    }
    module->path = string_format("%s", path);
    module->build_id = string_format("%s", build_id);
    module->next = modules;
    modules = module;
    read_file(module);
    return module;
}

bool
module_next_unit(struct module *module, Dwarf_Off *offset, Dwarf_Die *unit)
{
    Dwarf_Off next;
    size_t header;
    while (module->dwarf != NULL
           && dwarf_nextcu(module->dwarf, *offset, &next, &header, NULL, NULL, NULL) == 0) {
        bool found = dwarf_offdie(module->dwarf, *offset + header, unit) != NULL;
        *offset = next;
        if (found) {
            return true;
        }
    }
    return false;
}

void
module_put_end(FILE *out, const struct module *module)
{
    fprintf(out, ",\"debug\":%s}\n", module->dwarf != NULL ? "true" : "false");
}
