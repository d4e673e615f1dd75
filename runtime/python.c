/* The layout of the Python in this process, without its internal headers:
 * _PyRuntime begins with _Py_DebugOffsets (3.13 and later, Include/internal/
 * pycore_runtime.h, pycore_debug_offsets.h), 64-bit numbers throughout. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

#include "runtime/internal.h"

struct isan__python isan__py;

/* Which number of the table is what, by release. */
static const struct where {
    uint16_t *to;
    int v313, v314;
} table[] = {
    { &isan__py.interp_id,        7,  7 },
    { &isan__py.interp_gil,      14, 15 },
    { &isan__py.ts_interp,       22, 25 },
    { &isan__py.ts_frame,        23, 26 },
    { &isan__py.frame_previous,  29, 32 },
    { &isan__py.frame_executable, 30, 33 },
    { &isan__py.frame_instr,     31, 34 },
    { &isan__py.frame_owner,     33, 36 },
    { &isan__py.code_filename,   35, 40 },
    { &isan__py.code_qualname,   37, 42 },
    { &isan__py.code_linetable,  38, 43 },
    { &isan__py.code_firstlineno, 39, 44 },
    { &isan__py.code_units,      43, 48 },
    { &isan__py.type_name,       47, 53 },
    { &isan__py.type_flags,      49, 55 },
    { &isan__py.bytes_size,      65, 75 },
    { &isan__py.bytes_data,      66, 76 },
    { &isan__py.unicode_state,   68, 78 },
    { &isan__py.unicode_length,  69, 79 },
    { &isan__py.unicode_ascii,   70, 80 },
};
enum { RUNTIME_SIZE = 3, INTERP_SIZE = 6 };

bool
isan__python_init(void)
{
    const char *runtime = dlsym(RTLD_DEFAULT, "_PyRuntime");
    const unsigned long *version = dlsym(RTLD_DEFAULT, "Py_Version");
    if (runtime == NULL || version == NULL) {
        return false;
    }
    unsigned minor = *version >> 16;
    if (minor != 0x030d && minor != 0x030e) {
        isan__say("this is Python %lu.%lu; isan knows 3.13 and 3.14 and stays out of its way",
                  *version >> 24, *version >> 16 & 0xff);
        return false;
    }
    const uint64_t *offsets = (const uint64_t *)runtime;
    if (offsets[2] != 0) {
        isan__say("this is a free-threaded Python, without a GIL: isan stays out of its way");
        return false;
    }
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        uint64_t offset = offsets[minor == 0x030d ? table[i].v313 : table[i].v314];
        if (offset > 0xffff) {
            isan__say("_Py_DebugOffsets of this Python makes no sense: isan stays out of its way");
            return false;
        }
        *table[i].to = (uint16_t)offset;
    }
    isan__py.runtime = runtime;
    isan__py.runtime_size = offsets[RUNTIME_SIZE];
    isan__py.sizeof_interp = offsets[INTERP_SIZE];
    isan__py.code_type = dlsym(RTLD_DEFAULT, "PyCode_Type");
    isan__py.unicode_type = dlsym(RTLD_DEFAULT, "PyUnicode_Type");
    isan__py.type_type = dlsym(RTLD_DEFAULT, "PyType_Type");
    isan__py.hexversion = (uint32_t)*version;
    return true;
}

/* Include/object.h: ob_refcnt is 8 bytes, then ob_type. */
bool
isan__type_name(const void *op, char *name, size_t size)
{
    const char *type, *tp_name;
    name[0] = 0;
    return isan__peek(&type, (const char *)op + 8, sizeof type)
        && isan__peek(&tp_name, type + isan__py.type_name, sizeof tp_name)
        && isan__peek_string(name, tp_name, size)
        && name[0] != 0;
}
