/* Native stacks (libunwind) and the modules their addresses are in. */
#define _GNU_SOURCE
#define UNW_LOCAL_ONLY
#include "runtime/core/stack.h"

#include <dlfcn.h>
#include <elf.h>
#include <libunwind.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <unistd.h>

#include "runtime/base/os.h"
#include "runtime/base/table.h"
#include "runtime/core/log.h"

int
isan__unwind(uint64_t *pcs, int max, void *ucontext)
{
    if (ucontext == NULL) {
        /* The fast path: a per-thread cache, no system calls. */
        return unw_backtrace((void **)pcs, max);
    }
    unw_cursor_t cursor;
    int n = 0;
    if (unw_init_local2(&cursor, ucontext, UNW_INIT_SIGNAL_FRAME) < 0) {
        return 0;
    }
    do {
        unw_word_t pc;
        if (unw_get_reg(&cursor, UNW_REG_IP, &pc) < 0 || pc == 0) {
            break;
        }
        pcs[n++] = pc;
    } while (n < max && unw_step(&cursor) > 0);
    return n;
}

/* Known modules by (load address, path): a record each. */
static struct isan__table known = ISAN__TABLE;

/* dl_iterate_phdr counts loads and unloads: nothing to do while the sum
 * stands.  It holds only the dynamic linker's list lock, which is never held
 * while code under test runs (glibc elf/dl-iteratephdr.c). */
static unsigned long long synced;

static void
build_id(const struct dl_phdr_info *info, char *hex, size_t size)
{
    hex[0] = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        if (ph->p_type != PT_NOTE) {
            continue;
        }
        const char *p = (const char *)info->dlpi_addr + ph->p_vaddr;
        const char *end = p + ph->p_memsz;
        while (p + sizeof(ElfW(Nhdr)) < end) {
            const ElfW(Nhdr) *note = (const void *)p;
            const char *name = p + sizeof *note;
            const char *desc = name + ((note->n_namesz + 3) & ~3u);
            if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4
                && memcmp(name, "GNU", 4) == 0 && note->n_descsz * 2 < size) {
                for (unsigned j = 0; j < note->n_descsz; j++) {
                    snprintf(hex + 2 * j, 3, "%02x", (unsigned char)desc[j]);
                }
                return;
            }
            p = desc + ((note->n_descsz + 3) & ~3u);
        }
    }
}

static int
sync_one(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)arg;
    if (size >= offsetof(struct dl_phdr_info, dlpi_tls_modid)) {
        unsigned long long now = info->dlpi_adds + info->dlpi_subs;
        if (now == __atomic_load_n(&synced, __ATOMIC_RELAXED)) {
            return 1;
        }
        *(unsigned long long *)arg = now;
    }
    uint64_t start = UINT64_MAX, end = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        if (ph->p_type == PT_LOAD) {
            uint64_t from = info->dlpi_addr + ph->p_vaddr;
            start = from < start ? from : start;
            end = from + ph->p_memsz > end ? from + ph->p_memsz : end;
        }
    }
    if (start >= end) {
        return 0;
    }
    char path[PATH_MAX], id[128];
    if (info->dlpi_name == NULL || info->dlpi_name[0] == 0) {
        ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
        path[n > 0 ? n : 0] = 0;
        if (isan__table_get(&known, start) != 0) {
            return 0;                       /* the executable; or the vdso, first of its name */
        }
    }
    else {
        snprintf(path, sizeof path, "%s", info->dlpi_name);
    }
    uint64_t mark = isan__hash(path, strlen(path), end) | 1;
    if (isan__table_get(&known, start) == mark) {
        return 0;
    }
    isan__table_put_or_drop(&known, start, mark);
    build_id(info, id, sizeof id);
    size_t n = strlen(path) + 1, m = strlen(id) + 1;
    struct isan_rec_module *r = isan__log_reserve(sizeof *r + n + m);
    if (r != NULL) {
        r->bias = info->dlpi_addr;
        r->start = start;
        r->end = end;
        memcpy(r->text, path, n);
        memcpy(r->text + n, id, m);
        isan__log_publish(r, ISAN_REC_MODULE);
    }
    return 0;
}

void
isan__log_modules(void)
{
    unsigned long long now = 0;
    if (dl_iterate_phdr(sync_one, &now) == 0 && now != 0) {
        __atomic_store_n(&synced, now, __ATOMIC_RELAXED);
    }
}
