/* Events that core publishes for detectors, API and hooks (events.inc). */
#ifndef ISAN_CORE_EVENTS_H
#define ISAN_CORE_EVENTS_H

#include "runtime/base/compiler.h"

typedef uint16_t isan__slot_t;              /* of an interpreter (interp.h); 0: none */

struct isan__interp_end {
    isan__slot_t slot;
    bool main;                              /* the main interpreter: Python has been finalised */
    uint32_t left;                          /* out: blocks that it left */
};

struct isan__noted_block {
    char *block;
    unsigned notes;                         /* ISAN__NOTE_* of block_notes.h */
    uint32_t value;                         /* what was given with them */
};

struct isan__moved_block {
    char *from, *to;
    unsigned notes;
};

struct isan__import {
    uint32_t serial;                        /* of the interpreter */
    size_t n;
    const uintptr_t *modules;               /* the load addresses of the module and of what it needs */
};

/* Two functions for each event.  isan__subscribe_X() is called while the process starts;
 * isan__publish_X() calls the subscribers in the order in which they subscribed. */
#define ISAN_EVENT(name, type)                              \
    void isan__subscribe_##name(void (*function)(type));    \
    void isan__publish_##name(type argument);
#include "runtime/core/events.inc"
#undef ISAN_EVENT

#endif
