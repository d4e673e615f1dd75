/* Who holds it: pointers in the writable data of loaded modules.
 *
 * The walk runs inside dl_iterate_phdr, so that no module can be unmapped
 * under it.  Left out are isan itself, the C library and the dynamic linker,
 * which hold addresses for reasons of their own, and _PyRuntime, which is the
 * runtime's state and no variable anybody can move.
 */
#define _GNU_SOURCE
#include <link.h>
#include <string.h>

#include "runtime/owner.h"

struct walk {
    void (*word)(uint64_t where, uint64_t value, void *arg);
    void *arg;
};

static bool
left_out(const struct dl_phdr_info *info)
{
    static const char *const names[] = { "libisan.so", "libc.so.", "ld-linux", "libunwind" };
    const char *name = info->dlpi_name ? info->dlpi_name : "";
    const char *slash = strrchr(name, '/');
    name = slash ? slash + 1 : name;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strncmp(name, names[i], strlen(names[i])) == 0) {
            return true;
        }
    }
    return false;
}

static int
walk_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct walk *walk = arg;
    if (left_out(info)) {
        return 0;
    }
    uintptr_t runtime = (uintptr_t)isan__py.runtime;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_W)) {
            continue;
        }
        uintptr_t p = (info->dlpi_addr + ph->p_vaddr + 7) & ~(uintptr_t)7;
        uintptr_t end = info->dlpi_addr + ph->p_vaddr + ph->p_memsz;
        for (; p + 8 <= end; p += 8) {
            if (p - runtime < isan__py.runtime_size) {
                p = ((runtime + isan__py.runtime_size + 7) & ~(uintptr_t)7) - 8;
                continue;
            }
            uint64_t value = *(const volatile uint64_t *)p;
            /* A pointer to user space, aligned as blocks are. */
            if (value >= 4096 && value >> 47 == 0 && value % ISAN__GRANULE == 0) {
                walk->word(p, value, walk->arg);
            }
        }
    }
    return 0;
}

struct search {
    uint64_t block, object, found;
};

static void
match(uint64_t where, uint64_t value, void *arg)
{
    struct search *s = arg;
    if (s->found == 0 && (value == s->block || value == s->object)) {
        s->found = where;
    }
}

uint64_t
isan__static_holding(const void *block, const void *object)
{
    struct search s = { (uint64_t)block, (uint64_t)object, 0 };
    struct walk walk = { match, &s };
    dl_iterate_phdr(walk_module, &walk);
    return s.found;
}

struct holders {
    isan__slot_t slot;
    void (*visit)(uint64_t, char *, void *);
    void *arg;
};

static void
holds(uint64_t where, uint64_t value, void *arg)
{
    struct holders *h = arg;
    uint32_t word = isan__load((void *)value);
    if ((word & 0xffff) == h->slot && word & (ISAN__START | ISAN__OBJECT)) {
        char *block = isan__block_of((void *)value);
        if (block != NULL) {
            h->visit(where, block, h->arg);
        }
    }
}

void
isan__statics_of(isan__slot_t slot, void (*visit)(uint64_t where, char *block, void *arg),
                 void *arg)
{
    struct holders h = { slot, visit, arg };
    struct walk walk = { holds, &h };
    dl_iterate_phdr(walk_module, &walk);
}
