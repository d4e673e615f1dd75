/* Changed reference counts of immortal objects.
 *
 * From 3.12 on Py_INCREF and Py_DECREF leave the count of an immortal object as it is (PEP 683):
 * None, True, the small integers, static types.  Two kinds of code change it: code that does
 * arithmetic on the count (`op->ob_refcnt++`), and code compiled with the headers of an older
 * release, such as an extension for the stable ABI.  Something breaks only after a billion such
 * changes, but all interpreters make them without a lock.
 *
 * CPython has no hook for that, so isan compares counts: those of the objects in the runtime's own
 * data, which it finds once, and those of the immortal strings that an interpreter has interned.
 * All of them begin with the same count.
 */
#define _GNU_SOURCE
#include "runtime/detect/immortal.h"

#include <stdarg.h>
#include <stdio.h>

#include "runtime/base/options.h"
#include "runtime/base/scan.h"
#include "runtime/core/finding.h"
#include "runtime/cpython/immortal_count.h"
#include "runtime/detect/immortal_finding.h"
#include "runtime/detect/immortal_watch.h"
#include "runtime/detect/import_map.h"
#include "runtime/elf/modules.h"

enum { MAX_STATICS = 1 << 14, MAX_CHANGED = 1 << 12, MAX_SUSPECTS = 1 << 10, MAX_TEXT = 240 };

static const char **statics;
static size_t n_statics;
static uint32_t interned_at;                /* offset in PyInterpreterState; 0: not found */

/* An object that was found changed. */
struct change {
    int64_t before;                         /* the difference of its count when the process was forked */
    int64_t by;                             /* the difference recorded since */
    struct isan_rec_place *record;          /* NULL: none in this process */
};
static struct change *changes;
static size_t n_changes;
/* Object and interpreter -> index in changes, plus 1.  Without an entry a change is recorded
 * again. */
static struct isan__table change_index = ISAN__TABLE;

/* The extensions that may have changed a count; not those of the standard library. */
static struct suspect {
    char name[MAX_TEXT];
    bool old;                               /* it is for the stable ABI, and changes counts inline */
} *suspects;
static size_t n_suspects;

/* All changes that are found with the same number of suspects are one finding. */
static uint32_t finding;
static size_t finding_suspects;

/* The last comparison. */
static char last[MAX_TEXT];
static uint64_t last_ns;
static int comparing;

/* --- the immortal objects ----------------------------------------------------------------- */

/* Objects that have a symbol.  They are looked up before any crash, when another thread may hold
 * the dynamic linker's lock. */
static struct { const char *symbol, *name; const void *op; } named[] = {
    { "_Py_NoneStruct", "None", NULL }, { "_Py_TrueStruct", "True", NULL }, { "_Py_FalseStruct", "False", NULL },
    { "_Py_NotImplementedStruct", "NotImplemented", NULL }, { "_Py_EllipsisObject", "Ellipsis", NULL },
};

/* The word would be the type of an object. */
static bool
add_static(size_t at, uint64_t type, void *unused)
{
    const char *op = isan__py.data + at - ISAN__OB_TYPE;
    (void)unused;
    if (isan__runtime_has(type) && isan__immortal_difference(op) == 0
        && isan__is_object(op, isan__py.data_size - (size_t)(op - isan__py.data), false, true)) {
        statics[n_statics++] = op;
    }
    return n_statics < MAX_STATICS;
}

static void
find_statics(void)
{
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        named[i].op = isan__python_symbol(named[i].symbol);
    }
    statics = isan__map(MAX_STATICS * sizeof *statics);
    if (statics != NULL) {
        isan__scan_words(isan__py.data + ISAN__OB_TYPE, isan__py.data_size - ISAN__OB_TYPE, ISAN__OB_TYPE,
                         add_static, NULL);
    }
    ISAN__TRACE(2, "immortal: %zu objects in the runtime's data", n_statics);
}

