/* Writes the log (base/log_format.h). */
#ifndef ISAN_CORE_LOG_H
#define ISAN_CORE_LOG_H

#include "runtime/base/compiler.h"
#include "runtime/base/log_format.h"

extern bool isan__recording;                /* there is a log to write to */
void isan__log_open(void);
void isan__log_close(void);                 /* orderly end: trims the file */
void isan__log_forked(void);                /* in the child */
const char *isan__log_name(void);           /* of its file; "": there is none */
bool isan__log_is_own(void);                /* not that of the process this one was forked from (vfork(2), clone(2)) */
bool isan__log_has_findings(void);          /* or would have: records were dropped */
/* Without a log_path: writes it, and those of the processes that it was forked from, into temporary
 * files.  Returns the name; NULL: this said why not.  It is async-signal-safe. */
const char *isan__log_save(void);
void isan__log_unsave(void);                /* removes these files */
/* Room for a record of `size` bytes; NULL: the log is full (counted).
 * Fill it, then publish. */
void *isan__log_reserve(size_t size);
void isan__log_publish(void *record, uint32_t type);
void isan__log_dropped(void);
const struct isan_rec *isan__log_next(const struct isan_rec *rec);
uint32_t isan__log_findings(void);          /* published so far, without residue */
/* The size of a record's strings, each with its NUL; writes them, and returns the end. */
size_t isan__log_strings_size(const char *const *strings, size_t n);
char *isan__log_put_strings(char *to, const char *const *strings, size_t n);
void isan__log_note(const char *format, ...) ISAN__PRINTF(1, 2);

#endif
