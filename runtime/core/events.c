/* Events: see events.h. */
#include "runtime/core/events.h"

#include "runtime/base/check.h"

enum { MAX_SUBSCRIBERS = 12 };

#define ISAN_EVENT(name, type)                                          \
    static void (*name##_subscribers[MAX_SUBSCRIBERS])(type);           \
    static unsigned name##_count;                                       \
    void                                                                \
    isan__subscribe_##name(void (*function)(type))                      \
    {                                                                   \
        if (ISAN__CHECK(name##_count < MAX_SUBSCRIBERS)) {              \
            name##_subscribers[name##_count++] = function;              \
        }                                                               \
    }                                                                   \
    void                                                                \
    isan__publish_##name(type argument)                                 \
    {                                                                   \
        for (unsigned i = 0; i < name##_count; i++) {                   \
            name##_subscribers[i](argument);                            \
        }                                                               \
    }
#include "runtime/core/events.inc"
