/* Private keys that come wrapped from another HSM. */
#include <string.h>

#include "transfer.h"

/* ---- one way ---- */

static CK_RV unwrap(struct kw_transfer *transfer, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE with,
                    const uint8_t *wrapped, size_t len, struct kw_template *template,
                    const char *doing, CK_OBJECT_HANDLE *ret_handle)
{
    struct kw_transfer_mechanism mechanism;
    kw_transfer_mechanism_init(&mechanism, type);
    transfer->doing = doing;
    return transfer->token->functions->C_UnwrapKey(transfer->session->handle, &mechanism.mechanism,
                                                   with, (CK_BYTE *)wrapped, len, template->items,
                                                   template->count, ret_handle);
}

static CK_RV unwrap_aes(struct kw_transfer *transfer, CK_OBJECT_HANDLE kek, const uint8_t *wrapped,
                        size_t len, CK_OBJECT_HANDLE *ret_handle)
{
    static const CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    static const CK_KEY_TYPE type = CKK_AES;
    static const struct {
        CK_ATTRIBUTE_TYPE type;
        bool value;
    } flags[] = {{CKA_TOKEN, false},       {CKA_PRIVATE, true}, {CKA_SENSITIVE, true},
                 {CKA_EXTRACTABLE, false}, {CKA_UNWRAP, true},  {CKA_DECRYPT, true}};
    struct kw_template template = {.count = 0};
    kw_template_add(&template, CKA_CLASS, &class, sizeof(class));
    kw_template_add(&template, CKA_KEY_TYPE, &type, sizeof(type));
    for (size_t i = 0; i < KW_COUNT(flags); i++)
        kw_template_add_bool(&template, flags[i].type, flags[i].value);
    CK_RV rv = unwrap(transfer, CKM_RSA_PKCS_OAEP, kek, wrapped, len, &template,
                      "unwrap an AES key with RSA-OAEP", ret_handle);
    if (rv == CKR_OK)
        kw_transfer_keep(transfer, *ret_handle);
    return rv;
}

static CK_RV unwrap_key(struct kw_transfer *transfer, const struct kw_transfer_way *way,
                        const struct kw_token_key *kek, CK_OBJECT_HANDLE kek_handle,
                        const uint8_t *wrapped, size_t len, struct kw_template *template,
                        CK_OBJECT_HANDLE *ret_handle)
{
    if (way->whole)
        return unwrap(transfer, way->mechanism, kek_handle, wrapped, len, template,
                      "unwrap a key with CKM_RSA_AES_KEY_WRAP", ret_handle);
    size_t first = kek->public.modulus_len;
    CK_OBJECT_HANDLE aes = CK_INVALID_HANDLE;
    CK_RV rv = unwrap_aes(transfer, kek_handle, wrapped, first, &aes);
    if (rv == CKR_OK)
        rv = unwrap(transfer, way->mechanism, aes, wrapped + first, len - first, template,
                    "unwrap a key with AES (RFC 5649)", ret_handle);
    return rv;
}

void kw_unwrapping_template(struct kw_template *template, const struct kw_key_plan *plan,
                            bool scratch)
{
    kw_template_add_rsa_class(template, CKO_PRIVATE_KEY);
    kw_template_add_private(template, plan);
    if (scratch)
        kw_template_set_bool(template, CKA_TOKEN, false);
}

/* ---- which way is open ---- */

/* Whether the sample becomes the key that it is: as planned, but for this session only. */
static CK_RV try_out(struct kw_transfer *transfer, const struct kw_transfer_way *way,
                     const struct kw_unwrapping *job, CK_OBJECT_HANDLE kek,
                     const struct kw_key_plan *plan)
{
    struct kw_template template = {.count = 0};
    kw_unwrapping_template(&template, plan, true);
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    CK_RV rv = unwrap_key(transfer, way, job->kek, kek, job->sample.data, job->sample.len,
                          &template, &key);
    if (rv == CKR_OK) {
        kw_transfer_keep(transfer, key);
        struct kw_token_key wanted = {.public = *kw_throwaway_public(job->trial)};
        bool equal = false;
        rv = kw_key_check_modulus(transfer->token, transfer->session, &wanted, key, &equal);
        if (rv == CKR_OK && !equal)
            rv = CKR_MECHANISM_INVALID;
    }
    kw_transfer_clear(transfer);
    return rv;
}

