/* The enumerations that kinds.inc has the names and texts of. */
#ifndef ISAN_CORE_KINDS_H
#define ISAN_CORE_KINDS_H

enum isan__kind {
#define ISAN_KIND(name, title, hint) ISAN__KIND_##name,
#include "runtime/core/kinds.inc"
};
enum isan__access {
#define ISAN_ACCESS(name) ISAN__ACCESS_##name,
#include "runtime/core/kinds.inc"
};
enum isan__place {
#define ISAN_PLACE(name, text) ISAN__PLACE_##name,
#include "runtime/core/kinds.inc"
};
enum isan__residue {
#define ISAN_RESIDUE(name, reason) ISAN__RESIDUE_##name,
#include "runtime/core/kinds.inc"
};
enum isan__retainer {
#define ISAN_RETAINER(name, hint) ISAN__RETAINER_##name,
#include "runtime/core/kinds.inc"
};
enum isan__reason {
#define ISAN_REASON(name, text) ISAN__REASON_##name,
#include "runtime/core/kinds.inc"
};

#endif
