/* A private key on its way from one token to another by way of a third, and to and from an AES key:
 * session objects for the time that it takes, and never in clear outside of a token. */
#include <stdlib.h>
#include <string.h>

#include "transfer.h"

#define GUEST_ID_SIZE  16
#define TRANSPORT_BITS 3072 /* as strong as AES-128 (NIST SP 800-57 part 1) */

/* ---- session objects with a name of their own ---- */

/* A plan for a key that no other has the id of; `id` must outlive it. */
static enum kw_status guest_plan(struct kw_token *token, const char *label, bool extractable,
                                 uint8_t id[GUEST_ID_SIZE], struct kw_key_plan *ret_plan,
                                 struct kw_error *err)
{
    enum kw_status status = kw_random(token->crypto, id, GUEST_ID_SIZE, err);
    if (!status)
        *ret_plan = (struct kw_key_plan){.label = label,
                                         .id = id,
                                         .id_len = GUEST_ID_SIZE,
                                         .bits = TRANSPORT_BITS,
                                         .not_before = "",
                                         .expires = "",
                                         .extractable = extractable};
    return status;
}

/* What is done while a session object is there. */
struct guest {
    const struct kw_key_plan *plan;
    struct kw_unwrapping *unwrapping; /* the RSA way, or */
    const struct kw_wrapped_key *wrapped;
    kw_guest_fn work;
    void *context;
};

static enum kw_status entertain(struct kw_transfer *transfer, const struct guest *guest,
                                const struct kw_token_key *key, struct kw_error *err)
{
    enum kw_status status = guest->work(transfer->token, key, guest->context, err);
    kw_transfer_clear(transfer);
    kw_key_forget(transfer->token, key);
    return status;
}

/* ---- a key pair to carry a key with ---- */

static enum kw_status make_transport(struct kw_token *token, struct kw_session *session,
                                     void *context, struct kw_error *err)
{
    static const CK_BYTE f4[] = {1, 0, 1};
    const struct guest *guest = context;
    struct kw_transfer transfer = {.token = token, .session = session};
    struct kw_template public = {.count = 0}, private = {.count = 0};
    CK_ULONG bits = guest->plan->bits;
    kw_template_add_public(&public, guest->plan);
    kw_template_add(&public, CKA_MODULUS_BITS, &bits, sizeof(bits));
    kw_template_add(&public, CKA_PUBLIC_EXPONENT, f4, sizeof(f4));
    kw_template_set_bool(&public, CKA_TOKEN, false);
    kw_template_add_private(&private, guest->plan);
    kw_template_set_bool(&private, CKA_TOKEN, false);
    CK_MECHANISM mechanism = {.mechanism = CKM_RSA_PKCS_KEY_PAIR_GEN};
    CK_OBJECT_HANDLE handles[2] = {CK_INVALID_HANDLE, CK_INVALID_HANDLE};
    CK_RV rv =
        token->functions->C_GenerateKeyPair(session->handle, &mechanism, public.items, public.count,
                                            private.items, private.count, &handles[0], &handles[1]);
    if (rv != CKR_OK)
        return kw_make_fail(token, session, rv, "make a key pair for a session", err);
    kw_transfer_keep(&transfer, handles[0]);
    kw_transfer_keep(&transfer, handles[1]);
    struct kw_token_key key = {.id_len = 0}, half = {.id_len = 0};
    rv = kw_key_read(token, session, handles[1], &key);
    if (rv == CKR_OK)
        rv = kw_key_read(token, session, handles[0], &half);
    if (rv != CKR_OK) {
        kw_transfer_clear(&transfer);
        return kw_session_fail(token, session, rv, "tell what it made", err);
    }
    kw_key_add_public(&key, &half);
    return entertain(&transfer, guest, &key, err);
}

enum kw_status kw_token_with_transport(struct kw_token *token, kw_guest_fn work, void *context,
                                       struct kw_error *err)
{
    uint8_t id[GUEST_ID_SIZE];
    struct kw_key_plan plan;
    struct guest guest = {.plan = &plan, .work = work, .context = context};
    enum kw_status status = guest_plan(token, "keyward transport", false, id, &plan, err);
    return status ? status : kw_token_with_rw_session(token, make_transport, &guest, err);
}

/* ---- RFC 5649 under an AES key of the token ---- */