static enum kw_status no_way(const struct kw_transfer *transfer, const struct kw_token_key *kek,
                             const struct kw_transfer_refusal refusals[KW_TRANSFER_WAYS],
                             struct kw_error *err)
{
    const struct kw_transfer_refusal *reason = kw_transfer_reason(refusals);
    char label[96], name[KW_RV_NAME_SIZE];
    (void)kw_printable(kek->label, strlen(kek->label), label, sizeof(label));
    return kw_fail_ck(err, KW_KEY_UNUSABLE, reason->rv,
                      "the token \"%s\" does not unwrap an RSA key with the key \"%s\" as "
                      "CKM_RSA_AES_KEY_WRAP or RFC 5649 has it: a key made for the test failed to "
                      "come through when it was to %s (%s); use another token or key exchange key",
                      transfer->token->info.label, label, reason->doing,
                      kw_rv_name(reason->rv, name));
}

/* Decided with a sample: what comes from outside has no say in it, so its fate tells nothing but
 * good or bad. */
static enum kw_status choose_way(struct kw_transfer *transfer, const struct kw_unwrapping *job,
                                 CK_OBJECT_HANDLE kek, const struct kw_key_plan *plan,
                                 const struct kw_transfer_way **ret_way, struct kw_error *err)
{
    struct kw_transfer_refusal refusals[KW_TRANSFER_WAYS];
    for (size_t i = 0; i < KW_TRANSFER_WAYS; i++) {
        CK_RV rv = try_out(transfer, &kw_transfer_ways[i], job, kek, plan);
        if (rv == CKR_OK) {
            *ret_way = &kw_transfer_ways[i];
            return KW_OK;
        }
        enum kw_status status = kw_transfer_refuse(transfer, rv, &refusals[i], err);
        if (status)
            return status;
    }
    return no_way(transfer, job->kek, refusals, err);
}

/* ---- unwrapping ---- */

/* The same for every cause in what was wrapped. */
bool kw_unwrapping_blames_token(CK_RV rv)
{
    enum kw_rv_meaning meaning = kw_rv_meaning(rv);
    return (kw_rv_recoverable(rv) && meaning != KW_RV_DEVICE_TROUBLE) || meaning == KW_RV_MEMORY ||
           rv == CKR_TOKEN_WRITE_PROTECTED || rv == CKR_SESSION_READ_ONLY;
}

enum kw_status kw_unwrapping_failed(struct kw_transfer *transfer, CK_RV rv, struct kw_error *err)
{
    if (kw_unwrapping_blames_token(rv))
        return kw_transfer_fail(transfer, rv, err);
    transfer->session->failure = rv;
    return kw_fail_ck(err, KW_KEY_UNWRAP, rv,
                      "the key exchange key does not unwrap the key: it was wrapped for another "
                      "one, is not an RSA key, or is damaged; check which key it was wrapped for");
}

/* Softokn lets an RSA key that was unwrapped do everything, whatever was asked for. Whether it
 * helped is seen when the key is compared with the plan. */
static void take_away_signing(const struct kw_transfer *transfer, CK_OBJECT_HANDLE key)
{
    static const CK_ATTRIBUTE_TYPE types[] = {CKA_SIGN, CKA_SIGN_RECOVER};
    const CK_FUNCTION_LIST *functions = transfer->token->functions;
    for (size_t i = 0; i < KW_COUNT(types); i++) {
        CK_BBOOL may = CK_FALSE, no = CK_FALSE;
        CK_ATTRIBUTE read = {types[i], &may, sizeof(may)}, write = {types[i], &no, sizeof(no)};
        if (functions->C_GetAttributeValue(transfer->session->handle, key, &read, 1) == CKR_OK &&
            may)
            (void)functions->C_SetAttributeValue(transfer->session->handle, key, &write, 1);
    }
}

