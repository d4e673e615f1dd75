/* Names and places of debugging information entries (DWARF calls one a DIE). */
#include "reports/symbolize/die.h"

#include <dwarf.h>
#include <stdlib.h>
#include <string.h>

#include "reports/symbolize/arrays.h"
#include "reports/symbolize/json.h"
#include "reports/symbolize/module.h"

bool
die_is_cplusplus(Dwarf_Die *die)
{
    Dwarf_Die unit;
    if (dwarf_diecu(die, &unit, NULL, NULL) == NULL) {
        return false;
    }
    switch (dwarf_srclang(&unit)) {
    case DW_LANG_C_plus_plus:
    case DW_LANG_C_plus_plus_03:
    case DW_LANG_C_plus_plus_11:
    case DW_LANG_C_plus_plus_14:
        return true;
    default:
        return false;
    }
}

/* The entry that says in which namespaces and classes this one was declared. */
static Dwarf_Die
find_declaration(Dwarf_Die die)
{
    static const unsigned via[] = { DW_AT_abstract_origin, DW_AT_specification };
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        bool moved = false;
        for (int i = 0; i < 2 && !moved; i++) {
            Dwarf_Attribute attr;
            Dwarf_Die next;
            if (dwarf_attr(&die, via[i], &attr) != NULL
                && dwarf_formref_die(&attr, &next) != NULL) {
                die = next;
                moved = true;
            }
        }
        if (!moved) {
            break;
        }
    }
    return die;
}

bool
die_is_scope(int tag)
{
    return tag == DW_TAG_namespace || tag == DW_TAG_class_type || tag == DW_TAG_structure_type
        || tag == DW_TAG_union_type;
}

const char *
die_scope_name(Dwarf_Die *die)
{
    const char *name = dwarf_diename(die);
    if (name != NULL) {
        return name;
    }
    return dwarf_tag(die) == DW_TAG_namespace ? "(anonymous namespace)" : "(anonymous)";
}

char *
die_scope_prefix(Dwarf_Die *die)
{
    char *prefix = string_format("%s", "");
    Dwarf_Die declaration = find_declaration(*die), *scopes = NULL;
    int n = dwarf_getscopes_die(&declaration, &scopes);
    for (int i = 1; i < n; i++) {
        if (!die_is_scope(dwarf_tag(&scopes[i]))) {
            continue;
        }
        char *longer = string_format("%s::%s", die_scope_name(&scopes[i]), prefix);
        free(prefix);
        prefix = longer;
    }
    free(scopes);
    return prefix;
}

char *
die_qualified_name(Dwarf_Die *die)
{
    const char *name = dwarf_diename(die);
    if (name == NULL) {
        return NULL;
    }
    if (!die_is_cplusplus(die)) {
        return string_format("%s", name);
    }
    char *prefix = die_scope_prefix(die);
    char *whole = string_format("%s%s", prefix, name);
    free(prefix);
    return whole;
}

/* clang's DWARF 5 gives the number 0 to the file of the unit itself.  dwarf_decl_file() takes 0
 * for "no file", as it was before DWARF 5 (elfutils, libdw/dwarf_decl_file.c). */
const char *
die_declaration_file(Dwarf_Die *die)
{
    const char *file = dwarf_decl_file(die);
    Dwarf_Attribute attr;
    Dwarf_Word number;
    Dwarf_Die unit;
    Dwarf_Files *files;
    size_t n;
    if (file != NULL
        || dwarf_formudata(dwarf_attr_integrate(die, DW_AT_decl_file, &attr), &number) != 0
        || number != 0 || dwarf_diecu(die, &unit, NULL, NULL) == NULL
        || dwarf_getsrcfiles(&unit, &files, &n) != 0) {
        return file;
    }
    return dwarf_filesrc(files, 0, NULL, NULL);
}

static void
put_file(FILE *out, Dwarf_Die *unit, const char *file)
{
    Dwarf_Attribute attr;
    const char *directory =
        unit != NULL ? dwarf_formstring(dwarf_attr(unit, DW_AT_comp_dir, &attr)) : NULL;
    while (file != NULL && strncmp(file, "./", 2) == 0) {
        file += 2;
    }
    /* -ffile-prefix-map may have made the directory ".". */
    if (file == NULL || *file == '/' || directory == NULL || strcmp(directory, ".") == 0) {
        json_put_string(out, file);
        return;
    }
    char *whole = string_format("%s/%s", directory, file);
    json_put_string(out, whole);
    free(whole);
}

void
die_put_place(FILE *out, Dwarf_Die *unit, const char *file, int line)
{
    fputs("\"file\":", out);
    put_file(out, unit, file);
    if (file != NULL && line > 0) {
        fprintf(out, ",\"line\":%d", line);
    }
    else {
        fputs(",\"line\":null", out);
    }
}
