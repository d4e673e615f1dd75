/* C and C++ types: what is at an offset in a value of a type. */
#define _GNU_SOURCE
#include "reports/symbolize/types.h"

#include <dwarf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reports/symbolize/arrays.h"
#include "reports/symbolize/die.h"
#include "reports/symbolize/module.h"

bool
type_of(Dwarf_Die *die, Dwarf_Die *type)
{
    Dwarf_Attribute attr;
    return dwarf_formref_die(dwarf_attr_integrate(die, DW_AT_type, &attr), type) != NULL
        && dwarf_peel_type(type, type) == 0;
}

bool
type_is_struct(Dwarf_Die *type)
{
    return dwarf_tag(type) == DW_TAG_structure_type || dwarf_tag(type) == DW_TAG_class_type;
}

static bool
is_aggregate(Dwarf_Die *type)
{
    return type_is_struct(type) || dwarf_tag(type) == DW_TAG_union_type;
}

bool
type_is_atomic(Dwarf_Die *die)
{
    Dwarf_Attribute attr;
    Dwarf_Die type = *die;
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        const char *name;
        if (dwarf_formref_die(dwarf_attr_integrate(&type, DW_AT_type, &attr), &type) == NULL) {
            return false;
        }
        switch (dwarf_tag(&type)) {
        case DW_TAG_atomic_type:
            return true;
        case DW_TAG_structure_type:
        case DW_TAG_class_type:
            name = dwarf_diename(&type);
            return name != NULL
                && (strncmp(name, "atomic<", 7) == 0 || strcmp(name, "atomic_flag") == 0);
        case DW_TAG_typedef:
        case DW_TAG_const_type:
        case DW_TAG_volatile_type:
            break;
        default:
            return false;
        }
    }
    return false;
}

bool
type_is_part(Dwarf_Die *die)
{
    return dwarf_tag(die) == DW_TAG_member || dwarf_tag(die) == DW_TAG_inheritance;
}

bool
type_part_offset(Dwarf_Die *part, Dwarf_Word *offset)
{
    Dwarf_Attribute attr;
    *offset = 0;
    return dwarf_attr(part, DW_AT_data_member_location, &attr) == NULL
        || dwarf_formudata(&attr, offset) == 0;
}

int
type_array_dimensions(Dwarf_Die *type, Dwarf_Die *element, Dwarf_Word *size,
                      Dwarf_Word counts[MAX_DIMENSIONS])
{
    int n = 0;
    Dwarf_Die child;
    if (!type_of(type, element) || dwarf_aggregate_size(element, size) != 0 || *size == 0
        || dwarf_child(type, &child) != 0) {
        return 0;
    }
    do {
        Dwarf_Attribute attr;
        Dwarf_Word bound;
        if (dwarf_tag(&child) != DW_TAG_subrange_type || n == MAX_DIMENSIONS) {
            continue;
        }
        if (dwarf_formudata(dwarf_attr_integrate(&child, DW_AT_count, &attr), &bound) == 0) {
            counts[n++] = bound;
        }
        else if (dwarf_formudata(dwarf_attr_integrate(&child, DW_AT_upper_bound, &attr), &bound)
                 == 0) {
            counts[n++] = bound + 1;
        }
        else {
            counts[n++] = 0;
        }
    } while (dwarf_siblingof(&child, &child) == 0);
    return n;
}

static bool
enter_element(Dwarf_Die *type, Dwarf_Word *offset, FILE *path, bool *atomic)
{
    Dwarf_Word counts[MAX_DIMENSIONS], size;
    Dwarf_Die element;
    int n = type_array_dimensions(type, &element, &size, counts);
    for (int i = 0; i < n; i++) {
        Dwarf_Word stride = size;
        for (int j = i + 1; j < n; j++) {
            stride *= counts[j];
        }
        if (stride == 0) {
            return false;
        }
        fprintf(path, "[%" PRIu64 "]", *offset / stride);
        *offset %= stride;
    }
    if (n == 0) {
        return false;
    }
    *atomic |= type_is_atomic(type);
    *type = element;
    return true;
}