enum kw_status kw_unwrapping_start(struct kw_transfer *transfer, const struct kw_unwrapping *job,
                                   const struct kw_key_plan *plan,
                                   struct kw_unwrapping_way *ret_way, struct kw_error *err)
{
    struct kw_unwrapping_way way = {.kek = CK_INVALID_HANDLE};
    enum kw_status status =
        kw_key_handle(transfer->token, transfer->session, job->kek, true, &way.kek, err);
    if (!status)
        status = choose_way(transfer, job, way.kek, plan, &way.way, err);
    if (!status)
        *ret_way = way;
    return status;
}

enum kw_status kw_unwrapping_go(struct kw_transfer *transfer, const struct kw_unwrapping *job,
                                const struct kw_unwrapping_way *way, const struct kw_key_plan *plan,
                                bool scratch, CK_OBJECT_HANDLE *ret_key, struct kw_error *err)
{
    struct kw_template template = {.count = 0};
    kw_unwrapping_template(&template, plan, scratch);
    CK_RV rv = unwrap_key(transfer, way->way, job->kek, way->kek, job->wrapped, job->wrapped_len,
                          &template, ret_key);
    kw_transfer_clear(transfer);
    return rv == CKR_OK ? KW_OK : kw_unwrapping_failed(transfer, rv, err);
}

enum kw_status kw_unwrapping_read(struct kw_transfer *transfer, CK_OBJECT_HANDLE scratch,
                                  struct kw_token_key *ret_key, struct kw_error *err)
{
    struct kw_token_key key = {.id_len = 0};
    CK_RV rv = kw_key_read(transfer->token, transfer->session, scratch, &key);
    if (rv != CKR_OK)
        return kw_session_fail(transfer->token, transfer->session, rv, "tell what it made", err);
    if (!key.public.modulus_len || !key.public.exponent_len)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the new key on the token \"%s\" is not RSA of %d to %d bits, or hides its "
                       "public half, so it was removed; use another key",
                       transfer->token->info.label, KW_RSA_MIN_BITS, KW_RSA_MAX_BITS);
    *ret_key = key;
    return KW_OK;
}

/* Unwrapped twice: for the session first, which tells the public numbers, and for good when the
 * public half is there. */
static enum kw_status unwrap_in_session(struct kw_token *token, struct kw_session *session,
                                        const struct kw_key_plan *plan, void *context,
                                        struct kw_token_key *ret_key, struct kw_error *err)
{
    const struct kw_unwrapping *job = context;
    struct kw_transfer transfer = {.token = token, .session = session};
    struct kw_unwrapping_way way;
    struct kw_token_key scratch;
    CK_OBJECT_HANDLE private = CK_INVALID_HANDLE, public = CK_INVALID_HANDLE;
    enum kw_status status = kw_unwrapping_start(&transfer, job, plan, &way, err);
    if (!status)
        status = kw_unwrapping_go(&transfer, job, &way, plan, true, &private, err);
    if (status)
        return status;
    kw_transfer_keep(&transfer, private);
    status = kw_unwrapping_read(&transfer, private, &scratch, err);
    kw_transfer_clear(&transfer);
    if (!status)
        status = kw_public_create(token, session, plan, &scratch.public, &public, err);
    if (!status)
        status = kw_unwrapping_go(&transfer, job, &way, plan, false, &private, err);
    if (status)
        return status;
    if (!kw_use_flags[plan->use].sign)
        take_away_signing(&transfer, private);
    return kw_pair_check(token, session, private, public, plan,
                         (unsigned)kw_rsa_bits(&scratch.public), ret_key, err);
}

