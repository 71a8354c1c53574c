/* Private keys, wrapped on their way to another HSM. */
#include <string.h>

#include "transfer.h"

/* Not a multiple of 8, so that what a token adds shows. */
#define PROBE_SIZE 20

struct wrapping {
    const struct kw_token_key *key;
    const struct kw_rsa_public *kek;
    const struct kw_throwaway *trial; /* in the place of the KEK in the known-answer test */
    bool verify;                      /* unwrap it again, where that is possible */
    bool verified;
    const char *mechanism; /* what worked */
    size_t len;
    uint8_t wrapped[KW_TRANSFER_MAX];
};

static CK_BBOOL yes = CK_TRUE;
static CK_BBOOL no = CK_FALSE;

static CK_RV import_kek(struct kw_transfer *transfer, const struct kw_rsa_public *kek,
                        CK_OBJECT_HANDLE *ret_handle)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_KEY_TYPE type = CKK_RSA;
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &class, sizeof(class)},
        {CKA_KEY_TYPE, &type, sizeof(type)},
        {CKA_TOKEN, &no, sizeof(no)},
        {CKA_PRIVATE, &no, sizeof(no)},
        {CKA_WRAP, &yes, sizeof(yes)},
        {CKA_ENCRYPT, &yes, sizeof(yes)},
        {CKA_MODULUS, (void *)kek->modulus, kek->modulus_len},
        {CKA_PUBLIC_EXPONENT, (void *)kek->exponent, kek->exponent_len},
    };
    transfer->doing = "take a public key for a session";
    CK_RV rv = transfer->token->functions->C_CreateObject(transfer->session->handle, attributes,
                                                          KW_COUNT(attributes), ret_handle);
    if (rv == CKR_OK)
        kw_transfer_keep(transfer, *ret_handle);
    return rv;
}

/* Secret keys that leave the token wrapped, as they must, and no other way. */
static const struct secret_kind {
    CK_MECHANISM_TYPE mechanism;
    CK_KEY_TYPE type;
    CK_ULONG len;
    CK_BBOOL wraps;
    const char *doing;
} transfer_key = {CKM_AES_KEY_GEN, CKK_AES, KW_AES256_KEY_SIZE, CK_TRUE,
                  "make an AES key for a session"},
  probe_key = {CKM_GENERIC_SECRET_KEY_GEN, CKK_GENERIC_SECRET, PROBE_SIZE, CK_FALSE,
               "make a secret for a session"};

static CK_RV make_secret(struct kw_transfer *transfer, const struct secret_kind *kind,
                         CK_OBJECT_HANDLE *ret_handle)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    struct secret_kind values = *kind;
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &class, sizeof(class)},
        {CKA_KEY_TYPE, &values.type, sizeof(values.type)},
        {CKA_TOKEN, &no, sizeof(no)},
        {CKA_PRIVATE, &yes, sizeof(yes)},
        {CKA_SENSITIVE, &yes, sizeof(yes)},
        {CKA_EXTRACTABLE, &yes, sizeof(yes)},
        {CKA_WRAP, &values.wraps, sizeof(values.wraps)},
        {CKA_ENCRYPT, &values.wraps, sizeof(values.wraps)},
        {CKA_UNWRAP, &values.wraps, sizeof(values.wraps)},
        {CKA_VALUE_LEN, &values.len, sizeof(values.len)},
    };
    CK_MECHANISM mechanism = {.mechanism = kind->mechanism};
    transfer->doing = kind->doing;
    CK_RV rv = transfer->token->functions->C_GenerateKey(
        transfer->session->handle, &mechanism, attributes, KW_COUNT(attributes), ret_handle);
    if (rv == CKR_OK)
        kw_transfer_keep(transfer, *ret_handle);
    return rv;
}

