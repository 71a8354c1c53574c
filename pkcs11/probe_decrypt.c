/* Probing what a token decrypts: each way with a ciphertext that was made on the host. */
#include <string.h>

#include "probe.h"

#define MEASURED_MS 1000

static const struct way {
    enum kw_wrap_alg alg;
    CK_MECHANISM_TYPE mechanism;
    CK_MECHANISM_TYPE hash;
    CK_RSA_PKCS_MGF_TYPE mgf;
    const char *name;
} ways[] = {
    [KW_PROBE_OAEP] = {KW_RSA_OAEP, CKM_RSA_PKCS_OAEP, CKM_SHA_1, CKG_MGF1_SHA1, "RSA-OAEP"},
    [KW_PROBE_OAEP_256] = {KW_RSA_OAEP_256, CKM_RSA_PKCS_OAEP, CKM_SHA256, CKG_MGF1_SHA256,
                           "RSA-OAEP-256"},
    [KW_PROBE_RSA1_5] = {KW_RSA1_5, CKM_RSA_PKCS, 0, 0, "RSA1_5"},
    [KW_PROBE_RAW] = {KW_RSA_OAEP, CKM_RSA_X_509, 0, 0, "raw RSA"},
    [KW_PROBE_OAEP_256_ON_HOST] = {KW_RSA_OAEP_256, CKM_RSA_X_509, 0, 0, "raw RSA"},
};

/* A ciphertext, and room for what it gives. */
struct sample {
    const struct kw_probe_pair *pair;
    const struct way *way;
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    struct kw_secret *plain;
};

/* False after setting *result. */
static bool make_sample(struct kw_probing *probing, const struct kw_probe_pair *pair,
                        const struct way *way, struct sample *sample,
                        struct kw_probe_result *result)
{
    struct kw_error err = {.status = KW_OK};
    sample->pair = pair;
    sample->way = way;
    sample->plain = NULL;
    if (kw_rsa_wrap(probing->token->crypto, &pair->key.public, way->alg, probing->known,
                    sample->wrapped, &err) == KW_OK &&
        kw_secret_new(pair->key.public.modulus_len, &sample->plain, &err) == KW_OK)
        return true;
    kw_probe_set(result, KW_PROBE_UNKNOWN, "%s", err.message);
    return false;
}

static CK_RV decrypt(struct kw_probing *probing, const struct sample *sample)
{
    const CK_FUNCTION_LIST *functions = probing->token->functions;
    CK_SESSION_HANDLE session = probing->session.handle;
    CK_RSA_PKCS_OAEP_PARAMS oaep = {
        .hashAlg = sample->way->hash, .mgf = sample->way->mgf, .source = CKZ_DATA_SPECIFIED};
    CK_MECHANISM mechanism = {.mechanism = sample->way->mechanism};
    if (mechanism.mechanism == CKM_RSA_PKCS_OAEP) {
        mechanism.pParameter = &oaep;
        mechanism.ulParameterLen = sizeof(oaep);
    }
    CK_ULONG len = kw_secret_capacity(sample->plain);
    CK_RV rv = functions->C_DecryptInit(session, &mechanism, sample->pair->private_handle);
    if (rv == CKR_OK)
        rv = functions->C_Decrypt(session, (CK_BYTE *)sample->wrapped,
                                  sample->pair->key.public.modulus_len,
                                  kw_secret_data(sample->plain), &len);
    if (rv == CKR_OK && len > kw_secret_capacity(sample->plain))
        rv = CKR_BUFFER_TOO_SMALL;
    if (rv == CKR_OK)
        kw_secret_set_len(sample->plain, len);
    else
        kw_probe_renew(probing);
    return rv;
}

/* Raw RSA gives a number; OAEP wants it as long as the modulus. */
static void pad_left(struct kw_secret *secret)
{
    size_t len = kw_secret_len(secret), size = kw_secret_capacity(secret);
    kw_secret_set_len(secret, size);
    memmove(kw_secret_data(secret) + (size - len), kw_secret_bytes(secret), len);
    memset(kw_secret_data(secret), 0, size - len);
}

/* Whether what came out is what went in. */
static bool is_known(const struct kw_probing *probing, struct sample *sample)
{
    if (sample->way->mechanism != CKM_RSA_X_509)
        return kw_secret_equal(sample->plain, probing->known);
    struct kw_secret *decoded = NULL;
    pad_left(sample->plain);
    bool equal = kw_oaep_decode(probing->token->crypto, sample->way->alg, sample->plain, &decoded,
                                NULL) == KW_OK &&
                 kw_secret_equal(decoded, probing->known);
    kw_secret_free(decoded);
    return equal;
}

