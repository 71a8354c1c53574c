/* What wrapping and unwrapping a private key share. */
#ifndef KW_PKCS11_TRANSFER_H
#define KW_PKCS11_TRANSFER_H

#include "internal.h"

/* Newer than the headers of some systems. */
#define KW_CKM_AES_KEY_WRAP_KWP 0x210BUL

/* The ladder, best first: a mechanism that does it whole, then those that do the RFC 5649 part, or
 * claim to: on some tokens CKM_AES_KEY_WRAP_PAD is another algorithm. */
struct kw_transfer_way {
    CK_MECHANISM_TYPE mechanism;
    bool whole;
    const char *name;
    const char *name_with_zeros; /* the token adds zero bytes to the key before it wraps it */
    const char *name_without;    /* and they were taken off here */
};
#define KW_TRANSFER_WAYS 3
extern const struct kw_transfer_way kw_transfer_ways[KW_TRANSFER_WAYS];

/* A mechanism with its parameters; not to be copied. */
struct kw_transfer_mechanism {
    CK_MECHANISM mechanism;
    CK_RSA_PKCS_OAEP_PARAMS oaep;
    struct kw_rsa_aes_params whole;
};
void kw_transfer_mechanism_init(struct kw_transfer_mechanism *mechanism, CK_MECHANISM_TYPE type);

/* A transfer at work in one session. */
struct kw_transfer {
    struct kw_token *token;
    struct kw_session *session;
    const char *doing;           /* what is being tried, for messages: "the token failed to ..." */
    CK_OBJECT_HANDLE objects[4]; /* session objects, destroyed by kw_transfer_clear */
    size_t object_count;
};
/* Remembers a session object. */
void kw_transfer_keep(struct kw_transfer *transfer, CK_OBJECT_HANDLE object);
/* Where one can't be destroyed the session is closed, which destroys it too. */
void kw_transfer_clear(struct kw_transfer *transfer);

/* The token's key pair of which both halves are known, for trying out what it does. */
enum kw_status kw_transfer_trial(struct kw_token *token, const struct kw_throwaway **ret_trial,
                                 struct kw_error *err);

/* Why a way was not open. */
struct kw_transfer_refusal {
    CK_RV rv;
    const char *doing;
};
enum kw_status kw_transfer_fail(struct kw_transfer *transfer, CK_RV rv, struct kw_error *err);
/* A way ended with `rv`. KW_OK: it is not open, why is in *ret_refusal, and the next one may be
 * tried. Else trying that is no use, and the status is kw_transfer_fail's. */
enum kw_status kw_transfer_refuse(struct kw_transfer *transfer, CK_RV rv,
                                  struct kw_transfer_refusal *ret_refusal, struct kw_error *err);
/* The refusal that tells most: the first that is not just for want of a mechanism. */
const struct kw_transfer_refusal *
kw_transfer_reason(const struct kw_transfer_refusal refusals[KW_TRANSFER_WAYS]);

/* ---- a key that comes in: transfer_in.c ---- */

struct kw_unwrapping {
    const struct kw_token_key *kek;
    const uint8_t *wrapped;
    size_t wrapped_len;
    const struct kw_throwaway *trial; /* the key that is in `sample` */
    struct kw_buffer sample;          /* a key without worth, wrapped as it should be */
};
/* To be cleaned up, after a failure too. KW_KEY_UNUSABLE for such a KEK, KW_METADATA for a length
 * that can't be. */
enum kw_status kw_unwrapping_init(struct kw_unwrapping *job, struct kw_token *token,
                                  const struct kw_token_key *kek, const uint8_t *wrapped,
                                  size_t wrapped_len, struct kw_error *err);
void kw_unwrapping_cleanup(struct kw_unwrapping *job);

/* How it goes: tried out with the sample, and nothing that came from outside. */
struct kw_unwrapping_way {
    CK_OBJECT_HANDLE kek;
    const struct kw_transfer_way *way;
};
enum kw_status kw_unwrapping_start(struct kw_transfer *transfer, const struct kw_unwrapping *job,
                                   const struct kw_key_plan *plan,
                                   struct kw_unwrapping_way *ret_way, struct kw_error *err);
/* As planned, or the same for this session only where `scratch`. */
enum kw_status kw_unwrapping_go(struct kw_transfer *transfer, const struct kw_unwrapping *job,
                                const struct kw_unwrapping_way *way, const struct kw_key_plan *plan,
                                bool scratch, CK_OBJECT_HANDLE *ret_key, struct kw_error *err);
/* What the token tells of a key that was just unwrapped. KW_KEY_UNUSABLE where it lacks the public
 * numbers. */
enum kw_status kw_unwrapping_read(struct kw_transfer *transfer, CK_OBJECT_HANDLE scratch,
                                  struct kw_token_key *ret_key, struct kw_error *err);
void kw_unwrapping_template(struct kw_template *template, const struct kw_key_plan *plan,
                            bool scratch);
/* Whether a failed C_UnwrapKey is the token's fault, and not that of what was wrapped. */
bool kw_unwrapping_blames_token(CK_RV rv);
/* What to say of a failed C_UnwrapKey: KW_KEY_UNWRAP, the same for every cause in what was wrapped,
 * or KW_TOKEN. */
enum kw_status kw_unwrapping_failed(struct kw_transfer *transfer, CK_RV rv, struct kw_error *err);

/* ---- a key that goes out: transfer_out.c, relay.c ---- */

/* CKR_OK where the way, which is not a whole one, gives the known answer. Clears the transfer.
 * *ret_zeros: with zero bytes after what it wraps. */
CK_RV kw_transfer_known_answer(struct kw_transfer *transfer, const struct kw_transfer_way *way,
                               const struct kw_throwaway *trial, bool *ret_zeros);
/* Asked of the token: KW_KEY_UNUSABLE where the key may not leave it. */
enum kw_status kw_transfer_check_extractable(struct kw_transfer *transfer, CK_OBJECT_HANDLE key,
                                             const char *key_label, struct kw_error *err);
/* CKR_OK where the way unwraps `wrapped` with the AES key and that is `key`. */
CK_RV kw_transfer_verify(struct kw_transfer *transfer, const struct kw_transfer_way *way,
                         CK_OBJECT_HANDLE aes, const uint8_t *wrapped, size_t len,
                         const struct kw_token_key *key);

/* ---- AES keys of the token: aes_find.c ---- */

/* The one AES-256 key that has the id and label of `aes` now. KW_KEY_NOT_FOUND, KW_KEY_AMBIGUOUS.
 */
enum kw_status kw_aes_find(struct kw_token *token, struct kw_session *session,
                           const struct kw_token_key *aes, CK_OBJECT_HANDLE *ret_handle,
                           struct kw_error *err);

#endif
