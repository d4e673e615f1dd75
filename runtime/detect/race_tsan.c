/* Races that ThreadSanitizer reports become findings.
 *
 * ThreadSanitizer knows the memory, and the stack, thread and locks of each access; isan
 * knows interpreters.  scripts/cpython/tsan_main.c hands each report to
 * isan__race_tsan_report(), which reads it with the functions that compiler-rt has for
 * debuggers (lib/tsan/rtl/tsan_debugging.cpp).  There is one report at a time.
 *
 * ThreadSanitizer holds locks of its own during the call, and any thread may wait for
 * them in any instrumented function (tsan_rtl_report.cpp, ReportRace).  So this file must
 * not wait for a lock that is held while instrumented functions run, such as the dynamic
 * linker's for loading (dlsym(), dladdr()).  And a thread that holds a lock of isan's must
 * not call a function that ThreadSanitizer intercepts (which is why there is isan__map()).
 */
#define _GNU_SOURCE
#include "runtime/detect/race_tsan.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>

#include "runtime/base/sanitizer.h"
#include "runtime/base/table.h"
#include "runtime/core/origin.h"
#include "runtime/detect/race.h"
#include "runtime/elf/modules.h"

typedef unsigned long word;                 /* uptr of compiler-rt */

/* compiler-rt's functions (lib/tsan/rtl/tsan_debugging.cpp). */
static struct {
    int (*data)(const void *report, const char **what, int *count, int *stacks, int *accesses,
                int *places, int *locks, int *threads, int *tids, void **sleep, word n);
    int (*access)(const void *report, word i, int *tid, void **address, int *size, int *write,
                  int *atomic, void **trace, word n);
    int (*place)(const void *report, word i, const char **type, void **address, word *start,
                 word *size, int *tid, int *fd, int *suppressable, void **trace, word n);
    int (*lock)(const void *report, word i, word *id, void **address, int *destroyed,
                void **trace, word n);
    int (*thread)(const void *report, word i, int *tid, uint64_t *os_id, int *running,
                  const char **name, int *parent, void **trace, word n);
} tsan;

void
isan__race_tsan_init(void)
{
    if (!isan__tsan) {
        return;
    }
    *(void **)&tsan.data = dlsym(RTLD_DEFAULT, "__tsan_get_report_data");
    *(void **)&tsan.access = dlsym(RTLD_DEFAULT, "__tsan_get_report_mop");
    *(void **)&tsan.place = dlsym(RTLD_DEFAULT, "__tsan_get_report_loc");
    *(void **)&tsan.lock = dlsym(RTLD_DEFAULT, "__tsan_get_report_mutex");
    *(void **)&tsan.thread = dlsym(RTLD_DEFAULT, "__tsan_get_report_thread");
}

/* A stack with a function with ISAN_WITHIN (refcount.h) has the interpreter of an access.
 * Otherwise it is the one interpreter that the thread has run: thread id -> serial.  Without an
 * entry the interpreter is unknown. */
static struct isan__table interp_of_thread = ISAN__TABLE;
#define SEVERAL_INTERPS 0xffffffffu
/* Serial of an interpreter -> enum isan_interp_kind + 1.  Without an entry its GIL is unknown. */
static struct isan__table kind_of_interp = ISAN__TABLE;

void
isan__race_tsan_thread_entered(uint32_t serial)
{
    if (!isan__tsan) {
        return;
    }
    static __thread bool known;             /* false: an entry is of an earlier thread with this id */
    uint32_t before = known ? (uint32_t)isan__table_get(&interp_of_thread, isan__tid()) : serial;
    known = true;
    isan__table_put_or_drop(&interp_of_thread, isan__tid(), before == serial ? serial : SEVERAL_INTERPS);
    isan__table_put_or_drop(&kind_of_interp, serial, isan__interp_of(isan__self.slot)->kind + 1u);
}

/* --- one report --------------------------------------------------------------- */

enum {
    TRACE_DEPTH = 256,                      /* frames to read */
    STACK_DEPTH = 64,                       /* frames to keep */
    KEY_DEPTH = 6,                          /* frames that identify a race in allocated memory */
};
struct access {
    uint64_t pcs[STACK_DEPTH];              /* innermost first, the first one exact */
    int n, size;
    uint64_t address;
    uint32_t tid, serial;                   /* of the interpreter; 0: unknown */
    uint16_t flags;                         /* ISAN_PLACE_* */
};

/* Copies a trace without the frames of ISAN_WITHIN.  serial: of the interpreter, from the innermost
 * of those; 0: there is none.  Returns the number of frames. */
