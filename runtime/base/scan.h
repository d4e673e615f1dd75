/* THE loop that looks for pointers in memory. */
#ifndef ISAN_BASE_SCAN_H
#define ISAN_BASE_SCAN_H

#include "runtime/base/os.h"

/* The word at `at` bytes from the start of the range, which may be an address of user space.
 * False ends the scan. */
typedef bool isan__word_visitor(size_t at, uint64_t word, void *arg);

/* Visits the aligned words of [words, words + size) that may be addresses.  The memory is
 * readable and stays so.  `base` is added to each `at`.  False: the visitor ended the scan.
 *
 * Inlined, so that a visitor that is known where this is called is inlined too. */
ISAN__ALWAYS_INLINE bool
isan__scan_words(const void *words, size_t size, size_t base, isan__word_visitor *visit, void *arg)
{
    for (size_t at = 0; at + sizeof(uint64_t) <= size; at += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, (const char *)words + at, sizeof word);
        if (isan__is_user_address(word) && !visit(base + at, word, arg)) {
            return false;
        }
    }
    return true;
}

/* The same of memory that may go at any moment: each piece of it is copied first.  False:
 * the visitor ended the scan, or a piece could not be read. */
ISAN__ALWAYS_INLINE bool
isan__scan_unstable(const void *from, size_t size, isan__word_visitor *visit, void *arg)
{
    uint64_t piece[512];
    for (size_t at = 0; at < size; at += sizeof piece) {
        size_t n = size - at < sizeof piece ? size - at : sizeof piece;
        if (!isan__peek(piece, (const char *)from + at, n) || !isan__scan_words(piece, n, at, visit, arg)) {
            return false;
        }
    }
    return true;
}

#endif
