/* The record of a module: see module.h. */
#define _GNU_SOURCE
#include "runtime/elf/module.h"

#include <elf.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <unistd.h>

#include "runtime/base/os.h"
#include "runtime/elf/imports.h"

/* Room within a record, taken from its end. */
struct room {
    char *next, *end;
};

static const char *
put_string(struct room *room, const char *string)
{
    size_t n = strlen(string) + 1;
    if (n > (size_t)(room->end - room->next)) {
        return "";
    }
    char *at = room->next;
    room->next += n;
    return memcpy(at, string, n);
}

struct names {
    struct room *room;                      /* NULL: they are only measured */
    const char **to;
    size_t n, size;
};

static void
note_name(const char *name, void *arg)
{
    struct names *names = arg;
    names->size += strlen(name) + 1;
    if (names->room != NULL) {
        names->to[names->n] = put_string(names->room, name);
    }
    names->n++;
}

static void
find_build_id(const struct dl_phdr_info *info, char *hex, size_t size)
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

static bool
is_excluded(const char *path)
{
    static const char *const names[] = { "libisan.so", "libc.so.", "ld-linux", "libunwind" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strncmp(isan__file_name(path), names[i], strlen(names[i])) == 0) {
            return true;
        }
    }
    return false;
}

static struct isan__range
range_of(const struct dl_phdr_info *info, const ElfW(Phdr) *ph)
{
    uintptr_t start = info->dlpi_addr + ph->p_vaddr;
    return (struct isan__range){ start, start + ph->p_memsz };
}

/* What the program headers say.  `data` has room for as many as there are. */
static void
read_headers(struct isan__module *m, const struct dl_phdr_info *info, const void *runtime, struct isan__range *data)
{
    m->start = UINTPTR_MAX;
    m->data = data;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        struct isan__range range = range_of(info, ph);
        switch (ph->p_type) {
        case PT_LOAD:
            m->start = range.start < m->start ? range.start : m->start;
            m->end = range.end > m->end ? range.end : m->end;
            if (ph->p_flags & PF_W) {
                data[m->n_data++] = range;
                m->has_runtime |= (uintptr_t)runtime - range.start < ph->p_memsz;
            }
            if (ph->p_flags & PF_X) {
                m->text = range;
                m->n_text++;
            }
            break;
        case PT_DYNAMIC: m->dynamic = (const void *)range.start; break;
        case PT_GNU_RELRO: m->relro = range; break;
        case PT_GNU_EH_FRAME: m->unwind = range; break;
        case PT_TLS: m->tls_size = ph->p_memsz; break;
        default: break;
        }
    }
}

/* Names, counted or put into their room.  Returns how many there are. */
static size_t
visit_names(const struct isan__module *m, long tag, struct names *names)
{
    isan__visit_dynamic_names(m->base, m->dynamic, tag, note_name, names);
    return names->n;
}

static void
find_path(const struct dl_phdr_info *info, char *path, size_t size)
{
    if (info->dlpi_name != NULL && info->dlpi_name[0] != 0) {
        snprintf(path, size, "%s", info->dlpi_name);
        return;
    }
    ssize_t n = readlink("/proc/self/exe", path, size - 1);     /* the executable has none */
    path[n > 0 ? n : 0] = 0;
}

void *
isan__make_module(const struct dl_phdr_info *info, size_t info_size, const void *runtime, size_t before, size_t *size)
{
    char path[PATH_MAX], id[128];
    struct isan__range data[64];
    struct isan__module m = { .base = info->dlpi_addr, .headers = info->dlpi_phdr, .n_headers = info->dlpi_phnum };
    struct names needed = { .room = NULL }, soname = { .room = NULL };
    if (info->dlpi_phnum > sizeof data / sizeof *data) {
        return NULL;                        /* compilers make a dozen */
    }
    read_headers(&m, info, runtime, data);
    if (m.start >= m.end) {
        return NULL;
    }
    find_path(info, path, sizeof path);
    find_build_id(info, id, sizeof id);
    m.n_needed = visit_names(&m, DT_NEEDED, &needed);
    size_t n_sonames = visit_names(&m, DT_SONAME, &soname);
    size_t headers_size = m.n_headers * sizeof *info->dlpi_phdr;
    size_t arrays = before + sizeof m + headers_size + m.n_data * sizeof *data + m.n_needed * sizeof *needed.to;
    *size = arrays + needed.size + soname.size + strlen(path) + strlen(id) + 2;
    char *memory = isan__map(*size);
    if (memory == NULL) {
        return NULL;
    }
    struct room room = { memory + arrays, memory + *size };
    m.headers_copy = memcpy(memory + before + sizeof m, m.headers, headers_size);
    struct isan__range *to = (struct isan__range *)(memory + before + sizeof m + headers_size);
    const char **names = (const char **)(to + m.n_data), *one = "";
    memcpy(to, data, m.n_data * sizeof *data);
    m.data = to;
    m.needed = names;
    needed = (struct names){ .room = &room, .to = names };
    visit_names(&m, DT_NEEDED, &needed);
    soname = (struct names){ .room = &room, .to = &one };
    if (n_sonames == 1) {
        visit_names(&m, DT_SONAME, &soname);
    }
    m.soname = one;
    m.path = put_string(&room, path);
    m.build_id = put_string(&room, id);
    m.tls_id = info_size > offsetof(struct dl_phdr_info, dlpi_tls_modid) ? info->dlpi_tls_modid : 0;
    m.imports = isan__imports_of(m.base, m.dynamic);
    m.is_excluded = is_excluded(info->dlpi_name != NULL ? info->dlpi_name : "");
    m.of_stdlib = strstr(path, "/lib-dynload/") != NULL;
    memcpy(memory + before, &m, sizeof m);
    return memory;
}