void kw_probe_decrypt(struct kw_probing *probing, size_t which, struct kw_probe_result *result)
{
    const struct kw_probe_pair *pair = kw_probe_pair(probing, KW_PROBE_SEALED, result);
    struct sample sample;
    if (!pair || !make_sample(probing, pair, &ways[which], &sample, result))
        return;
    CK_RV rv = decrypt(probing, &sample);
    if (rv != CKR_OK)
        kw_probe_set_rv(result, KW_PROBE_NO, "it failed", rv);
    else if (ways[which].mechanism == CKM_RSA_X_509 && kw_crypto_is_fips(probing->token->crypto))
        kw_probe_set(result, KW_PROBE_UNKNOWN, "under fips the host does not check the padding");
    else if (is_known(probing, &sample))
        kw_probe_set(result, KW_PROBE_YES, "%s",
                     which == KW_PROBE_OAEP_256_ON_HOST ? "with the padding checked on the host"
                                                        : "");
    else
        kw_probe_set(result, KW_PROBE_NO, "it gave something else than what was encrypted");
    kw_secret_free(sample.plain);
}

/* One tampered ciphertext in 65536 has sound padding by chance: two do not. */
void kw_probe_tampered(struct kw_probing *probing, size_t which, struct kw_probe_result *result)
{
    (void)which;
    const struct kw_probe_pair *pair = kw_probe_pair(probing, KW_PROBE_SEALED, result);
    struct sample sample;
    if (pair && kw_module_quirks(probing->token->module)->no_session_keys) {
        kw_probe_set(result, KW_PROBE_UNKNOWN, "not tried: a key that failed could not be removed");
        return;
    }
    if (!pair || !make_sample(probing, pair, &ways[KW_PROBE_RSA1_5], &sample, result))
        return;
    CK_RV rv = decrypt(probing, &sample);
    if (rv != CKR_OK) {
        kw_probe_set_rv(result, KW_PROBE_UNKNOWN, "it decrypts no RSA1_5", rv);
        kw_secret_free(sample.plain);
        return;
    }
    for (size_t i = 0; i < 2 && rv == CKR_OK; i++) {
        sample.wrapped[pair->key.public.modulus_len - 1 - i] ^= 1;
        rv = decrypt(probing, &sample);
    }
    if (rv != CKR_OK)
        kw_probe_set_rv(result, KW_PROBE_YES, "it fails", rv);
    else
        kw_probe_set(result, KW_PROBE_NO, "it gives junk, so only the data can tell");
    kw_secret_free(sample.plain);
}

/* ---- how fast ---- */

static void measure(struct kw_probing *probing, const struct sample *sample,
                    struct kw_probe_result *result)
{
    uint64_t start = kw_now_ms(), passed = 0;
    unsigned long count = 0;
    CK_RV rv = CKR_OK;
    while (passed < MEASURED_MS && (rv = decrypt(probing, sample)) == CKR_OK) {
        count++;
        passed = kw_now_ms() - start;
    }
    if (rv != CKR_OK) {
        kw_probe_set_rv(result, KW_PROBE_NO, "it failed in the middle", rv);
        return;
    }
    result->number = (unsigned long)((count * 1000 + passed / 2) / passed);
    kw_probe_set(result, KW_PROBE_YES, "%lu a second: RSA-2048, %s, one session", result->number,
                 sample->way->name);
}

void kw_probe_speed(struct kw_probing *probing, size_t which, struct kw_probe_result *result)
{
    static const enum kw_probe_decryption order[] = {KW_PROBE_OAEP, KW_PROBE_OAEP_256, KW_PROBE_RAW,
                                                     KW_PROBE_RSA1_5};
    (void)which;
    const struct kw_probe_pair *pair = kw_probe_pair(probing, KW_PROBE_SEALED, result);
    if (!pair)
        return;
    kw_probe_set(result, KW_PROBE_UNKNOWN, "it decrypts nothing");
    for (size_t i = 0; i < KW_COUNT(order); i++) {
        struct sample sample;
        if (!make_sample(probing, pair, &ways[order[i]], &sample, result))
            continue;
        bool works = decrypt(probing, &sample) == CKR_OK;
        if (works)
            measure(probing, &sample, result);
        kw_secret_free(sample.plain);
        if (works)
            return;
    }
}
