/* Requests for data: the variable at an address. */
#define _GNU_SOURCE
#include "reports/symbolize/variables.h"

#include <dwarf.h>
#include <gelf.h>
#include <inttypes.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>

#include "reports/symbolize/arrays.h"
#include "reports/symbolize/die.h"
#include "reports/symbolize/json.h"
#include "reports/symbolize/module.h"
#include "reports/symbolize/types.h"

/* The place of a variable, or of a part of it: its address, or its offset in the module's block of
 * thread-local variables.  False: it is in a register, or nowhere. */
static bool
get_static_address(Dwarf_Attribute *attr, Dwarf_Op *ops, size_t n, Dwarf_Addr *address,
                   bool *thread_local)
{
    Dwarf_Attribute operand;
    if (n < 1) {
        return false;
    }
    *thread_local = n > 1
        && (ops[1].atom == DW_OP_form_tls_address || ops[1].atom == DW_OP_GNU_push_tls_address);
    switch (ops[0].atom) {
    case DW_OP_addr:
        *address = ops[0].number;
        break;
    case DW_OP_const4u:
    case DW_OP_const8u:
        if (!*thread_local) {
            return false;
        }
        *address = ops[0].number;
        break;
    case DW_OP_addrx:
    case DW_OP_GNU_addr_index:
    case DW_OP_constx:
    case DW_OP_GNU_const_index:
        if (dwarf_getlocation_attr(attr, &ops[0], &operand) != 0
            || dwarf_formaddr(&operand, address) != 0) {
            return false;
        }
        break;
    default:
        return false;
    }
    size_t used = *thread_local ? 2 : 1;
    if (n == used + 1 && ops[used].atom == DW_OP_plus_uconst) {
        *address += ops[used].number;
        return true;
    }
    return n == used;
}

static void
add_variable(struct variables *list, struct variable variable)
{
    list->at = array_grow(list->at, list->n, &list->capacity, sizeof *list->at);
    list->at[list->n++] = variable;
}

/* clang -O2 gives each member of a static struct that is used a place of its own, and the others
 * none (LLVM, lib/Transforms/IPO/GlobalOpt.cpp). */
static void
index_variable(struct module *module, Dwarf_Die *die, const char *prefix)
{
    const char *name = dwarf_diename(die);
    Dwarf_Attribute attr;
    Dwarf_Op *ops;
    size_t n;
    if (name == NULL || dwarf_attr_integrate(die, DW_AT_location, &attr) == NULL
        || dwarf_getlocation(&attr, &ops, &n) != 0) {
        return;
    }
    Dwarf_Die type;
    Dwarf_Word whole_size = 0, offset = 0, size;
    if (!type_of(die, &type) || dwarf_aggregate_size(&type, &whole_size) != 0) {
        whole_size = 0;
    }
    for (size_t from = 0, to; from < n; from = to + 1, offset += size) {
        Dwarf_Addr address;
        bool thread_local;
        to = from;
        while (to < n && ops[to].atom != DW_OP_piece) {
            to++;
        }
        size = to < n ? ops[to].number : whole_size;
        if (!get_static_address(&attr, ops + from, to - from, &address, &thread_local)) {
            continue;
        }
        char *scope = dwarf_hasattr(die, DW_AT_specification) ? die_scope_prefix(die) : NULL;
        struct variable variable = {
            .start = thread_local ? address : address + module->bias,
            .size = size,
            .whole_size = whole_size,
            .offset = offset,
            .name = string_format("%s%s", scope != NULL && *scope ? scope : prefix, name),
            .die = *die,
        };
        add_variable(&module->data.from_debug[thread_local], variable);
        free(scope);
    }
}

