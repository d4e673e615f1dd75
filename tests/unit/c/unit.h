/* Unit tests of C files: each file of tests is a program of its own.  Include this in NAME_test.c, and
 * name the files to link in objects.mk.
 *
 *     TEST(an_empty_table_has_nothing)
 *     {
 *         EXPECT_EQ(isan__table_get(&table, 1), 0);
 *     }
 *
 * Each test runs in a process of its own: its statics are as they are at the start, and a crash ends no
 * other test.  The first failed expectation ends its test.  The programs are compiled with
 * AddressSanitizer, UndefinedBehaviorSanitizer and -DISAN_CHECKED.
 */
#ifndef ISAN_UNIT_H
#define ISAN_UNIT_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { UNIT_SECONDS = 30 }; /* for one test */

struct unit_test {
    const char *name;
    void (*run)(void);
    struct unit_test *next;
};

static struct unit_test *unit_tests, **unit_end = &unit_tests;

#define TEST(name_) \
    static void name_(void); \
    __attribute__((constructor)) static void register_##name_(void) \
    { \
        static struct unit_test test = { #name_, name_, NULL }; \
        *unit_end = &test; \
        unit_end = &test.next; \
    } \
    static void name_(void)

#define EXPECT(condition) \
    ((condition) ? (void)0 : unit_fail(__FILE__, __LINE__, "not true: %s", #condition))

/* Integers and pointers. */
#define EXPECT_EQ(got, expected) \
    unit_expect_eq(__FILE__, __LINE__, #got, (intmax_t)(got), (intmax_t)(expected))

#define EXPECT_STR(got, expected) unit_expect_str(__FILE__, __LINE__, #got, got, expected)

/* The statement ends the process, by a signal or with a status that is not 0, and writes this text to
 * stderr before. */
#define EXPECT_DEATH(statement, text) \
    do { \
        struct unit_child unit_child = unit_fork(); \
        if (unit_child.pid == 0) { \
            statement; \
            _exit(0); \
        } \
        unit_expect_death(__FILE__, __LINE__, &unit_child, #statement, text); \
    } while (0)

__attribute__((noreturn, format(printf, 3, 4))) static void
unit_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "    %s:%d: ", file, line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    _exit(1);
}

__attribute__((unused)) static void
unit_expect_eq(const char *file, int line, const char *what, intmax_t got, intmax_t expected)
{
    if (got != expected) {
        unit_fail(file, line,
                  "%s is %" PRIdMAX " (%#" PRIxMAX "), not %" PRIdMAX " (%#" PRIxMAX ")", what, got,
                  (uintmax_t)got, expected, (uintmax_t)expected);
    }
}

__attribute__((unused)) static void
unit_expect_str(const char *file, int line, const char *what, const char *got, const char *expected)
{
    if (got == NULL || strcmp(got, expected) != 0) {
        unit_fail(file, line, "%s is \"%s\", not \"%s\"", what, got != NULL ? got : "(null)",
                  expected);
    }
}

struct unit_child {
    pid_t pid;
    int from; /* its stderr */
};

__attribute__((unused)) static struct unit_child
unit_fork(void)
{
    int ends[2];
    if (pipe(ends) != 0) {
        unit_fail(__FILE__, __LINE__, "no pipe");
    }
    struct unit_child child = { fork(), ends[0] };
    if (child.pid == 0) {
        dup2(ends[1], STDERR_FILENO);
    }
    close(ends[1]);
    return child;
}

__attribute__((unused)) static void
unit_expect_death(const char *file, int line, struct unit_child *child, const char *what,
                  const char *text)
{
    char said[4096];
    size_t n = 0;
    ssize_t more;
    int status = 0;
    while (n < sizeof said - 1 && (more = read(child->from, said + n, sizeof said - 1 - n)) > 0) {
        n += (size_t)more;
    }
    said[n] = '\0';
    close(child->from);
    waitpid(child->pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        unit_fail(file, line, "%s does not end the process", what);
    }
    if (strstr(said, text) == NULL) {
        unit_fail(file, line, "%s ends the process without \"%s\", but says:\n%s", what, text,
                  said);
    }
}

static bool
unit_run(const char *program, struct unit_test *test)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(UNIT_SECONDS);
        test->run();
        exit(0);
    }
    int status = 0;
    bool passed = waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    printf("%s  %s: %s", passed ? "ok    " : "FAILED", program, test->name);
    if (WIFSIGNALED(status)) {
        printf(" (%s)", strsignal(WTERMSIG(status)));
    }
    putchar('\n');
    return passed;
}

/* With an argument: the tests with that in their names. */
int
main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    int failed = 0;
    for (struct unit_test *test = unit_tests; test != NULL; test = test->next) {
        if (argc < 2 || strstr(test->name, argv[1]) != NULL) {
            failed += !unit_run(slash != NULL ? slash + 1 : argv[0], test);
        }
    }
    return failed != 0;
}

#endif
