/* The child process that answers, and its replacement when a file kills it.
 *
 * libdw was not written for hostile files.  If a file crashes the worker or makes it loop, the
 * answer for that file is an error, and a new worker takes over.
 */
#ifndef SYMBOLIZE_WORKER_H
#define SYMBOLIZE_WORKER_H

#include <stdio.h>

/* Write the answer to one line of requests; 0, or -1 with errno set if no worker can be started. */
int worker_answer(const char *line, FILE *out);
void worker_stop(void);

#endif
