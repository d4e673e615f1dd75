/* What a program declares (include/isan/isan.h): that a block is another
 * interpreter's from now on, that all may use it, that a thread's findings do
 * not count for a while.
 *
 * A transfer gives away the use of a block, not its memory: an allocator that
 * an interpreter has for itself must get back what it gave.  So the table here
 * knows whose the memory is; when that interpreter ends, or another one frees
 * the block, the transfer is over and the block is its allocator's again.
 */
#include "isan/isan.h"
#include "runtime/owner.h"

#define ENTRY (1ull << 63)                  /* no value is 0 */

/* Block -> ENTRY | slot whose allocator it is from, 0: the process's << 32 | serial of who created it. */
static struct isan__table transferred;

/* Written once for each reason; its count goes up in the log. */
static struct isan__table by_reason;

/* --- transfers ---------------------------------------------------------------------- */

static isan__slot_t
heap_in(uint64_t entry)
{
    return (isan__slot_t)(entry >> 32);
}

static uint64_t
entry_of(const char *block)
{
    return isan__load_tag(block) & ISAN__NOTED ? isan__table_get(&transferred, (uint64_t)block) : 0;
}

uint32_t
isan__creator_of(const char *block)
{
    return (uint32_t)entry_of(block);
}

static bool
same_heap(isan__slot_t heap, isan__slot_t slot)
{
    return heap == 0 || heap == slot || isan__share_obmalloc(heap, slot);
}

static void
move(char *block, isan__slot_t to)
{
    uint32_t word = isan__load_tag(block);
    isan__slot_t from = (isan__slot_t)word;
    if (from == to || word & ISAN__FREED) {
        return;
    }
    uint64_t entry = entry_of(block);
    if (entry == 0) {
        uint64_t heap = word & ISAN__RAW ? 0 : from;
        entry = ENTRY | heap << 32 | isan__interp_of(from)->serial;
        if (!isan__table_put(&transferred, (uint64_t)block, entry)) {
            return;
        }
        isan__note_block(block, ISAN__NOTE_TRANSFERRED, 0);
    }
    else if (isan__interp_of(to)->serial == (uint32_t)entry) {
        isan__table_take(&transferred, (uint64_t)block);    /* back where it came from */
    }
    isan__retag(block, to);
}

static void
share(char *block, isan__slot_t unused)
{
    (void)unused;
    isan__note_block(block, ISAN__NOTE_SHARED, 0);
}

/* A block that the object at `op` points at, of the same owner. */
static char *
own_block(const void *p, isan__slot_t owner)
{
    char *block = isan__block_of_checked((void *)((uintptr_t)p & ~(uintptr_t)7));
    uint32_t word = block ? isan__load_tag(block) : 0;
    return (isan__slot_t)word == owner && !(word & ISAN__FREED) ? block : NULL;
}

/* The table of a dictionary, unless instances of a class share it (Include/
 * internal/pycore_dict.h, struct _dictkeysobject), and its values. */
static void
each_of_dict(const char *op, isan__slot_t owner, void (*visit)(char *, isan__slot_t), isan__slot_t to)
{
    enum { DK_SPLIT = 2, MA_VALUES = ISAN__MA_KEYS + 8 };
    struct { int64_t refcnt; uint8_t log2_size, log2_index_bytes, kind; } keys;
    const void *const *at = (const void *const *)(op + ISAN__MA_KEYS);
    char *table = own_block(at[0], owner), *values = own_block(at[1], owner);
    memcpy(&keys, table ? (const char *)at[0] : (const char *)&(char[sizeof keys]){ 0 }, sizeof keys);
    if (table != NULL && keys.refcnt == 1 && keys.kind != DK_SPLIT) {
        visit(table, to);
    }
    if (values != NULL && !isan__object_in(values)) {
        visit(values, to);
    }
}

/* The block that has the object, and the memory and dictionary that only the
 * object uses, as far as its type says so.  Nothing else uses the object now. */
static void
each_of(const char *op, char *block, void (*visit)(char *, isan__slot_t), isan__slot_t to)
{
    enum { OB_ITEM = 24 };                  /* offsetof(PyListObject, ob_item) */
    isan__slot_t owner = (isan__slot_t)isan__load_tag(block);
    struct isan__type_object type;
    if (isan__object_in(block) == op && isan__read_type(&type, isan__object_type(op))) {
        char *part = NULL;
        const char *at = type.flags & ISAN__TYPE_LIST ? op + OB_ITEM
            : type.flags & ISAN__TYPE_MANAGED_DICT ? op + ISAN__MANAGED_DICT
            : type.dictoffset > 0 ? op + type.dictoffset : NULL;
        if (type.flags & ISAN__TYPE_DICT) {
            each_of_dict(op, owner, visit, to);
        }
        if (at >= block && at + 8 <= block + isan__block_size(block)) {
            part = own_block(*(void *const *)at, owner);
        }
        if (part != NULL && part != block) {
            const char *dict = isan__object_in(part);
            if (dict != NULL && isan__read_type(&type, isan__object_type(dict)) && type.flags & ISAN__TYPE_DICT) {
                each_of_dict(dict, owner, visit, to);
            }
            if (dict == NULL || type.flags & ISAN__TYPE_DICT) {
                visit(part, to);
            }
        }
    }
    visit(block, to);
}

