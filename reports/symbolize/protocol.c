/* Requests and answers, one line each: protocol.h describes them. */
#define _GNU_SOURCE
#include "reports/symbolize/protocol.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "reports/symbolize/functions.h"
#include "reports/symbolize/json.h"
#include "reports/symbolize/members.h"
#include "reports/symbolize/module.h"
#include "reports/symbolize/statics.h"
#include "reports/symbolize/variables.h"

enum { MAX_NUMBERS = 8 };
enum request_kind { CODE, DATA, TLS, MEMBER, STATICS, N_REQUEST_KINDS };

struct request {
    int kind;
    char *path, *build_id;
    uint64_t numbers[MAX_NUMBERS];
    int n;
};

static const struct {
    const char *name;
    int min_numbers, max_numbers;
} request_kinds[N_REQUEST_KINDS] = {
    [CODE] = { "code", 1, 1 },         [DATA] = { "data", 1, MAX_NUMBERS },
    [TLS] = { "tls", 1, MAX_NUMBERS }, [MEMBER] = { "member", 3, 3 },
    [STATICS] = { "statics", 0, 0 },
};

static void
unescape_path(char *s)
{
    char *to = s;
    for (; *s; s++, to++) {
        if (*s == '\\' && s[1]) {
            s++;
            *to = *s == 't' ? '\t' : *s == 'n' ? '\n' : *s;
        }
        else {
            *to = *s;
        }
    }
    *to = '\0';
}

static bool
parse_request(char *line, struct request *request)
{
    char *rest = line, *name = strsep(&rest, "\t");
    request->path = strsep(&rest, "\t");
    request->build_id = strsep(&rest, "\t");
    int kind = 0, n = 0;
    while (kind < N_REQUEST_KINDS && strcmp(name, request_kinds[kind].name) != 0) {
        kind++;
    }
    if (kind == N_REQUEST_KINDS || request->build_id == NULL) {
        return false;
    }
    errno = 0;
    for (; n < MAX_NUMBERS && rest != NULL; n++) {
        char *hex = strsep(&rest, "\t"), *end;
        request->numbers[n] = strtoull(hex, &end, 16);
        if (*hex == '\0' || *end != '\0' || errno != 0) {
            return false;
        }
    }
    request->kind = kind;
    request->n = n;
    unescape_path(request->path);
    return rest == NULL && n >= request_kinds[kind].min_numbers
        && n <= request_kinds[kind].max_numbers;
}

void
protocol_answer(char *line, FILE *out)
{
    struct request request;
    if (!parse_request(line, &request)) {
        json_put_error(out,
                       "a request is code, data, tls, member or statics, then path, build-id "
                       "and hexadecimal numbers, with tabs between");
        return;
    }
    const uint64_t *numbers = request.numbers;
    struct module *module = module_open(request.path, request.build_id);
    if (*module->error) {
        json_put_error(out, module->error);
        return;
    }
    switch (request.kind) {
    case CODE:
        functions_answer(module, numbers[0], out);
        break;
    case DATA:
    case TLS:
        variables_answer(module, numbers[0], request.kind == TLS, numbers + 1, request.n - 1, out);
        break;
    case MEMBER:
        members_answer(module, numbers[0], numbers[1], numbers[2], out);
        break;
    case STATICS:
        statics_answer(module, out);
        break;
    }
}