static enum kw_status no_way(const struct kw_transfer *transfer,
                             const struct kw_transfer_refusal refusals[KW_TRANSFER_WAYS],
                             struct kw_error *err)
{
    const struct kw_transfer_refusal *reason = kw_transfer_reason(refusals);
    char name[KW_RV_NAME_SIZE];
    return kw_fail_ck(err, KW_KEY_UNUSABLE, reason->rv,
                      "the token \"%s\" does not wrap keys with AES as RFC 5649 has it: it failed "
                      "to %s (%s); use an AES key on another token, or an RSA key",
                      transfer->token->info.label, reason->doing, kw_rv_name(reason->rv, name));
}

/* The first mechanism that gives the known answer. */
static enum kw_status choose(struct kw_transfer *transfer, const struct kw_transfer_way **ret_way,
                             bool *ret_zeros, struct kw_error *err)
{
    const struct kw_throwaway *trial = NULL;
    struct kw_transfer_refusal refusals[KW_TRANSFER_WAYS] = {{CKR_MECHANISM_INVALID, "wrap"}};
    enum kw_status status = kw_transfer_trial(transfer->token, &trial, err);
    for (size_t i = 0; i < KW_TRANSFER_WAYS && !status; i++) {
        if (kw_transfer_ways[i].whole)
            continue;
        CK_RV rv = kw_transfer_known_answer(transfer, &kw_transfer_ways[i], trial, ret_zeros);
        if (rv == CKR_OK) {
            *ret_way = &kw_transfer_ways[i];
            return KW_OK;
        }
        status = kw_transfer_refuse(transfer, rv, &refusals[i], err);
    }
    return status ? status : no_way(transfer, refusals, err);
}

struct aes_wrapping {
    const struct kw_token_key *key;
    const struct kw_token_key *aes;
    bool zeros;
    size_t len;
    uint8_t wrapped[KW_TRANSFER_MAX];
};

static enum kw_status wrap_with_aes(struct kw_token *token, struct kw_session *session,
                                    void *context, struct kw_error *err)
{
    struct aes_wrapping *job = context;
    struct kw_transfer transfer = {.token = token, .session = session};
    const struct kw_transfer_way *way = NULL;
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE, aes = CK_INVALID_HANDLE;
    enum kw_status status;
    if ((status = kw_key_handle(token, session, job->key, true, &key, err)) ||
        (status = kw_transfer_check_extractable(&transfer, key, job->key->label, err)) ||
        (status = kw_aes_find(token, session, job->aes, &aes, err)) ||
        (status = choose(&transfer, &way, &job->zeros, err)))
        return status;
    struct kw_transfer_mechanism mechanism;
    kw_transfer_mechanism_init(&mechanism, way->mechanism);
    CK_ULONG len = sizeof(job->wrapped);
    CK_RV rv = token->functions->C_WrapKey(session->handle, &mechanism.mechanism, aes, key,
                                           job->wrapped, &len);
    if (rv == CKR_OK && !kw_transfer_fits(0, len))
        rv = CKR_WRAPPED_KEY_LEN_RANGE;
    if (rv != CKR_OK)
        return kw_make_fail(token, session, rv, "wrap a key under an AES key", err);
    job->len = len;
    return KW_OK;
}

enum kw_status kw_token_wrap_key_aes(struct kw_token *token, const struct kw_token_key *key,
                                     const struct kw_token_key *aes, struct kw_buffer *ret_wrapped,
                                     struct kw_error *err)
{
    struct aes_wrapping job = {.key = key, .aes = aes};
    enum kw_status status = kw_token_with_session(token, wrap_with_aes, &job, err);
    return status ? status : kw_buffer_append(ret_wrapped, job.wrapped, job.len, err);
}

/* ---- a key that is unwrapped for a session ---- */

static CK_RV unwrap_rest(struct kw_transfer *transfer, const struct kw_transfer_way *way,
                         CK_OBJECT_HANDLE aes, const uint8_t *wrapped, size_t len,
                         const struct kw_key_plan *plan, CK_OBJECT_HANDLE *ret_key)
{
    struct kw_template template = {.count = 0};
    struct kw_transfer_mechanism mechanism;
    kw_unwrapping_template(&template, plan, true);
    kw_transfer_mechanism_init(&mechanism, way->mechanism);
    transfer->doing = "unwrap a key with AES (RFC 5649)";
    CK_RV rv = transfer->token->functions->C_UnwrapKey(
        transfer->session->handle, &mechanism.mechanism, aes, (CK_BYTE *)wrapped, len,
        template.items, template.count, ret_key);
    if (rv == CKR_OK)
        kw_transfer_keep(transfer, *ret_key);
    return rv;
}

