/* runtime/core/finding.c: the constructor of findings. */
#include "runtime/core/finding.h"

#include <pthread.h>

#include "runtime/base/options.h"
#include "runtime/base/table.h"
#include "shadow.h"

static char directory[] = "/tmp/isan-finding-test-XXXXXX";
static uint32_t n_stacks;

/* runtime/core/origin.c, transfer.c, block_notes.c: what a finding asks of them. */
uint32_t
isan__record_stack(void *ucontext)
{
    (void)ucontext;
    return __atomic_add_fetch(&n_stacks, 1, __ATOMIC_RELAXED);
}

bool
isan__origin_is_stack(uint32_t origin)
{
    (void)origin;
    return false;
}

uint32_t
isan__creator_of(const char *block)
{
    (void)block;
    return 0;
}

static uint32_t serial_of_block;

uint32_t
isan__noted_serial(const char *block)
{
    (void)block;
    return serial_of_block;
}

void
isan__note_block(char *block, unsigned what, uint32_t value)
{
    (void)block, (void)what;
    serial_of_block = value;
}

static void
begin(void)
{
    EXPECT(mkdtemp(directory) != NULL);
    snprintf(isan__options.log_path, sizeof isan__options.log_path, "%s", directory);
    isan__options.slots = 16;
    isan__interps_init();
    isan__log_open();
}

static void
end(void)
{
    EXPECT_EQ(unlink(isan__log_name()), 0);
    EXPECT_EQ(rmdir(directory), 0);
}

static struct isan_rec_finding *
make(uint64_t number, uint32_t object)
{
    return isan__finding_make(&(struct isan__finding){
        .kind = ISAN__KIND_share,
        .access = ISAN__ACCESS_incref,
        .type = "dict",
        .key = isan__table_key(ISAN__KEY_USE, &number, sizeof number),
        .object = { .serial = object },
    });
}

TEST(a_finding_is_known_by_its_key)
{
    begin();
    uint64_t one = 1;
    uint64_t key = isan__table_key(ISAN__KEY_USE, &one, sizeof one);
    EXPECT(isan__finding_known(key) == NULL);
    struct isan_rec_finding *r = make(1, 0);
    EXPECT(isan__finding_known(key) == r);
    EXPECT(isan__finding_known(isan__table_key(ISAN__KEY_STATIC, &one, sizeof one)) == NULL);
    EXPECT_EQ(r->count, 1);
    isan__finding_again(r, NULL);
    EXPECT_EQ(r->count, 2);
    EXPECT_EQ(isan__finding_kind(r->id), ISAN__KIND_share);
    EXPECT_EQ(isan__finding_kind(r->id + 1), -1);
    end();
}

TEST(an_object_remembers_its_first_findings_and_its_leak)
{
    begin();
    uint32_t ids[16];
    for (uint64_t i = 0; i < 10; i++) {
        make(i, 7);
    }
    EXPECT_EQ(isan__findings_of_object(7, ids, 16), 6);
    EXPECT_EQ(ids[0], 1);
    EXPECT_EQ(ids[5], 6);
    EXPECT_EQ(isan__findings_of_object(8, ids, 16), 0);
    serial_of_block = 7;
    isan__block_leaked(NULL, 42);
    EXPECT_EQ(make(10, 7)->gone, 42);
    isan__finding_became_leak(3, 43);
    end();
}

enum { THREADS = 4, EACH = 200 };

static void *
find_with_one_object(void *arg)
{
    for (uint64_t i = 0; i < EACH; i++) {
        make((uint64_t)arg * EACH + i, 7);
    }
    return NULL;
}

/* Interpreters with GILs of their own use the same object at a time.  Its list of findings
 * has room for six; what lies behind it is its leak. */
TEST(threads_that_find_one_object_at_a_time_keep_to_its_list)
{
    begin();
    pthread_t threads[THREADS];
    uint32_t ids[16];
    for (uintptr_t i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, find_with_one_object, (void *)i);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    EXPECT_EQ(isan__findings_of_object(7, ids, 16), 6);
    for (int i = 0; i < 6; i++) {
        for (int j = 0; j < i; j++) {
            EXPECT(ids[i] != ids[j]);
        }
    }
    EXPECT_EQ(make(THREADS * EACH, 7)->gone, 0); /* no id was stored as its leak */
    end();
}

TEST(an_ignored_finding_counts_for_the_innermost_reason)
{
    begin();
    EXPECT(!isan__ignores());
    isan__self.ignoring = 2;
    isan__self.reason[0] = "outer";
    isan__self.reason[1] = "inner";
    EXPECT(isan__ignores());
    EXPECT(isan__ignores());
    const struct isan_rec_ignored *r = (const void *)isan__log_next(NULL);
    EXPECT_EQ(r->rec.type, ISAN_REC_IGNORED);
    EXPECT_EQ(r->count, 2);
    EXPECT_STR(r->text, "inner");
    end();
}
