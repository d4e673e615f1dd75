/* Findings: an object was used where it may not be.
 *
 * One record for each distinct (kind, access, type, site); after that only
 * its count goes up, in the log itself.
 */
#include <stdlib.h>
#include <string.h>

#include "runtime/owner.h"

/* Objects that were in findings or leaked, by serial: which findings. */
enum { PER_OBJECT = 6, MAX_OBJECTS = 1 << 22, MAX_LEAKED = 1 << 16 };
struct trapped {
    uint32_t n;
    uint32_t finding[PER_OBJECT];
    uint32_t leak;
};
static struct trapped *objects;
static uint32_t next_object = 1;

static uint32_t next_id = 1;
static struct isan__table by_site;          /* exact place and type -> record */
static struct isan__table by_name;          /* the same with the type's name -> record */
static struct isan__table by_id;            /* finding -> record */

uint32_t
isan__next_finding(void)
{
    return __atomic_fetch_add(&next_id, 1, __ATOMIC_RELAXED);
}

/* What rules.inc asks of an object. */
struct head {
    int32_t count;                          /* the low half of ob_refcnt */
    const void *type;                       /* NULL: it could not be read */
    uint32_t state;                         /* of a str */
};

/* stable: this thread is about to use the object in any case.  Else its owner may
 * be freeing it just now, and giving back the arena it is in. */
static struct head
head_of(const char *op, bool stable)
{
    struct head h = { 0, NULL, 0 };
    if (!isan__read(&h.count, op, sizeof h.count, stable)
        || !isan__read(&h.type, op + 8, sizeof h.type, stable)
        || (h.type == isan__py.unicode_type
            && !isan__read(&h.state, op + isan__py.unicode_state, sizeof h.state, stable))) {
        h.type = NULL;
    }
    return h;
}

static bool
immortal(const struct head *h)
{
    return h->count < 0;                    /* _Py_IsImmortal, 64-bit */
}

static bool
is_str(const struct head *h)
{
    return h->type == isan__py.unicode_type;
}

bool
isan__is_str(const void *op)
{
    const struct head h = head_of(op, false);
    return is_str(&h);
}

static bool
interned(const struct head *h)
{
    return is_str(h) && (h->state & 3) != 0;
}

/* Of a type that has free lists (Objects/floatobject.c, listobject.c,
 * tupleobject.c, dictobject.c), where nobody tells of births and deaths? */
static bool
may_be_recycled(const struct head *h)
{
    return isan__stock && !isan__reftrace_active
        && (h->type == isan__py.float_type || h->type == isan__py.list_type
            || h->type == isan__py.tuple_type || h->type == isan__py.dict_type);
}

/* A method or attribute that PyType_Ready has made of a static type's C
 * tables: PyDescrObject.d_type, and for __new__ PyCFunctionObject.m_self
 * (Include/cpython/descrobject.h, methodobject.h). */
static bool
of_static_type(const struct head *h, const void *op)
{
    bool descriptor = h->type == isan__py.wrapper_type || h->type == isan__py.method_type
        || h->type == isan__py.class_method_type || h->type == isan__py.getset_type
        || h->type == isan__py.member_type;
    const void *const *words = op, *of = descriptor ? words[2]
        : h->type == isan__py.function_type ? words[3] : NULL;
    return of != NULL && (isan__load_tag(of) & 0xffff) == 0
        && ((const void *const *)of)[1] == isan__py.type_type;
}

/* The table of a dictionary (Include/internal/pycore_dict.h, struct
 * _dictkeysobject) in which every key is its own value, and which is as long as
 * only that of interned strings is then.  The strings may be freed by now. */
bool
isan__is_interned_table(const char *block)
{
    enum { FEW = 512 };
    struct isan__keys keys;
    size_t size = isan__block_size(block);
    const void *entry[2];
    if (size < FEW * sizeof entry || !isan__keys_at(&keys, block, true) || keys.key != 0 || keys.n < FEW
        || keys.entries > block + size || keys.n > (size_t)(block + size - keys.entries) / sizeof entry) {
        return false;
    }
    for (uint64_t i = 0; i < keys.n; i++) {
        memcpy(entry, keys.entries + i * sizeof entry, sizeof entry);
        if (entry[0] != entry[1]) {
            return false;
        }
    }
    return true;
}

/* Such an object is taken for the current interpreter's, unless a static holds it. */
static bool
recycled(const struct head *h, const void *op, char *block, isan__slot_t current)
{
    if (!may_be_recycled(h) || isan__find_static_holder(block, op).address != 0) {
        return false;
    }
    isan__retag(block, current);
    return true;
}

