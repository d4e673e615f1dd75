/* Blocks that the program has transferred to another interpreter (isan_transfer). */
#ifndef ISAN_CORE_TRANSFER_H
#define ISAN_CORE_TRANSFER_H

#include "runtime/core/events.h"

uint32_t isan__creator_of(const char *block);       /* serial of its creator, if it was transferred; else 0 */
isan__slot_t isan__heap_of(const char *block);      /* the interpreter of its allocator; 0: the process */
bool isan__shares_heap(isan__slot_t heap, isan__slot_t slot);   /* may `slot` free memory of `heap`? */

void isan__transfer_block(char *block, isan__slot_t to);
/* A noted block is about to be freed or resized in the interpreter `by`.  If its transfer does not
 * allow that, the transfer is over.  Returns the owner. */
isan__slot_t isan__transfer_end(char *block, isan__slot_t by);
/* An interpreter has ended: the transfers of blocks from its own allocator are over. */
void isan__transfers_end_of(isan__slot_t ended);

/* Subscribers of noted_block_freed and noted_block_moved. */
void isan__transfer_block_freed(const struct isan__noted_block *noted);
void isan__transfer_block_moved(const struct isan__moved_block *moved);

#endif