static int
copy_trace(uint64_t *pcs, void *const *frames, int max, uint32_t *serial)
{
    int n = 0;
    *serial = 0;
    for (int i = 0; i < max && frames[i] != NULL; i++) {
        uint64_t pc = (uint64_t)frames[i];
        if (pc - ISAN__FRAME <= UINT32_MAX) {
            *serial = *serial ? *serial : (uint32_t)(pc - ISAN__FRAME);
        }
        else if (n < STACK_DEPTH) {
            pcs[n++] = pc;
        }
    }
    if (n > 0) {
        pcs[0]--;                           /* all of them are return addresses */
    }
    return n;
}

/* gettid() of a thread that the report has under its own number; 0: unknown. */
static uint32_t
os_thread_id(const void *report, int threads, int wanted)
{
    for (int i = 0; i < threads; i++) {
        int tid = -1, running, parent;
        uint64_t os_id = 0;
        const char *name;
        void *frames[1] = { NULL };
        tsan.thread(report, (word)i, &tid, &os_id, &running, &name, &parent, frames, 1);
        if (tid == wanted) {
            return (uint32_t)os_id;
        }
    }
    return 0;
}

/* Access i; 0 is the later one, of this thread. */
static void
read_access(struct access *a, const void *report, int i, int threads)
{
    void *frames[TRACE_DEPTH] = { NULL }, *address = NULL;
    int tid = -1, write = 0, atomic = 0;
    memset(a, 0, sizeof *a);
    tsan.access(report, (word)i, &tid, &address, &a->size, &write, &atomic, frames, TRACE_DEPTH - 1);
    a->address = (uint64_t)address;
    a->flags = (uint16_t)((write ? ISAN_PLACE_WRITE : 0) | (atomic ? ISAN_PLACE_ATOMIC : 0));
    a->n = copy_trace(a->pcs, frames, TRACE_DEPTH, &a->serial);
    a->tid = os_thread_id(report, threads, tid);
    if (i == 0 && isan__self.tstate != NULL) {
        a->serial = isan__interp_of(isan__self.slot)->serial;
        return;
    }
    if (a->serial == 0) {
        uint32_t serial = a->tid ? (uint32_t)isan__table_get(&interp_of_thread, a->tid) : 0;
        a->serial = serial == SEVERAL_INTERPS ? 0 : serial;
        a->flags |= serial == SEVERAL_INTERPS ? ISAN_PLACE_UNKNOWN : 0;
    }
    if (i == 0 && a->serial != 0) {
        a->flags |= ISAN_PLACE_DETACHED;
    }
}

/* The block that the address is in, or NULL. */
static char *
find_block(uint64_t address)
{
    enum { FAR = 1 << 16 };                 /* granules: addresses further inside a block are not found */
    char *p = (char *)(address & ~(uint64_t)(ISAN__GRANULE - 1));
    for (int i = 0; i < FAR; i++, p -= ISAN__GRANULE) {
        if (isan__load_tag(p) & ISAN__START) {
            return address - (uint64_t)p < isan__block_size(p) ? p : NULL;
        }
    }
    return NULL;
}

/* Fills in the memory that the race is about. */
static void
find_memory(struct isan__race *race, const void *report, int places, const struct access *a)
{
    race->block = find_block(a->address);
    if (race->block != NULL) {
        char *op = isan__object_in(race->block);
        race->op = op != NULL ? op : race->block;
        return;
    }
    race->memory = (struct isan_object){ .address = a->address, .size = (uint64_t)a->size };
    for (int i = 0; i < places; i++) {
        const char *type = "";
        void *frames[TRACE_DEPTH] = { NULL }, *address;
        uint64_t pcs[STACK_DEPTH];
        word start = 0, size = 0;
        int tid, fd, suppressable;
        uint32_t serial;
        tsan.place(report, (word)i, &type, &address, &start, &size, &tid, &fd, &suppressable,
                   frames, TRACE_DEPTH - 1);
        if (strcmp(type, "heap") == 0) {
            race->memory.address = start;
            race->memory.size = size;
            race->memory.origin = isan__record_native_stack(pcs, copy_trace(pcs, frames, TRACE_DEPTH, &serial), false);
            race->memory.owner = serial;
            race->memory.flags = ISAN_OBJ_ORIGIN_STACK;
            return;
        }
        if (strcmp(type, "stack") == 0 || strcmp(type, "tls") == 0 || strcmp(type, "fd") == 0) {
            return;
        }
    }
    if (isan__is_in_module(a->address)) {
        race->holder.address = a->address;
        race->memory = (struct isan_object){ 0 };
    }
}

/* A number for the interpreter's GIL; 0: unknown. */
static uint64_t
gil_number(uint32_t serial)
{
    uint64_t kind = serial ? isan__table_get(&kind_of_interp, serial) : 0;
    return kind == 0 ? 0 : kind == ISAN_INTERP_OWN_GIL + 1u ? serial : UINT32_MAX;
}

