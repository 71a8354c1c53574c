/* Probing a token: which probes there are, the keys they use, and the simple ones. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "probe.h"

#define MORE_SESSIONS 64
#define DATE          "20991231"
#define DATE_SHOWN    "2099-12-31"

/* ---- answers ---- */

void kw_probe_set(struct kw_probe_result *result, enum kw_probe_answer answer, const char *format,
                  ...)
{
    va_list arguments;
    result->answer = answer;
    va_start(arguments, format);
    if (vsnprintf(result->details, sizeof(result->details), format, arguments) < 0)
        result->details[0] = '\0';
    va_end(arguments);
}

void kw_probe_set_rv(struct kw_probe_result *result, enum kw_probe_answer answer, const char *what,
                     CK_RV rv)
{
    char name[KW_RV_NAME_SIZE];
    kw_probe_set(result, answer, "%s (%s)", what, kw_rv_name(rv, name));
}

const struct kw_probe_pair *kw_probe_pair(const struct kw_probing *probing, enum kw_probe_use use,
                                          struct kw_probe_result *result)
{
    const struct kw_probe_pair *pair = &probing->pairs[use];
    if (pair->rv == CKR_OK)
        return pair;
    kw_probe_set_rv(result, KW_PROBE_UNKNOWN, "the token makes no such RSA key for a session",
                    pair->rv);
    return NULL;
}

/* ---- sessions and keys ---- */

static void close_session(struct kw_probing *probing)
{
    if (probing->lost == CKR_OK)
        (void)probing->token->functions->C_CloseSession(probing->session.handle);
}

static void open_session(struct kw_probing *probing)
{
    probing->session = (struct kw_session){.failure = CKR_OK};
    probing->transfer = (struct kw_transfer){.token = probing->token, .session = &probing->session};
    probing->lost = probing->token->functions->C_OpenSession(
        probing->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &probing->session.handle);
}

void kw_probe_renew(struct kw_probing *probing)
{
    close_session(probing);
    open_session(probing);
}

static CK_RV generate_pair(struct kw_token *token, struct kw_session *session,
                           enum kw_probe_use use, const uint8_t id[16], struct kw_probe_pair *pair)
{
    static const CK_BYTE f4[] = {1, 0, 1};
    const struct kw_key_plan plan = {.use = use == KW_PROBE_SIGNING ? KW_USE_SIGN : KW_USE_DECRYPT,
                                     .label = "keyward probe",
                                     .id = id,
                                     .id_len = 16,
                                     .extractable = use == KW_PROBE_EXPORTABLE};
    const struct kw_quirks *quirks = kw_module_quirks(token->module);
    const CK_ULONG bits = 2048;
    struct kw_template templates[2] = {{.count = 0}, {.count = 0}};
    kw_template_add_public(&templates[0], &plan);
    kw_template_add(&templates[0], CKA_MODULUS_BITS, &bits, sizeof(bits));
    kw_template_add(&templates[0], CKA_PUBLIC_EXPONENT, f4, sizeof(f4));
    kw_template_add_private(&templates[1], &plan);
    for (size_t i = 0; i < KW_COUNT(templates); i++) {
        kw_template_set_bool(&templates[i], CKA_TOKEN, quirks->no_session_keys);
        if (quirks->fixed_usage)
            kw_template_drop_usage(&templates[i]);
    }
    CK_MECHANISM mechanism = {.mechanism = CKM_RSA_PKCS_KEY_PAIR_GEN};
    return token->functions->C_GenerateKeyPair(
        session->handle, &mechanism, templates[0].items, templates[0].count, templates[1].items,
        templates[1].count, &pair->public_handle, &pair->private_handle);
}

static void destroy_pair(struct kw_token *token, const struct kw_session *session,
                         const struct kw_probe_pair *pair)
{
    const CK_OBJECT_HANDLE handles[] = {pair->private_handle, pair->public_handle};
    for (size_t i = 0; i < KW_COUNT(handles); i++)
        if (handles[i] != CK_INVALID_HANDLE)
            (void)token->functions->C_DestroyObject(session->handle, handles[i]);
}

void kw_probe_make_pair(struct kw_token *token, struct kw_session *session, enum kw_probe_use use,
                        struct kw_probe_pair *pair)
{
    uint8_t id[16];
    struct kw_token_key public = {.id_len = 0};
    *pair = (struct kw_probe_pair){.rv = CKR_HOST_MEMORY,
                                   .private_handle = CK_INVALID_HANDLE,
                                   .public_handle = CK_INVALID_HANDLE};
    if (kw_random(token->crypto, id, sizeof(id), NULL) != KW_OK)
        return;
    CK_RV rv = generate_pair(token, session, use, id, pair);
    if (rv == CKR_OK)
        rv = kw_key_read(token, session, pair->private_handle, &pair->key);
    if (rv == CKR_OK)
        rv = kw_key_read(token, session, pair->public_handle, &public);
    if (rv == CKR_OK) {
        kw_key_add_public(&pair->key, &public);
        if (pair->key.public.modulus_len == 0 || pair->key.public.exponent_len == 0)
            rv = CKR_ATTRIBUTE_TYPE_INVALID; /* it hides what is public */
    }
    if (rv != CKR_OK)
        destroy_pair(token, session, pair);
    pair->rv = rv;
}