static enum kw_status unwrap_with_aes(struct kw_transfer *transfer, const struct guest *guest,
                                      CK_OBJECT_HANDLE *ret_key, struct kw_error *err)
{
    const struct kw_wrapped_key *wrapped = guest->wrapped;
    const struct kw_transfer_way *way = NULL;
    bool zeros = false;
    CK_OBJECT_HANDLE aes = CK_INVALID_HANDLE;
    enum kw_status status =
        kw_aes_find(transfer->token, transfer->session, wrapped->kek, &aes, err);
    if (!status)
        status = choose(transfer, &way, &zeros, err);
    if (status)
        return status;
    CK_RV rv = unwrap_rest(transfer, way, aes, wrapped->data, wrapped->len, guest->plan, ret_key);
    return rv == CKR_OK ? KW_OK : kw_unwrapping_failed(transfer, rv, err);
}

static enum kw_status unwrap_with_rsa(struct kw_transfer *transfer, const struct guest *guest,
                                      CK_OBJECT_HANDLE *ret_key, struct kw_error *err)
{
    struct kw_unwrapping_way way;
    enum kw_status status =
        kw_unwrapping_start(transfer, guest->unwrapping, guest->plan, &way, err);
    if (!status)
        status =
            kw_unwrapping_go(transfer, guest->unwrapping, &way, guest->plan, true, ret_key, err);
    if (!status)
        kw_transfer_keep(transfer, *ret_key);
    return status;
}

static enum kw_status make_scratch(struct kw_token *token, struct kw_session *session,
                                   void *context, struct kw_error *err)
{
    const struct guest *guest = context;
    struct kw_transfer transfer = {.token = token, .session = session};
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    struct kw_token_key key;
    enum kw_status status = guest->wrapped->aes ? unwrap_with_aes(&transfer, guest, &handle, err)
                                                : unwrap_with_rsa(&transfer, guest, &handle, err);
    if (!status)
        status = kw_unwrapping_read(&transfer, handle, &key, err);
    if (!status)
        return entertain(&transfer, guest, &key, err);
    kw_transfer_clear(&transfer);
    return status;
}

enum kw_status kw_token_with_scratch(struct kw_token *token, const struct kw_wrapped_key *wrapped,
                                     bool extractable, kw_guest_fn work, void *context,
                                     struct kw_error *err)
{
    uint8_t id[GUEST_ID_SIZE];
    struct kw_key_plan plan;
    struct kw_unwrapping unwrapping = {.sample = KW_BUFFER_INIT(0)};
    struct guest guest = {.plan = &plan,
                          .unwrapping = &unwrapping,
                          .wrapped = wrapped,
                          .work = work,
                          .context = context};
    enum kw_status status = guest_plan(token, "keyward scratch", extractable, id, &plan, err);
    if (!status && !wrapped->aes)
        status =
            kw_unwrapping_init(&unwrapping, token, wrapped->kek, wrapped->data, wrapped->len, err);
    if (!status && wrapped->aes && !kw_transfer_fits(0, wrapped->len))
        status = kw_fail(err, KW_METADATA,
                         "%zu bytes can't be an RSA key of %d to %d bits, wrapped as RFC 5649 has "
                         "it; take the file from its source once more",
                         wrapped->len, KW_RSA_MIN_BITS, KW_RSA_MAX_BITS);
    if (!status)
        status = kw_token_with_rw_session(token, make_scratch, &guest, err);
    kw_unwrapping_cleanup(&unwrapping);
    return status;
}

/* ---- a wrapped key that is tried where it was wrapped ---- */

CK_RV kw_transfer_verify(struct kw_transfer *transfer, const struct kw_transfer_way *way,
                         CK_OBJECT_HANDLE aes, const uint8_t *wrapped, size_t len,
                         const struct kw_token_key *key)
{
    static const uint8_t id[GUEST_ID_SIZE] = {0};
    const struct kw_key_plan plan = {.label = "keyward scratch",
                                     .id = id,
                                     .id_len = sizeof(id),
                                     .not_before = "",
                                     .expires = ""};
    CK_OBJECT_HANDLE scratch = CK_INVALID_HANDLE;
    bool equal = false;
    CK_RV rv = unwrap_rest(transfer, way, aes, wrapped, len, &plan, &scratch);
    if (rv == CKR_OK)
        rv = kw_key_check_modulus(transfer->token, transfer->session, key, scratch, &equal);
    if (rv == CKR_OK && !equal) {
        transfer->doing = "give back the key that it wrapped";
        rv = CKR_MECHANISM_INVALID;
    }
    return rv;
}
