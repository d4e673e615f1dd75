/* Growing arrays, arrays sorted by address, and strings.
 *
 * Where there is no memory the worker aborts, and its parent answers with an error.
 */
#ifndef SYMBOLIZE_ARRAYS_H
#define SYMBOLIZE_ARRAYS_H

#include <elfutils/libdw.h>
#include <stddef.h>

/* The array with room for one more item; it may have moved. */
void *array_grow(void *array, size_t used, size_t *capacity, size_t item_size);

/* The items of these arrays begin with a Dwarf_Addr, their start. */
void array_sort(void *array, size_t n, size_t item_size);
/* How many items of a sorted array start at or before the address. */
size_t array_count_starts(const void *array, size_t n, size_t item_size, Dwarf_Addr address);

char *string_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
