/* Made-up interpreters for unit tests, with tags and slots, and in the place of runtime/core/log.c a log
 * that only counts records. */
#ifndef ISAN_UNIT_INTERPS_H
#define ISAN_UNIT_INTERPS_H

#include "python.h"
#include "runtime/base/options.h"
#include "runtime/core/interp.h"
#include "runtime/core/log.h"
#include "runtime/core/shadow.h"
#include "shadow.h"

/* PyInterpreterState, as far as isan reads it. */
struct unit_interp {
    int64_t id;
    void *gil;
    uint32_t finalizing;
    bool main_obmalloc; /* its configuration has use_main_obmalloc */
};
static struct unit_interp unit_main;
static int unit_main_gil;

/* Python/pylifecycle.c, _PyInterpreterConfig_InitFromState. */
static int
unit_get_config(int *config, const void *interp)
{
    config[0] = ((const struct unit_interp *)interp)->main_obmalloc;
    return 0;
}

void *
isan__python_symbol(const char *name)
{
    return strcmp(name, "_PyInterpreterConfig_InitFromState") == 0 ? (void *)unit_get_config : NULL;
}

bool isan__recording;
static unsigned unit_records[ISAN_REC_PATH + 1]; /* by type */
static uint64_t unit_record[512];

void *
isan__log_reserve(size_t size)
{
    EXPECT(size <= sizeof unit_record);
    return memset(unit_record, 0, size);
}

void
isan__log_publish(void *record, uint32_t type)
{
    EXPECT(record == unit_record);
    unit_records[type]++;
}

void
isan__log_note(const char *format, ...)
{
    unit_fail(__FILE__, __LINE__, "a note: %s", format);
}

/* Tags, types, and `slots` slots, of which the main interpreter has the first. */
__attribute__((unused)) static void
unit_begin_python(long slots)
{
    unit_reserve_tags();
    unit_make_types();
    isan__py.runtime = (const char *)&unit_main;
    isan__py.runtime_size = sizeof unit_main;
    isan__py.has_own_gils = true;
    isan__py.interp_id = offsetof(struct unit_interp, id);
    isan__py.interp_gil = offsetof(struct unit_interp, gil);
    isan__py.interp_finalizing = offsetof(struct unit_interp, finalizing);
    unit_main.gil = &unit_main_gil;
    isan__options.slots = slots;
    isan__options.quarantine = 1;
    isan__interps_init();
    EXPECT_EQ(isan__interp_take_slot(&unit_main), 1);
}

/* Begins an interpreter that has a GIL and an obmalloc of its own, or (legacy) those of the main one. */
__attribute__((unused)) static isan__slot_t
unit_begin_interp(struct unit_interp *interp, int64_t id, bool legacy)
{
    *interp = (struct unit_interp){ .id = id,
                                    .gil = legacy ? (void *)&unit_main_gil : interp,
                                    .main_obmalloc = legacy };
    return isan__interp_take_slot(interp);
}

/* It ends and leaves so many blocks. */
__attribute__((unused)) static void
unit_end_interp(isan__slot_t slot, uint32_t left)
{
    struct isan__interp *i = isan__interp_of(slot);
    isan__interp_forget(i);
    i->ended = 1;
    isan__interp_counted(slot, left);
}

#endif