/* The table of the dictionary of interned strings, if that is the object at op; or NULL. */
static const char *
interned_table(const void *op)
{
    const char *table;
    char *block = (uintptr_t)op % ISAN__GRANULE == 0 ? isan__block_of_checked(op) : NULL;
    if (block == NULL || (size_t)((const char *)op - block) + ISAN__OB_HEAD > isan__block_size(block)
        || isan__object_type(op) != isan__py.dict_type || isan__object_in(block) != op) {
        return NULL;
    }
    memcpy(&table, (const char *)op + ISAN__MA_KEYS, sizeof table);
    return isan__block_of(table) == table && isan__is_interned_table(table, isan__block_size(table)) ? table : NULL;
}

static bool
note_interned(size_t at, uint64_t word, void *unused)
{
    (void)unused;
    if (interned_table((const void *)word) != NULL) {
        interned_at = (uint32_t)at;
    }
    return interned_at == 0;
}

/* The main interpreter's state is the end of _PyRuntime.  Other interpreters have the dictionary of
 * interned strings at the same offset (Include/internal/pycore_global_objects.h,
 * interned_strings). */
static void
find_interned_dict(const char *main)
{
    const char *end = isan__py.runtime + isan__py.runtime_size;
    if (main < end) {
        isan__scan_words(main, (size_t)(end - main), 0, note_interned, NULL);
    }
}

/* --- their names ---------------------------------------------------------------------------- */

static void
name_bytes(char *to, size_t size, const char *op)
{
    int64_t length;
    memcpy(&length, op + isan__py.bytes_size, sizeof length);
    int n = snprintf(to, size, "bytes b'");
    for (int64_t i = 0; i < length && (size_t)n + 8 < size; i++) {
        unsigned char c = (unsigned char)op[isan__py.bytes_data + i];
        n += snprintf(to + n, size - (size_t)n, c >= 0x20 && c < 0x7f ? "%c" : "\\x%02x", c);
    }
    snprintf(to + n, size - (size_t)n, "'");
}

static void
name_int(char *to, size_t size, const char *op)
{
    uint64_t tag;
    uint32_t digit;
    memcpy(&tag, op + ISAN__LV_TAG, sizeof tag);
    memcpy(&digit, op + ISAN__LV_DIGIT, sizeof digit);
    unsigned sign = tag & ISAN__LV_SIGN;
    snprintf(to, size, "int %s%u", sign == ISAN__LV_NEGATIVE ? "-" : "", sign == ISAN__LV_ZERO ? 0 : digit);
}

static void
name_object(char *to, size_t size, const char *op)
{
    const void *type = isan__object_type(op);
    char text[128];
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        if (named[i].op == op) {
            snprintf(to, size, "%s", named[i].name);
            return;
        }
    }
    /* The singletons are in _PyRuntime (Include/internal/pycore_runtime_structs.h,
     * static_objects); elsewhere in its data CPython has a few more of the kind. */
    bool known = (uintptr_t)op - (uintptr_t)isan__py.runtime < isan__py.runtime_size
        || !isan__runtime_has((uintptr_t)op);
    if (known && type == isan__py.long_type) {
        name_int(to, size, op);
    }
    else if (known && type == isan__py.unicode_type) {
        isan__copy_str(text, sizeof text, op, true);
        snprintf(to, size, strchr(text, '\'') ? "str \"%s\"" : "str '%s'", text);
    }
    else if (known && type == isan__py.bytes_type) {
        name_bytes(to, size, op);
    }
    else if (known && type == isan__py.tuple_type && *(const int64_t *)(op + ISAN__OB_SIZE) == 0) {
        snprintf(to, size, "tuple ()");
    }
    else if (((const struct isan__type_object *)type)->flags & ISAN__TYPE_TYPE) {
        snprintf(to, size, "type %s", ((const struct isan__type_object *)op)->name);
    }
    else {
        snprintf(to, size, "%s at %p", isan__type_name(op, text, sizeof text) ? text : "?", (const void *)op);
    }
}

/* Watches the objects that the option `immortal` names. */
static void
find_watched(void)
{
    char name[MAX_TEXT];
    for (size_t i = 0; i < n_statics; i++) {
        name_object(name, sizeof name, statics[i]);
        if (isan__immortal_watch_wanted(name)) {
            isan__immortal_watch_add(statics[i], name);
        }
    }
    isan__immortal_watch_begin();
}

