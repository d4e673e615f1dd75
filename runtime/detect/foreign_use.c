/* An interpreter uses an object that it does not own: see foreign_use.h.
 *
 * There is one record for each kind, access, type and place.  When the same happens again
 * only its count goes up, in the log itself. */
#include "runtime/detect/foreign_use.h"

#include "runtime/core/block_notes.h"
#include "runtime/core/origin.h"
#include "runtime/detect/gilstate.h"
#include "runtime/detect/indirect_holder.h"

/* May the current interpreter have reused the memory?  Then the object counts as its own, unless a
 * static holds it. */
static bool
is_recycled(const struct isan__object_view *view, isan__slot_t current)
{
    if (!isan__may_be_recycled(&view->head)
        || isan__find_static_holder(view->block, view->start).address != 0) {
        return false;
    }
    isan__retag(view->block, current);
    return true;
}

/* Do the rules excuse the use? */
static bool
is_use_excused(int access, const struct isan__object_view *view, isan__slot_t current)
{
    const struct isan__object_head *h = &view->head;
    const bool object = view->object && !view->freed;
    const isan__slot_t owner = view->owner;
#define ISAN_RULE(name, reason, condition) if (condition) return true;
#include "runtime/detect/rules.inc"
    return false;
}

static struct isan_rec_finding *
make_use_finding(const struct isan__finding *finding)
{
    struct isan__finding f = *finding;
    struct isan__pointer_path path;
    isan__find_holder(f.view->block, f.view->start, &path);
    f.holder = path.holder;
    struct isan_rec_finding *r = isan__finding_make(&f);
    if (r != NULL) {
        isan__log_path(r->id, &path);
    }
    return r;
}

bool
isan__check_foreign_use(int kind, int access, const void *op, void *pc)
{
    isan__slot_t current = isan__slot;
    char *block = isan__block_of(op);
    if (block == NULL) {
        return false;                       /* freed meanwhile */
    }
    struct isan__object_view view;
    isan__view_object(&view, op, block, true);
    if ((view.owner == current && !view.freed) || is_use_excused(access, &view, current)) {
        return false;
    }
    isan__self.n_findings++;
    if (isan__ignores()) {
        return true;                        /* isan still refuses a free() by another interpreter */
    }
    if (kind == ISAN__KIND_share && isan__interp_of(view.owner)->ended) {
        kind = ISAN__KIND_stale;
    }
    struct {
        uint64_t type, pc;
        uint32_t site;
        uint16_t kind, access;
    } key = { 0, (uint64_t)pc, isan__current_site(), (uint16_t)kind, (uint16_t)access };
    if (view.object) {
        key.type = (uint64_t)view.head.type;
    }
    uint64_t exact = isan__table_key(ISAN__KEY_USE, &key, sizeof key);
    struct isan_rec_finding *r = isan__finding_known(exact);
    bool made = false;
    if (r == NULL) {
        char type[256] = "";
        if (view.object) {
            isan__type_name_or_unknown(op, type, sizeof type);
        }
        key.type = isan__hash(type, strlen(type), ISAN__KEY_HASH);
        uint64_t named = isan__table_key(ISAN__KEY_USE_BY_NAME, &key, sizeof key);
        r = isan__finding_known(named);
        if (r == NULL) {
            r = make_use_finding(&(struct isan__finding){
                .kind = kind, .access = access, .key = named, .type = type, .view = &view,
                .current = isan__interp_of(current)->serial,
            });
            if (r == NULL) {
                return true;
            }
            made = true;
        }
        isan__finding_add_key(r, exact);
    }
    if (!made) {
        isan__finding_again(r, &view);
    }
    if (isan__self.ensure_pc != NULL && r->holder.address == 0) {
        isan__gilstate_foreign_object(isan__interp_of(view.owner)->serial, isan__object_serial(block));
    }
    isan__publish_finding_made(r->id);
    return true;
}
