/* A module's dynamic section, and its global offset table (GOT), as the relocations
 * describe it (System V ABI, x86-64 supplement, 4.4 and 5.2).
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
address(uintptr_t base, uintptr_t value)
{
    return value < base ? value + base : value;
}

/* RELRO has made the page read-only, unless binding is lazy. */
static void
store(const struct isan__module *module, uintptr_t at, void *value)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = at & ~(page - 1);
    const struct isan__range *r = &module->relro;
    bool relro = at - r->start < r->end - r->start;
    if (relro && mprotect((void *)start, page, PROT_READ | PROT_WRITE) != 0) {
        return;
    }
    __atomic_store_n((void **)at, value, __ATOMIC_RELAXED);
    /* A page that RELRO shares with other data stays writable. */
    if (relro && start >= (r->start & ~(page - 1)) && start + page <= r->end) {
        mprotect((void *)start, page, PROT_READ);
    }
}

void
isan__visit_dynamic_names(uintptr_t base, const void *dynamic, long tag,
                          void (*visit)(const char *name, void *arg), void *arg)
{
    const ElfW(Dyn) *d;
    const char *strings = NULL;
    for (d = dynamic; d != NULL && d->d_tag != DT_NULL; d++) {
        if (d->d_tag == DT_STRTAB) {
            strings = (const char *)address(base, d->d_un.d_ptr);
        }
    }
    for (d = dynamic; strings != NULL && d->d_tag != DT_NULL; d++) {
        if (d->d_tag == tag) {
            visit(strings + d->d_un.d_val, arg);
        }
    }
}

/* Each entry of the GOT that is to lead to a function or variable of another module. */
static void
visit_imports(uintptr_t base, const void *of,
              void (*visit)(const char *name, bool call, uintptr_t at, void *arg), void *arg)
{
    const ElfW(Dyn) *dynamic = of;
    const ElfW(Sym) *symbols = NULL;
    const char *strings = NULL;
    struct relocations table[2] = { { NULL, 0 }, { NULL, 0 } };
    for (; dynamic != NULL && dynamic->d_tag != DT_NULL; dynamic++) {
        uintptr_t value = dynamic->d_un.d_val, pointer = address(base, value);
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
            /* Not a function of the module's own that happens to have the name. */
            if ((type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT) && symbol != 0
                && symbols[symbol].st_shndx == SHN_UNDEF) {
                visit(strings + symbols[symbol].st_name, type == R_X86_64_JUMP_SLOT, base + r->r_offset, arg);
            }
        }
    }
}

static void
note_import(const char *name, bool call, uintptr_t at, void *arg)
{
    uint32_t *imports = arg;
    (void)call;
    (void)at;
    if (strncmp(name, "Py", 2) == 0 || strncmp(name, "_Py", 3) == 0) {
        *imports |= ISAN__IMPORTS_PYTHON;
    }
    if (strcmp(name, "Py_IncRef") == 0 || strcmp(name, "_Py_IncRef") == 0) {
        *imports |= ISAN__IMPORTS_INCREF;
    }
    if (strncmp(name, "__tsan_", 7) == 0) {
        *imports |= ISAN__IMPORTS_TSAN;
    }
}

uint32_t
isan__imports_of(uintptr_t base, const void *dynamic)
{
    uint32_t imports = 0;
    visit_imports(base, dynamic, note_import, &imports);
    return imports;
}

struct rewriting {
    const struct isan__module *module;
    void *(*substitute)(const char *name, bool call, void *arg);
    void *arg;
};

static void
rewrite_import(const char *name, bool call, uintptr_t at, void *arg)
{
    const struct rewriting *r = arg;
    void *to = r->substitute(name, call, r->arg), *now = *(void **)at;
    if (to != NULL && now != NULL && now != to) {       /* NULL: a weak one, which is not there */
        store(r->module, at, to);
    }
}

void
isan__imports_rewrite(const struct isan__module *module,
                      void *(*substitute)(const char *name, bool call, void *arg), void *arg)
{
    struct rewriting r = { module, substitute, arg };
    visit_imports(module->base, module->dynamic, rewrite_import, &r);
}
