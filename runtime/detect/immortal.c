/* Immortal objects whose reference count has changed.
 *
 * From 3.12 on Py_INCREF and Py_DECREF leave the count of an immortal object as
 * it is (PEP 683): None, True, the small integers, static types.  What changes it
 * is code that counts for itself (`op->ob_refcnt++`), or was compiled with the
 * headers of an older release, as an extension for the stable ABI may be.  There
 * is room for a billion such changes, so nothing need ever come of it; but it is
 * room that is being used up, without a lock, by all interpreters.
 *
 * Nobody can be asked to tell of that, so isan compares: the objects in the
 * runtime's own data, found once, and the immortal strings that an interpreter
 * has interned.  All of them begin with the same count.
 */
#define _GNU_SOURCE
#include "runtime/detect/immortal.h"

#include <stdarg.h>
#include <stdio.h>

#include "runtime/base/options.h"
#include "runtime/base/table.h"
#include "runtime/core/finding.h"
#include "runtime/cpython/immortal_count.h"
#include "runtime/detect/immortal_finding.h"
#include "runtime/detect/immortal_watch.h"
#include "runtime/detect/import_map.h"
#include "runtime/elf/modules.h"

enum { MAX_STATICS = 1 << 14, MAX_CHANGED = 1 << 12, MAX_SUSPECTS = 1 << 10, MAX_TEXT = 240 };

static const char **statics;
static size_t n_statics;
static uint32_t interned_at;                /* in PyInterpreterState; 0: not found */

/* One that has been found changed. */
struct changed {
    int64_t before, by;                     /* when this process was forked; what it has told of, less that */
    struct isan_rec_place *told;            /* NULL: not in this process */
};
static struct changed *changed;
static size_t n_changed;
/* Object and interpreter -> index + 1.  Without an entry a change is reported again. */
static struct isan__table by_object = ISAN__TABLE;

/* The extensions that may have done it, but for the standard library's. */
static struct suspect {
    char name[MAX_TEXT];
    bool old;                               /* for the stable ABI, and counts without asking the runtime */
} *suspects;
static size_t n_suspects;

/* What was told of with the suspects there were: one finding. */
static uint32_t finding;
static size_t finding_suspects;

static char last[MAX_TEXT];                 /* look */
static uint64_t last_ns;
static int looking;

/* --- what is immortal --------------------------------------------------------------- */

static bool
in_runtime(uint64_t address, size_t size)
{
    return address % 8 == 0 && isan__runtime_has(address) && isan__runtime_has(address + size - 1);
}

static bool
is_object(const char *op)
{
    const struct isan__type_object *type = isan__object_type(op), *meta;
    if (isan__immortal_difference(op) != 0 || !in_runtime((uint64_t)type, sizeof *type)) {
        return false;
    }
    meta = type->type;
    return in_runtime((uint64_t)meta, sizeof *meta) && (meta->flags & ISAN__TYPE_TYPE) != 0;
}

/* Those with a symbol of their own, looked for before any crash: then the dynamic
 * linker's lock may be what somebody holds. */
static struct { const char *symbol, *name; const void *op; } named[] = {
    { "_Py_NoneStruct", "None", NULL }, { "_Py_TrueStruct", "True", NULL }, { "_Py_FalseStruct", "False", NULL },
    { "_Py_NotImplementedStruct", "NotImplemented", NULL }, { "_Py_EllipsisObject", "Ellipsis", NULL },
};

static void
find_statics(void)
{
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        named[i].op = isan__python_symbol(named[i].symbol);
    }
    statics = isan__map(MAX_STATICS * sizeof *statics);
    const char *end = isan__py.data + isan__py.data_size - 2 * sizeof(uint64_t);
    for (const char *p = isan__py.data; statics != NULL && p <= end && n_statics < MAX_STATICS; p += 8) {
        if (is_object(p)) {
            statics[n_statics++] = p;
        }
    }
}

