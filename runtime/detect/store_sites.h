/* The modules that statics=watch watches, and the stores in their code. */
#ifndef ISAN_DETECT_STORE_SITES_H
#define ISAN_DETECT_STORE_SITES_H

#include "runtime/detect/store_pause.h"
#include "runtime/elf/module.h"

/* An instruction that stores into a variable of its own module. */
struct isan__store_site {
    const uint8_t *at;
    struct isan__store_target to;
    uint64_t visited;                       /* one bit for each interpreter that came here: slot modulo 64 */
    uint64_t next_pause;                    /* no later pause here before that, in ticks */
    uint8_t length, disp_at;                /* of the instruction (struct isan__x86) */
    uint8_t n_pauses;                       /* later ones, up to 3 */
    bool reported;                          /* its variable is in a finding */
};
extern struct isan__store_site *isan__store_sites;
void isan__store_sites_init(void);          /* exits the process if there is no memory */

/* What is watched of a module: its writable data, its code, its sites. */
struct isan__store_code {
    uintptr_t base;                         /* dlpi_addr */
    uintptr_t data, data_end, text, text_end;
    uint32_t first_site, n_sites;
};
/* False: the module is not one that can be watched. */
bool isan__store_sites_find(struct isan__store_code *code, const struct isan__module *module);
void isan__store_sites_drop(const struct isan__store_code *code);      /* the ones that were found last */

/* A watched module has a gate, a word in memory.  Its stores are checked while the gate
 * is not 0: while interpreters with GILs of their own have imported the module. */
bool isan__store_modules_full(void);
void isan__store_module_add(const struct isan__store_code *code, uint64_t *gate);
void isan__store_gates_update(void);
bool isan__store_gate_is_open(uintptr_t address);      /* of the module that has this data; false: none has */

#endif