/* --- the extensions that may change a count --------------------------------------------------- */

static bool
add_suspect(const struct isan__module *m, void *import)
{
    static struct isan__lock lock = { .rank = ISAN__RANK_IMMORTAL };
    if (suspects == NULL || m->of_stdlib || !(m->imports & ISAN__IMPORTS_PYTHON)
        || !isan__import_has(import, m->base)) {
        return true;
    }
    isan__lock(&lock);
    size_t i = 0;
    while (i < n_suspects && strncmp(suspects[i].name, m->path, MAX_TEXT - 1) != 0) {
        i++;
    }
    if (i == n_suspects && i < MAX_SUSPECTS) {
        struct suspect *s = &suspects[i];
        snprintf(s->name, sizeof s->name, "%s", m->path);
        /* From 3.12 on the limited API counts through the runtime (Include/object.h). */
        s->old = strstr(m->path, ".abi3.") != NULL && !(m->imports & ISAN__IMPORTS_INCREF);
        __atomic_store_n(&n_suspects, i + 1, __ATOMIC_RELEASE);
    }
    isan__unlock(&lock);
    return true;
}

void
isan__immortal_add_suspects(const struct isan__import *import)
{
    isan__visit_modules(add_suspect, (void *)import);
}

/* --- the comparison
 * ----------------------------------------------------------------------------- */

/* Records between which two comparisons the counts changed, and the suspects. */
static void
record_comparison(const char *now)
{
    struct isan_rec_place place = { .finding = finding, .role = ISAN__PLACE_since, .amount = (int64_t)last_ns };
    isan__finding_add_place(&place, last);
    place = (struct isan_rec_place){ .finding = finding, .role = ISAN__PLACE_until, .amount = (int64_t)isan__now() };
    isan__finding_add_place(&place, now);
    for (size_t i = 0; i < finding_suspects; i++) {
        place = (struct isan_rec_place){ .finding = finding, .role = ISAN__PLACE_suspect,
                                         .flags = suspects[i].old ? ISAN_PLACE_OLD_ABI : 0 };
        isan__finding_add_place(&place, suspects[i].name);
    }
}

/* The entry of an object, made if it has none; NULL: there are too many. */
static struct change *
find_change(const char *op, uint32_t owner)
{
    struct { uint64_t op, owner; } key = { (uint64_t)op, owner };
    uint64_t hash = isan__table_key(ISAN__KEY_IMMORTAL, &key, sizeof key);
    size_t i = isan__table_get(&change_index, hash);
    if (i == 0) {
        if (changes == NULL) {
            changes = isan__map(MAX_CHANGED * sizeof *changes);
        }
        if (changes == NULL || n_changes == MAX_CHANGED) {
            isan__log_dropped();
            return NULL;
        }
        i = ++n_changes;
        isan__table_put_or_drop(&change_index, hash, i);
    }
    return &changes[i - 1];
}

/* The record of the object's change, under the finding of this comparison or of the watch. */
static struct isan_rec_place *
record_change(const char *op, uint32_t owner, int64_t by, uint16_t flags, const char *now)
{
    char name[MAX_TEXT];
    name_object(name, sizeof name, op);
    uint32_t watch_finding = isan__immortal_watch_finding(op);
    if (watch_finding == 0 && (finding == 0 || finding_suspects != n_suspects)) {
        finding_suspects = n_suspects;
        finding = isan__report_immortal(op, owner, name, 0);
        record_comparison(now);
    }
    struct isan_rec_place place = {
        .finding = watch_finding ? watch_finding : finding, .role = ISAN__PLACE_changed, .flags = flags, .amount = by,
    };
    return isan__finding_add_place(&place, name);
}

/* The object's count differs by this much. */
static void
note_difference(const char *op, bool interned, int64_t by, const char *now)
{
#define ISAN_IMMORTAL_RULE(name, reason, condition) if (condition) return;
#include "runtime/detect/rules.inc"
    uint32_t owner = interned ? isan__interp_of((isan__slot_t)isan__load_tag(op))->serial : 0;
    struct change *change = find_change(op, owner);
    if (change == NULL) {
        return;
    }
    uint16_t flags = isan__is_mortal_now(op) ? ISAN_PLACE_MORTAL : 0;
    by -= change->before;
    if (by == 0) {
        return;
    }
    change->by = by;
    if (change->record == NULL) {
        change->record = record_change(op, owner, by, flags, now);
    }
    else {
        change->record->amount = by;
        change->record->flags |= flags;
    }
}

