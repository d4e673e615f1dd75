/* The Python in this process: its symbols, and the layout of what isan reads of it.
 *
 * isan does not use CPython's internal headers.  From 3.13 on _PyRuntime begins with
 * _Py_DebugOffsets (Include/internal/pycore_runtime.h, pycore_debug_offsets.h), 64-bit
 * numbers throughout.  The layout of 3.11 and 3.12 does not change any more, so it is
 * written down here; tests/helpers/layout.py compares it with their headers.
 * releases.inc has all else that differs between releases.
 */
#define _GNU_SOURCE
#include "runtime/cpython/layout.h"

#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>

#include "runtime/elf/modules.h"

struct isan__python isan__py;
bool isan__stock;
static void *handle = RTLD_DEFAULT;         /* dlopen's, of the module that brought the runtime */

/* For 3.11 and 3.12 the offsets in bytes; for 3.13 and 3.14 the index in _Py_DebugOffsets. */
static const struct offset {
    uint16_t *to;
    uint16_t v[4];
} offset_table[] = {
    /*                           3.11 3.12 3.13 3.14 */
    { &isan__py.interp_id,        { 48,   8,  7,  7 } },
    { &isan__py.interp_gil,       { 0,  384, 14, 15 } },
    { &isan__py.interp_finalizing, { 84, 104, 10, 11 } },
    { &isan__py.ts_interp,        { 16,  16, 22, 25 } },
    { &isan__py.ts_frame,         { 56,  56, 23, 26 } },
    { &isan__py.ts_next,          { 8, 8, 21, 24 } },
    { &isan__py.ts_thread,        { 152, 136, 24, 27 } },
    { &isan__py.ts_native,        { 160, 144, 25, 28 } },
    { &isan__py.frame_previous,   { 48,   8, 29, 32 } },
    { &isan__py.frame_executable, { 32,   0, 30, 33 } },
    { &isan__py.frame_instr,      { 56,  56, 31, 34 } },
    { &isan__py.frame_owner,      { 69,  70, 33, 36 } },
    { &isan__py.code_filename,    { 112, 112, 35, 40 } },
    { &isan__py.code_qualname,    { 128, 128, 37, 42 } },
    { &isan__py.code_linetable,   { 136, 136, 38, 43 } },
    { &isan__py.code_firstlineno, { 72,  68, 39, 44 } },
    { &isan__py.code_units,       { 184, 192, 43, 48 } },
    { &isan__py.type_name,        { 24,  24, 47, 53 } },
    { &isan__py.type_flags,       { 168, 168, 49, 55 } },
    { &isan__py.bytes_size,       { 16,  16, 65, 75 } },
    { &isan__py.bytes_data,       { 32,  32, 66, 76 } },
    { &isan__py.unicode_state,    { 32,  32, 68, 78 } },
    { &isan__py.unicode_length,   { 16,  16, 69, 79 } },
    { &isan__py.unicode_ascii,    { 48,  40, 70, 80 } },
};
enum { V311, V312, V313, V314, RELEASES };

void *
isan__python_symbol(const char *name)
{
    return dlsym(handle, name);
}

bool
isan__initialized(void)
{
    return ((int (*)(void))isan__python_symbol("Py_IsInitialized"))() != 0;
}

bool
isan__python_in(void *from)
{
    if (dlsym(from, "_PyRuntime") == NULL || dlsym(from, "Py_GetVersion") == NULL) {
        return false;
    }
    handle = from;
    return true;
}

/* A host may unload Python and load it again, as Apache does when it reads its
 * configuration twice.  isan has hooked this Python and reads its memory, so it must stay. */
static void
keep_runtime_loaded(void)
{
    Dl_info info;
    if (handle != RTLD_DEFAULT && dladdr(isan__py.runtime, &info) != 0) {
        void *kept = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
        handle = kept != NULL ? kept : handle;
    }
}

/* The size of exported data, from the symbol table. */
static size_t
symbol_size(const void *symbol)
{
    Dl_info info;
    const ElfW(Sym) *sym = NULL;
    return dladdr1(symbol, &info, (void **)&sym, RTLD_DL_SYMENT) != 0 && sym != NULL
        ? sym->st_size : 0;
}

static bool
find_segments(const struct isan__module *m, void *arg)
{
    (void)arg;
    for (size_t i = 0; m->has_runtime && i < m->n_data; i++) {
        if ((uintptr_t)isan__py.runtime - m->data[i].start < m->data[i].end - m->data[i].start) {
            isan__py.data = (const char *)m->data[i].start;
            isan__py.data_size = m->data[i].end - m->data[i].start;
            isan__py.text = (const char *)m->text.start;
            isan__py.text_size = m->text.end - m->text.start;
        }
    }
    return !m->has_runtime;
}

