/* Keyrings over a token of SoftHSM2, by way of the module that makes calls fail, with one key whose
 * record is looked at: whoever opens one anew sees what another program would see. */
#ifndef KW_TEST_RING_H
#define KW_TEST_RING_H

#include "../pkcs11/fixture.h"

#include "keys/internal.h"

#define RING_NAME        "kw-state"
#define RING_SIGNER      "kw-signer"
#define RING_APPLICATION "keyward"

extern char ring_config[128]; /* the configuration's path */
extern char ring_uri[512];    /* the token's URI, with module and PIN */

/* Group fixtures of cmocka. */
int ring_setup(void **state);
int ring_teardown(void **state);
void ring_put_text(const char *path, const char *text);

/* ---- the token, past the keyring ---- */

struct kw_token *ring_token(void);
/* The key, always the same one. */
void ring_import(struct kw_token *token);
/* Keys with that label. */
size_t ring_count(struct kw_token *token, const char *label);
/* All records, as they are stored; to be freed with kw_token_data_free. */
struct kw_token_data *ring_stored(struct kw_token *token, size_t *ret_count);
/* The key as it was made, without a record, and no record of others. */
struct kw_token *ring_begin(void);
/* One more object with the label of the key's record, or with `alone` instead of what is there. */
void ring_put_stored(struct kw_token *token, const char *label, const char *value, bool alone);

/* ---- keyrings ---- */

struct kw_keyring *ring_open(void);
const struct kw_token_key *ring_find(struct kw_keyring *keyring, const char *name);
/* The same data key each time, so that it may be kept. */
enum kw_status ring_unwrap(struct kw_keyring *keyring, const struct kw_token_key *key);
/* As a program sees it that begins now. */
enum kw_status ring_unwrap_afresh(void);
enum kw_key_state ring_state_afresh(void);

#endif
