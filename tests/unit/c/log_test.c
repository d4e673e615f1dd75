/* runtime/core/log.c: the log. */
#include "runtime/core/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "runtime/base/options.h"
#include "unit.h"

static char directory[] = "/tmp/isan-log-test-XXXXXX";

static void
open_log(void)
{
    EXPECT(mkdtemp(directory) != NULL);
    snprintf(isan__options.log_path, sizeof isan__options.log_path, "%s", directory);
    isan__log_open();
    EXPECT(isan__recording);
}

/* Removes the log, so that a test leaves nothing. */
static void
remove_log(void)
{
    EXPECT_EQ(unlink(isan__log_name()), 0);
    EXPECT_EQ(rmdir(directory), 0);
}

TEST(records_are_read_in_the_order_they_were_written)
{
    open_log();
    isan__log_note("first");
    isan__log_note("second %d", 2);
    const struct isan_rec *rec = isan__log_next(NULL);
    EXPECT_EQ(rec->type, ISAN_REC_NOTE);
    EXPECT_STR(((const struct isan_rec_note *)rec)->text, "first");
    rec = isan__log_next(rec);
    EXPECT_STR(((const struct isan_rec_note *)rec)->text, "second 2");
    EXPECT(isan__log_next(rec) == NULL);
    remove_log();
}

TEST(a_record_that_is_not_published_is_passed_over)
{
    open_log();
    EXPECT(isan__log_reserve(sizeof(struct isan_rec_exit)) != NULL);
    isan__log_note("after it");
    EXPECT_STR(((const struct isan_rec_note *)isan__log_next(NULL))->text, "after it");
    remove_log();
}

TEST(strings_follow_each_other_with_their_ends)
{
    static const char *const strings[] = { "one", "", "three" };
    char text[16];
    EXPECT_EQ(isan__log_strings_size(strings, 3), 4 + 1 + 6);
    EXPECT(isan__log_put_strings(text, strings, 3) == text + 11);
    EXPECT(memcmp(text, "one\0\0three", 11) == 0);
}

enum { THREADS = 4, NOTES = 4000, BYTES = 400 };

static void *
write_notes(void *arg)
{
    char text[BYTES + 1];
    memset(text, 'x', BYTES);
    text[BYTES] = 0;
    for (int i = 0; i < NOTES; i++) {
        isan__log_note("%s", text);
    }
    return arg;
}

/* Their 6.5 MB grow the file many times, from all threads at a time. */
TEST(threads_that_write_at_a_time_lose_no_record)
{
    open_log();
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, write_notes, NULL);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    int n = 0;
    for (const struct isan_rec *rec = NULL; (rec = isan__log_next(rec)) != NULL;) {
        EXPECT_EQ(strlen(((const struct isan_rec_note *)rec)->text), BYTES);
        n++;
    }
    EXPECT_EQ(n, THREADS * NOTES);
    remove_log();
}

TEST(a_program_that_closes_all_descriptors_loses_no_record)
{
    open_log();
    for (int fd = 3; fd < 2048; fd++) {
        close(fd);
    }
    write_notes(NULL); /* more than the file has room for */
    int n = 0;
    for (const struct isan_rec *rec = NULL; (rec = isan__log_next(rec)) != NULL;) {
        n++;
    }
    EXPECT_EQ(n, NOTES);
    remove_log();
}

TEST(a_closed_log_is_cut_to_its_records_and_takes_no_more)
{
    open_log();
    char name[4096];
    struct stat file;
    snprintf(name, sizeof name, "%s", isan__log_name());
    isan__log_note("the only one");
    isan__log_close();
    EXPECT(!isan__recording);
    EXPECT(isan__log_reserve(64) == NULL);
    EXPECT_EQ(stat(name, &file), 0);
    EXPECT(file.st_size < 3 * 4096);
    remove_log();
}

TEST(a_full_log_counts_what_it_drops)
{
    open_log();
    EXPECT(isan__log_reserve((size_t)2 << 30) == NULL);
    int fd = open(isan__log_name(), O_RDONLY);
    struct isan_log_header header;
    EXPECT_EQ(read(fd, &header, sizeof header), sizeof header);
    EXPECT_EQ(header.dropped, 1);
    remove_log();
}

/* Without a log_path. */
static void
open_memory(void)
{
    EXPECT(mkdtemp(directory) != NULL);
    setenv("TMPDIR", directory, 1);
    isan__log_open();
    EXPECT(isan__recording && isan__log_is_own());
    EXPECT_STR(isan__log_name(), "");
    EXPECT_EQ(rmdir(directory), 0); /* there is no file */
    EXPECT_EQ(mkdir(directory, 0700), 0);
}

/* Checks a file that was saved; the name of its parent. */
static const char *
read_saved(const char *name, uint32_t pid, size_t size)
{
    static struct isan_log_header header;
    struct stat file;
    int fd = open(name, O_RDONLY);
    EXPECT_EQ(read(fd, &header, sizeof header), sizeof header);
    EXPECT_EQ(fstat(fd, &file), 0);
    EXPECT_EQ(file.st_mode & 0777, 0600);
    EXPECT_EQ(header.pid, pid);
    EXPECT((size_t)file.st_size >= size && header.tail == (uint64_t)file.st_size);
    close(fd);
    return header.parent;
}

TEST(a_log_in_memory_is_saved_for_the_reporter)
{
    open_memory();
    write_notes(NULL); /* more than it has at first */
    isan__log_close();
    const char *name = isan__log_save();
    EXPECT(name != NULL);
    EXPECT_STR(read_saved(name, (uint32_t)getpid(), NOTES * BYTES), "");
    isan__log_unsave();
    EXPECT_EQ(rmdir(directory), 0);
}

TEST(a_log_in_memory_that_cannot_be_saved_leaves_nothing)
{
    open_memory();
    struct rlimit limit = { 100, 100 };
    setrlimit(RLIMIT_FSIZE, &limit);
    signal(SIGXFSZ, SIG_IGN);
    EXPECT(isan__log_save() == NULL);
    EXPECT_EQ(rmdir(directory), 0);
}

static void
in_forked_child(void (*function)(uint32_t), uint32_t number)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        isan__log_forked();
        function(number);
        exit(0);
    }
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
}

static void
save_as_child(uint32_t parent)
{
    EXPECT(!isan__log_is_own() && isan__log_findings() == 0);
    isan__log_note("of the child");
    const char *name = isan__log_save();
    EXPECT(name != NULL);
    const char *of_parent = read_saved(name, (uint32_t)getpid(), 0);
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, of_parent);
    EXPECT_STR(read_saved(path, parent, NOTES * BYTES), "");
    isan__log_unsave();
}

TEST(a_forked_child_saves_what_its_parent_recorded)
{
    open_memory();
    write_notes(NULL);
    in_forked_child(save_as_child, (uint32_t)getpid());
    EXPECT(isan__log_is_own());
    EXPECT_EQ(rmdir(directory), 0);
}

static void
fork_again(uint32_t generations)
{
    isan__log_note("generation");
    if (generations > 0) {
        in_forked_child(fork_again, generations - 1);
    }
    else {
        EXPECT(isan__log_save() != NULL);
        isan__log_unsave();
    }
}

TEST(of_many_generations_the_first_are_forgotten)
{
    open_memory();
    in_forked_child(fork_again, 40);
    EXPECT_EQ(rmdir(directory), 0);
}
