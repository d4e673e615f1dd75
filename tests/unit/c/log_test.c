/* runtime/core/log.c: the log. */
#include "runtime/core/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

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
    isan__log_remove();
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
