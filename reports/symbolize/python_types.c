/* CPython's structs, recognised by their tags in debug information: Include/object.h,
 * Include/cpython/object.h, Include/moduleobject.h, Include/cpython/modsupport.h. */
#include "reports/symbolize/python_types.h"

#include <string.h>

#include "reports/symbolize/module.h"
#include "reports/symbolize/types.h"

static bool
is_named(Dwarf_Die *type, const char *expected)
{
    const char *name = dwarf_diename(type);
    return name != NULL && strcmp(name, expected) == 0;
}

bool
python_begins_with_object(Dwarf_Die type)
{
    for (int depth = 0; depth < MAX_DEPTH; depth++) {
        Dwarf_Die child;
        Dwarf_Word at;
        if (!type_is_struct(&type)) {
            return false;
        }
        if (is_named(&type, "_object")) {
            return true;
        }
        if (dwarf_child(&type, &child) != 0) {
            return false;
        }
        while (!type_is_part(&child)) {
            if (dwarf_siblingof(&child, &child) != 0) {
                return false;
            }
        }
        if (!type_part_offset(&child, &at) || at != 0 || !type_of(&child, &type)) {
            return false;
        }
    }
    return false;
}

bool
python_is_pointer_to_object(Dwarf_Die *pointer)
{
    Dwarf_Die target;
    return type_of(pointer, &target) && python_begins_with_object(target);
}

bool
python_is_type(Dwarf_Die *type)
{
    return is_named(type, "_typeobject");
}

const char *
python_struct_kind(Dwarf_Die *type)
{
    if (!type_is_struct(type)) {
        return NULL;
    }
    if (python_is_type(type)) {
        return "type";
    }
    if (is_named(type, "PyModuleDef")) {
        return "definition";
    }
    if (is_named(type, "_PyArg_Parser")) {
        return "parser";
    }
    return python_begins_with_object(*type) ? "instance" : NULL;
}