static bool
is_interned(const void *op)
{
    enum { HEAD = 16 };                     /* count and type: most are something else */
    const char *table;
    char *block = (uintptr_t)op % ISAN__GRANULE == 0 && (uintptr_t)op >> 47 == 0 && (uintptr_t)op >= 4096
        ? isan__block_of(op) : NULL;
    if (block == NULL || (size_t)((const char *)op - block) + HEAD > isan__block_size(block)
        || isan__object_type(op) != isan__py.dict_type || isan__object_in(block) != op) {
        return false;
    }
    memcpy(&table, (const char *)op + ISAN__MA_KEYS, sizeof table);
    return isan__block_of(table) == table && isan__is_interned_table(table, isan__block_size(table));
}

/* The main interpreter is part of _PyRuntime, its end; the
 * other interpreters have the dictionary of interned strings in the same place
 * (Include/internal/pycore_global_objects.h, interned_strings). */
static void
find_interned(const char *main)
{
    const char *end = isan__py.runtime + isan__py.runtime_size;
    for (size_t at = 0; main + at + 8 <= end && interned_at == 0; at += 8) {
        const void *dict;
        memcpy(&dict, main + at, sizeof dict);
        if (is_interned(dict)) {
            interned_at = (uint32_t)at;
        }
    }
}

/* --- what they are called ------------------------------------------------------------ */

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
name_of(char *to, size_t size, const char *op)
{
    enum { LV_TAG = 16, OB_DIGIT = 24, OB_SIZE = 16 };  /* Include/cpython/longintrepr.h, object.h */
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
        uint64_t tag;
        uint32_t digit;
        memcpy(&tag, op + LV_TAG, sizeof tag);
        memcpy(&digit, op + OB_DIGIT, sizeof digit);
        snprintf(to, size, "int %s%u", (tag & 3) == 2 ? "-" : "", (tag & 3) == 1 ? 0 : digit);
    }
    else if (known && type == isan__py.unicode_type) {
        isan__copy_str(text, sizeof text, op, true);
        snprintf(to, size, strchr(text, '\'') ? "str \"%s\"" : "str '%s'", text);
    }
    else if (known && type == isan__py.bytes_type) {
        name_bytes(to, size, op);
    }
    else if (known && type == isan__py.tuple_type && *(const int64_t *)(op + OB_SIZE) == 0) {
        snprintf(to, size, "tuple ()");
    }
    else if (((const struct isan__type_object *)type)->flags & ISAN__TYPE_TYPE) {
        snprintf(to, size, "type %s", ((const struct isan__type_object *)op)->name);
    }
    else {
        snprintf(to, size, "%s at %p", isan__type_name(op, text, sizeof text) ? text : "?", (const void *)op);
    }
}

/* Those that the option names. */
static void
find_watched(void)
{
    char name[MAX_TEXT];
    for (size_t i = 0; i < n_statics; i++) {
        name_of(name, sizeof name, statics[i]);
        if (isan__immortal_watch_wanted(name)) {
            isan__immortal_watch_add(statics[i], name);
        }
    }
    isan__immortal_watch_begin();
}

/* --- who may have done it ------------------------------------------------------------- */

