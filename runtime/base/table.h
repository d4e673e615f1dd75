/* Hash tables from 64-bit keys to 64-bit values, neither of which is 0.
 *
 * A table that cannot grow drops the entry.  Its caller decides whether that
 * matters: isan__table_put() says so, isan__table_put_or_drop() counts it. */
#ifndef ISAN_BASE_TABLE_H
#define ISAN_BASE_TABLE_H

#include "runtime/base/lock.h"

struct isan__table {
    struct isan__lock lock;
    bool unlocked;                          /* one thread uses it: no lock is taken */
    size_t size, used;                      /* size: a power of 2, or 0 */
    struct { uint64_t key, value; } *slot;  /* key 0: free */
};
/* A table that several threads use starts as ISAN__TABLE, another one as ISAN__TABLE_UNLOCKED. */
#define ISAN__TABLE          { .lock = { .rank = ISAN__RANK_TABLE } }
#define ISAN__TABLE_UNLOCKED { .unlocked = true }

uint64_t isan__table_get(struct isan__table *table, uint64_t key);      /* 0: not there */
bool isan__table_put(struct isan__table *table, uint64_t key, uint64_t value)
    __attribute__((warn_unused_result));
/* For tables that may lose an entry; the comment at such a table says what is lost. */
void isan__table_put_or_drop(struct isan__table *table, uint64_t key, uint64_t value);
uint64_t isan__table_take(struct isan__table *table, uint64_t key);     /* get and remove */
void isan__table_clear(struct isan__table *table);                      /* and free its memory */
/* A key for which `wanted` is true, or 0.  wanted() runs under the table's lock. */
uint64_t isan__table_find(struct isan__table *table,
    bool (*wanted)(uint64_t key, uint64_t value, void *arg), void *arg);
/* Entries that all tables have dropped since the process began. */
uint64_t isan__tables_dropped(void);

/* Keys made of several values.  The type of a key is its seed, so that keys of two
 * types never mean the same entry, even in one table. */
enum isan__key_type {
    ISAN__KEY_HASH,                         /* a plain hash */
    ISAN__KEY_USE,                          /* a foreign use at one place, by type object */
    ISAN__KEY_USE_BY_NAME,                  /* the same by the name of the type */
    ISAN__KEY_STATIC,                       /* an object in a static */
    ISAN__KEY_STATIC_TYPE,                  /* a static type */
    ISAN__KEY_IMPORT,                       /* a module or thread, and an interpreter */
    ISAN__KEY_GILSTATE,                     /* a call that the thread state does not allow */
    ISAN__KEY_RACE_STORE,                   /* a variable that two interpreters store to */
    ISAN__KEY_RACE_NO_GIL,                  /* a race of ThreadSanitizer: an access outside any GIL, */
    ISAN__KEY_RACE_ONE_GIL,                 /* both under one GIL, */
    ISAN__KEY_RACE_TWO_GILS,                /* or under two */
    ISAN__KEY_IMMORTAL,                     /* an immortal object and its interpreter */
    ISAN__KEY_IMMORTAL_WRITE,               /* an immortal object and an instruction */
};
uint64_t isan__hash(const void *data, size_t size, uint64_t seed);
uint64_t isan__table_key(enum isan__key_type type, const void *data, size_t size);  /* never 0 */

#endif
