/* Finds the stores of a module into its own variables: see store_sites.h.
 *
 * Only functions that the decoder understands from beginning to end are taken.  The module's
 * table for unwinding has the beginning and end of each function.
 */
#define _GNU_SOURCE
#include "runtime/detect/store_sites.h"

#ifdef __x86_64__

#include "runtime/base/os.h"
#include "runtime/detect/import_map.h"
#include "runtime/elf/x86_decode.h"

enum { MAX_SITES = 1 << 20, MAX_MODULES = 1024 };

struct isan__store_site *isan__store_sites;
static uint32_t n_sites = 1;

static struct watched_module {
    uintptr_t base, data, data_end;
    uint64_t *gate;
} modules[MAX_MODULES];
static uint32_t n_modules;

/* Addresses that an instruction changes atomically -> 1.  An entry that is lost makes
 * an atomic store there look like any other. */
static struct isan__table atomics = ISAN__TABLE;

void
isan__store_sites_init(void)
{
    isan__store_sites = isan__map(MAX_SITES * sizeof *isan__store_sites);
    if (isan__store_sites == NULL) {
        isan__die("no memory for statics=watch; raise the limit (ulimit -v)");
    }
}

/* --- watched modules ------------------------------------------------------------------- */

bool
isan__store_modules_full(void)
{
    return n_modules == MAX_MODULES;
}

void
isan__store_module_add(const struct isan__store_code *code, uint64_t *gate)
{
    modules[n_modules] = (struct watched_module){ code->base, code->data, code->data_end, gate };
    __atomic_store_n(&n_modules, n_modules + 1, __ATOMIC_RELEASE);
}

void
isan__store_gates_update(void)
{
    uint32_t n = __atomic_load_n(&n_modules, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < n; i++) {
        *modules[i].gate = isan__is_imported_in_parallel(modules[i].base);
    }
}

bool
isan__store_gate_is_open(uintptr_t address)
{
    uint32_t n = __atomic_load_n(&n_modules, __ATOMIC_ACQUIRE);
    for (const struct watched_module *m = modules; m < modules + n; m++) {
        if (address - m->data < m->data_end - m->data) {
            return *m->gate != 0;
        }
    }
    return false;
}

/* --- the stores in a module's code --------------------------------------------------------- */

static bool
is_writable_data(const struct isan__module *module, uint64_t address)
{
    for (size_t i = 0; i < module->n_data; i++) {
        const struct isan__range *data = &module->data[i];
        if (address - data->start < data->end - data->start) {
            return true;
        }
    }
    return false;
}

static bool
is_decodable(const uint8_t *p, const uint8_t *end)
{
    struct isan__x86 x;
    for (; p < end; p += x.length) {
        if (!isan__x86_decode(&x, p, end)) {
            return false;
        }
    }
    return true;
}

/* Decodes the function from its beginning, one instruction after the other: compilers
 * keep data out of code. */
static void
find_stores_of_function(const struct isan__module *module, const uint8_t *p, const uint8_t *end)
{
    struct isan__x86 x;
    bool after_site = false;                /* the instruction before this one is a site */
    if (!is_decodable(p, end)) {
        return;
    }
    for (; p < end && n_sites < MAX_SITES; p += x.length) {
        isan__x86_decode(&x, p, end);
        if (after_site && x.fence) {        /* mov and mfence: an atomic store */
            isan__table_put_or_drop(&atomics, isan__store_sites[n_sites - 1].to.address, 1);
        }
        after_site = false;
        uint64_t address = (uint64_t)(p + x.length) + (uint64_t)(int64_t)x.disp;
        if (!x.relative || x.size == 0 || !is_writable_data(module, address)) {
            continue;
        }
        if (x.atomic) {
            isan__table_put_or_drop(&atomics, address, 1);
            continue;
        }
        isan__store_sites[n_sites++] = (struct isan__store_site){
            .at = p, .length = x.length, .disp_at = x.disp_at,
            .to = { .address = address, .size = x.size, .constant = x.constant, .value = x.value },
        };
        after_site = true;
    }
}

/* Linux Standard Base, .eh_frame_hdr and .eh_frame: one entry for each function that an
 * exception could leave.  gcc and clang write one for every function. */
static void
find_stores(const struct isan__store_code *code, const struct isan__module *module)
{
    enum { PCREL_SDATA4 = 0x1b, UDATA4 = 0x03, DATAREL_SDATA4 = 0x3b };
    struct { int32_t function, entry; } row;
    const uint8_t *header = (const uint8_t *)module->unwind.start;
    size_t size = module->unwind.end - module->unwind.start;
    uint32_t n;
    if (size < 12 || header[0] != 1 || header[1] != PCREL_SDATA4 || header[2] != UDATA4
        || header[3] != DATAREL_SDATA4) {
        return;
    }
    memcpy(&n, header + 8, sizeof n);
    for (uint32_t i = 0; i < n && 12 + (i + 1) * sizeof row <= size; i++) {
        struct { uint32_t length, cie; int32_t begin; uint32_t range; } entry;
        memcpy(&row, header + 12 + i * sizeof row, sizeof row);
        memcpy(&entry, header + row.entry, sizeof entry);
        const uint8_t *p = header + row.function;
        /* An entry with another encoding names another address: it is left out. */
        if (header + row.entry + 8 + entry.begin == p && (uintptr_t)p >= code->text
            && (uintptr_t)p < code->text_end && entry.range <= code->text_end - (uintptr_t)p) {
            find_stores_of_function(module, p, p + entry.range);
        }
    }
}

/* Drops stores into variables that an instruction changes atomically.  They may be atomic stores,
 * which look like any other store: the rules excuse them. */
static void
drop_excused_sites(uint32_t first)
{
    uint32_t kept = first;
    for (uint32_t i = first; i < n_sites; i++) {
        struct isan__store_target *to = &isan__store_sites[i].to;
        to->atomic = isan__table_get(&atomics, to->address) != 0;
        if (!isan__store_is_excused(to, to)) {
            isan__store_sites[kept++] = isan__store_sites[i];
        }
    }
    n_sites = kept;
}

bool
isan__store_sites_find(struct isan__store_code *code, const struct isan__module *module)
{
    *code = (struct isan__store_code){
        .base = module->base, .data = UINTPTR_MAX, .text = module->text.start, .text_end = module->text.end,
        .first_site = n_sites,
    };
    for (size_t i = 0; i < module->n_data; i++) {
        code->data = module->data[i].start < code->data ? module->data[i].start : code->data;
        code->data_end = module->data[i].end > code->data_end ? module->data[i].end : code->data_end;
    }
    if (module->unwind.start == 0 || module->n_text != 1 || code->data_end == 0) {
        return false;
    }
    find_stores(code, module);
    drop_excused_sites(code->first_site);
    code->n_sites = n_sites - code->first_site;
    return true;
}

void
isan__store_sites_drop(const struct isan__store_code *code)
{
    n_sites = code->first_site;
}

#endif
