/* A key on the token by which a server proves who it is. */
#include <stdlib.h>

#include "internal.h"

/* What was found may be read anew, and go away: this is a copy. */
struct tls_key {
    struct kw_token *token; /* of a keyring, which keeps it */
    struct kw_token_key key;
};

static enum kw_status sign(void *context, enum kw_digest_signature alg, const uint8_t *digest,
                           size_t len, uint8_t out[KW_RSA_MAX_BYTES])
{
    const struct tls_key *tls_key = context;
    return kw_token_sign_digest(tls_key->token, &tls_key->key, alg, digest, len, out, NULL);
}

/* A digest that no handshake has. */
static enum kw_status try(struct kw_keyring *keyring, const struct kw_token_key *key, void *context,
                          struct kw_act *act)
{
    static const uint8_t digest[KW_SHA256_SIZE];
    uint8_t signature[KW_RSA_MAX_BYTES];
    (void)context;
    return kw_token_sign_digest(keyring->token, key, KW_DIGEST_PS256, digest, sizeof(digest),
                                signature, &act->failure);
}

static enum kw_status make(struct kw_keyring *keyring, const struct kw_token_key *key,
                           struct evp_pkey_st **ret_key, struct kw_error *err)
{
    struct tls_key *tls_key = calloc(1, sizeof(*tls_key));
    if (!tls_key)
        return kw_fail_memory(err);
    *tls_key = (struct tls_key){.token = keyring->token, .key = *key};
    const struct kw_signing_key signing = {
        .public = key->public, .sign = sign, .free = free, .context = tls_key};
    return kw_private_key_new(keyring->crypto, &signing, ret_key, err);
}

enum kw_status kw_keyring_tls_key(struct kw_keyring *keyring, const char *text,
                                  const struct kw_purpose *purpose, struct evp_pkey_st **ret_key,
                                  struct kw_rsa_public *ret_public, struct kw_error *err)
{
    const struct kw_token_key *key = NULL;
    struct evp_pkey_st *made = NULL;
    const struct kw_operation operation = {.op = "tls.key",
                                           .alg = kw_digest_signature_name(KW_DIGEST_PS256),
                                           .purpose = purpose,
                                           .work = try};
    enum kw_status status;
    (void)pthread_mutex_lock(&keyring->lock);
    status = kw_keyring_open_token(keyring, err);
    (void)pthread_mutex_unlock(&keyring->lock);
    if (status || (status = kw_keyring_find(keyring, text, text, &key, err)) ||
        (status = kw_operate_here(keyring, key, &operation, err)) ||
        (status = make(keyring, key, &made, err)))
        return status;
    *ret_key = made;
    *ret_public = key->public;
    return KW_OK;
}
