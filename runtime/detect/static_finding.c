/* Findings about statics: see static_finding.h. */
#include "runtime/detect/static_finding.h"

#include "runtime/base/table.h"
#include "runtime/core/block_notes.h"

static bool
is_static_excused(const struct isan__object_view *view, uint64_t where)
{
    const struct isan__object_head *h = &view->head;
    const isan__slot_t owner = view->owner;
    const bool freed = view->freed;
#define ISAN_STATIC_RULE(name, reason, condition) if (condition) return true;
#include "runtime/detect/rules.inc"
    return false;
}

static uint64_t
static_key(const struct isan_holder *holder, const char *block)
{
    isan__slot_t owner = (isan__slot_t)isan__load_tag(block);
    struct { struct isan_holder where; uint64_t object; } object = { *holder, (uint64_t)block ^ (uint64_t)owner << 48 };
    return isan__table_key(ISAN__KEY_STATIC, &object, sizeof object);
}

bool
isan__static_is_reported(const struct isan_holder *holder, const char *block)
{
    return isan__finding_known(static_key(holder, block)) != NULL;
}

void
isan__report_static(const struct isan_holder *holder, const void *op, char *block, uint32_t other)
{
    struct isan__object_view view;
    isan__view_object(&view, op, block, false);
    view.head = isan__object_head(op, false);
    if (view.head.type == NULL || is_static_excused(&view, holder->tls ? 0 : holder->address)) {
        return;                             /* NULL: freed meanwhile */
    }
    uint64_t key = static_key(holder, block);
    if (isan__finding_known(key) != NULL || isan__ignores()) {
        return;
    }
    char type[256];
    isan__type_name_or_unknown(op, type, sizeof type);
    struct isan_rec_finding *r = isan__finding_make(&(struct isan__finding){
        .kind = ISAN__KIND_static, .key = key, .type = type, .holder = *holder, .current = other, .view = &view,
    });
    if (r != NULL) {
        isan__publish_finding_made(r->id);
    }
}

static bool
is_static_type_excused(unsigned long flags, bool own, bool again)
{
#define ISAN_TYPE_RULE(name, reason, condition) if (condition) return true;
#include "runtime/detect/rules.inc"
    return false;
}

void
isan__report_static_type(const char *type, uint32_t owner, uint32_t other, bool own, bool again)
{
    struct isan__type_object t;
    char name[256];
    if (!isan__read_type(&t, type) || is_static_type_excused(t.flags, own, again)) {
        return;                             /* unloaded meanwhile, or excused */
    }
    struct { const char *type; uint64_t owner; } used = { type, owner };
    uint64_t key = isan__table_key(ISAN__KEY_STATIC_TYPE, &used, sizeof used);
    if (isan__finding_known(key) != NULL || isan__ignores()) {
        return;
    }
    if (!isan__peek_string(name, t.name, sizeof name)) {
        strcpy(name, "?");
    }
    struct isan_rec_finding *r = isan__finding_make(&(struct isan__finding){
        .kind = ISAN__KIND_static, .key = key, .type = name, .current = other,
        .holder = { .address = (uint64_t)type },
        .object = { .address = (uint64_t)type, .owner = owner, .flags = ISAN_OBJ_OBJECT | ISAN_OBJ_STATIC_TYPE },
    });
    if (r != NULL) {
        isan__publish_finding_made(r->id);
    }
}
