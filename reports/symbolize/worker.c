/* The child process that answers, and its replacement when a file kills it. */
#define _GNU_SOURCE
#include "reports/symbolize/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reports/symbolize/arrays.h"
#include "reports/symbolize/json.h"
#include "reports/symbolize/protocol.h"

enum { REQUEST_SECONDS = 60 };

static struct worker {
    pid_t pid; /* 0: not started */
    FILE *to, *from;
} worker;

/* A file that killed a worker: it is not tried again for its other addresses. */
static struct deadly_file {
    struct deadly_file *next;
    char *path, *message;
} *deadly_files;

/* The child's main function. */
static void
run(FILE *in, FILE *out)
{
    static const struct rlimit no_core = { 0, 0 };
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGALRM, SIG_DFL);
    while ((n = getline(&line, &capacity, in)) > 0) {
        if (line[n - 1] == '\n') {
            line[n - 1] = '\0';
        }
        /* libdw can loop on a damaged file. */
        alarm(REQUEST_SECONDS);
        protocol_answer(line, out);
        alarm(0);
        fflush(out);
    }
    _exit(0);
}

static bool
start(void)
{
    int to[2], from[2];
    if (pipe(to) != 0 || pipe(from) != 0) {
        return false;
    }
    fflush(stdout);
    worker.pid = fork();
    if (worker.pid < 0) {
        return false;
    }
    if (worker.pid == 0) {
        close(to[1]);
        close(from[0]);
        run(fdopen(to[0], "r"), fdopen(from[1], "w"));
    }
    close(to[0]);
    close(from[1]);
    worker.to = fdopen(to[1], "w");
    worker.from = fdopen(from[0], "r");
    return worker.to != NULL && worker.from != NULL;
}

/* Returns the exit status, as waitpid(2) has it. */
static int
stop(void)
{
    int status = 0;
    fclose(worker.to);
    fclose(worker.from);
    while (waitpid(worker.pid, &status, 0) < 0 && errno == EINTR) {}
    worker = (struct worker){ 0 };
    return status;
}

/* The path in a request: where it begins and, returned, where it ends; NULL: there is none. */
static const char *
find_path(const char *line, const char **begin)
{
    const char *tab = strchr(line, '\t');
    if (tab == NULL) {
        return NULL;
    }
    *begin = tab + 1;
    return strchr(*begin, '\t');
}

/* Why the file of this request is not tried again; NULL: it may be tried. */
static const char *
find_deadly_file(const char *line)
{
    const char *path, *end = find_path(line, &path);
    for (struct deadly_file *f = deadly_files; end != NULL && f != NULL; f = f->next) {
        size_t length = (size_t)(end - path);
        if (strlen(f->path) == length && strncmp(f->path, path, length) == 0) {
            return f->message;
        }
    }
    return NULL;
}

static const char *
add_deadly_file(const char *line, int status)
{
    const char *path, *end = find_path(line, &path);
    struct deadly_file *file = calloc(1, sizeof *file);
    if (file == NULL) {
        abort();
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
        file->message = string_format(
            "reading its debug information took over %d seconds: is the file damaged?",
            REQUEST_SECONDS);
    }
    else {
        file->message = string_format(
            "reading its debug information crashed (status 0x%x): is the file damaged?", status);
    }
    file->path =
        end != NULL ? string_format("%.*s", (int)(end - path), path) : string_format("%s", "");
    file->next = deadly_files;
    deadly_files = file;
    return file->message;
}

int
worker_answer(const char *line, FILE *out)
{
    static char *reply;
    static size_t capacity;
    const char *error = find_deadly_file(line);
    if (error == NULL) {
        size_t n = strlen(line);
        if (worker.pid == 0 && !start()) {
            return -1;
        }
        fputs(line, worker.to);
        if (n == 0 || line[n - 1] != '\n') {
            putc('\n', worker.to);
        }
        fflush(worker.to);
        if (getline(&reply, &capacity, worker.from) > 0 && reply[strlen(reply) - 1] == '\n') {
            fputs(reply, out);
            return 0;
        }
        error = add_deadly_file(line, stop());
    }
    json_put_error(out, error);
    return 0;
}

void
worker_stop(void)
{
    if (worker.pid != 0) {
        stop();
    }
}