static CK_RV wrap(struct kw_transfer *transfer, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE with,
                  CK_OBJECT_HANDLE key, const char *doing, uint8_t *out, size_t capacity,
                  size_t *ret_len)
{
    struct kw_transfer_mechanism mechanism;
    kw_transfer_mechanism_init(&mechanism, type);
    CK_ULONG len = capacity;
    transfer->doing = doing;
    CK_RV rv = transfer->token->functions->C_WrapKey(transfer->session->handle,
                                                     &mechanism.mechanism, with, key, out, &len);
    if (rv == CKR_OK && len > capacity)
        rv = CKR_BUFFER_TOO_SMALL;
    if (rv == CKR_OK)
        *ret_len = len;
    return rv;
}

/* RSAES-OAEP of a secret key; its length is the modulus's. */
static CK_RV wrap_oaep(struct kw_transfer *transfer, CK_OBJECT_HANDLE kek, size_t kek_len,
                       CK_OBJECT_HANDLE secret, uint8_t out[KW_RSA_MAX_BYTES])
{
    size_t len = 0;
    CK_RV rv = wrap(transfer, CKM_RSA_PKCS_OAEP, kek, secret, "wrap an AES key with RSA-OAEP", out,
                    kek_len, &len);
    return rv == CKR_OK && len != kek_len ? CKR_WRAPPED_KEY_LEN_RANGE : rv;
}

/* `target` in two parts, with a new AES key. */
static CK_RV wrap_parts(struct kw_transfer *transfer, const struct kw_transfer_way *way,
                        CK_OBJECT_HANDLE kek, size_t kek_len, CK_OBJECT_HANDLE target,
                        uint8_t out[KW_TRANSFER_MAX], size_t *ret_len, CK_OBJECT_HANDLE *ret_aes)
{
    size_t len = 0;
    CK_RV rv = make_secret(transfer, &transfer_key, ret_aes);
    if (rv == CKR_OK)
        rv = wrap_oaep(transfer, kek, kek_len, *ret_aes, out);
    if (rv == CKR_OK)
        rv = wrap(transfer, way->mechanism, *ret_aes, target, "wrap a key with AES (RFC 5649)",
                  out + kek_len, KW_TRANSFER_MAX - kek_len, &len);
    if (rv == CKR_OK)
        *ret_len = kek_len + len;
    return rv;
}

/* ---- the known-answer test ---- */

enum answer { ANSWER_WRONG, ANSWER_RIGHT, ANSWER_WITH_ZEROS };

/* What came out of RFC 5649, against the probe. */
static enum answer compare(struct kw_secret *unwrapped, const struct kw_secret *probe)
{
    if (kw_secret_equal(unwrapped, probe))
        return ANSWER_RIGHT;
    uint8_t tail = 0;
    for (size_t i = PROBE_SIZE; i < kw_secret_len(unwrapped); i++)
        tail |= kw_secret_bytes(unwrapped)[i];
    if (kw_secret_len(unwrapped) != (PROBE_SIZE + 7) / 8 * 8 || tail)
        return ANSWER_WRONG;
    kw_secret_set_len(unwrapped, PROBE_SIZE);
    return kw_secret_equal(unwrapped, probe) ? ANSWER_WITH_ZEROS : ANSWER_WRONG;
}

/* Opens on the host what the token wrapped for the trial key: the probe in two parts, and the probe
 * with RSA-OAEP alone, which tells what it is. */
static enum answer judge(struct kw_crypto *crypto, const struct kw_throwaway *trial,
                         const uint8_t *parts, size_t parts_len, const uint8_t *alone)
{
    size_t kek_len = kw_throwaway_public(trial)->modulus_len;
    struct kw_secret *aes = NULL, *probe = NULL, *unwrapped = NULL;
    enum answer answer = ANSWER_WRONG;
    if (!kw_throwaway_unwrap(trial, parts, kek_len, &aes, NULL) &&
        !kw_throwaway_unwrap(trial, alone, kek_len, &probe, NULL) &&
        kw_secret_len(aes) == KW_AES256_KEY_SIZE && kw_secret_len(probe) == PROBE_SIZE &&
        !kw_kwp_unwrap(crypto, aes, parts + kek_len, parts_len - kek_len, &unwrapped, NULL))
        answer = compare(unwrapped, probe);
    kw_secret_free(unwrapped);
    kw_secret_free(probe);
    kw_secret_free(aes);
    return answer;
}

