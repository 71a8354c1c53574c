/* What a backup says of the key that it is of. */
#include <string.h>

#include "byok/byok.h"

enum kw_status kw_backup_describe(struct kw_keyring *keyring, const struct kw_token_key *key,
                                  const struct kw_kek *kek, struct kw_backup *backup,
                                  struct kw_error *err)
{
    struct kw_crypto *crypto = kw_keyring_crypto(keyring);
    const struct kw_token_info *token = NULL;
    enum kw_status status = kw_keyring_token(keyring, &token, err);
    if (!status)
        status = kw_rsa_fingerprint(crypto, &key->public, backup->key.fingerprint, err);
    if (!status && !kek->aes)
        status = kw_rsa_fingerprint(crypto, &kek->key.public, backup->kek.fingerprint, err);
    if (status)
        return status;
    kw_timestamp(time(NULL), backup->created);
    memcpy(backup->key.name, key->label, sizeof(backup->key.name));
    memcpy(backup->key.id, key->id, key->id_len);
    backup->key.id_len = key->id_len;
    backup->key.bits = (unsigned)kw_rsa_bits(&key->public);
    memcpy(backup->key.not_before, key->not_before, sizeof(backup->key.not_before));
    memcpy(backup->key.expires, key->expires, sizeof(backup->key.expires));
    backup->key.extractable = key->extractable;
    backup->token = *token;
    backup->kek.aes = kek->aes;
    memcpy(backup->kek.label, kek->key.label, sizeof(backup->kek.label));
    memcpy(backup->kek.id, kek->key.id, kek->key.id_len);
    backup->kek.id_len = kek->key.id_len;
    return KW_OK;
}