static void
index_variables(struct module *module, Dwarf_Die *parent, const char *prefix, int depth)
{
    Dwarf_Die die;
    if (depth > MAX_DEPTH || dwarf_child(parent, &die) != 0) {
        return;
    }
    do {
        int tag = dwarf_tag(&die);
        if (tag == DW_TAG_variable) {
            index_variable(module, &die, prefix);
        }
        else if (tag == DW_TAG_namespace || tag == DW_TAG_subprogram) {
            bool method = tag == DW_TAG_subprogram && die_is_cplusplus(&die);
            char *qualified = method ? die_qualified_name(&die) : NULL;
            char *longer = qualified != NULL
                ? string_format("%s::", qualified)
                : string_format("%s%s::", prefix, die_scope_name(&die));
            index_variables(module, &die, longer, depth + 1);
            free(qualified);
            free(longer);
        }
        else if (tag == DW_TAG_lexical_block) {
            index_variables(module, &die, prefix, depth + 1);
        }
    } while (dwarf_siblingof(&die, &die) == 0);
}

static void
index_symbols(struct module *module)
{
    int n = dwfl_module_getsymtab(module->mod);
    for (int i = 0; i < n; i++) {
        GElf_Sym sym;
        GElf_Addr address;
        const char *name =
            dwfl_module_getsym_info(module->mod, i, &sym, &address, NULL, NULL, NULL);
        int type = GELF_ST_TYPE(sym.st_info);
        if (name == NULL || *name == '\0' || sym.st_shndx == SHN_UNDEF || sym.st_size == 0) {
            continue;
        }
        if (type == STT_OBJECT || type == STT_COMMON || type == STT_TLS) {
            struct variable variable = {
                .start = type == STT_TLS ? sym.st_value : address,
                .size = sym.st_size,
                .whole_size = sym.st_size,
                .name = (char *)name,
            };
            add_variable(&module->data.from_symbols[type == STT_TLS], variable);
        }
    }
}

struct variable_index *
variables_get_index(struct module *module)
{
    struct variable_index *index = &module->data;
    Dwarf_Off offset = 0;
    Dwarf_Die unit;
    if (index->done) {
        return index;
    }
    index->done = true;
    while (module_next_unit(module, &offset, &unit)) {
        index_variables(module, &unit, "", 0);
    }
    index_symbols(module);
    for (int i = 0; i < 2; i++) {
        struct variables *debug = &index->from_debug[i], *symbols = &index->from_symbols[i];
        array_sort(debug->at, debug->n, sizeof *debug->at);
        array_sort(symbols->at, symbols->n, sizeof *symbols->at);
    }
    return index;
}

/* The last variable that starts at or before the address and reaches it. */
static struct variable *
find_in_list(const struct variables *list, Dwarf_Addr address)
{
    struct variable *at = list->at;
    size_t n = array_count_starts(at, list->n, sizeof *at, address);
    /* Aliases of other sizes may start at the same place. */
    for (size_t i = n; i > 0 && at[i - 1].start == at[n - 1].start; i--) {
        if (address == at[i - 1].start || address - at[i - 1].start < at[i - 1].size) {
            return &at[i - 1];
        }
    }
    return NULL;
}

static struct variable *
find_variable(struct module *module, Dwarf_Addr address, bool thread_local)
{
    struct variable_index *index = variables_get_index(module);
    struct variable *variable = find_in_list(&index->from_debug[thread_local], address);
    return variable != NULL ? variable : find_in_list(&index->from_symbols[thread_local], address);
}

/* The address of the module's block of thread-local variables. */
static Dwarf_Addr
get_tls_start(Elf *elf)
{
    size_t n = 0;
    Dwarf_Addr start = 0;
    elf_getphdrnum(elf, &n);
    for (size_t i = 0; i < n; i++) {
        GElf_Phdr segment;
        if (gelf_getphdr(elf, (int)i, &segment) != NULL && segment.p_type == PT_TLS) {
            start = segment.p_vaddr;
        }
    }
    return start;
}