/* ---- the sample ---- */

static enum kw_status wrap_sample(struct kw_crypto *crypto, const struct kw_throwaway *trial,
                                  const struct kw_rsa_public *kek, struct kw_buffer *sample,
                                  struct kw_error *err)
{
    struct kw_secret *aes = NULL, *pkcs8 = NULL;
    enum kw_status status = kw_secret_new(KW_AES256_KEY_SIZE, &aes, err);
    if (!status) {
        kw_secret_set_len(aes, KW_AES256_KEY_SIZE);
        status = kw_random(crypto, kw_secret_data(aes), KW_AES256_KEY_SIZE, err);
    }
    if (!status)
        status = kw_buffer_reserve(sample, kek->modulus_len, err);
    if (!status)
        status = kw_rsa_wrap(crypto, kek, KW_RSA_OAEP, aes, sample->data, err);
    if (!status) {
        sample->len = kek->modulus_len;
        status = kw_throwaway_pkcs8(trial, &pkcs8, err);
    }
    if (!status)
        status = kw_kwp_wrap(crypto, aes, pkcs8, sample, err);
    kw_secret_free(pkcs8);
    kw_secret_free(aes);
    return status;
}

/* ---- */

static enum kw_status check(const struct kw_token *token, const struct kw_token_key *kek,
                            size_t wrapped_len, struct kw_error *err)
{
    char label[96];
    (void)kw_printable(kek->label, strlen(kek->label), label, sizeof(label));
    size_t kek_len = kek->public.modulus_len;
    if (kek_len == 0 || kek->public.exponent_len == 0 || !kek->unwrap)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the key \"%s\" on the token \"%s\" is not an RSA key that may unwrap "
                       "(CKA_UNWRAP); use a key exchange key",
                       label, token->info.label);
    if (!kw_transfer_fits(kek_len, wrapped_len))
        return kw_fail(err, KW_METADATA,
                       "%zu bytes can't be an RSA key of %d to %d bits that was wrapped for the "
                       "key \"%s\" of %zu bits; use the key exchange key that it was wrapped for",
                       wrapped_len, KW_RSA_MIN_BITS, KW_RSA_MAX_BITS, label,
                       kw_rsa_bits(&kek->public));
    return KW_OK;
}

enum kw_status kw_unwrapping_init(struct kw_unwrapping *job, struct kw_token *token,
                                  const struct kw_token_key *kek, const uint8_t *wrapped,
                                  size_t wrapped_len, struct kw_error *err)
{
    *job = (struct kw_unwrapping){.kek = kek,
                                  .wrapped = wrapped,
                                  .wrapped_len = wrapped_len,
                                  .sample = KW_BUFFER_INIT(KW_TRANSFER_MAX)};
    enum kw_status status = check(token, kek, wrapped_len, err);
    if (!status)
        status = kw_transfer_trial(token, &job->trial, err);
    if (!status)
        status = wrap_sample(token->crypto, job->trial, &kek->public, &job->sample, err);
    return status;
}

void kw_unwrapping_cleanup(struct kw_unwrapping *job)
{
    kw_buffer_cleanup(&job->sample);
}

enum kw_status kw_token_unwrap_key(struct kw_token *token, const struct kw_token_key *kek,
                                   const uint8_t *wrapped, size_t wrapped_len,
                                   const struct kw_key_plan *plan, struct kw_token_key *ret_key,
                                   struct kw_error *err)
{
    struct kw_unwrapping job;
    enum kw_status status = kw_unwrapping_init(&job, token, kek, wrapped, wrapped_len, err);
    if (!status)
        status = kw_plan_check(plan, false, err);
    if (!status)
        status = kw_pair_make(token, plan, unwrap_in_session, &job, ret_key, err);
    kw_unwrapping_cleanup(&job);
    return status;
}
