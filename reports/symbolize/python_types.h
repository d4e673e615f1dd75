/* CPython's structs, recognised by their tags in debug information. */
#ifndef SYMBOLIZE_PYTHON_TYPES_H
#define SYMBOLIZE_PYTHON_TYPES_H

#include <elfutils/libdw.h>
#include <stdbool.h>

/* Is this struct a PyObject (Include/object.h), or does it begin with one: with the member that
 * PyObject_HEAD declares, with a struct that is itself such an object, or in C++ with a base
 * class? */
bool python_begins_with_object(Dwarf_Die type);
bool python_is_pointer_to_object(Dwarf_Die *pointer);
/* Is this a PyTypeObject? */
bool python_is_type(Dwarf_Die *type);
/* What the struct is in Python: "type", "definition", "parser" or "instance"; NULL: nothing. */
const char *python_struct_kind(Dwarf_Die *type);

#endif
