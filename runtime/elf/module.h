/* What isan knows of one loaded module. */
#ifndef ISAN_ELF_MODULE_H
#define ISAN_ELF_MODULE_H

#include "runtime/base/compiler.h"

struct isan__range {
    uintptr_t start, end;
};

/* What a module imports, by the names of its symbols. */
enum {
    ISAN__IMPORTS_PYTHON = 1,               /* a function or variable of the C API */
    ISAN__IMPORTS_INCREF = 2,               /* Py_IncRef or _Py_IncRef: it does not count for itself */
    ISAN__IMPORTS_TSAN = 4,                 /* ThreadSanitizer's functions: it was built with it */
};

/* A record never changes.  All that it points at is part of it, except `headers` and
 * `dynamic`, which are in the module. */
struct isan__module {
    uintptr_t base;                         /* run-time address less the file's p_vaddr (dlpi_addr) */
    uintptr_t start, end;                   /* of all its segments */
    const void *headers, *dynamic;          /* program headers; dynamic section, or NULL */
    const void *headers_copy;               /* ElfW(Phdr)[]: may be read when the module is gone */
    size_t n_headers;
    const struct isan__range *data;         /* writable segments */
    size_t n_data;
    struct isan__range text;                /* the last segment with code */
    size_t n_text;                          /* how many there are */
    struct isan__range relro;               /* read-only once it is relocated (PT_GNU_RELRO) */
    struct isan__range unwind;              /* .eh_frame_hdr */
    size_t tls_id, tls_size;                /* of its thread-local variables; 0: it has none */
    const char *path;                       /* of the executable, too; never NULL */
    const char *build_id;                   /* in hex; "" if it has none */
    const char *soname;                     /* "" if it has none */
    const char *const *needed;              /* DT_NEEDED */
    size_t n_needed;
    uint32_t imports;                       /* ISAN__IMPORTS_* */
    bool is_excluded;                       /* isan, its unwinder, the C library or the dynamic linker,
                                             * which hold addresses for reasons of their own */
    bool has_runtime;                       /* _PyRuntime is in its data */
    bool of_stdlib;                         /* an extension of the standard library */
};

/* False ends the visit. */
typedef bool isan__module_visitor(const struct isan__module *module, void *arg);

struct dl_phdr_info;                        /* <link.h> */
/* Makes the record of a module, in a callback of dl_iterate_phdr().  The linker has read the
 * dynamic section before it lists a module (elf/dl-load.c, _dl_map_object_from_fd).  Returns
 * memory of isan__map() and its `size`; the record is `before` bytes from its start.  NULL: no
 * memory, or nothing of the module is loaded. */
void *isan__make_module(const struct dl_phdr_info *info, size_t info_size, const void *runtime, size_t before,
    size_t *size);

static inline const char *
isan__file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

#endif