static bool
enter_member(Dwarf_Die *type, Dwarf_Word *offset, FILE *path, bool *atomic)
{
    Dwarf_Die child;
    if (dwarf_child(type, &child) != 0) {
        return false;
    }
    do {
        Dwarf_Word at, size;
        Dwarf_Die inner;
        if (!type_is_part(&child) || dwarf_hasattr(&child, DW_AT_declaration)
            || dwarf_hasattr(&child, DW_AT_data_bit_offset) || !type_part_offset(&child, &at)) {
            continue;
        }
        if (at > *offset || !type_of(&child, &inner) || dwarf_aggregate_size(&inner, &size) != 0
            || *offset - at >= size) {
            continue;
        }
        const char *name = dwarf_tag(&child) == DW_TAG_member ? dwarf_diename(&child) : NULL;
        if (name != NULL) {
            fprintf(path, ".%s", name);
        }
        *offset -= at;
        *atomic |= type_is_atomic(&child);
        *type = inner;
        return true;
    } while (dwarf_siblingof(&child, &child) == 0);
    return false;
}

char *
type_path_at(Dwarf_Die *type, Dwarf_Word offset, bool *atomic, const char *(*stop_at)(Dwarf_Die *))
{
    char *string = NULL;
    size_t length;
    FILE *path = open_memstream(&string, &length);
    if (path == NULL) {
        abort();
    }
    bool deeper = true;
    for (int depth = 0; depth < MAX_DEPTH && deeper; depth++) {
        if (offset == 0 && stop_at != NULL && stop_at(type) != NULL) {
            break;
        }
        if (dwarf_tag(type) == DW_TAG_array_type) {
            deeper = enter_element(type, &offset, path, atomic);
        }
        else {
            deeper = is_aggregate(type) && enter_member(type, &offset, path, atomic);
        }
    }
    if (offset != 0) {
        fprintf(path, "+%" PRIu64, offset);
    }
    fclose(path);
    return string;
}

/* Does a member of the struct point at a struct of the same kind, as in a linked list? */
static bool
is_linked(Dwarf_Die *structure)
{
    Dwarf_Die child;
    if (dwarf_child(structure, &child) != 0) {
        return false;
    }
    do {
        Dwarf_Die type;
        if (dwarf_tag(&child) == DW_TAG_member && type_of(&child, &type)
            && dwarf_tag(&type) == DW_TAG_pointer_type && type_of(&type, &type)
            && dwarf_dieoffset(&type) == dwarf_dieoffset(structure)) {
            return true;
        }
    } while (dwarf_siblingof(&child, &child) == 0);
    return false;
}

char *
type_follow_pointer(Dwarf_Die *type, Dwarf_Word offset)
{
    Dwarf_Die target;
    Dwarf_Word size;
    bool atomic;
    if (dwarf_tag(type) != DW_TAG_pointer_type || !type_of(type, &target)
        || dwarf_aggregate_size(&target, &size) != 0 || size == 0) {
        return NULL;
    }
    bool aggregate = is_aggregate(&target);
    /* Memory beyond one struct is an array of them, except where the struct is the beginning of a
     * larger one: a C++ base class, or a link in the items of a list. */
    if (offset >= size && aggregate && (die_is_cplusplus(&target) || is_linked(&target))) {
        return NULL;
    }
    char *element = type_path_at(&target, offset % size, &atomic, NULL);
    char *path = NULL;
    if (dwarf_tag(&target) == DW_TAG_pointer_type && strchr(element, '+') == NULL) {
        path = offset < size && aggregate && *element == '.'
            ? string_format("->%s", element + 1)
            : string_format("[%" PRIu64 "]%s", offset / size, element);
    }
    free(element);
    *type = target;
    return path;
}
