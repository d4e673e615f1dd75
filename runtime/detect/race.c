/* Findings about races: see race.h. */
#include "runtime/detect/race.h"

#include "runtime/detect/static_scan.h"

struct isan_rec_finding *
isan__report_race(const struct isan__race *race)
{
    if (isan__ignores()) {
        return NULL;
    }
    struct isan_rec_finding *r = isan__finding_known(race->key);
    if (r != NULL) {
        isan__finding_again(r, NULL);
        return NULL;
    }
    struct isan__object_view view;
    struct isan__finding f = {
        .kind = ISAN__KIND_race, .key = race->key, .type = "", .holder = race->holder,
        .current = race->current, .stack = race->stack, .object = race->memory,
    };
    char type[256];
    if (race->block != NULL) {
        isan__view_object(&view, race->op, race->block, false);
        f.view = &view;
        f.holder = isan__find_static_holder(race->block, race->op);
        if (view.object) {
            isan__type_name_or_unknown(race->op, type, sizeof type);
            f.type = type;
        }
    }
    return isan__finding_make(&f);
}
