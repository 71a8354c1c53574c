/* What the files that probe a token share. */
#ifndef KW_PKCS11_PROBE_H
#define KW_PKCS11_PROBE_H

#include "transfer.h"

/* An RSA-2048 key pair for a session. */
struct kw_probe_pair {
    CK_RV rv; /* why there is none */
    CK_OBJECT_HANDLE private_handle, public_handle;
    struct kw_token_key key;
};
enum kw_probe_use {
    KW_PROBE_SEALED,     /* decrypts and unwraps, and does not leave the token */
    KW_PROBE_EXPORTABLE, /* the same, but extractable */
    KW_PROBE_SIGNING,
};

struct kw_probing {
    struct kw_token *token;
    CK_SLOT_ID slot;
    const struct kw_throwaway *trial;
    struct kw_secret *known;     /* 32 random bytes */
    struct kw_session session;   /* of one probe, and not of the pairs */
    struct kw_transfer transfer; /* what the probe makes in that session */
    CK_RV lost;                  /* why that session could not be opened */
    struct kw_probe_pair pairs[2];
};

/* `which` is the row's own. */
typedef void (*kw_probe_fn)(struct kw_probing *probing, size_t which,
                            struct kw_probe_result *result);

void kw_probe_set(struct kw_probe_result *result, enum kw_probe_answer answer, const char *format,
                  ...) KW_PRINTF(3, 4);
/* "<what> (CKR_...)". */
void kw_probe_set_rv(struct kw_probe_result *result, enum kw_probe_answer answer, const char *what,
                     CK_RV rv);
/* The pair, or NULL after setting *result to unknown. */
const struct kw_probe_pair *kw_probe_pair(const struct kw_probing *probing, enum kw_probe_use use,
                                          struct kw_probe_result *result);
/* Closes the probe's session and opens another: after a failure some tokens leave the operation
 * active. */
void kw_probe_renew(struct kw_probing *probing);
/* Makes a pair in `session`. */
void kw_probe_make_pair(struct kw_token *token, struct kw_session *session, enum kw_probe_use use,
                        struct kw_probe_pair *pair);

/* ---- probe_decrypt.c ---- */

enum kw_probe_decryption {
    KW_PROBE_OAEP,
    KW_PROBE_OAEP_256,
    KW_PROBE_RSA1_5,
    KW_PROBE_RAW,
    KW_PROBE_OAEP_256_ON_HOST
};
void kw_probe_decrypt(struct kw_probing *probing, size_t which, struct kw_probe_result *result);
void kw_probe_tampered(struct kw_probing *probing, size_t which, struct kw_probe_result *result);
void kw_probe_speed(struct kw_probing *probing, size_t which, struct kw_probe_result *result);

/* ---- probe_wrap.c: `which` is an index of kw_transfer_ways, where it is used ---- */

void kw_probe_wrap_aes(struct kw_probing *probing, size_t which, struct kw_probe_result *result);
void kw_probe_wrap_kwp(struct kw_probing *probing, size_t which, struct kw_probe_result *result);
void kw_probe_wrap_whole(struct kw_probing *probing, size_t which, struct kw_probe_result *result);
void kw_probe_extractable(struct kw_probing *probing, size_t which, struct kw_probe_result *result);

/* ---- probe_byok.c ---- */

void kw_probe_byok_out(struct kw_probing *probing, size_t which, struct kw_probe_result *result);
void kw_probe_byok_in(struct kw_probing *probing, size_t which, struct kw_probe_result *result);
/* Whether the host finds the pair's private key in what was wrapped for the trial key. */
bool kw_probe_opens(const struct kw_probing *probing, const struct kw_probe_pair *pair,
                    const uint8_t *wrapped, size_t len);

/* ---- probe_sign.c ---- */

enum kw_probe_signature { KW_PROBE_ECDSA, KW_PROBE_PSS };
void kw_probe_sign(struct kw_probing *probing, size_t which, struct kw_probe_result *result);

#endif
