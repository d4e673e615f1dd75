/* The functions a module calls in others: its GOT, as the relocations of its
 * dynamic section describe it (System V ABI, x86-64 supplement, 4.4 and 5.2).
 */
#define _GNU_SOURCE
#include "runtime/elf/imports.h"

#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

struct relocations {
    const ElfW(Rela) *first;
    size_t size;                            /* bytes */
};

/* glibc relocates the addresses in most modules' dynamic sections, but not in
 * all (the vDSO's). */
static uintptr_t
address(const struct dl_phdr_info *info, uintptr_t value)
{
    return value < info->dlpi_addr ? value + info->dlpi_addr : value;
}

/* RELRO has made the page read-only, unless binding is lazy. */
static void
store(const struct dl_phdr_info *info, uintptr_t at, void *value)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = at & ~(page - 1);
    bool relro = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        relro |= ph->p_type == PT_GNU_RELRO && at - (info->dlpi_addr + ph->p_vaddr) < ph->p_memsz;
    }
    if (relro && mprotect((void *)start, page, PROT_READ | PROT_WRITE) != 0) {
        return;
    }
    __atomic_store_n((void **)at, value, __ATOMIC_RELAXED);
    /* Writable before it is read-only: a page that RELRO shares with other
     * data keeps what it had. */
    if (relro) {
        for (int i = 0; i < info->dlpi_phnum; i++) {
            const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
            uintptr_t from = info->dlpi_addr + ph->p_vaddr;
            if (ph->p_type == PT_GNU_RELRO && start >= (from & ~(page - 1))
                && start + page <= from + ph->p_memsz) {
                mprotect((void *)start, page, PROT_READ);
            }
        }
    }
}

static const ElfW(Dyn) *
dynamic_of(const struct dl_phdr_info *info)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC) {
            return (const ElfW(Dyn) *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        }
    }
    return NULL;
}

void
isan__visit_dynamic_names(const struct dl_phdr_info *info, long tag,
                void (*visit)(const char *name, void *arg), void *arg)
{
    const ElfW(Dyn) *dynamic = dynamic_of(info), *d;
    const char *strings = NULL;
    for (d = dynamic; d != NULL && d->d_tag != DT_NULL; d++) {
        if (d->d_tag == DT_STRTAB) {
            strings = (const char *)address(info, d->d_un.d_ptr);
        }
    }
    for (d = dynamic; strings != NULL && d->d_tag != DT_NULL; d++) {
        if (d->d_tag == tag) {
            visit(strings + d->d_un.d_val, arg);
        }
    }
}

void
isan__imports_rewrite(const struct dl_phdr_info *info,
                  void *(*substitute)(const char *name, bool call, void *arg), void *arg)
{
    const ElfW(Dyn) *dynamic = dynamic_of(info);
    const ElfW(Sym) *symbols = NULL;
    const char *strings = NULL;
    struct relocations table[2] = { { NULL, 0 }, { NULL, 0 } };
    for (; dynamic != NULL && dynamic->d_tag != DT_NULL; dynamic++) {
        uintptr_t value = dynamic->d_un.d_val, pointer = address(info, value);
        switch (dynamic->d_tag) {
        case DT_SYMTAB: symbols = (const ElfW(Sym) *)pointer; break;
        case DT_STRTAB: strings = (const char *)pointer; break;
        case DT_JMPREL: table[0].first = (const ElfW(Rela) *)pointer; break;
        case DT_PLTRELSZ: table[0].size = value; break;
        case DT_RELA: table[1].first = (const ElfW(Rela) *)pointer; break;
        case DT_RELASZ: table[1].size = value; break;
        default: break;
        }
    }
    if (symbols == NULL || strings == NULL) {
        return;
    }
    for (int t = 0; t < 2; t++) {
        size_t n = table[t].first != NULL ? table[t].size / sizeof *table[t].first : 0;
        for (size_t i = 0; i < n; i++) {
            const ElfW(Rela) *r = &table[t].first[i];
            unsigned long type = ELF64_R_TYPE(r->r_info), symbol = ELF64_R_SYM(r->r_info);
            /* Not a function of the module's own that happens to have the name,
             * and none that is not there (a weak one). */
            if ((type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT) && symbol != 0
                && symbols[symbol].st_shndx == SHN_UNDEF) {
                uintptr_t at = info->dlpi_addr + r->r_offset;
                void *to = substitute(strings + symbols[symbol].st_name,
                                      type == R_X86_64_JUMP_SLOT, arg);
                if (to != NULL && *(void **)at != NULL && *(void **)at != to) {
                    store(info, at, to);
                }
            }
        }
    }
}

static const char *
base_name(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path ? path : "";
}

bool
isan__module_is_excluded(const struct dl_phdr_info *info)
{
    static const char *const names[] = { "libisan.so", "libc.so.", "ld-linux", "libunwind" };
    const char *name = base_name(info->dlpi_name);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strncmp(name, names[i], strlen(names[i])) == 0) {
            return true;
        }
    }
    return false;
}

struct soname {
    const char *name;
    bool found;
};

static void
match_soname(const char *name, void *arg)
{
    struct soname *soname = arg;
    soname->found |= strcmp(name, soname->name) == 0;
}

bool
isan__module_has_soname(const struct dl_phdr_info *info, const char *name)
{
    struct soname soname = { name, strcmp(base_name(info->dlpi_name), name) == 0 };
    isan__visit_dynamic_names(info, DT_SONAME, match_soname, &soname);
    return soname.found;
}

static void *
note_python(const char *name, bool call, void *arg)
{
    (void)call;
    *(bool *)arg |= strncmp(name, "Py", 2) == 0 || strncmp(name, "_Py", 3) == 0;
    return NULL;
}

bool
isan__module_uses_python(const struct dl_phdr_info *info)
{
    bool python = false;
    isan__imports_rewrite(info, note_python, &python);
    return python;
}