/* The whole way once with a random secret and a key pair of which both halves are known. */
static CK_RV try_out(struct kw_transfer *transfer, const struct kw_transfer_way *way,
                     const struct kw_throwaway *trial, enum answer *ret_answer)
{
    uint8_t parts[KW_TRANSFER_MAX], alone[KW_RSA_MAX_BYTES];
    size_t len = 0, kek_len = kw_throwaway_public(trial)->modulus_len;
    CK_OBJECT_HANDLE kek = CK_INVALID_HANDLE, probe = CK_INVALID_HANDLE, aes = CK_INVALID_HANDLE;
    CK_RV rv = import_kek(transfer, kw_throwaway_public(trial), &kek);
    if (rv == CKR_OK)
        rv = make_secret(transfer, &probe_key, &probe);
    if (rv == CKR_OK)
        rv = wrap_oaep(transfer, kek, kek_len, probe, alone);
    if (rv == CKR_OK)
        rv = wrap_parts(transfer, way, kek, kek_len, probe, parts, &len, &aes);
    kw_transfer_clear(transfer);
    if (rv == CKR_OK)
        *ret_answer = judge(transfer->token->crypto, trial, parts, len, alone);
    return rv;
}

/* ---- zero bytes behind the key ---- */

/* The AES key of the session, by way of the trial key. */
static CK_RV learn_aes(struct kw_transfer *transfer, const struct kw_throwaway *trial,
                       CK_OBJECT_HANDLE aes_handle, struct kw_secret **ret_aes)
{
    CK_OBJECT_HANDLE kek = CK_INVALID_HANDLE;
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    size_t len = kw_throwaway_public(trial)->modulus_len;
    CK_RV rv = import_kek(transfer, kw_throwaway_public(trial), &kek);
    if (rv == CKR_OK)
        rv = wrap_oaep(transfer, kek, len, aes_handle, wrapped);
    if (rv != CKR_OK)
        return rv;
    enum kw_status status = kw_throwaway_unwrap(trial, wrapped, len, ret_aes, NULL);
    kw_wipe(wrapped, sizeof(wrapped)); /* as good as the key, next to the trial key */
    return status ? CKR_WRAPPED_KEY_INVALID : CKR_OK;
}

/* The RFC 5649 part once more, of the PKCS#8 alone: its length goes into every round of the cipher,
 * so there is no other way. */
static enum kw_status wrap_again(struct kw_crypto *crypto, const struct kw_secret *aes,
                                 size_t kek_len, struct wrapping *job)
{
    struct kw_secret *pkcs8 = NULL;
    struct kw_buffer again = KW_BUFFER_INIT(KW_TRANSFER_MAX);
    enum kw_status status =
        kw_kwp_unwrap(crypto, aes, job->wrapped + kek_len, job->len - kek_len, &pkcs8, NULL);
    if (!status)
        status = kw_pkcs8_cut_zeros(pkcs8, NULL);
    if (!status)
        status = kw_kwp_wrap(crypto, aes, pkcs8, &again, NULL);
    if (!status && again.len > sizeof(job->wrapped) - kek_len)
        status = KW_FAULT;
    if (!status) {
        memcpy(job->wrapped + kek_len, again.data, again.len);
        job->len = kek_len + again.len;
    }
    kw_secret_free(pkcs8);
    kw_buffer_cleanup(&again);
    return status;
}

/* Only for tokens whose private keys are in this process's memory anyway: here this one is too, for
 * a moment. */
static CK_RV take_zeros_off(struct kw_transfer *transfer, CK_OBJECT_HANDLE aes_handle,
                            struct wrapping *job)
{
    struct kw_secret *aes = NULL;
    CK_RV rv = learn_aes(transfer, job->trial, aes_handle, &aes);
    if (rv == CKR_OK) {
        transfer->doing = "wrap a key that is PKCS#8 and zero bytes";
        if (wrap_again(transfer->token->crypto, aes, job->kek->modulus_len, job) != KW_OK)
            rv = CKR_WRAPPED_KEY_INVALID;
    }
    kw_secret_free(aes);
    return rv;
}

/* ---- the ladder ---- */

