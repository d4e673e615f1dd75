/* Notes on blocks that need work when they are freed or moved. */
#ifndef ISAN_CORE_BLOCK_NOTES_H
#define ISAN_CORE_BLOCK_NOTES_H

#include "runtime/core/events.h"

enum {
    ISAN__NOTE_CODE = 1,                    /* a code object that has creation sites */
    ISAN__NOTE_INTERP = 2,                  /* an interpreter; value: its slot */
    ISAN__NOTE_OBJECT = 4,                  /* an object in findings; value: its serial */
    ISAN__NOTE_TSTATE = 8,                  /* a thread state; value: tid of the first thread that attached it */
    ISAN__NOTE_SHARED = 16,                 /* isan_share() */
    ISAN__NOTE_TRANSFERRED = 32,            /* isan_transfer() */
};
/* Adds a note.  A value that is not 0 replaces the one before. */
void isan__note_block(char *block, unsigned what, uint32_t value);

uint32_t isan__noted_serial(const char *block);     /* of an object in findings; 0: it was in none */
bool isan__is_declared_shared(const char *block);   /* by the program, with isan_share() */
uint32_t isan__noted_thread(const char *block);     /* the tid of a thread state; 0: unknown */

/* The block is about to be freed and still has its tags.  If it is the state of an interpreter,
 * this returns the interpreter's slot, else 0. */
isan__slot_t isan__noted_block_freed(char *block);
/* realloc() has moved the block; the new one has its tags. */
void isan__noted_block_moved(char *from, char *to);

#endif
