/* Requests for statics: all variables that are or hold Python objects, and Python's functions that
 * the file uses. */
#define _GNU_SOURCE
#include "reports/symbolize/statics.h"

#include <dwarf.h>
#include <gelf.h>
#include <inttypes.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>

#include "reports/symbolize/die.h"
#include "reports/symbolize/json.h"
#include "reports/symbolize/module.h"
#include "reports/symbolize/python_types.h"
#include "reports/symbolize/types.h"

enum { MAX_PARTS = 1000 };

/* The parts of one variable. */
struct parts {
    FILE *out;
    int n;
    Dwarf_Die variable_type;
};

static void find_parts(struct parts *parts, Dwarf_Die type, Dwarf_Word offset, int depth);

static void
put_part(struct parts *parts, const char *what, Dwarf_Word offset)
{
    bool atomic = false;
    Dwarf_Die type = parts->variable_type;
    char *element = type_path_at(&type, offset, &atomic, python_struct_kind);
    fputs(parts->n++ > 0 ? ",{\"what\":" : "{\"what\":", parts->out);
    json_put_string(parts->out, what);
    fprintf(parts->out, ",\"offset\":%" PRIu64 ",\"element\":", offset);
    json_put_string(parts->out, element);
    putc('}', parts->out);
    free(element);
}

static void
find_parts_of_array(struct parts *parts, Dwarf_Die *type, Dwarf_Word offset, int depth)
{
    Dwarf_Die element;
    Dwarf_Word size, counts[MAX_DIMENSIONS];
    int n = type_array_dimensions(type, &element, &size, counts), before = parts->n;
    Dwarf_Word count = n > 0;
    while (n-- > 0) {
        count *= counts[n];
    }
    for (; count > 0 && parts->n < MAX_PARTS; count--, offset += size) {
        find_parts(parts, element, offset, depth + 1);
        /* All elements have the same type: if one has no part, none has. */
        if (parts->n == before) {
            break;
        }
    }
}

static void
find_parts_of_struct(struct parts *parts, Dwarf_Die *type, Dwarf_Word offset, int depth)
{
    Dwarf_Die child, inner;
    const char *kind = python_struct_kind(type);
    if (kind != NULL) {
        put_part(parts, kind, offset);
    }
    if ((kind != NULL && strcmp(kind, "instance") != 0) || dwarf_child(type, &child) != 0) {
        return;
    }
    do {
        Dwarf_Word at;
        if (!type_is_part(&child) || dwarf_hasattr(&child, DW_AT_declaration)
            || !type_part_offset(&child, &at) || !type_of(&child, &inner)) {
            continue;
        }
        bool header = kind != NULL && at == 0 && !python_is_type(&inner);
        if (!header) {
            find_parts(parts, inner, offset + at, depth + 1);
        }
    } while (dwarf_siblingof(&child, &child) == 0);
}

static void
find_parts(struct parts *parts, Dwarf_Die type, Dwarf_Word offset, int depth)
{
    if (depth > MAX_DEPTH || parts->n >= MAX_PARTS) {
        return;
    }
    switch (dwarf_tag(&type)) {
    case DW_TAG_pointer_type:
        if (python_is_pointer_to_object(&type)) {
            put_part(parts, "object", offset);
        }
        break;
    case DW_TAG_array_type:
        find_parts_of_array(parts, &type, offset, depth);
        break;
    case DW_TAG_structure_type:
    case DW_TAG_class_type:
    case DW_TAG_union_type:
        find_parts_of_struct(parts, &type, offset, depth);
        break;
    default:
        break;
    }
}

/* Does the memory stay writable when the dynamic linker is done? */
static bool
is_writable(struct module *module, Dwarf_Addr address)
{
    GElf_Addr bias;
    Elf *elf = dwfl_module_getelf(module->mod, &bias);
    size_t n = 0;
    bool writable = false;
    if (elf == NULL || elf_getphdrnum(elf, &n) != 0) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        GElf_Phdr segment;
        if (gelf_getphdr(elf, (int)i, &segment) == NULL
            || address - (segment.p_vaddr + bias) >= segment.p_memsz) {
            continue;
        }
        if (segment.p_type == PT_GNU_RELRO) {
            return false;
        }
        writable |= segment.p_type == PT_LOAD && (segment.p_flags & PF_W) != 0;
    }
    return writable;
}

static void
put_static(FILE *out, struct variable *variable, const char *parts)
{
    Dwarf_Die unit;
    int line = 0;
    const char *file = die_declaration_file(&variable->die);
    dwarf_decl_line(&variable->die, &line);
    fputs("{\"symbol\":", out);
    json_put_string(out, variable->name);
    fprintf(out, ",\"address\":%" PRIu64 ",\"size\":%" PRIu64 ",", variable->start, variable->size);
    die_put_place(out, dwarf_diecu(&variable->die, &unit, NULL, NULL), file, line);
    fprintf(out, ",\"parts\":[%s]}", parts);
}

static void
put_statics(FILE *out, struct module *module)
{
    struct variables *variables = &variables_get_index(module)->from_debug[0];
    bool first = true;
    for (size_t i = 0; i < variables->n; i++) {
        struct variable *v = &variables->at[i];
        struct parts parts = { 0 };
        char *text = NULL;
        size_t length;
        /* Of a variable in several parts, no part is the whole type. */
        if (v->size != v->whole_size || !type_of(&v->die, &parts.variable_type)
            || !is_writable(module, v->start)) {
            continue;
        }
        parts.out = open_memstream(&text, &length);
        if (parts.out == NULL) {
            abort();
        }
        find_parts(&parts, parts.variable_type, 0, 0);
        fclose(parts.out);
        if (parts.n > 0) {
            fputs(first ? "" : ",", out);
            put_static(out, v, text);
            first = false;
        }
        free(text);
    }
}

static bool
is_python_import(const GElf_Sym *sym, const char *name)
{
    return sym->st_shndx == SHN_UNDEF
        && (strncmp(name, "Py", 2) == 0 || strncmp(name, "_Py", 3) == 0);
}

/* The undefined symbols of the dynamic symbol table. */
static void
put_imports(FILE *out, struct module *module)
{
    GElf_Addr bias;
    Elf *elf = dwfl_module_getelf(module->mod, &bias);
    bool first = true;
    for (Elf_Scn *scn = NULL; elf != NULL && (scn = elf_nextscn(elf, scn)) != NULL;) {
        GElf_Shdr section;
        if (gelf_getshdr(scn, &section) == NULL || section.sh_type != SHT_DYNSYM
            || section.sh_entsize == 0) {
            continue;
        }
        Elf_Data *data = elf_getdata(scn, NULL);
        size_t n = data != NULL ? section.sh_size / section.sh_entsize : 0;
        for (size_t i = 1; i < n; i++) {
            GElf_Sym sym;
            if (gelf_getsym(data, (int)i, &sym) == NULL) {
                continue;
            }
            const char *name = elf_strptr(elf, section.sh_link, sym.st_name);
            if (name != NULL && is_python_import(&sym, name)) {
                fputs(first ? "" : ",", out);
                json_put_string(out, name);
                first = false;
            }
        }
    }
}

void
statics_answer(struct module *module, FILE *out)
{
    fputs("{\"statics\":[", out);
    put_statics(out, module);
    fputs("],\"imports\":[", out);
    put_imports(out, module);
    putc(']', out);
    module_put_end(out, module);
}
