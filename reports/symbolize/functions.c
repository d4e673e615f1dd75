/* Requests for code: the functions and lines at an address. */
#include "reports/symbolize/functions.h"

#include <dwarf.h>
#include <stdlib.h>

#include "reports/symbolize/arrays.h"
#include "reports/symbolize/die.h"
#include "reports/symbolize/json.h"
#include "reports/symbolize/module.h"

static void
add_ranges(struct ranges *ranges, Dwarf_Die *die)
{
    Dwarf_Addr base, start, end;
    for (ptrdiff_t at = 0; (at = dwarf_ranges(die, at, &base, &start, &end)) > 0;) {
        ranges->at = array_grow(ranges->at, ranges->n, &ranges->capacity, sizeof *ranges->at);
        ranges->at[ranges->n++] = (struct range){ start, end, *die };
    }
}

static Dwarf_Die *
find_range(struct ranges *ranges, Dwarf_Addr pc)
{
    size_t n = array_count_starts(ranges->at, ranges->n, sizeof *ranges->at, pc);
    return n > 0 && pc < ranges->at[n - 1].end ? &ranges->at[n - 1].die : NULL;
}

static void
index_functions(struct module *module, Dwarf_Die *parent, int depth)
{
    Dwarf_Die die;
    if (depth > MAX_DEPTH || dwarf_child(parent, &die) != 0) {
        return;
    }
    do {
        int tag = dwarf_tag(&die);
        if (tag == DW_TAG_subprogram) {
            add_ranges(&module->code.functions, &die);
        }
        else if (die_is_scope(tag)) {
            index_functions(module, &die, depth + 1);
        }
    } while (dwarf_siblingof(&die, &die) == 0);
}

/* An index of our own, because clang writes no .debug_aranges, and because dwarf_getscopes() walks
 * the whole unit for each address. */
static struct function_index *
get_index(struct module *module)
{
    struct function_index *index = &module->code;
    Dwarf_Off offset = 0;
    Dwarf_Die unit;
    if (index->done) {
        return index;
    }
    index->done = true;
    while (module_next_unit(module, &offset, &unit)) {
        if (dwarf_tag(&unit) == DW_TAG_compile_unit) {
            add_ranges(&index->units, &unit);
            index_functions(module, &unit, 0);
        }
    }
    array_sort(index->units.at, index->units.n, sizeof *index->units.at);
    array_sort(index->functions.at, index->functions.n, sizeof *index->functions.at);
    return index;
}

/* The inlined calls around pc, outermost first; chain[0] is the function itself. */
static int
find_calls(Dwarf_Die *function, Dwarf_Addr pc, Dwarf_Die chain[MAX_DEPTH])
{
    Dwarf_Die at = *function, child;
    int n = 0;
    chain[n++] = at;
    for (int depth = 0; depth < 4 * MAX_DEPTH && n < MAX_DEPTH; depth++) {
        bool inside = false;
        if (dwarf_child(&at, &child) != 0) {
            break;
        }
        do {
            int tag = dwarf_tag(&child);
            if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_lexical_block
                && tag != DW_TAG_subprogram) {
                continue;
            }
            if (dwarf_haspc(&child, pc) <= 0) {
                continue;
            }
            /* A nested function of GNU C is no call of the one around it. */
            if (tag == DW_TAG_subprogram) {
                n = 0;
            }
            if (tag != DW_TAG_lexical_block) {
                chain[n++] = child;
            }
            at = child;
            inside = true;
            break;
        } while (dwarf_siblingof(&child, &child) == 0);
        if (!inside) {
            break;
        }
    }
    return n;
}

struct place {
    const char *file;
    int line;
};

static struct place
find_line(Dwarf_Die *unit, Dwarf_Addr pc)
{
    struct place place = { NULL, 0 };
    Dwarf_Line *row = unit != NULL ? dwarf_getsrc_die(unit, pc) : NULL;
    if (row != NULL) {
        place.file = dwarf_linesrc(row, NULL, NULL);
        dwarf_lineno(row, &place.line);
    }
    return place;
}

Dwarf_Die *
functions_find_unit(struct module *module, Dwarf_Addr vaddr, const char **source)
{
    Dwarf_Addr pc = vaddr - module->bias;
    Dwarf_Die *unit = find_range(&get_index(module)->units, pc);
    *source = find_line(unit, pc).file;
    return unit;
}

/* Where an inlined function was called. */
static struct place
find_call_line(Dwarf_Die *unit, Dwarf_Die *call)
{
    struct place place = { NULL, 0 };
    Dwarf_Attribute attr;
    Dwarf_Word number;
    Dwarf_Files *files;
    size_t n_files;
    if (dwarf_formudata(dwarf_attr(call, DW_AT_call_file, &attr), &number) == 0
        && dwarf_getsrcfiles(unit, &files, &n_files) == 0 && number < n_files) {
        place.file = dwarf_filesrc(files, number, NULL, NULL);
    }
    if (dwarf_formudata(dwarf_attr(call, DW_AT_call_line, &attr), &number) == 0) {
        place.line = (int)number;
    }
    return place;
}

/* start: the line that the function begins at; 0: not known. */
static void
put_frame(FILE *out, const char *function, Dwarf_Die *unit, struct place place, int start)
{
    fputs("{\"function\":", out);
    json_put_string(out, function);
    putc(',', out);
    die_put_place(out, unit, place.file, place.line);
    if (start > 0) {
        fprintf(out, ",\"start\":%d}", start);
    }
    else {
        fputs(",\"start\":null}", out);
    }
}

/* The name in the symbol table of the function at the address, or NULL. */
static const char *
find_symbol(struct module *module, Dwarf_Addr vaddr)
{
    GElf_Off offset;
    GElf_Sym sym;
    const char *name = dwfl_module_addrinfo(module->mod, vaddr, &offset, &sym, NULL, NULL, NULL);
    /* A symbol that ends before the address is the nearest one and not that of the address. */
    return name != NULL && sym.st_size != 0 && offset >= sym.st_size ? NULL : name;
}

void
functions_answer(struct module *module, Dwarf_Addr vaddr, FILE *out)
{
    Dwarf_Addr pc = vaddr - module->bias;
    struct function_index *index = get_index(module);
    Dwarf_Die *unit = find_range(&index->units, pc);
    Dwarf_Die *function = find_range(&index->functions, pc);
    struct place place = find_line(unit, pc);
    fputs("{\"frames\":[", out);
    if (unit != NULL && function != NULL) {
        Dwarf_Die chain[MAX_DEPTH];
        for (int n = find_calls(function, pc, chain), i = n; i-- > 0;) {
            int start = 0;
            char *name = die_qualified_name(&chain[i]);
            dwarf_decl_line(&chain[i], &start);
            fputs(i < n - 1 ? "," : "", out);
            put_frame(out, name, unit, place, start);
            free(name);
            place = find_call_line(unit, &chain[i]);
        }
    }
    else {
        put_frame(out, find_symbol(module, vaddr), unit, place, 0);
    }
    putc(']', out);
    module_put_end(out, module);
}