static bool
add_suspect(const struct isan__module *m, void *arg)
{
    static struct isan__lock lock = { .rank = ISAN__RANK_IMMORTAL };
    if (suspects == NULL || m->of_stdlib || !(m->imports & ISAN__IMPORTS_PYTHON) || !isan__import_has(arg, m->base)) {
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

/* --- what has changed ------------------------------------------------------------------ */

static void
tell_of_look(const char *now)
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

static void
tell(const char *op, bool interned, int64_t by, const char *now)
{
    const bool new_counts = isan__immortal_counts_are_new();
#define ISAN_IMMORTAL_RULE(name, reason, condition) if (condition) return;
#include "runtime/detect/rules.inc"
    uint32_t owner = interned ? isan__interp_of((isan__slot_t)isan__load_tag(op))->serial : 0;
    struct { uint64_t op, owner; } key = { (uint64_t)op, owner };
    uint64_t hash = isan__table_key(ISAN__KEY_IMMORTAL, &key, sizeof key);
    size_t at = isan__table_get(&by_object, hash);
    if (at == 0) {
        if (changed == NULL) {
            changed = isan__map(MAX_CHANGED * sizeof *changed);
        }
        if (changed == NULL || n_changed == MAX_CHANGED) {
            isan__log_dropped();
            return;
        }
        at = ++n_changed;
        isan__table_put_or_drop(&by_object, hash, at);
    }
    struct changed *c = &changed[at - 1];
    uint16_t flags = isan__is_mortal_now(op) ? ISAN_PLACE_MORTAL : 0;
    by -= c->before;
    if (by == 0) {
        return;
    }
    c->by = by;
    if (c->told == NULL) {
        char name[MAX_TEXT];
        name_of(name, sizeof name, op);
        uint32_t seen = isan__immortal_watch_finding(op);
        if (seen == 0 && (finding == 0 || finding_suspects != n_suspects)) {
            finding_suspects = n_suspects;
            finding = isan__report_immortal(op, owner, name, 0);
            tell_of_look(now);
        }
        struct isan_rec_place place = {
            .finding = seen ? seen : finding, .role = ISAN__PLACE_changed, .flags = flags, .amount = by,
        };
        c->told = isan__finding_add_place(&place, name);
    }
    else {
        c->told->amount = by;
        c->told->flags |= flags;
    }
}

/* Of the interpreter that this thread is in. */
static void
look_at_interned(const char *now)
{
    const struct isan__interp *i = isan__interp_of(isan__slot);
    struct isan__keys keys;
    const char *dict, *table;
    uint32_t state;
    if (interned_at == 0 && isan__slot == isan__main_slot) {
        find_interned(i->interp);
    }
    if (interned_at == 0 || i->interp == NULL) {
        return;
    }
    memcpy(&dict, (const char *)i->interp + interned_at, sizeof dict);
    if (!is_interned(dict)) {
        return;
    }
    memcpy(&table, dict + ISAN__MA_KEYS, sizeof table);
    isan__keys_at(&keys, table, true);
    for (uint64_t n = 0; n < keys.n; n++) {
        const char *str = ((const char *const *)(keys.entries + n * keys.entry_size))[1];
        if (str == NULL) {
            continue;
        }
        /* Include/cpython/unicodeobject.h: SSTATE_INTERNED_IMMORTAL, on the heap. */
        memcpy(&state, str + isan__py.unicode_state, sizeof state);
        if ((state & 3) == 2 && ISAN__UNLIKELY(isan__immortal_difference(str) != 0)) {
            tell(str, true, isan__immortal_difference(str), now);
        }
    }
}

void
isan__scan_immortals(const char *format, ...)
{
    char now[MAX_TEXT];
    va_list args;
    if (!isan__has_immortals() || !isan__recording || isan__main_slot == 0 || isan__self.ignoring
        || isan__interp_of(isan__main_slot)->finalizing || __atomic_exchange_n(&looking, 1, __ATOMIC_ACQUIRE)) {
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
    for (size_t i = 0; i < n_statics; i++) {
        int64_t by = isan__immortal_difference(statics[i]);
        if (ISAN__UNLIKELY(by != 0)) {
            tell(statics[i], false, by, now);
        }
    }
    if (isan__slot != 0 && !isan__lock_state.crashing) {  /* then nothing else can be relied on */
        look_at_interned(now);
    }
    isan__immortal_watch_resume();
    memcpy(last, now, sizeof last);
    last_ns = isan__now();
    bool found = finding != before;
    __atomic_store_n(&looking, 0, __ATOMIC_RELEASE);
    if (found && !isan__lock_state.crashing) {
        isan__publish_finding_made(finding);
    }
}

void
isan__immortals_init(void)
{
    isan__immortal_counts_init();
    suspects = isan__has_immortals() ? isan__map(MAX_SUSPECTS * sizeof *suspects) : NULL;
    if (!isan__has_immortals() && isan__options.immortal[0] != 0) {
        isan__say("immortal=%s: nothing is immortal before Python 3.12", isan__options.immortal);
    }
    snprintf(last, sizeof last, "the start of Python");
    last_ns = isan__now();
}

/* What the parent has been told of is not the child's, nor are the records. */
void
isan__immortals_forked(int unused)
{
    (void)unused;
    for (size_t i = 0; i < n_changed; i++) {
        changed[i].before += changed[i].by;
        changed[i].by = 0;
        changed[i].told = NULL;             /* the parent's */
    }
    finding = 0;
    looking = 0;
    isan__immortal_watch_forked();
}