/* All races on a variable are one finding, and all races of the same code on allocated memory.  A
 * race under one GIL, one under two, and one outside any are three findings. */
static uint64_t
race_key(const struct isan__race *race, const struct access *a)
{
    uint64_t one = gil_number(a[0].serial), other = gil_number(a[1].serial);
    enum isan__key_type type = one == 0 || other == 0 ? ISAN__KEY_RACE_NO_GIL
        : one == other ? ISAN__KEY_RACE_ONE_GIL : ISAN__KEY_RACE_TWO_GILS;
    if (race->holder.address != 0) {
        return isan__table_key(type, &race->holder.address, sizeof race->holder.address);
    }
    uint64_t stacks = 0;                    /* the same in both orders */
    for (int i = 0; i < 2; i++) {
        stacks += isan__hash(a[i].pcs, sizeof *a[i].pcs * (size_t)(a[i].n < KEY_DEPTH ? a[i].n : KEY_DEPTH), 0);
    }
    return isan__table_key(type, &stacks, sizeof stacks);
}

int
isan__race_tsan_report(const void *report)
{
    const char *what = "";
    int count, stacks, accesses = 0, places = 0, locks = 0, threads = 0, tids;
    void *sleep[1] = { NULL };
    tsan.data(report, &what, &count, &stacks, &accesses, &places, &locks, &threads, &tids, sleep, 1);
    bool freed = strncmp(what, "heap-use-after-free", 19) == 0;
    if (accesses != 2 || !(freed || strncmp(what, "data-race", 9) == 0 || strcmp(what, "external-race") == 0)) {
        return 0;
    }
    static struct access a[2];
    struct isan__race race = { .block = NULL };
    for (int i = 0; i < 2; i++) {
        read_access(&a[i], report, i, threads);
    }
    a[1].flags |= freed ? ISAN_PLACE_FREE : 0;
    find_memory(&race, report, places, &a[0]);
    race.key = race_key(&race, a);
    race.current = a[0].serial;
    race.stack = isan__record_native_stack(a[0].pcs, a[0].n, true);
    struct isan_rec_finding *r = isan__report_race(&race);
    if (r == NULL) {
        return 1;
    }
    for (int i = 0; i < 2; i++) {
        isan__finding_add_place(&(struct isan_rec_place){
            .finding = r->id, .role = ISAN__PLACE_access, .flags = a[i].flags,
            .stack = i == 0 ? race.stack : isan__record_native_stack(a[i].pcs, a[i].n, false),
            .tid = a[i].tid, .interp = a[i].serial, .amount = a[i].size,
        }, "");
    }
    for (int i = 0; i < locks; i++) {
        void *frames[TRACE_DEPTH] = { NULL }, *address = NULL;
        uint64_t pcs[STACK_DEPTH];
        word id;
        int destroyed;
        uint32_t serial;
        tsan.lock(report, (word)i, &id, &address, &destroyed, frames, TRACE_DEPTH - 1);
        int n = copy_trace(pcs, frames, TRACE_DEPTH, &serial);
        isan__finding_add_place(&(struct isan_rec_place){
            .finding = r->id, .role = ISAN__PLACE_lock, .stack = isan__record_native_stack(pcs, n, false),
            .interp = serial, .amount = (int64_t)address,
        }, "");
    }
    isan__publish_finding_made(r->id);
    return 1;
}

/* --- modules without ThreadSanitizer -------------------------------------------- */

static bool
note_imports(const struct isan__module *module, void *imports)
{
    *(uint32_t *)imports = module->imports;
    return true;
}

/* Has the library an init function of a Python module?  Others need not be instrumented. */
static bool
is_extension(void *handle, const char *path)
{
    char name[256];
    const char *file = isan__file_name(path);
    snprintf(name, sizeof name, "PyInit_%.*s", (int)strcspn(file, "."), file);
    return dlsym(handle, name) != NULL;
}

void
isan__race_tsan_check_module(void *handle, const struct link_map *map)
{
    static struct isan__table checked = ISAN__TABLE;        /* base of a module -> 1; a lost entry notes it twice */
    uint32_t imports = 0;
    if (map->l_addr == 0 || isan__table_get(&checked, map->l_addr) != 0
        || !is_extension(handle, map->l_name)) {
        return;
    }
    isan__table_put_or_drop(&checked, map->l_addr, 1);
    isan__visit_module_at((uint64_t)map->l_ld, note_imports, &imports);
    if (!(imports & ISAN__IMPORTS_TSAN)) {
        isan__log_note("%s was not built with ThreadSanitizer: its races are not seen (isan env --flavor tsan)",
                       map->l_name);
    }
}