int
(isan_transfer)(const void *object)
{
    isan__sync_thread_state(true);
    isan__slot_t to = isan__slot;
    char *block = isan__block_of_checked(object);
    if (to == 0 || block == NULL || isan__load_tag(block) & ISAN__FREED) {
        return -1;
    }
    uint32_t word = isan__load_tag(block);
    uint64_t entry = entry_of(block);
    isan__slot_t heap = entry ? heap_in(entry) : word & ISAN__RAW ? 0 : (isan__slot_t)word;
    if (!same_heap(heap, to) && isan__interp_of(heap)->ended) {
        return -1;
    }
    each_of(object, block, move, to);
    return !same_heap(heap, to);
}

int
(isan_share)(const void *object)
{
    isan__sync_thread_state(true);
    char *block = isan__block_of_checked(object);
    if (block == NULL || isan__load_tag(block) & ISAN__FREED) {
        return -1;
    }
    each_of(object, block, share, 0);
    return 0;
}

/* A block that carries WATCHED is about to be freed or resized in the
 * interpreter `by`; returns whose it is. */
isan__slot_t
isan__transfer_end(char *block, isan__slot_t by)
{
    uint64_t entry = entry_of(block);
    isan__slot_t owner = (isan__slot_t)isan__load_tag(block);
    if (entry == 0 || owner != by || same_heap(heap_in(entry), by)) {
        return owner;
    }
    isan__table_take(&transferred, (uint64_t)block);
    isan__retag(block, heap_in(entry));
    return heap_in(entry);
}

/* An interpreter has ended: what is from an allocator of its own is what it left. */
void
isan__transfers_end_of(isan__slot_t ended)
{
    for (;;) {
        char *block = NULL;
        isan__lock(&transferred.lock);
        for (size_t i = 0; i < transferred.size && block == NULL; i++) {
            uint64_t entry = transferred.slot[i].value;
            if (transferred.slot[i].key != 0 && heap_in(entry) == ended
                && !isan__interp_of(ended)->shares_main) {
                block = (char *)transferred.slot[i].key;
            }
        }
        isan__unlock(&transferred.lock);
        if (block == NULL) {
            return;
        }
        isan__table_take(&transferred, (uint64_t)block);
        isan__retag(block, ended);
    }
}

void
isan__transferred_gone(const char *block)
{
    isan__table_take(&transferred, (uint64_t)block);
}

void
isan__transferred_moved(const char *from, const char *to)
{
    uint64_t entry = isan__table_take(&transferred, (uint64_t)from);
    if (entry != 0) {
        isan__table_put(&transferred, (uint64_t)to, entry);
    }
}

/* --- findings that do not count ------------------------------------------------------- */

void
(isan_ignore_begin)(const char *reason)
{
    struct isan__thread *self = &isan__self;
    if (self->ignoring < UINT8_MAX) {
        if (self->ignoring < ISAN__NESTED) {
            self->reason[self->ignoring] = reason;
        }
        self->ignoring++;
    }
}

void
(isan_ignore_end)(void)
{
    if (isan__self.ignoring > 0) {
        isan__self.ignoring--;
    }
}

/* One was not made. */
bool
isan__ignored(void)
{
    const struct isan__thread *self = &isan__self;
    const char *reason = self->reason[(self->ignoring < ISAN__NESTED ? self->ignoring : ISAN__NESTED) - 1];
    char text[256] = "";
    if (reason != NULL && !isan__peek_string(text, reason, sizeof text)) {
        text[0] = 0;
    }
    uint64_t key = isan__hash(text, strlen(text), 0) | 1;
    struct isan_rec_ignored *r = (void *)isan__table_get(&by_reason, key);
    if (r == NULL) {
        r = isan__log_reserve(sizeof *r + strlen(text) + 1);
        if (r == NULL) {
            return true;
        }
        r->count = 0;
        strcpy(r->text, text);
        isan__log_publish(r, ISAN_REC_IGNORED);
        isan__table_put(&by_reason, key, (uint64_t)r);
    }
    __atomic_add_fetch(&r->count, 1, __ATOMIC_RELAXED);
    return true;
}

/* In the child: the records are the parent's. */
void
isan__declared_forked(void)
{
    isan__table_clear(&by_reason);
}
