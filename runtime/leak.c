/* What an interpreter left behind, when its memory has just been given back
 * (Python/pystate.c, free_interpreter): its blocks, grouped by type, creation
 * site and the static that holds them. */
#include <string.h>

#include "runtime/owner.h"

enum { MAX_PAIRS = 16 };
struct group {
    struct isan_object sample;
    uint64_t count, bytes, holder;
    uint32_t residue, raw, n_paired;
    uint32_t pairs[2 * MAX_PAIRS];
    char type[128];
};

enum { MAX_GROUPS = 1 << 16 };
struct analysis {
    struct group *groups;
    size_t n;
    uint32_t blocks, overflow;
    struct isan__table index;               /* key -> group + 1 */
    struct isan__table holders;             /* block -> address of the static */
    struct isan__table kept;                /* raw blocks of the runtime's */
    bool kept_known;
    struct { const void *type; char name[128]; } names[256];
};

static void
held(uint64_t where, char *block, void *arg)
{
    struct analysis *a = arg;
    if (isan__table_get(&a->holders, (uint64_t)block) == 0) {
        isan__table_put(&a->holders, (uint64_t)block, where);
    }
}

static const char *
type_name(struct analysis *a, const char *op)
{
    /* The block is tagged, so it is there; its type need not be. */
    const void *type = *(const void *const *)(op + 8);
    size_t i = ((uintptr_t)type >> 4) % 256;
    if (a->names[i].type != type) {
        if (!isan__type_name(op, a->names[i].name, sizeof a->names[i].name)) {
            strcpy(a->names[i].name, "?");
        }
        a->names[i].type = type;
    }
    return a->names[i].name;
}

static void
leaked(char *block, void *arg)
{
    struct analysis *a = arg;
    uint32_t word = isan__load(block);
    a->blocks++;
    if (word & ISAN__FREED) {
        return;                             /* quarantined: properly freed */
    }
    struct isan_object o;
    char *op = isan__object_in(block);
    const char *type = op ? type_name(a, op) : "";
    isan__describe(&o, op ? op : block, block);
    uint64_t holder = isan__table_get(&a->holders, (uint64_t)block);
    uint32_t residue = ISAN__RESIDUE_none;
    if (o.flags & ISAN_OBJ_INTERNED && holder == 0) {
        residue = ISAN__RESIDUE_interned;
    }
    else if (word & ISAN__RAW) {
        if (!a->kept_known) {
            isan__runtime_reaches(&a->kept);
            a->kept_known = true;
        }
        if (isan__table_get(&a->kept, (uint64_t)block) != 0) {
            residue = ISAN__RESIDUE_process;
        }
    }
    struct { uint64_t holder; uint32_t origin, flags, residue, raw; } key = {
        holder, residue ? 0 : o.origin,
        residue ? 0 : o.flags & (ISAN_OBJ_OBJECT | ISAN_OBJ_ORIGIN_STACK),
        residue, word & ISAN__RAW,
    };
    uint64_t hash = isan__hash(type, strlen(type), isan__hash(&key, sizeof key, 0)) | 1;
    size_t i = isan__table_get(&a->index, hash);
    if (i == 0) {
        if (a->n == MAX_GROUPS) {
            a->overflow++;
            return;
        }
        i = ++a->n;
        isan__table_put(&a->index, hash, i);
        struct group *g = &a->groups[i - 1];
        g->sample = o;
        g->holder = holder;
        g->residue = residue;
        g->raw = word & ISAN__RAW;
        strcpy(g->type, type);
    }
    struct group *g = &a->groups[i - 1];
    g->count++;
    g->bytes += o.size;
    if (o.serial != 0) {
        uint32_t ids[8];
        int n = isan__findings_of(o.serial, ids, 8);
        if (n > 0 && g->n_paired == 0) {
            g->sample = o;                  /* the one the report can tell most of */
        }
        for (int j = 0; j < n && g->n_paired < MAX_PAIRS; j++) {
            g->pairs[2 * g->n_paired] = o.serial;
            g->pairs[2 * g->n_paired + 1] = ids[j];
            g->n_paired++;
        }
    }
}

static void
report(const struct group *g)
{
    size_t n = (strlen(g->type) + 1 + 7) & ~(size_t)7, pairs = g->n_paired * 8;
    struct isan_rec_leak *r = isan__log_reserve(sizeof *r + n + pairs);
    if (r == NULL) {
        return;
    }
    r->id = isan__next_finding();
    r->residue = g->residue;
    r->count = g->count;
    r->bytes = g->bytes;
    r->object = g->sample;
    r->holder = g->holder;
    r->n_paired = g->n_paired;
    r->domain = g->raw ? 'r' : g->sample.flags & ISAN_OBJ_OBJECT ? 'o' : 'm';
    r->text_size = (uint32_t)n;
    strcpy(r->text, g->type);
    memcpy(r->text + n, g->pairs, pairs);
    isan__log_publish(r, ISAN_REC_LEAK);
    for (uint32_t i = 0; i < g->n_paired; i++) {
        isan__finding_became_leak(g->pairs[2 * i + 1], r->id);
    }
}

uint32_t
isan__leaks_of(isan__slot_t slot)
{
    struct analysis *a = isan__map(sizeof *a);
    if (a == NULL
        || (a->groups = isan__map(MAX_GROUPS * sizeof *a->groups)) == NULL) {
        isan__log_note("no memory to look at what interpreter %lld left behind",
                       (long long)isan__interp_of(slot)->id);
        isan__unmap(a, sizeof *a);
        return UINT32_MAX / 2;              /* keep the slot */
    }
    isan__modules_sync();
    isan__statics_of(slot, held, a);
    isan__blocks_of(slot, leaked, a);
    if (isan__flags.leaks) {
        for (size_t i = 0; i < a->n; i++) {
            report(&a->groups[i]);
        }
        if (a->overflow != 0) {
            isan__log_note("interpreter %lld left %u more blocks of more types and places "
                           "than are told apart", (long long)isan__interp_of(slot)->id,
                           a->overflow);
        }
    }
    uint32_t blocks = a->blocks;
    isan__table_clear(&a->index);
    isan__table_clear(&a->holders);
    isan__table_clear(&a->kept);
    isan__unmap(a->groups, MAX_GROUPS * sizeof *a->groups);
    isan__unmap(a, sizeof *a);
    return blocks;
}
