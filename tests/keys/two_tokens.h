/* Two tokens with the same keys, and a keyring over both: the first is reached through the module
 * with faults, the second through a copy of SoftHSM2's, so that a C_Finalize of the one is none of
 * the other. */
#ifndef KW_TEST_TWO_TOKENS_H
#define KW_TEST_TWO_TOKENS_H

#include "../pkcs11/fixture.h"

#include "keys/internal.h"

#define SPARE      "spare"
#define NAME       "kw-shared"
#define SPARE_NAME "kw-other-name"
#define NAMESAKE   "kw-namesake" /* of this name both tokens have a key, but not the same */
#define ONLY_HERE  "kw-only"     /* the second one has none like it */

extern char wrong_pin_path[128], copy_path[128], trail_path[128];
extern uint8_t wrapped[KW_RSA_MAX_BYTES]; /* to the key of both */
extern size_t wrapped_len;

/* A group fixture, with hsm_teardown. */
int two_tokens_setup(void **state);

struct plan {
    const char *first_module, *second_module; /* NULL: the module with faults, the copy */
    const char *first_pin, *second_pin;       /* NULL: the file with the right one */
    uint64_t probe_ms;                        /* 0: it is not due before the test is over */
    bool without;                             /* no failover */
    kw_ask_pin_fn ask_pin;
};
/* [token a] with the failover [token b]; a new trail each time. */
struct kw_keyring *two_tokens_open(const struct plan *plan);

/* What is on its trail, a line each: op, token, phase and status. */
struct telling {
    char text[8192];
    size_t len;
    const char *op; /* the detail of this one is kept */
    char detail[1024], ck_rv[32];
};
void two_tokens_read_trail(struct telling *telling);

#endif
