/* C and C++ types: what is at an offset in a value of a type. */
#ifndef SYMBOLIZE_TYPES_H
#define SYMBOLIZE_TYPES_H

#include <elfutils/libdw.h>
#include <stdbool.h>

enum { MAX_DIMENSIONS = 8 };

/* The type of a variable, member, array or pointer, without typedefs and qualifiers. */
bool type_of(Dwarf_Die *die, Dwarf_Die *type);
bool type_is_struct(Dwarf_Die *type); /* or a class */
/* Is the type of a variable or member _Atomic, or in C++ a class such as std::atomic?  DWARF 4 has
 * no way to say the first. */
bool type_is_atomic(Dwarf_Die *die);
/* Is this entry in a struct a member, or in C++ a base class? */
bool type_is_part(Dwarf_Die *die);
/* Where in its struct a member is; false: its place is computed at run time. */
bool type_part_offset(Dwarf_Die *part, Dwarf_Word *offset);
/* The element type of an array, its size, and the dimensions of the array; returns how many
 * dimensions there are, 0 if they are not known. */
int type_array_dimensions(Dwarf_Die *type, Dwarf_Die *element, Dwarf_Word *size,
                          Dwarf_Word counts[MAX_DIMENSIONS]);
/* The path in C to the member or element at an offset in a value of this type: ".a[2].b", "" for
 * the value itself, "+N" at the end for the rest of the offset.  *type becomes the type of the
 * part; *atomic is set if a part on the way is atomic.  The path ends at the first struct at
 * offset 0 for which stop_at, if not NULL, returns a name.  The caller frees the path. */
char *type_path_at(Dwarf_Die *type, Dwarf_Word offset, bool *atomic,
                   const char *(*stop_at)(Dwarf_Die *));
/* The path in C from a pointer of this type to the pointer at an offset in the memory that it
 * points at; *type becomes the type of that pointer.  NULL: the types do not say.  The caller frees
 * the path. */
char *type_follow_pointer(Dwarf_Die *type, Dwarf_Word offset);

#endif
