/* Findings: see finding.h. */
#include "runtime/core/finding.h"

#include "runtime/base/check.h"
#include "runtime/base/table.h"
#include "runtime/core/block_notes.h"
#include "runtime/core/origin.h"
#include "runtime/core/transfer.h"

enum { PER_OBJECT = 6, MAX_OBJECTS = 1 << 22, MAX_LEAKED = 1 << 16 };

/* Objects that were in findings or leaked, by serial.  Threads of interpreters with
 * GILs of their own write here at a time: each entry is set once, by compare and swap. */
struct found_object {
    uint32_t finding[PER_OBJECT];           /* ids, in the order they were made; 0: none */
    uint32_t leak;
};
static struct found_object *objects;
static uint32_t next_object = 1;

static uint32_t next_id = 1;
/* Key -> record.  Without an entry the finding is made once more. */
static struct isan__table by_key = ISAN__TABLE;
/* Id -> record.  Without an entry a leak is not paired with its finding. */
static struct isan__table by_id = ISAN__TABLE;
/* Reason of isan_ignore_begin() -> record.  Without an entry the report has the reason twice. */
static struct isan__table by_reason = ISAN__TABLE;

uint32_t
isan__next_finding_id(void)
{
    return __atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED);
}

int
isan__finding_kind(uint32_t id)
{
    const struct isan_rec_finding *r = (void *)isan__table_get(&by_id, id);
    return r ? r->kind : -1;
}

/* --- objects in findings --------------------------------------------------------------- */

