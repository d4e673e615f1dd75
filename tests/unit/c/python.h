/* A made-up Python for unit tests, in the place of runtime/cpython/layout.c: types and objects. */
#ifndef ISAN_UNIT_PYTHON_H
#define ISAN_UNIT_PYTHON_H

#include "runtime/cpython/layout.h"
#include "unit.h"

struct isan__python isan__py;
bool isan__stock;

/* Types: an instance has 16 bytes, and the metatype says that its instances are types. */
static struct isan__type_object unit_metatype, unit_type;

__attribute__((unused)) static void
unit_make_types(void)
{
    isan__py.type_name = ISAN__TP(name);
    isan__py.type_flags = ISAN__TP(flags);
    unit_metatype = (struct isan__type_object){
        .count = 1,
        .type = &unit_metatype,
        .name = "type",
        .basicsize = sizeof unit_metatype,
        .flags = ISAN__TYPE_TYPE | ISAN__TYPE_READY,
    };
    unit_type = (struct isan__type_object){
        .count = 1,
        .type = &unit_metatype,
        .name = "spam",
        .basicsize = 16,
        .flags = ISAN__TYPE_READY,
    };
    isan__py.type_type = &unit_metatype;
}

struct unit_object {
    uint64_t count;
    const void *type;
};

#endif