/* The offset of the current thread state from the thread pointer (Python/pystate.c,
 * _Py_tss_tstate).  No symbol has it.  If the executable has the runtime, the function that
 * returns the thread state is `mov %fs:offset,%rax; ret`. */
static intptr_t
find_current_at(const void *function)
{
#ifdef __x86_64__
    static const unsigned char load[] = { 0x64, 0x48, 0x8b, 0x04, 0x25 }, ret = 0xc3;
    const unsigned char *code = function;
    int32_t offset;
    if (memcmp(code, load, sizeof load) == 0 && code[sizeof load + sizeof offset] == ret) {
        memcpy(&offset, code + sizeof load, sizeof offset);
        return offset;
    }
#else
    (void)function;
#endif
    return 0;
}

/* The offsets of offset_table for release v; false: they make no sense. */
static bool
read_offsets(int v)
{
    const uint64_t *debug_offsets = v < V313 ? NULL : (const uint64_t *)isan__py.runtime;
    for (size_t i = 0; i < sizeof offset_table / sizeof *offset_table; i++) {
        uint64_t offset = offset_table[i].v[v];
        if (debug_offsets != NULL) {
            offset = debug_offsets[offset];
        }
        if (offset > UINT16_MAX) {
            return false;
        }
        *offset_table[i].to = (uint16_t)offset;
    }
    if (debug_offsets != NULL) {
        /* `_finalizing`, `_finalizing_id` and `gc` follow each other in struct
         * _is (Include/internal/pycore_interp.h); the table has the last. */
        isan__py.interp_finalizing -= 16;
    }
    return true;
}

static void
set_facts(int v)
{
#define ISAN__PYTHON_FACT(type, field, v311, v312, v313, v314) \
    isan__py.field = ((const type[RELEASES]){ v311, v312, v313, v314 })[v];
#include "runtime/cpython/releases.inc"
}

static void
find_symbols(void)
{
#define ISAN__PYTHON_TYPE(field, symbol) isan__py.field = isan__python_symbol(#symbol);
#include "runtime/cpython/types.inc"
    isan__py.hexversion = (uint32_t)*(const unsigned long *)isan__python_symbol("Py_Version");
    /* Python/pystate.c; public under the first name from 3.13 on. */
    isan__py.current = isan__python_symbol("PyThreadState_GetUnchecked");
    if (isan__py.current == NULL) {
        isan__py.current = isan__python_symbol("_PyThreadState_UncheckedGet");
    }
#define ISAN__PYTHON_FUNCTION(field, name) *(void **)&isan__py.field = isan__python_symbol(#name);
    ISAN__PYTHON_FUNCTION(this_state, PyGILState_GetThisThreadState)
    ISAN__PYTHON_FUNCTION(state_id, PyThreadState_GetID)
    ISAN__PYTHON_FUNCTION(first_state, PyInterpreterState_ThreadHead)
#undef ISAN__PYTHON_FUNCTION
}

bool
isan__python_init(void)
{
    enum { FREE_THREADED = 2 };             /* index in _Py_DebugOffsets */
    /* Usable before Py_Initialize (Doc/c-api/init.rst). */
    const char *version = ((const char *(*)(void))isan__python_symbol("Py_GetVersion"))();
    char *dot;
    long major = strtol(version, &dot, 10), minor = *dot == '.' ? strtol(dot + 1, NULL, 10) : 0;
    if (major != 3 || minor < 11 || minor >= 11 + RELEASES) {
        isan__say("this is Python %ld.%ld; isan knows 3.11 to 3.14 and stays out of its way",
                  major, minor);
        return false;
    }
    int v = (int)minor - 11;
    isan__py.runtime = isan__python_symbol("_PyRuntime");
    keep_runtime_loaded();
    if (v >= V313 && ((const uint64_t *)isan__py.runtime)[FREE_THREADED] != 0) {
        isan__say("this is a free-threaded Python, without a GIL: isan stays out of its way");
        return false;
    }
    if (!read_offsets(v)) {
        isan__say("_Py_DebugOffsets of this Python makes no sense: isan stays out of its way");
        return false;
    }
    set_facts(v);
    isan__py.runtime_size = symbol_size(isan__py.runtime);
    isan__modules_begin(isan__py.runtime);
    isan__visit_modules(find_segments, NULL);
    find_symbols();
    isan__py.current_at = find_current_at(isan__py.current);
    return true;
}
