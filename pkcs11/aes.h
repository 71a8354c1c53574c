/* Ways to wrap bytes of the host with an AES key of the token. */
#ifndef KW_PKCS11_AES_H
#define KW_PKCS11_AES_H

#include "transfer.h"

#define KW_AES_UNIT 8 /* bytes: what is wrapped grows by one, after padding to a multiple of it */

struct kw_aes_way {
    CK_MECHANISM_TYPE mechanism; /* 0: there are no more */
    bool at_once;                /* C_Encrypt and C_Decrypt; else by way of a secret key */
};
/* Without padding (RFC 3394) and with it (RFC 5649), best first. That a mechanism has a name does
 * not say which algorithm it is. */
extern const struct kw_aes_way kw_aes_ways[2][KW_AES_WAYS];

/* A secret key of the session that may leave the token; of CKK_AES or CKK_GENERIC_SECRET. */
void kw_aes_add_secret(struct kw_template *template, CK_KEY_TYPE type);
/* C_CreateObject; the transfer remembers it. */
CK_RV kw_aes_create(struct kw_transfer *transfer, const struct kw_template *template,
                    CK_OBJECT_HANDLE *ret_handle);
/* One way, with the handle of an AES key. `out` has room for KW_KWP_SIZE(data_len), which is what
 * is written. */
CK_RV kw_aes_wrap_by(struct kw_transfer *transfer, const struct kw_aes_way *way,
                     CK_OBJECT_HANDLE key, const uint8_t *data, size_t data_len, uint8_t *out);
/* `secret` has room for wrapped_len. *ret_seen: the token looked at what is wrapped. */
CK_RV kw_aes_unwrap_by(struct kw_transfer *transfer, const struct kw_aes_way *way,
                       CK_OBJECT_HANDLE key, const uint8_t *wrapped, size_t wrapped_len,
                       struct kw_secret *secret, bool *ret_seen);

/* What each way does right: tried out with known answers, once a token, or again after a while
 * where it was not able, for that may have been a passing fault: aes_try.c. */
enum kw_status kw_aes_learn(struct kw_token *token, bool padded,
                            struct kw_aes_skill skills[KW_AES_WAYS], struct kw_error *err);

#endif
