/* What every test of this floor includes: a scratch folder, and a key that signs without a token.
 */
#ifndef KW_AUDIT_SUPPORT_H
#define KW_AUDIT_SUPPORT_H

#include <stdatomic.h>

#include "../base/base_test.h"

#include "audit/audit.h"

/* A key in OpenSSL, as a token would have it. */
struct test_signer {
    struct kw_note_signer signer;
    void *pkey;
    char pem[1024];
    atomic_uint calls; /* checkpoints of several threads may be signed at once */
};
void signer_make(struct test_signer *signer, bool rsa);
void signer_free(struct test_signer *signer);
struct kw_public_key *signer_key(const struct test_signer *signer);

extern struct kw_crypto *crypto;
extern char scratch[256]; /* a folder of the test's own */
extern char dir[300];     /* where its trail is: scratch/trail */
int setup_group(void **state);
int teardown_group(void **state);
int setup_scratch(void **state);
int teardown_scratch(void **state);

struct kw_trail *must_open(uint64_t rotate_bytes);
/* Appends `count` records in one go, each of which tells which one it is. */
void must_append(struct kw_trail *trail, size_t count);
void must_checkpoint(struct kw_trail *trail, struct test_signer *signer);
/* A path in the trail's folder; four at a time. */
const char *in_trail(const char *name);
void read_text(const char *path, char **ret_text, size_t *ret_len);
void write_text(const char *path, const char *text, size_t len);
void shell(const char *format, ...) KW_PRINTF(1, 2);

#endif
