/* isan-symbolize: what is at this address of that ELF file?
 *
 * Reads requests on stdin and answers each with a line of JSON on stdout, in order; protocol.h
 * describes both.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reports/symbolize/module.h"
#include "reports/symbolize/worker.h"

static const char usage[] =
    "usage: isan-symbolize [--debuginfo-path=DIR:..] <REQUESTS\n"
    "Each line: code|data|tls|member|statics, path, build-id or nothing, hexadecimal numbers; "
    "tabs between.\n"
    "Answers each with a line of JSON: the frames at a code address, the variable at a data "
    "address\n"
    "or an offset of thread-local ones, the member of an object at an offset,\n"
    "the statics that have to do with objects.\n";

int
main(int argc, char **argv)
{
    static const char option[] = "--debuginfo-path=";
    char *line = NULL;
    size_t capacity = 0;
    if (argc == 2 && strncmp(argv[1], option, strlen(option)) == 0) {
        module_debuginfo_path = argv[1] + strlen(option);
    }
    else if (argc > 1) {
        int help = strcmp(argv[1], "--help") == 0;
        fputs(usage, help ? stdout : stderr);
        return help ? 0 : 2;
    }
    /* elfutils would ask servers; a report must not depend on the network. */
    unsetenv("DEBUGINFOD_URLS");
    signal(SIGPIPE, SIG_IGN);
    while (getline(&line, &capacity, stdin) > 0) {
        if (worker_answer(line, stdout) != 0) {
            fprintf(stderr, "isan-symbolize: cannot start its worker: %s\n", strerror(errno));
            return 1;
        }
        if (fflush(stdout) != 0) {
            break;
        }
    }
    worker_stop();
    return ferror(stdout) ? 1 : 0;
}