static struct found_object *
found_object(uint32_t serial)
{
    if (objects == NULL) {
        struct found_object *all = isan__map(MAX_OBJECTS * sizeof *all), *none = NULL;
        if (all != NULL && !__atomic_compare_exchange_n(&objects, &none, all, false,
                                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            isan__unmap(all, MAX_OBJECTS * sizeof *all);
        }
    }
    return objects == NULL || serial == 0 || serial >= MAX_OBJECTS ? NULL : &objects[serial];
}

uint32_t
isan__object_serial(char *block)
{
    uint32_t serial = isan__noted_serial(block);
    if (serial == 0) {
        serial = __atomic_fetch_add(&next_object, 1, __ATOMIC_RELAXED);
        isan__note_block(block, ISAN__NOTE_OBJECT, serial);
    }
    return serial;
}

int
isan__findings_of_object(uint32_t serial, uint32_t *ids, int max)
{
    const struct found_object *o = found_object(serial);
    int n = 0;
    for (int i = 0; o != NULL && i < PER_OBJECT && n < max && o->finding[i] != 0; i++) {
        ids[n++] = o->finding[i];
    }
    return n;
}

/* The finding is about that object, which may have leaked before. */
static void
add_to_object(uint32_t serial, struct isan_rec_finding *r)
{
    struct found_object *o = found_object(serial);
    if (o == NULL) {
        return;
    }
    if (o->leak != 0 && r->gone == 0) {
        r->gone = o->leak;
    }
    for (int i = 0; i < PER_OBJECT; i++) {
        uint32_t id = 0;
        if (__atomic_compare_exchange_n(&o->finding[i], &id, r->id, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
            || id == r->id) {
            return;
        }
    }
}

void
isan__finding_became_leak(uint32_t finding, uint32_t leak)
{
    struct isan_rec_finding *r = (void *)isan__table_get(&by_id, finding);
    if (r != NULL && r->gone == 0) {
        r->gone = leak;
    }
}

/* Uses of the block from now on are paired with its leak.  Few leaks are ever used
 * again; the limit keeps isan's own memory from growing with the others. */
void
isan__block_leaked(char *block, uint32_t leak)
{
    static uint32_t n;
    if (__atomic_fetch_add(&n, 1, __ATOMIC_RELAXED) >= MAX_LEAKED) {
        __atomic_store_n(&n, MAX_LEAKED, __ATOMIC_RELAXED);
        return;
    }
    struct found_object *o = found_object(isan__object_serial(block));
    if (o != NULL) {
        o->leak = leak;
    }
}

static void
describe_view(struct isan_object *to, const struct isan__object_view *view)
{
    uint32_t origin = view->origin;
    *to = (struct isan_object){
        .address = (uint64_t)view->start, .size = view->size, .owner = isan__interp_of(view->owner)->serial,
        .serial = isan__noted_serial(view->block), .creator = isan__creator_of(view->block),
    };
    if (isan__origin_is_stack(origin)) {
        to->flags |= ISAN_OBJ_ORIGIN_STACK;
        origin &= (1u << (ISAN__ORIGIN_BITS - 1)) - 1;
    }
    to->origin = origin;
    if (view->object) {
        const struct isan__object_head *h = &view->head;
        to->flags |= ISAN_OBJ_OBJECT;
        /* At the end, _PyUnicode_ClearInterned clears the state of interned strings and leaves them
         * immortal.  No other str is immortal. */
        if (!view->freed && isan__head_is_str(h) && (isan__is_interned(h) || isan__is_immortal(h))) {
            to->flags |= ISAN_OBJ_INTERNED;
        }
        if (isan__may_be_recycled(h)) {
            to->flags |= ISAN_OBJ_RECYCLED;
        }
    }
    if (view->freed) {
        to->flags |= ISAN_OBJ_FREED;
    }
}

void
isan__describe_object(struct isan_object *to, const void *op, char *block)
{
    struct isan__object_view view;
    isan__view_object(&view, op, block, isan__memory_is_stable((isan__slot_t)isan__load_tag(block)));
    describe_view(to, &view);
}

/* --- making them ------------------------------------------------------------------------- */

struct isan_rec_finding *
isan__finding_known(uint64_t key)
{
    return (void *)isan__table_get(&by_key, key);
}

void
isan__finding_add_key(struct isan_rec_finding *r, uint64_t key)
{
    isan__table_put_or_drop(&by_key, key, (uint64_t)r);
}

struct isan_rec_finding *
isan__finding_make(const struct isan__finding *f)
{
    size_t n = strlen(f->type) + 1;
    uint32_t stack = f->stack ? f->stack : isan__record_stack(NULL);
    struct isan_rec_finding *r = isan__log_reserve(sizeof *r + n);
    if (r == NULL) {
        return NULL;
    }
    r->kind = (uint16_t)f->kind;
    r->access = (uint16_t)f->access;
    r->count = 1;
    r->time_ns = isan__now();
    r->tid = isan__tid();
    r->current = f->current;
    r->holder = f->holder;
    r->used = stack;
    memcpy(r->text, f->type, n);
    r->id = isan__next_finding_id();
    isan__table_put_or_drop(&by_id, r->id, (uint64_t)r);
    /* Before another thread can read which leak the object became. */
    if (f->view != NULL) {
        add_to_object(isan__object_serial(f->view->block), r);
        describe_view(&r->object, f->view);
    }
    else {
        r->object = f->object;
        if (r->object.serial != 0) {
            add_to_object(r->object.serial, r);
        }
    }
    isan__log_publish(r, ISAN_REC_FINDING);
    isan__finding_add_key(r, f->key);
    ISAN__TRACE(3, "finding #%u: kind %d, access %d, `%s`", r->id, f->kind, f->access, f->type);
    return r;
}

void
isan__finding_again(struct isan_rec_finding *r, const struct isan__object_view *view)
{
    __atomic_add_fetch(&r->count, 1, __ATOMIC_RELAXED);
    if (view != NULL) {
        add_to_object(isan__object_serial(view->block), r);
    }
}

struct isan_rec_place *
isan__finding_add_place(const struct isan_rec_place *place, const char *text)
{
    size_t n = strlen(text) + 1;
    struct isan_rec_place *r = isan__log_reserve(sizeof *r + n);
    if (r != NULL) {
        memcpy((char *)r + sizeof r->rec, (const char *)place + sizeof r->rec, sizeof *r - sizeof r->rec);
        memcpy(r->text, text, n);
        isan__log_publish(r, ISAN_REC_PLACE);
    }
    return r;
}

/* --- isan_ignore_begin() ------------------------------------------------------------------ */

bool
isan__ignore_finding(void)
{
    const struct isan__thread *self = &isan__self;
    const char *reason = self->reason[(self->ignoring < ISAN__NESTED ? self->ignoring : ISAN__NESTED) - 1];
    char text[256] = "";
    if (reason != NULL && !isan__peek_string(text, reason, sizeof text)) {
        text[0] = 0;
    }
    uint64_t key = isan__table_key(ISAN__KEY_HASH, text, strlen(text));
    struct isan_rec_ignored *r = (void *)isan__table_get(&by_reason, key);
    if (r == NULL) {
        r = isan__log_reserve(sizeof *r + strlen(text) + 1);
        if (r == NULL) {
            return true;
        }
        r->count = 0;
        strcpy(r->text, text);
        isan__log_publish(r, ISAN_REC_IGNORED);
        isan__table_put_or_drop(&by_reason, key, (uint64_t)r);
    }
    __atomic_add_fetch(&r->count, 1, __ATOMIC_RELAXED);
    return true;
}

void
isan__findings_forked(int unused)
{
    (void)unused;
    isan__table_clear(&by_key);
    isan__table_clear(&by_id);
    isan__table_clear(&by_reason);
    if (objects != NULL) {
        isan__unmap(objects, MAX_OBJECTS * sizeof *objects);
        objects = NULL;
    }
}
