/* The modules that statics=watch watches, and the stores in their code. */
#ifndef ISAN_DETECT_STORE_SITES_H
#define ISAN_DETECT_STORE_SITES_H

#include "runtime/detect/store_pause.h"
#include "runtime/elf/module.h"

/* An instruction that stores into a variable of its own module. */
struct isan__store_site {
    const uint8_t *at;
    struct isan__store_target to;
    uint64_t visited;                       /* the interpreters that have been here: bit slot % 64 */
    uint64_t next_pause;                    /* the next later pause here is not before that, in ticks */
    uint8_t length, disp_at;                /* of the instruction (struct isan__x86) */
    uint8_t n_pauses;                       /* later ones, up to 3 */
    bool reported;                          /* its variable is in a finding */
};
extern struct isan__store_site *isan__store_sites;
void isan__store_sites_init(void);          /* exits the process if there is no memory */

/* The writable data, code and sites of a watched module. */
struct isan__store_code {
    uintptr_t base;                         /* dlpi_addr */
    uintptr_t data, data_end, text, text_end;
    uint32_t first_site, n_sites;
};
/* Finds them.  False: the module cannot be watched. */
bool isan__store_sites_find(struct isan__store_code *code, const struct isan__module *module);
void isan__store_sites_drop(const struct isan__store_code *code);      /* forgets the sites that were found last */

/* A watched module has a gate, a word in memory.  Its stores are checked while the gate
 * is not 0: while interpreters with GILs of their own have imported the module. */
bool isan__store_modules_full(void);        /* no more modules can be watched */
void isan__store_module_add(const struct isan__store_code *code, uint64_t *gate);
void isan__store_gates_update(void);
/* Is the gate of the module with this data open?  False: the address is in no watched module. */
bool isan__store_gate_is_open(uintptr_t address);

#endif
