/* Blocks and the objects in them: see block.h. */
#include "runtime/core/block.h"

/* What comes before an object in its block: nothing, a PyGC_Head, or that and
 * the managed dictionary's and weak references' pre-header. */
char *
isan__recognise_object(char *block, bool dead)
{
    uint32_t word = isan__load_tag(block);
    size_t size = isan__block_size(block);
    dead |= (word & ISAN__FREED) != 0;
    if (word & ISAN__RAW) {
        return NULL;
    }
    for (size_t before = 0; before <= 2 * ISAN__GRANULE && before < size; before += ISAN__GRANULE) {
        if (isan__is_object(block + before, size - before, dead, isan__memory_is_stable((isan__slot_t)word))) {
            if (dead) {                     /* no hook will mark it any more */
                __atomic_or_fetch(isan__tag_word(block + before), ISAN__OBJECT, __ATOMIC_RELAXED);
            }
            return block + before;
        }
    }
    return NULL;
}

void
isan__view_object(struct isan__object_view *view, const void *op, char *block, bool stable)
{
    uint32_t tag = isan__load_tag(block);
    *view = (struct isan__object_view){
        .block = block, .start = op, .tag = tag, .owner = (isan__slot_t)tag,
        .object = isan__object_in(block) == op, .freed = (tag & ISAN__FREED) != 0,
        .size = isan__block_size(block), .origin = isan__block_origin(block),
    };
    if (view->object) {
        view->head = isan__object_head(op, stable);
    }
}

/* Types with free lists: Objects/floatobject.c, listobject.c, tupleobject.c, dictobject.c.
 * PyRefTracer reports each object that comes from one. */
bool
isan__may_be_recycled(const struct isan__object_head *h)
{
    return isan__stock && !isan__reftrace_active
        && (h->type == isan__py.float_type || h->type == isan__py.list_type
            || h->type == isan__py.tuple_type || h->type == isan__py.dict_type);
}

/* Its type is in PyDescrObject.d_type, and for __new__ in PyCFunctionObject.m_self
 * (Include/cpython/descrobject.h, methodobject.h). */
bool
isan__is_of_static_type(const struct isan__object_head *h, const void *op)
{
    bool descriptor = h->type == isan__py.wrapper_type || h->type == isan__py.method_type
        || h->type == isan__py.class_method_type || h->type == isan__py.getset_type
        || h->type == isan__py.member_type;
    const void *const *words = op, *of = descriptor ? words[ISAN__D_TYPE / 8]
        : h->type == isan__py.function_type ? words[ISAN__M_SELF / 8] : NULL;
    return of != NULL && (isan__load_tag(of) & 0xffff) == 0
        && isan__object_type(of) == isan__py.type_type;
}

/* A system call takes as long as a hundred loads of a tag.  Any thread may free raw memory; only
 * its owner frees other memory. */
static bool
is_known_memory(const char *from, size_t size)
{
    /* Most often this is one of CPython's static types. */
    if ((uintptr_t)from - (uintptr_t)isan__py.data < isan__py.data_size
        && size <= isan__py.data_size - ((uintptr_t)from - (uintptr_t)isan__py.data)) {
        return true;
    }
    const char *block = isan__block_of_checked(from);
    uint32_t tag = block ? isan__load_tag(block) : 0;
    return block != NULL && !(tag & ISAN__RAW) && isan__memory_is_stable((isan__slot_t)tag)
        && (size_t)(from - block) + size <= isan__block_size(block);
}

void
isan__block_init(void)
{
    isan__is_known_memory = is_known_memory;
}
