/* Growing arrays, arrays sorted by address, and strings. */
#define _GNU_SOURCE
#include "reports/symbolize/arrays.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void *
array_grow(void *array, size_t used, size_t *capacity, size_t item_size)
{
    if (used < *capacity) {
        return array;
    }
    *capacity = *capacity ? *capacity * 2 : 64;
    array = reallocarray(array, *capacity, item_size);
    if (array == NULL) {
        abort();
    }
    return array;
}

static int
compare_starts(const void *a, const void *b)
{
    Dwarf_Addr x = *(const Dwarf_Addr *)a, y = *(const Dwarf_Addr *)b;
    return x < y ? -1 : x > y;
}

void
array_sort(void *array, size_t n, size_t item_size)
{
    if (n > 0) {
        qsort(array, n, item_size, compare_starts);
    }
}

size_t
array_count_starts(const void *array, size_t n, size_t item_size, Dwarf_Addr address)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (*(const Dwarf_Addr *)((const char *)array + middle * item_size) <= address) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return low;
}

char *
string_format(const char *format, ...)
{
    char *string;
    va_list args;
    va_start(args, format);
    if (vasprintf(&string, format, args) < 0) {
        abort();
    }
    va_end(args);
    return string;
}