/* ---- the simple probes ---- */

static void probe_quirks(struct kw_probing *probing, size_t which, struct kw_probe_result *result)
{
    (void)which;
    const struct kw_quirks *quirks = kw_module_quirks(probing->token->module);
    struct kw_buffer text = KW_BUFFER_INIT(sizeof(result->details));
    if (kw_quirks_print(quirks, &text) == KW_OK)
        kw_probe_set(result, quirks->name ? KW_PROBE_YES : KW_PROBE_NO, "%.*s", (int)text.len,
                     (const char *)text.data);
    kw_buffer_cleanup(&text);
}

static void probe_date(struct kw_probing *probing, size_t which, struct kw_probe_result *result)
{
    const struct kw_probe_pair *pair = kw_probe_pair(probing, KW_PROBE_SEALED, result);
    if (!pair)
        return;
    CK_OBJECT_HANDLE object = which == CKO_PUBLIC_KEY ? pair->public_handle : pair->private_handle;
    CK_ATTRIBUTE set = {CKA_END_DATE, (void *)DATE, strlen(DATE)};
    CK_CHAR read[8];
    CK_ATTRIBUTE get = {CKA_END_DATE, read, sizeof(read)};
    char shown[11] = "";
    CK_RV rv =
        probing->token->functions->C_SetAttributeValue(probing->session.handle, object, &set, 1);
    if (rv != CKR_OK) {
        kw_probe_set_rv(result, KW_PROBE_NO, "it can't be set", rv);
        return;
    }
    rv = kw_attributes_read(probing->token->functions, &probing->session, object, &get, 1);
    if (rv != CKR_OK) {
        kw_probe_set_rv(result, KW_PROBE_NO, "it can't be read", rv);
        return;
    }
    kw_date_set(shown, &get);
    if (strcmp(shown, DATE_SHOWN) == 0)
        kw_probe_set(result, KW_PROBE_YES, "CKA_END_DATE can be set and read back");
    else
        kw_probe_set(result, KW_PROBE_NO, "CKA_END_DATE can be set, but is not told afterwards");
}

static void probe_pin(struct kw_probing *probing, size_t which, struct kw_probe_result *result)
{
    (void)which;
    CK_TOKEN_INFO raw;
    struct kw_token_info info;
    memset(&raw, 0, sizeof(raw));
    CK_RV rv = probing->token->functions->C_GetTokenInfo(probing->slot, &raw);
    if (rv != CKR_OK) {
        kw_probe_set_rv(result, KW_PROBE_UNKNOWN, "the token does not tell", rv);
        return;
    }
    kw_token_info_fill(&info, &raw);
    if (!info.login_required)
        kw_probe_set(result, KW_PROBE_YES, "the token wants no PIN");
    else if (info.pin_locked)
        kw_probe_set(result, KW_PROBE_NO, "it is locked");
    else if (info.pin_final_try)
        kw_probe_set(result, KW_PROBE_NO, "the next wrong one locks it");
    else if (info.pin_count_low)
        kw_probe_set(result, KW_PROBE_NO, "wrong ones were sent since the last login");
    else
        kw_probe_set(result, KW_PROBE_YES, "the token reports no wrong one");
}

static void probe_sessions(struct kw_probing *probing, size_t which, struct kw_probe_result *result)
{
    (void)which;
    const CK_FUNCTION_LIST *functions = probing->token->functions;
    CK_SESSION_HANDLE sessions[MORE_SESSIONS];
    size_t count = 0;
    CK_RV rv = CKR_OK;
    while (count < MORE_SESSIONS &&
           (rv = functions->C_OpenSession(probing->slot, kw_token_session_flags(probing->token),
                                          NULL, NULL, &sessions[count])) == CKR_OK)
        count++;
    for (size_t i = 0; i < count; i++)
        (void)functions->C_CloseSession(sessions[i]);
    char name[KW_RV_NAME_SIZE];
    result->number = count;
    if (count == MORE_SESSIONS)
        kw_probe_set(result, KW_PROBE_YES, "%zu were opened and closed", count);
    else
        kw_probe_set(result, KW_PROBE_NO, "%zu were opened, no more (%s)", count,
                     kw_rv_name(rv, name));
}

/* ---- all of them ---- */

