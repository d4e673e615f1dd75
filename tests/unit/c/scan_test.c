/* runtime/base/scan.h: the loop that looks for pointers in memory. */
#include "runtime/base/scan.h"

#include "unit.h"

enum { MOST = 16 };

struct seen {
    size_t n, last; /* how many; the visitor ends the scan after `last` of them, if it is not 0 */
    size_t at[MOST];
    uint64_t word[MOST];
};

static bool
note_word(size_t at, uint64_t word, void *arg)
{
    struct seen *seen = arg;
    EXPECT(seen->n < MOST);
    seen->at[seen->n] = at;
    seen->word[seen->n++] = word;
    return seen->n != seen->last;
}

static const uint64_t low = ISAN__PAGE, high = ((uint64_t)1 << 47) - 1;

TEST(words_that_may_be_addresses_are_visited)
{
    uint64_t words[] = { 0, 1, low - 1, low, high, high + 1, UINT64_MAX, low + 1 };
    struct seen seen = { 0 };
    EXPECT(isan__scan_words(words, sizeof words, 1000, note_word, &seen));
    EXPECT_EQ(seen.n, 3);
    EXPECT_EQ(seen.at[0], 1000 + 3 * 8);
    EXPECT_EQ(seen.at[1], 1000 + 4 * 8);
    EXPECT_EQ(seen.at[2], 1000 + 7 * 8);
    EXPECT_EQ(seen.word[1], high);
    EXPECT_EQ(seen.word[2], low + 1);
}

TEST(only_whole_aligned_words_are_visited)
{
    char bytes[8 + 7];
    uint64_t word = 0x123456789abc;
    struct seen seen = { 0 };
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes + 4, &word, sizeof word); /* the words before and after it are no addresses */
    EXPECT(isan__scan_words(bytes, sizeof bytes, 0, note_word, &seen));
    EXPECT_EQ(seen.n, 0);
    memcpy(bytes, &word, sizeof word);
    for (size_t size = 0; size <= sizeof bytes; size++) {
        seen.n = 0;
        EXPECT(isan__scan_words(bytes, size, 0, note_word, &seen));
        EXPECT_EQ(seen.n, size >= 8);
    }
}

TEST(the_visitor_ends_the_scan)
{
    uint64_t words[] = { low, low, low, low };
    struct seen seen = { .last = 2 };
    EXPECT(!isan__scan_words(words, sizeof words, 0, note_word, &seen));
    EXPECT_EQ(seen.n, 2);
    seen = (struct seen){ .last = 3 };
    EXPECT(!isan__scan_unstable(words, sizeof words, note_word, &seen));
    EXPECT_EQ(seen.n, 3);
}

/* Three pages, of which each has one address in its last word. */
static uint64_t *
map_pages(void)
{
    uint64_t *words =
        mmap(NULL, 3 * ISAN__PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(words != MAP_FAILED);
    for (uint64_t page = 1; page <= 3; page++) {
        words[page * ISAN__PAGE / 8 - 1] = low + page;
    }
    return words;
}

TEST(pieces_follow_each_other)
{
    const uint64_t *words = map_pages();
    struct seen seen = { 0 };
    EXPECT(isan__scan_unstable(words, 3 * ISAN__PAGE, note_word, &seen));
    EXPECT_EQ(seen.n, 3);
    for (size_t page = 1; page <= 3; page++) {
        EXPECT_EQ(seen.at[page - 1], page * ISAN__PAGE - 8);
        EXPECT_EQ(seen.word[page - 1], low + page);
    }
    seen = (struct seen){ 0 };
    EXPECT(isan__scan_unstable(words, 2 * ISAN__PAGE + 8, note_word, &seen));
    EXPECT_EQ(seen.n, 2);
    seen = (struct seen){ .last = 2 };
    EXPECT(!isan__scan_unstable(words, 3 * ISAN__PAGE, note_word, &seen));
    EXPECT_EQ(seen.n, 2);
}

TEST(a_piece_that_cannot_be_read_ends_the_scan)
{
    uint64_t *words = map_pages();
    struct seen seen = { 0 };
    EXPECT_EQ(munmap((char *)words + ISAN__PAGE, ISAN__PAGE), 0);
    EXPECT(!isan__scan_unstable(words, 3 * ISAN__PAGE, note_word, &seen));
    EXPECT_EQ(seen.n, 1);
    EXPECT(isan__scan_unstable(words, ISAN__PAGE, note_word, &seen));
}
