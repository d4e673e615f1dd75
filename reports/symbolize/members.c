/* Requests for members: the C member at an offset in an object. */
#include "reports/symbolize/members.h"

#include <dwarf.h>
#include <stdlib.h>
#include <string.h>

#include "reports/symbolize/arrays.h"
#include "reports/symbolize/die.h"
#include "reports/symbolize/functions.h"
#include "reports/symbolize/json.h"
#include "reports/symbolize/module.h"
#include "reports/symbolize/python_types.h"
#include "reports/symbolize/types.h"

static void
index_layouts(struct object_layouts *layouts, Dwarf_Die *parent, int depth)
{
    Dwarf_Die die;
    if (depth > MAX_DEPTH || dwarf_child(parent, &die) != 0) {
        return;
    }
    do {
        int tag = dwarf_tag(&die);
        int size = type_is_struct(&die) ? dwarf_bytesize(&die) : -1;
        if (size > 0 && python_begins_with_object(die)) {
            layouts->at =
                array_grow(layouts->at, layouts->n, &layouts->capacity, sizeof *layouts->at);
            layouts->at[layouts->n++] = (struct object_layout){ (Dwarf_Word)size, die };
        }
        if (die_is_scope(tag) || tag == DW_TAG_subprogram || tag == DW_TAG_lexical_block) {
            index_layouts(layouts, &die, depth + 1);
        }
    } while (dwarf_siblingof(&die, &die) == 0);
}

static struct object_layouts *
get_layouts(struct module *module)
{
    struct object_layouts *layouts = &module->layouts;
    Dwarf_Off offset = 0;
    Dwarf_Die unit;
    if (!layouts->done) {
        layouts->done = true;
        while (module_next_unit(module, &offset, &unit)) {
            index_layouts(layouts, &unit, 0);
        }
    }
    return layouts;
}

/* The name of a file without directory and extension; returns its length. */
static size_t
get_stem(const char **file)
{
    const char *slash = strrchr(*file, '/');
    *file = slash != NULL ? slash + 1 : *file;
    const char *dot = strrchr(*file, '.');
    return dot != NULL ? (size_t)(dot - *file) : strlen(*file);
}

static bool
have_same_stem(const char *a, const char *b)
{
    size_t n = get_stem(&a);
    return n == get_stem(&b) && strncmp(a, b, n) == 0;
}

/* How likely the struct is that of the objects of a type: 2 more if it is in the unit with the
 * type's code, 1 more if it was written in the source file of that code or in the header of the
 * same name, as those of CPython are.  After link-time optimisation code and types are in different
 * units. */
static int
rate_layout(Dwarf_Die *layout, Dwarf_Die *unit, const char *source)
{
    Dwarf_Die own_unit;
    const char *file = die_declaration_file(layout);
    bool same_unit = unit != NULL && dwarf_diecu(layout, &own_unit, NULL, NULL) != NULL
        && dwarf_dieoffset(&own_unit) == dwarf_dieoffset(unit);
    bool same_stem = file != NULL && source != NULL && have_same_stem(file, source);
    return (same_unit ? 2 : 0) + (same_stem ? 1 : 0);
}

void
members_answer(struct module *module, Dwarf_Addr vaddr, Dwarf_Word size, Dwarf_Word offset,
               FILE *out)
{
    struct object_layouts *layouts = get_layouts(module);
    const char *source;
    Dwarf_Die *unit = functions_find_unit(module, vaddr, &source);
    char *name = NULL;
    int best = -1;
    bool agreed = false;
    for (size_t i = 0; i < layouts->n; i++) {
        struct object_layout *layout = &layouts->at[i];
        if (layout->size != size || offset >= size) {
            continue;
        }
        int rate = rate_layout(&layout->die, unit, source);
        if (rate < best) {
            continue;
        }
        bool atomic = false;
        Dwarf_Die die = layout->die;
        char *path = type_path_at(&die, offset, &atomic, NULL);
        agreed = rate > best || (agreed && strcmp(path, name) == 0);
        best = rate;
        free(name);
        name = path;
    }
    /* A path with "+N" leads into a member or between two. */
    agreed = agreed && *name == '.' && strchr(name, '+') == NULL;
    fputs("{\"member\":", out);
    json_put_string(out, agreed ? name + 1 : NULL);
    module_put_end(out, module);
    free(name);
}