/* The name of the section at the address, or NULL. */
static const char *
find_section(struct module *module, Dwarf_Addr vaddr, bool thread_local, Dwarf_Addr *section_start)
{
    Dwarf_Addr bias;
    size_t strings;
    Elf *elf = dwfl_module_getelf(module->mod, &bias);
    if (elf == NULL || elf_getshdrstrndx(elf, &strings) != 0) {
        return NULL;
    }
    Dwarf_Addr tls_start = thread_local ? get_tls_start(elf) : 0;
    for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn)) != NULL;) {
        GElf_Shdr section;
        if (gelf_getshdr(scn, &section) == NULL || !(section.sh_flags & SHF_ALLOC)) {
            continue;
        }
        /* .tbss has addresses but no memory of its own. */
        if (((section.sh_flags & SHF_TLS) != 0) != thread_local) {
            continue;
        }
        Dwarf_Addr start = thread_local ? section.sh_addr - tls_start : section.sh_addr + bias;
        if (vaddr - start < section.sh_size) {
            *section_start = start;
            return elf_strptr(elf, strings, section.sh_name);
        }
    }
    return NULL;
}

/* "element", "atomic" and "followed" of an answer. */
static void
put_element(FILE *out, Dwarf_Die *variable, Dwarf_Word offset, const uint64_t *path, int n_steps)
{
    Dwarf_Die type;
    bool atomic = type_is_atomic(variable);
    char *element = NULL;
    int followed = 0;
    if (type_of(variable, &type)) {
        element = type_path_at(&type, offset, &atomic, NULL);
        for (; followed < n_steps && strchr(element, '+') == NULL; followed++) {
            char *next = type_follow_pointer(&type, path[followed]);
            if (next == NULL) {
                break;
            }
            char *longer = string_format("%s%s", element, next);
            free(next);
            free(element);
            element = longer;
        }
    }
    else if (offset != 0) {
        element = string_format("+%" PRIu64, offset);
    }
    fputs(",\"element\":", out);
    json_put_string(out, element != NULL && *element ? element : NULL);
    fprintf(out, ",\"atomic\":%s,\"followed\":%d", atomic ? "true" : "false", followed);
    free(element);
}

/* All of an answer about a variable but its end. */
static void
put_variable(FILE *out, struct variable *variable, Dwarf_Addr vaddr, const uint64_t *path,
             int n_steps)
{
    Dwarf_Word offset = vaddr - variable->start + variable->offset;
    const char *file = NULL;
    int line = 0;
    Dwarf_Die unit, *in_unit = NULL;
    fputs("{\"symbol\":", out);
    json_put_string(out, variable->name);
    fprintf(out, ",\"offset\":%" PRIu64 ",\"size\":%" PRIu64 ",", offset, variable->whole_size);
    if (variable->die.addr != NULL) {
        file = die_declaration_file(&variable->die);
        dwarf_decl_line(&variable->die, &line);
        in_unit = dwarf_diecu(&variable->die, &unit, NULL, NULL);
    }
    die_put_place(out, in_unit, file, line);
    if (variable->die.addr != NULL) {
        put_element(out, &variable->die, offset, path, n_steps);
    }
    else {
        fputs(",\"element\":null,\"atomic\":false,\"followed\":0", out);
    }
}

void
variables_answer(struct module *module, Dwarf_Addr vaddr, bool thread_local, const uint64_t *path,
                 int n_steps, FILE *out)
{
    Dwarf_Addr section_start = 0;
    const char *section = find_section(module, vaddr, thread_local, &section_start);
    struct variable *variable = find_variable(module, vaddr, thread_local);
    if (variable != NULL) {
        put_variable(out, variable, vaddr, path, n_steps);
    }
    else if (section != NULL) {
        fprintf(out,
                "{\"symbol\":null,\"offset\":%" PRIu64 ",\"size\":null,\"file\":null,"
                "\"line\":null,\"element\":null,\"atomic\":false,\"followed\":0",
                vaddr - section_start);
    }
    else {
        json_put_error(out,
                       thread_local ? "no thread-local variable at this offset"
                                    : "no variable and no section at this address");
        return;
    }
    fputs(",\"section\":", out);
    json_put_string(out, section);
    module_put_end(out, module);
}