CK_RV kw_transfer_known_answer(struct kw_transfer *transfer, const struct kw_transfer_way *way,
                               const struct kw_throwaway *trial, bool *ret_zeros)
{
    enum answer answer = ANSWER_WRONG;
    CK_RV rv = try_out(transfer, way, trial, &answer);
    if (rv != CKR_OK)
        return rv;
    if (answer == ANSWER_WRONG) {
        transfer->doing = "wrap a known secret as RFC 5649 has it";
        return CKR_MECHANISM_INVALID;
    }
    *ret_zeros = answer == ANSWER_WITH_ZEROS;
    return CKR_OK;
}

static CK_RV wrap_by_parts(struct kw_transfer *transfer, const struct kw_transfer_way *way,
                           CK_OBJECT_HANDLE target, struct wrapping *job)
{
    bool zeros = false;
    CK_RV rv = kw_transfer_known_answer(transfer, way, job->trial, &zeros);
    if (rv != CKR_OK)
        return rv;
    size_t first = job->kek->modulus_len;
    CK_OBJECT_HANDLE kek = CK_INVALID_HANDLE, aes = CK_INVALID_HANDLE;
    rv = import_kek(transfer, job->kek, &kek);
    if (rv == CKR_OK)
        rv = wrap_parts(transfer, way, kek, first, target, job->wrapped, &job->len, &aes);
    job->mechanism = zeros ? way->name_with_zeros : way->name;
    if (rv == CKR_OK && zeros && kw_module_quirks(transfer->token->module)->in_process) {
        rv = take_zeros_off(transfer, aes, job);
        job->mechanism = way->name_without;
    }
    if (rv == CKR_OK && job->verify)
        rv = kw_transfer_verify(transfer, way, aes, job->wrapped + first, job->len - first,
                                job->key);
    job->verified = rv == CKR_OK && job->verify;
    return rv;
}

static CK_RV wrap_whole(struct kw_transfer *transfer, const struct kw_transfer_way *way,
                        CK_OBJECT_HANDLE target, struct wrapping *job)
{
    CK_OBJECT_HANDLE kek = CK_INVALID_HANDLE;
    CK_RV rv = import_kek(transfer, job->kek, &kek);
    if (rv == CKR_OK)
        rv = wrap(transfer, way->mechanism, kek, target, "wrap a key with CKM_RSA_AES_KEY_WRAP",
                  job->wrapped, sizeof(job->wrapped), &job->len);
    job->mechanism = way->name;
    return rv;
}

static CK_RV go(struct kw_transfer *transfer, const struct kw_transfer_way *way,
                CK_OBJECT_HANDLE target, struct wrapping *job)
{
    CK_RV rv = way->whole ? wrap_whole(transfer, way, target, job)
                          : wrap_by_parts(transfer, way, target, job);
    kw_transfer_clear(transfer);
    if (rv == CKR_OK && !kw_transfer_fits(job->kek->modulus_len, job->len))
        rv = CKR_WRAPPED_KEY_LEN_RANGE;
    return rv;
}

static enum kw_status no_way(const struct kw_transfer *transfer, const struct kw_token_key *key,
                             const struct kw_transfer_refusal refusals[KW_TRANSFER_WAYS],
                             struct kw_error *err)
{
    const struct kw_transfer_refusal *reason = kw_transfer_reason(refusals);
    char label[96], name[KW_RV_NAME_SIZE];
    (void)kw_printable(key->label, strlen(key->label), label, sizeof(label));
    return kw_fail_ck(err, KW_KEY_UNUSABLE, reason->rv,
                      "the token \"%s\" does not wrap the key \"%s\" as CKM_RSA_AES_KEY_WRAP or "
                      "RFC 5649 has it: it failed to %s (%s); transfer the key with the tool of "
                      "the token's vendor, or use another token",
                      transfer->token->info.label, label, reason->doing,
                      kw_rv_name(reason->rv, name));
}