static const struct probe {
    const char *name;
    const char *what;
    kw_probe_fn run;
    size_t which;
} probes[] = {
    {"quirks", "its module is one known here", probe_quirks, 0},
    {"decrypt-oaep", "decrypts RSA-OAEP", kw_probe_decrypt, KW_PROBE_OAEP},
    {"decrypt-oaep-256", "decrypts RSA-OAEP-256", kw_probe_decrypt, KW_PROBE_OAEP_256},
    {"decrypt-rsa1-5", "decrypts RSA1_5", kw_probe_decrypt, KW_PROBE_RSA1_5},
    {"decrypt-raw", "decrypts raw RSA", kw_probe_decrypt, KW_PROBE_RAW},
    {"decrypt-oaep-256-host", "RSA-OAEP-256 by raw RSA", kw_probe_decrypt,
     KW_PROBE_OAEP_256_ON_HOST},
    {"rsa1-5-tampered-fails", "tampered RSA1_5 is an error", kw_probe_tampered, 0},
    {"decrypts-a-second", "decrypts for a second", kw_probe_speed, 0},
    {"wrap-aes", "wraps an AES key (RSA-OAEP)", kw_probe_wrap_aes, 0},
    {"wrap-rfc5649-210b", "0x210B wraps by RFC 5649", kw_probe_wrap_kwp, 1},
    {"wrap-rfc5649-210a", "0x210A wraps by RFC 5649", kw_probe_wrap_kwp, 2},
    {"wrap-rsa-aes", "0x1054 wraps an RSA key", kw_probe_wrap_whole, 0},
    {"byok-out", "an RSA key goes out whole", kw_probe_byok_out, 0},
    {"byok-in", "an RSA key comes in whole", kw_probe_byok_in, 0},
    {"extractable-enforced", "keeps what may not leave it", kw_probe_extractable, 0},
    {"date-public", "dates on a public key", probe_date, CKO_PUBLIC_KEY},
    {"date-private", "dates on a private key", probe_date, CKO_PRIVATE_KEY},
    {"sign-ecdsa-p256", "signs ECDSA P-256, SHA-256", kw_probe_sign, KW_PROBE_ECDSA},
    {"sign-rsa-pss", "signs RSA-PSS, SHA-256", kw_probe_sign, KW_PROBE_PSS},
    {"pin", "the PIN is in good order", probe_pin, 0},
    {"sessions", "64 more sessions", probe_sessions, 0},
};
_Static_assert(KW_COUNT(probes) <= KW_PROBES_MAX, "results have room for all probes");

struct request {
    struct kw_probing probing;
    struct kw_probe_result *results;
};

/* In a session of its own, which takes with it what the probe leaves. `session` has the pairs. */
static enum kw_status run_probe(struct kw_probing *probing, struct kw_session *session,
                                const struct probe *probe, struct kw_probe_result *result,
                                struct kw_error *err)
{
    *result = (struct kw_probe_result){.name = probe->name, .what = probe->what};
    open_session(probing);
    if (probing->lost == CKR_OK) {
        probe->run(probing, probe->which, result);
        if (probing->lost == CKR_OK)
            kw_transfer_clear(&probing->transfer);
        close_session(probing);
    }
    if (probing->lost != CKR_OK)
        return kw_session_fail(probing->token, session, probing->lost, "open a session", err);
    /* An answer that was given while the token went away is none. */
    CK_SESSION_INFO info;
    CK_RV rv = probing->token->functions->C_GetSessionInfo(session->handle, &info);
    if (rv != CKR_OK)
        return kw_session_fail(probing->token, session, rv, "keep its session", err);
    return kw_session_check_login(probing->token, session, err);
}

static enum kw_status run_all(struct kw_token *token, struct kw_session *session, void *context,
                              struct kw_error *err)
{
    struct request *request = context;
    struct kw_probing *probing = &request->probing;
    (void)pthread_mutex_lock(&token->lock);
    probing->slot = token->slot;
    (void)pthread_mutex_unlock(&token->lock);
    kw_probe_make_pair(token, session, KW_PROBE_SEALED, &probing->pairs[KW_PROBE_SEALED]);
    kw_probe_make_pair(token, session, KW_PROBE_EXPORTABLE, &probing->pairs[KW_PROBE_EXPORTABLE]);
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < KW_COUNT(probes) && !status; i++)
        status = run_probe(probing, session, &probes[i], &request->results[i], err);
    for (size_t i = 0; i < KW_COUNT(probing->pairs); i++)
        if (probing->pairs[i].rv == CKR_OK)
            destroy_pair(token, session, &probing->pairs[i]);
    return status;
}

enum kw_status kw_token_probe(struct kw_token *token, struct kw_probe_result results[KW_PROBES_MAX],
                              size_t *ret_count, struct kw_error *err)
{
    struct kw_probe_result found[KW_PROBES_MAX];
    struct request request = {.probing = {.token = token}, .results = found};
    enum kw_status status = kw_transfer_trial(token, &request.probing.trial, err);
    if (!status)
        status = kw_secret_new(KW_AES256_KEY_SIZE, &request.probing.known, err);
    if (status)
        return status;
    kw_secret_set_len(request.probing.known, KW_AES256_KEY_SIZE);
    status =
        kw_random(token->crypto, kw_secret_data(request.probing.known), KW_AES256_KEY_SIZE, err);
    if (!status)
        status = kw_token_with_rw_session(token, run_all, &request, err);
    kw_secret_free(request.probing.known);
    if (status)
        return status;
    memcpy(results, found, KW_COUNT(probes) * sizeof(found[0]));
    *ret_count = KW_COUNT(probes);
    return KW_OK;
}