/* What is shared on purpose. */
static bool
excused(int access, const void *op, char *block, bool object, isan__slot_t owner,
        isan__slot_t current)
{
    const struct head all = head_of(op, true), *h = &all;
#define ISAN_RULE(name, reason, condition) if (condition) return true;
#include "runtime/rules.inc"
    return false;
}

static struct trapped *
trapped(uint32_t serial)
{
    if (objects == NULL) {
        struct trapped *all = isan__map(MAX_OBJECTS * sizeof *all), *none = NULL;
        if (all != NULL && !__atomic_compare_exchange_n(&objects, &none, all, false,
                                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            isan__unmap(all, MAX_OBJECTS * sizeof *all);
        }
    }
    return objects == NULL || serial == 0 || serial >= MAX_OBJECTS ? NULL : &objects[serial];
}

int
isan__findings_of_object(uint32_t serial, uint32_t *ids, int max)
{
    struct trapped *t = trapped(serial);
    int n = 0;
    for (uint32_t i = 0; t != NULL && i < t->n && n < max; i++) {
        ids[n++] = t->finding[i];
    }
    return n;
}

int
isan__finding_kind(uint32_t id)
{
    const struct isan_rec_finding *r = (void *)isan__table_get(&by_id, id);
    return r ? r->kind : -1;
}

/* The finding is about that object, which may have leaked before. */
static void
belongs(uint32_t serial, struct isan_rec_finding *r)
{
    struct trapped *t = trapped(serial);
    if (t == NULL) {
        return;
    }
    if (t->leak != 0 && r->gone == 0) {
        r->gone = t->leak;
    }
    for (uint32_t i = 0; i < t->n; i++) {
        if (t->finding[i] == r->id) {
            return;
        }
    }
    if (t->n < PER_OBJECT) {
        t->finding[t->n++] = r->id;
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

/* The object (or raw block, op == block) as findings speak of it. */
uint32_t
isan__describe_object(struct isan_object *o, const void *op, char *block)
{
    uint32_t word = isan__load_tag(block);
    uint32_t origin = isan__block_origin(block);
    memset(o, 0, sizeof *o);
    o->address = (uint64_t)op;
    o->size = isan__block_size(block);
    o->owner = isan__interp_of((isan__slot_t)word)->serial;
    if (isan__origin_is_stack(origin)) {
        o->flags |= ISAN_OBJ_ORIGIN_STACK;
        origin &= (1u << (ISAN__ORIGIN_BITS - 1)) - 1;
    }
    o->origin = origin;
    if (isan__object_in(block) == op) {
        o->flags |= ISAN_OBJ_OBJECT;
        const struct head h = head_of(op, isan__memory_is_stable((isan__slot_t)word));
        /* Finalisation clears the state of interned strings and leaves them
         * immortal, which no other way makes a str (_PyUnicode_ClearInterned). */
        if (!(word & ISAN__FREED) && is_str(&h) && (interned(&h) || immortal(&h))) {
            o->flags |= ISAN_OBJ_INTERNED;
        }
        if (may_be_recycled(&h)) {
            o->flags |= ISAN_OBJ_RECYCLED;
        }
    }
    if (word & ISAN__FREED) {
        o->flags |= ISAN_OBJ_FREED;
    }
    o->serial = isan__noted_serial(block);
    o->maker = isan__creator_of(block);
    return o->serial;
}

static uint32_t
serial_of(char *block)
{
    uint32_t serial = isan__noted_serial(block);
    if (serial == 0) {
        serial = __atomic_fetch_add(&next_object, 1, __ATOMIC_RELAXED);
        isan__note_block(block, ISAN__NOTE_OBJECT, serial);
    }
    return serial;
}

/* A record to be published, with all but the object. */
static struct isan_rec_finding *
begin(int kind, int access, struct isan_holder holder, uint32_t current, const char *type,
      uint32_t stack)
{
    size_t n = strlen(type) + 1;
    struct isan_rec_finding *r = isan__log_reserve(sizeof *r + n);
    if (r == NULL) {
        return NULL;
    }
    r->kind = (uint16_t)kind;
    r->access = (uint16_t)access;
    r->time_ns = isan__now();
    r->tid = isan__tid();
    r->current = current;
    r->holder = holder;
    r->used = stack;
    memcpy(r->text, type, n);
    r->id = isan__next_finding();
    isan__table_put(&by_id, r->id, (uint64_t)r);
    return r;
}

static struct isan_rec_finding *
record(int kind, int access, const void *op, char *block, struct isan_holder holder,
       uint32_t current, const char *type)
{
    struct isan_rec_finding *r = begin(kind, access, holder, current, type, isan__record_stack(NULL));
    if (r != NULL) {
        /* Before anybody can look at what the object came to. */
        belongs(serial_of(block), r);
        isan__describe_object(&r->object, op, block);
        isan__log_publish(r, ISAN_REC_FINDING);
    }
    return r;
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

/* So that what uses the block from now on is paired with its leak.  Few leaks
 * are ever used again; the limit keeps isan's own memory from growing with the
 * others. */
void
isan__block_leaked(char *block, uint32_t leak)
{
    static uint32_t n;
    if (__atomic_fetch_add(&n, 1, __ATOMIC_RELAXED) >= MAX_LEAKED) {
        __atomic_store_n(&n, MAX_LEAKED, __ATOMIC_RELAXED);
        return;
    }
    struct trapped *t = trapped(serial_of(block));
    if (t != NULL) {
        t->leak = leak;
    }
}

bool
isan__check_foreign_use(int kind, int access, const void *op, void *pc)
{
    isan__slot_t current = isan__slot;
    char *block = isan__block_of(op);
    if (block == NULL) {
        return false;                       /* gone meanwhile */
    }
    isan__slot_t owner = (isan__slot_t)isan__load_tag(block);
    bool object = isan__object_in(block) == op;
    bool freed = isan__load_tag(block) & ISAN__FREED;
    if (owner == current && !freed) {
        return false;
    }
    if (excused(access, op, block, object && !freed, owner, current)) {
        return false;
    }
    isan__self.n_findings++;
    if (isan__ignores()) {
        return true;                        /* what is kept from being freed is, all the same */
    }
    if (kind == ISAN__KIND_share && isan__interp_of(owner)->ended) {
        kind = ISAN__KIND_stale;
    }
    struct {
        uint64_t type, pc;
        uint32_t site;
        uint16_t kind, access;
    } key = { 0, (uint64_t)pc, isan__current_site(), (uint16_t)kind, (uint16_t)access };
    if (object) {
        isan__peek(&key.type, (const char *)op + 8, sizeof key.type);
    }
    uint64_t exact = isan__hash(&key, sizeof key, 0) | 1;
    struct isan_rec_finding *r = (void *)isan__table_get(&by_site, exact);
    if (r == NULL) {
        char type[256] = "";
        if (object && !isan__type_name(op, type, sizeof type)) {
            strcpy(type, "?");
        }
        key.type = 0;
        uint64_t named = isan__hash(type, strlen(type), isan__hash(&key, sizeof key, 1)) | 1;
        r = (void *)isan__table_get(&by_name, named);
        if (r == NULL) {
            struct isan__pointer_path behind;
            isan__find_holder(block, op, &behind);
            r = record(kind, access, op, block, behind.holder, isan__interp_of(current)->serial, type);
            if (r == NULL) {
                return true;
            }
            isan__log_path(r->id, &behind);
            isan__table_put(&by_name, named, (uint64_t)r);
        }
        isan__table_put(&by_site, exact, (uint64_t)r);
    }
    __atomic_add_fetch(&r->count, 1, __ATOMIC_RELAXED);
    belongs(serial_of(block), r);
    if (isan__self.ensure_pc != NULL && r->holder.address == 0) {
        isan__gilstate_foreign_object(isan__interp_of(owner)->serial, serial_of(block));
    }
    isan__halt_if_requested();
    return true;
}

void
isan__report_static(const struct isan_holder *holder, const void *op, char *block, uint32_t other)
{
    uint64_t where = holder->tls ? 0 : holder->address;
    isan__slot_t owner = (isan__slot_t)isan__load_tag(block);
    bool freed = isan__load_tag(block) & ISAN__FREED;
    const struct head all = head_of(op, false), *h = &all;
    char type[256];
    if (h->type == NULL) {
        return;                             /* gone meanwhile */
    }
#define ISAN_STATIC_RULE(name, reason, condition) if (condition) return;
#include "runtime/rules.inc"
    struct { struct isan_holder where; uint64_t object; } key = {
        *holder, (uint64_t)block ^ (uint64_t)owner << 48,
    };
    uint64_t exact = isan__hash(&key, sizeof key, 2) | 1;
    if (isan__table_get(&by_site, exact) != 0) {
        return;                             /* looked at before */
    }
    if (isan__ignores()) {
        return;
    }
    if (!isan__type_name(op, type, sizeof type)) {
        strcpy(type, "?");
    }
    struct isan_rec_finding *r = record(ISAN__KIND_static, ISAN__ACCESS_none, op, block, *holder,
                                        other, type);
    if (r != NULL) {
        struct trapped *t = trapped(serial_of(block));
        r->count = 1;
        r->gone = t != NULL ? t->leak : 0;
        isan__table_put(&by_site, exact, (uint64_t)r);
        isan__halt_if_requested();
    }
}

void
isan__report_static_type(const char *type, uint32_t owner, uint32_t other, bool own, bool again)
{
    unsigned long flags;
    const char *name;
    char text[256];
    if (!isan__peek(&flags, type + isan__py.type_flags, sizeof flags)
        || !isan__peek(&name, type + isan__py.type_name, sizeof name)) {
        return;                             /* unloaded meanwhile */
    }
#define ISAN_TYPE_RULE(name, reason, condition) if (condition) return;
#include "runtime/rules.inc"
    struct { const char *type; uint64_t owner; } key = { type, owner };
    uint64_t exact = isan__hash(&key, sizeof key, 4) | 1;
    if (isan__table_get(&by_site, exact) != 0) {
        return;                             /* told before */
    }
    if (isan__ignores()) {
        return;
    }
    if (!isan__peek_string(text, name, sizeof text)) {
        strcpy(text, "?");
    }
    struct isan_rec_finding *r = begin(ISAN__KIND_static, ISAN__ACCESS_none,
        (struct isan_holder){ .address = (uint64_t)type }, other, text, isan__record_stack(NULL));
    if (r != NULL) {
        r->count = 1;
        r->object = (struct isan_object){
            .address = (uint64_t)type, .owner = owner,
            .flags = ISAN_OBJ_OBJECT | ISAN_OBJ_STATIC_TYPE,
        };
        isan__log_publish(r, ISAN_REC_FINDING);
        isan__table_put(&by_site, exact, (uint64_t)r);
        isan__halt_if_requested();
    }
}

uint32_t
isan__report_immortal(const void *op, uint32_t owner, const char *name, uint32_t stack)
{
    struct isan_rec_finding *r = begin(ISAN__KIND_immortal, ISAN__ACCESS_none, (struct isan_holder){ 0 },
        isan__interp_of(isan__slot)->serial, name, stack ? stack : isan__record_stack(NULL));
    if (r == NULL) {
        return 0;
    }
    r->count = 1;
    r->object = (struct isan_object){ .address = (uint64_t)op, .owner = owner, .flags = ISAN_OBJ_OBJECT };
    isan__log_publish(r, ISAN_REC_FINDING);
    return r->id;
}

uint32_t
isan__report_gilstate(int access, const char *function, void *pc, uint32_t owner, uint32_t current,
                 uint32_t object, uint32_t stack)
{
    struct { uint64_t pc, access, function; } key = {
        (uint64_t)pc, (uint64_t)access, isan__hash(function, strlen(function), 0),
    };
    uint64_t exact = isan__hash(&key, sizeof key, 5) | 1;
    if (isan__ignores()) {
        return 0;
    }
    struct isan_rec_finding *r = (void *)isan__table_get(&by_site, exact);
    if (r != NULL) {
        __atomic_add_fetch(&r->count, 1, __ATOMIC_RELAXED);
        return 0;
    }
    r = begin(ISAN__KIND_gilstate, access, (struct isan_holder){ 0 }, current, function,
              stack ? stack : isan__record_stack(NULL));
    if (r == NULL) {
        return 0;
    }
    r->count = 1;
    r->object = (struct isan_object){ .owner = owner, .serial = object };
    if (object != 0) {
        belongs(object, r);
    }
    isan__log_publish(r, ISAN_REC_FINDING);
    isan__table_put(&by_site, exact, (uint64_t)r);
    return r->id;
}

struct isan_rec_finding *
isan__race(const struct isan__race *race)
{
    if (isan__ignores()) {
        return NULL;
    }
    struct isan_rec_finding *r = (void *)isan__table_get(&by_site, race->key);
    if (r != NULL) {
        __atomic_add_fetch(&r->count, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    char type[256] = "";
    bool object = race->block != NULL && isan__object_in(race->block) == race->op;
    if (object && !isan__type_name(race->op, type, sizeof type)) {
        strcpy(type, "?");
    }
    struct isan_holder holder = race->block == NULL ? race->holder
        : isan__find_static_holder(race->block, race->op);
    r = begin(ISAN__KIND_race, ISAN__ACCESS_none, holder, race->current, type, race->used);
    if (r != NULL) {
        r->count = 1;
        if (race->block != NULL) {
            belongs(serial_of(race->block), r);
            isan__describe_object(&r->object, race->op, race->block);
        }
        else {
            r->object = race->memory;
        }
        isan__log_publish(r, ISAN_REC_FINDING);
        isan__table_put(&by_site, race->key, (uint64_t)r);
    }
    return r;
}

/* After a fork the records belong to the parent's log. */
void
isan__findings_forked(void)
{
    isan__table_clear(&by_site);
    isan__table_clear(&by_name);
    isan__table_clear(&by_id);
    if (objects != NULL) {
        isan__unmap(objects, MAX_OBJECTS * sizeof *objects);
        objects = NULL;
    }
}