static enum kw_status climb(struct kw_transfer *transfer, CK_OBJECT_HANDLE target,
                            struct wrapping *job, struct kw_error *err)
{
    struct kw_transfer_refusal refusals[KW_TRANSFER_WAYS];
    for (size_t i = 0; i < KW_TRANSFER_WAYS; i++) {
        CK_RV rv = go(transfer, &kw_transfer_ways[i], target, job);
        if (rv == CKR_OK)
            return KW_OK;
        enum kw_status status = kw_transfer_refuse(transfer, rv, &refusals[i], err);
        if (status)
            return status;
    }
    return no_way(transfer, job->key, refusals, err);
}

/* ---- */

/* Asked of the token now, and before it is asked to wrap: one token was seen to wrap a key that is
 * not extractable. */
enum kw_status kw_transfer_check_extractable(struct kw_transfer *transfer, CK_OBJECT_HANDLE key,
                                             const char *key_label, struct kw_error *err)
{
    CK_BBOOL extractable = CK_FALSE;
    CK_ATTRIBUTE attribute = {CKA_EXTRACTABLE, &extractable, sizeof(extractable)};
    CK_RV rv =
        kw_attributes_read(transfer->token->functions, transfer->session, key, &attribute, 1);
    if (rv != CKR_OK)
        return kw_session_fail(transfer->token, transfer->session, rv, "read a key", err);
    if (attribute.ulValueLen == sizeof(extractable) && extractable == CK_TRUE)
        return KW_OK;
    char label[96];
    (void)kw_printable(key_label, strlen(key_label), label, sizeof(label));
    return kw_fail(err, KW_KEY_UNUSABLE,
                   "the key \"%s\" on the token \"%s\" is not extractable, so it never leaves it; "
                   "only a key that was made exportable can be transferred",
                   label, transfer->token->info.label);
}

static enum kw_status wrap_in_session(struct kw_token *token, struct kw_session *session,
                                      void *context, struct kw_error *err)
{
    struct wrapping *job = context;
    struct kw_transfer transfer = {.token = token, .session = session};
    CK_OBJECT_HANDLE target = CK_INVALID_HANDLE;
    enum kw_status status = kw_key_handle(token, session, job->key, true, &target, err);
    if (!status)
        status = kw_transfer_check_extractable(&transfer, target, job->key->label, err);
    return status ? status : climb(&transfer, target, job, err);
}

/* `ret_verified` NULL: that is not tried. */
static enum kw_status wrap_key(struct kw_token *token, const struct kw_token_key *key,
                               const struct kw_rsa_public *kek, struct kw_buffer *ret_wrapped,
                               const char **ret_mechanism, bool *ret_verified, struct kw_error *err)
{
    size_t kek_bits = kw_rsa_bits(kek);
    if (kek_bits < KW_RSA_MIN_BITS || kek_bits > KW_RSA_MAX_BITS)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the key exchange key has %zu bits; use one of %d to %d", kek_bits,
                       KW_RSA_MIN_BITS, KW_RSA_MAX_BITS);
    const struct kw_throwaway *trial = NULL;
    enum kw_status status = kw_transfer_trial(token, &trial, err);
    if (status)
        return status;
    struct wrapping job = {.key = key, .kek = kek, .trial = trial, .verify = ret_verified != NULL};
    status = kw_token_with_session(token, wrap_in_session, &job, err);
    if (!status)
        status = kw_buffer_append(ret_wrapped, job.wrapped, job.len, err);
    if (!status)
        *ret_mechanism = job.mechanism;
    if (!status && ret_verified)
        *ret_verified = job.verified;
    return status;
}

enum kw_status kw_token_wrap_key(struct kw_token *token, const struct kw_token_key *key,
                                 const struct kw_rsa_public *kek, struct kw_buffer *ret_wrapped,
                                 const char **ret_mechanism, struct kw_error *err)
{
    return wrap_key(token, key, kek, ret_wrapped, ret_mechanism, NULL, err);
}

enum kw_status kw_token_backup_key(struct kw_token *token, const struct kw_token_key *key,
                                   const struct kw_rsa_public *kek, struct kw_buffer *ret_wrapped,
                                   const char **ret_mechanism, bool *ret_verified,
                                   struct kw_error *err)
{
    return wrap_key(token, key, kek, ret_wrapped, ret_mechanism, ret_verified, err);
}
