/* The options: first those that the program's own __isan_default_options()
 * returns, then ISAN_OPTIONS=name=value:name=value.  The table is options.inc. */
#define _GNU_SOURCE
#include "runtime/base/options.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct isan__options isan__options = {
#define ISAN_BOOL(name, dflt, help) .name = dflt,
#define ISAN_NUM(name, dflt, min, max, help) .name = dflt,
#define ISAN_ENUM(name, dflt, choices, help)
#define ISAN_STR(name, dflt, help) .name = dflt,
#include "runtime/base/options.inc"
#undef ISAN_BOOL
#undef ISAN_NUM
#undef ISAN_ENUM
#undef ISAN_STR
};

enum type { BOOL, NUM, ENUM, STR };
static const struct option {
    const char *name;
    enum type type;
    void *where;
    const char *dflt;
    long min, max;
    const char *choices, *help;
} options[] = {
#define ISAN_BOOL(name, dflt, help) \
    { #name, BOOL, &isan__options.name, #dflt, 0, 1, NULL, help },
#define ISAN_NUM(name, dflt, min, max, help) \
    { #name, NUM, &isan__options.name, #dflt, min, max, NULL, help },
#define ISAN_ENUM(name, dflt, choices, help) \
    { #name, ENUM, &isan__options.name, dflt, 0, 0, choices, help },
#define ISAN_STR(name, dflt, help) \
    { #name, STR, isan__options.name, dflt, 0, 0, NULL, help },
#include "runtime/base/options.inc"
#undef ISAN_BOOL
#undef ISAN_NUM
#undef ISAN_ENUM
#undef ISAN_STR
};
#define COUNT (sizeof options / sizeof *options)

static void
help(void)
{
    printf("ISAN_OPTIONS=name=value:name=value\n");
    for (size_t i = 0; i < COUNT; i++) {
        const struct option *o = &options[i];
        printf("  %s=", o->name);
        switch (o->type) {
        case BOOL: printf("0|1"); break;
        case NUM:  printf("%ld..%ld", o->min, o->max); break;
        case ENUM: printf("%s", o->choices); break;
        case STR:  printf("TEXT"); break;
        }
        printf("\n        %s (default: %s)\n", o->help, o->dflt[0] ? o->dflt : "empty");
    }
}

/* The position of value[0..n) in "a|b|c", or -1. */
static int
choice(const char *choices, const char *value, size_t n)
{
    for (int i = 0;; i++) {
        size_t m = strcspn(choices, "|");
        if (m == n && memcmp(choices, value, n) == 0) {
            return i;
        }
        if (choices[m] == 0) {
            return -1;
        }
        choices += m + 1;
    }
}

static void
set(const struct option *o, const char *value, size_t n, const char *from)
{
    char *end;
    long number;
    int c;
    switch (o->type) {
    case BOOL:
    case NUM:
        number = strtol(value, &end, 10);
        if (n == 0 || end != value + n || number < o->min || number > o->max) {
            isan__die("%s: %s=%.*s: give a number from %ld to %ld",
                      from, o->name, (int)n, value, o->min, o->max);
        }
        if (o->type == BOOL) {
            *(bool *)o->where = number;
        }
        else {
            *(long *)o->where = number;
        }
        break;
    case ENUM:
        c = choice(o->choices, value, n);
        if (c < 0) {
            isan__die("%s: %s=%.*s: give one of %s",
                      from, o->name, (int)n, value, o->choices);
        }
        *(int *)o->where = c;
        break;
    case STR:
        if (n >= sizeof isan__options.log_path) {
            isan__die("%s: %s: the value is longer than %zu bytes",
                      from, o->name, sizeof isan__options.log_path - 1);
        }
        memcpy(o->where, value, n);
        ((char *)o->where)[n] = 0;
        break;
    }
}

static void
parse(const char *text, const char *from)
{
    while (*text) {
        size_t n = strcspn(text, ":");
        const char *equals = memchr(text, '=', n);
        if (n > 0) {
            const struct option *o = options;
            size_t name = equals ? (size_t)(equals - text) : n;
            while (o < options + COUNT
                   && (strlen(o->name) != name || memcmp(o->name, text, name) != 0)) {
                o++;
            }
            if (o == options + COUNT) {
                isan__die("%s: there is no option \"%.*s\"; ISAN_OPTIONS=help=1 lists them",
                          from, (int)name, text);
            }
            if (equals == NULL) {
                isan__die("%s: write %s=VALUE", from, o->name);
            }
            set(o, equals + 1, n - name - 1, from);
        }
        text += n + (text[n] == ':');
    }
}

void
isan__options_init(void)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (options[i].type == ENUM) {
            set(&options[i], options[i].dflt, strlen(options[i].dflt), "options.inc");
        }
    }
    const char *(*defaults)(void) =
        (const char *(*)(void))dlsym(RTLD_DEFAULT, "__isan_default_options");
    if (defaults != NULL) {
        parse(defaults(), "__isan_default_options()");
    }
    const char *text = getenv("ISAN_OPTIONS");
    if (text != NULL) {
        parse(text, "ISAN_OPTIONS");
    }
    if (isan__options.help) {
        help();
        fflush(stdout);
        _exit(0);
    }
}
