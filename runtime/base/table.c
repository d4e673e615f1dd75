/* Hash tables: open addressing, linear probing, at most three quarters full.
 * Removal shifts the rest of the run back (Knuth 6.4, algorithm R). */
#include "runtime/base/table.h"

#include "runtime/base/check.h"

static uint64_t dropped;

/* FNV-1a by 8 bytes with a finaliser: the keys are small and not hostile. */
uint64_t
isan__hash(const void *data, size_t size, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t h = seed ^ 0xcbf29ce484222325u;
    while (size >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
        p += 8, size -= 8;
    }
    while (size-- > 0) {
        h = (h ^ *p++) * 0x100000001b3u;
    }
    h ^= h >> 32;
    return h;
}

uint64_t
isan__table_key(enum isan__key_type type, const void *data, size_t size)
{
    return isan__hash(data, size, type) | 1;
}

static size_t
home_of(const struct isan__table *t, uint64_t key)
{
    return (size_t)(key * 0x9e3779b97f4a7c15u >> 20) & (t->size - 1);
}

/* The place of the key, or the free one where it belongs. */
static size_t
place_of(const struct isan__table *t, uint64_t key)
{
    size_t i = home_of(t, key);
    while (t->slot[i].key != 0 && t->slot[i].key != key) {
        i = (i + 1) & (t->size - 1);
    }
    return i;
}

static bool
grow(struct isan__table *t)
{
    struct isan__table bigger = { .size = t->size ? 2 * t->size : 1024, .used = t->used };
    bigger.slot = isan__map(bigger.size * sizeof *bigger.slot);
    if (bigger.slot == NULL) {
        return false;
    }
    for (size_t i = 0; i < t->size; i++) {
        if (t->slot[i].key != 0) {
            bigger.slot[place_of(&bigger, t->slot[i].key)] = t->slot[i];
        }
    }
    isan__unmap(t->slot, t->size * sizeof *t->slot);
    t->slot = bigger.slot;
    t->size = bigger.size;
    return true;
}

static inline void
lock_table(struct isan__table *t)
{
    if (!t->unlocked) {
        isan__lock(&t->lock);
    }
}

static inline void
unlock_table(struct isan__table *t)
{
    if (!t->unlocked) {
        isan__unlock(&t->lock);
    }
}

uint64_t
isan__table_get(struct isan__table *t, uint64_t key)
{
    lock_table(t);
    uint64_t value = 0;
    if (t->size != 0) {
        size_t i = place_of(t, key);
        value = t->slot[i].key ? t->slot[i].value : 0;
    }
    unlock_table(t);
    return value;
}

bool
isan__table_put(struct isan__table *t, uint64_t key, uint64_t value)
{
    ISAN__ASSERT(key != 0 && value != 0);
    lock_table(t);
    bool ok = (t->used + 1) * 4 <= t->size * 3 || grow(t);
    if (ok) {
        size_t i = place_of(t, key);
        t->used += t->slot[i].key == 0;
        t->slot[i].key = key;
        t->slot[i].value = value;
    }
    unlock_table(t);
    return ok;
}

void
isan__table_put_or_drop(struct isan__table *t, uint64_t key, uint64_t value)
{
    if (!isan__table_put(t, key, value)) {
        __atomic_add_fetch(&dropped, 1, __ATOMIC_RELAXED);
    }
}

uint64_t
isan__tables_dropped(void)
{
    return __atomic_load_n(&dropped, __ATOMIC_RELAXED);
}

uint64_t
isan__table_take(struct isan__table *t, uint64_t key)
{
    lock_table(t);
    uint64_t value = 0;
    if (t->size != 0) {
        size_t i = place_of(t, key);
        if (t->slot[i].key != 0) {
            value = t->slot[i].value;
            t->used--;
            size_t hole = i, mask = t->size - 1;
            for (size_t j = (i + 1) & mask; t->slot[j].key != 0; j = (j + 1) & mask) {
                size_t h = home_of(t, t->slot[j].key);
                if (((j - h) & mask) >= ((j - hole) & mask)) {
                    t->slot[hole] = t->slot[j];
                    hole = j;
                }
            }
            t->slot[hole].key = 0;
        }
    }
    unlock_table(t);
    return value;
}

uint64_t
isan__table_find(struct isan__table *t, bool (*wanted)(uint64_t key, uint64_t value, void *arg), void *arg)
{
    uint64_t found = 0;
    lock_table(t);
    for (size_t i = 0; i < t->size && found == 0; i++) {
        if (t->slot[i].key != 0 && wanted(t->slot[i].key, t->slot[i].value, arg)) {
            found = t->slot[i].key;
        }
    }
    unlock_table(t);
    return found;
}

/* Another thread that uses the table now may find it empty. */
void
isan__table_clear(struct isan__table *t)
{
    lock_table(t);
    isan__unmap(t->slot, t->size * sizeof *t->slot);
    t->slot = NULL;
    t->size = t->used = 0;
    unlock_table(t);
}