static void
compare_statics(const char *now)
{
    for (size_t i = 0; i < n_statics; i++) {
        int64_t by = isan__immortal_difference(statics[i]);
        if (ISAN__UNLIKELY(by != 0)) {
            note_difference(statics[i], false, by, now);
        }
    }
}

/* The interned strings of the interpreter that this thread is in. */
static void
compare_interned(const char *now)
{
    const struct isan__interp *i = isan__interp_of(isan__slot);
    struct isan__keys keys;
    const char *dict, *table;
    uint32_t state;
    if (interned_at == 0 && isan__slot == isan__main_slot) {
        find_interned_dict(i->interp);
    }
    if (interned_at == 0 || i->interp == NULL) {
        return;
    }
    memcpy(&dict, (const char *)i->interp + interned_at, sizeof dict);
    table = interned_table(dict);
    if (table == NULL || !isan__keys_at(&keys, table, true)) {
        return;
    }
    for (uint64_t n = 0; n < keys.n; n++) {
        const char *str = ((const char *const *)(keys.entries + n * keys.entry_size))[1];
        if (str == NULL) {
            continue;
        }
        memcpy(&state, str + isan__py.unicode_state, sizeof state);
        if ((state & ISAN__STR_INTERNED) == ISAN__STR_INTERNED_IMMORTAL
            && ISAN__UNLIKELY(isan__immortal_difference(str) != 0)) {
            note_difference(str, true, isan__immortal_difference(str), now);
        }
    }
}

void
isan__scan_immortals(const char *format, ...)
{
    char now[MAX_TEXT];
    va_list args;
    if (!isan__py.has_immortals || !isan__recording || isan__main_slot == 0 || isan__self.ignoring
        || isan__interp_of(isan__main_slot)->finalizing || __atomic_exchange_n(&comparing, 1, __ATOMIC_ACQUIRE)) {
        return;
    }
    if (statics == NULL && !isan__lock_state.crashing && isan__initialized()) {
        find_statics();
        if (isan__options.immortal[0] != 0) {
            find_watched();
        }
    }
    va_start(args, format);
    vsnprintf(now, sizeof now, format, args);
    va_end(args);
    uint32_t before = finding;
    uint64_t start = isan__now();
    compare_statics(now);
    if (isan__slot != 0 && !isan__lock_state.crashing) {  /* else the dictionary may be damaged */
        compare_interned(now);
    }
    isan__immortal_watch_resume();
    memcpy(last, now, sizeof last);
    last_ns = isan__now();
    ISAN__TRACE(2, "immortal: compared %zu objects at %s in %.1f ms; %zu have changed so far", n_statics, now,
                (double)(last_ns - start) / 1e6, n_changes);
    bool found = finding != before;
    __atomic_store_n(&comparing, 0, __ATOMIC_RELEASE);
    if (found && !isan__lock_state.crashing) {
        isan__publish_finding_made(finding);
    }
}

void
isan__immortals_init(void)
{
    isan__immortal_counts_init();
    suspects = isan__py.has_immortals ? isan__map(MAX_SUSPECTS * sizeof *suspects) : NULL;
    if (!isan__py.has_immortals && isan__options.immortal[0] != 0) {
        isan__say("immortal=%s: nothing is immortal before Python 3.12", isan__options.immortal);
    }
    strcpy(last, "the start of Python");
    last_ns = isan__now();
}

/* What the parent has recorded is in the parent's log. */
void
isan__immortals_forked(int unused)
{
    (void)unused;
    for (size_t i = 0; i < n_changes; i++) {
        changes[i].before += changes[i].by;
        changes[i].by = 0;
        changes[i].record = NULL;
    }
    finding = 0;
    comparing = 0;
    isan__immortal_watch_forked();
}
