/* runtime/base/os.c: memory, messages, and reading memory that may be gone. */
#include "runtime/base/os.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "unit.h"

/* A mapped page, and behind it one that is not mapped. */
static char *
map_page_before_a_hole(void)
{
    char *page =
        mmap(NULL, 2 * ISAN__PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(page != MAP_FAILED);
    EXPECT_EQ(munmap(page + ISAN__PAGE, ISAN__PAGE), 0);
    return page;
}

static void
expect_peeks(void)
{
    char *page = map_page_before_a_hole(), to[2 * ISAN__PAGE];
    memset(page, 'a', ISAN__PAGE);
    EXPECT(isan__peek(to, page, ISAN__PAGE));
    EXPECT(memcmp(to, page, ISAN__PAGE) == 0);
    EXPECT(isan__peek(to, page + ISAN__PAGE - 1, 1));
    EXPECT(!isan__peek(to, page + ISAN__PAGE - 1, 2));
    EXPECT(!isan__peek(to, page + ISAN__PAGE, 1));
    EXPECT(!isan__peek(to, page, ISAN__PAGE + 1));
    EXPECT(!isan__peek(to, NULL, 8));
    EXPECT(!isan__peek(to, (char *)((uintptr_t)1 << 63), 8));
    EXPECT_EQ(mprotect(page, ISAN__PAGE, PROT_NONE), 0);
    EXPECT(!isan__peek(to, page, 1));
}

TEST(memory_that_is_not_mapped_is_not_read)
{
    expect_peeks();
}

/* process_vm_readv() is fatal here, as under the filters of some services. */
TEST(memory_is_read_under_a_filter_of_system_calls)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = { sizeof code / sizeof *code, code };
    char to[8];
    EXPECT(isan__peek(to, "earlier", 8)); /* some programs install their filter late */
    EXPECT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    EXPECT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
    expect_peeks();
}

TEST(errno_stays)
{
    char *page = map_page_before_a_hole(), to[8];
    errno = 12345;
    EXPECT(!isan__peek(to, page + ISAN__PAGE, 8));
    EXPECT_EQ(errno, 12345);
    EXPECT(isan__peek(to, page, 8));
    EXPECT_EQ(errno, 12345);
}

TEST(a_string_that_ends_before_a_hole_is_read)
{
    char *page = map_page_before_a_hole(), to[256];
    for (size_t n = 0; n < 200; n++) {
        char *string = page + ISAN__PAGE - n - 1;
        memset(string, 'x', n);
        string[n] = 0;
        EXPECT(isan__peek_string(to, string, sizeof to));
        EXPECT_EQ(strlen(to), n);
    }
}

TEST(a_string_that_runs_into_a_hole_is_refused)
{
    char *page = map_page_before_a_hole(), to[256];
    memset(page, 'x', ISAN__PAGE);
    for (size_t n = 0; n < 200; n++) {
        EXPECT(!isan__peek_string(to, page + ISAN__PAGE - n, sizeof to));
    }
    EXPECT(
        isan__peek_string(to, page + ISAN__PAGE - 255, sizeof to)); /* all that there is room for */
    EXPECT_EQ(strlen(to), 255);
}

TEST(a_long_string_is_cut)
{
    char to[8];
    EXPECT(isan__peek_string(to, "0123456789", sizeof to));
    EXPECT_STR(to, "0123456");
    EXPECT(isan__peek_string(to, "0123456789", 1));
    EXPECT_STR(to, "");
}

static int n_asked;

static bool
is_known(const char *from, size_t size)
{
    (void)from, (void)size;
    n_asked++;
    return true;
}

TEST(known_memory_is_read_without_a_system_call)
{
    char to[8];
    isan__is_known_memory = is_known;
    EXPECT(isan__peek(to, "1234567", 8));
    EXPECT_STR(to, "1234567");
    EXPECT_EQ(n_asked, 1);
}

TEST(a_child_reads_its_own_memory)
{
    static volatile int where = 1;
    int to = 0, status;
    EXPECT(isan__peek(&to, (const void *)&where, sizeof to));
    pid_t child = fork();
    if (child == 0) {
        where = 2;
        isan__os_forked();
        _exit(isan__peek(&to, (const void *)&where, sizeof to) && to == 2 ? 0 : 1);
    }
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
}

TEST(mapped_memory_is_zero_and_of_whole_pages)
{
    char *one = isan__map(1), *other = isan__map(ISAN__PAGE + 1);
    EXPECT(one != NULL && other != NULL);
    EXPECT_EQ((uintptr_t)one % ISAN__PAGE, 0);
    for (size_t i = 0; i < 2 * ISAN__PAGE; i++) {
        EXPECT_EQ(other[i], 0);
    }
    memset(other, 1, 2 * ISAN__PAGE);
    EXPECT_EQ(*one, 0);
    isan__unmap(other, ISAN__PAGE + 1);
    char to;
    EXPECT(!isan__peek(&to, other + ISAN__PAGE, 1));
    EXPECT(isan__peek(&to, one, 1));
    isan__unmap(NULL, 1);
}

TEST(more_memory_than_there_is_gives_none)
{
    EXPECT(isan__map((size_t)1 << 60) == NULL);
}

TEST(addresses_of_user_space)
{
    EXPECT(!isan__is_user_address(0));
    EXPECT(!isan__is_user_address(ISAN__PAGE - 1));
    EXPECT(isan__is_user_address(ISAN__PAGE));
    EXPECT(isan__is_user_address(((uint64_t)1 << 47) - 1));
    EXPECT(!isan__is_user_address((uint64_t)1 << 47));
    EXPECT(!isan__is_user_address(UINT64_MAX));
}

TEST(dying_says_why_on_one_line)
{
    char text[4096];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    EXPECT_DEATH(isan__die("no %s", "room"), "isan: no room\n");
    EXPECT_DEATH(isan__die("%s", text), "x\n");
}

static void *
get_tid(void *arg)
{
    *(uint32_t *)arg = isan__tid();
    return NULL;
}

TEST(a_thread_lives_until_it_has_ended)
{
    pthread_t thread;
    uint32_t tid = 0;
    EXPECT(isan__thread_lives(isan__tid()));
    pthread_create(&thread, NULL, get_tid, &tid);
    pthread_join(thread, NULL);
    EXPECT(tid != 0 && tid != isan__tid());
    while (isan__thread_lives(tid)) { /* pthread_join() may return a little earlier */
        usleep(1000);
    }
}
