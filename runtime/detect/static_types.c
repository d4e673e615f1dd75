/* Static types: see static_types.h. */
#include "runtime/detect/static_types.h"

#include "runtime/core/block.h"
#include "runtime/detect/import_map.h"

/* Include/cpython/object.h, PyTypeObject. */
enum { TYPE_NEEDS = ISAN__TP(mro) + sizeof(void *) };
#define TYPE_MAX_SIZE (1l << 24)            /* of its instances, to be believed */

/* Is `meta` the type `type`, or a subclass of it that this module or an interpreter has created? */
static bool
is_type_of_types(const struct isan__type_search *search, uint64_t meta)
{
    const void *type;
    unsigned long flags;
    return meta == (uint64_t)isan__py.type_type
        || ((meta - search->base < search->segment.end - search->base || isan__load_tag((void *)meta) != 0)
            && isan__peek(&type, (const char *)meta + ISAN__OB_TYPE, sizeof type)
            && type == isan__py.type_type
            && isan__peek(&flags, (const char *)meta + isan__py.type_flags, sizeof flags)
            && flags & ISAN__TYPE_TYPE);
}

/* A copy of TYPE_NEEDS bytes at that address, or NULL. */
static const char *
copy_of(struct isan__type_search *search, uintptr_t type)
{
    if (type - search->at >= search->n || search->n - (type - search->at) < TYPE_NEEDS) {
        size_t left = search->segment.end - type;
        search->at = type;
        search->n = left < sizeof search->bytes ? left : sizeof search->bytes;
        if (!isan__peek(search->bytes, (const void *)type, search->n)) {
            search->n = 0;
            return NULL;
        }
    }
    return search->bytes + (type - search->at);
}

bool
isan__find_static_type(struct isan__type_search *search, uint64_t where, uint64_t meta,
                       struct isan__static_type *found)
{
    uintptr_t type = where - ISAN__OB_TYPE;
    unsigned long flags;
    int64_t basicsize;
    uint64_t mro;
    if (type < search->segment.start || type + TYPE_NEEDS > search->segment.end) {
        return false;
    }
    const char *copy = copy_of(search, type);
    if (copy == NULL) {
        return false;
    }
    memcpy(&flags, copy + isan__py.type_flags, sizeof flags);
    memcpy(&basicsize, copy + ISAN__TP(basicsize), sizeof basicsize);
    memcpy(&mro, copy + ISAN__TP(mro), sizeof mro);
    memcpy(&found->dict, copy + ISAN__TP(dict), sizeof found->dict);
    found->type = (const char *)type;
    return (flags & (ISAN__TYPE_READY | ISAN__TYPE_HEAP)) == ISAN__TYPE_READY && isan__may_point_at_block(mro)
        && basicsize >= ISAN__GRANULE && basicsize < TYPE_MAX_SIZE && is_type_of_types(search, meta);
}

/* Two interpreters use the type if one has made its dictionary (PyType_Ready) and another has
 * imported the module.  If the first one is not known, two that have imported the module do. */
bool
isan__find_type_users(const struct isan__static_type *type, uintptr_t base, struct isan__type_users *users)
{
    char *block = isan__may_point_at_block(type->dict) ? isan__block_of((void *)type->dict) : NULL;
    const struct isan__interp *creator = isan__interp_of(block ? (isan__slot_t)isan__load_tag(block) : 0);
    users->owner = creator->serial ? creator->serial : isan__importer_of(base, 0, 0);
    users->other = isan__importer_of(base, 0, users->owner);
    users->again = creator->kind == ISAN_INTERP_MAIN && users->other == isan__interp_of(isan__main_slot)->serial;
    return users->other != 0;
}
