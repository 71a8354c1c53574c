/* Signed records: JSON Web Signature, compact serialisation (RFC 7515). */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static const struct kw_json_limits limits = {.bytes = KW_JWS_HEADER_MAX, .depth = 1, .items = 8};

static enum kw_status append_base64url(struct kw_buffer *out, const void *data, size_t len,
                                       struct kw_error *err)
{
    enum kw_status status = kw_buffer_reserve(out, KW_BASE64_ENCODED_SIZE(len), err);
    if (status)
        return status;
    kw_base64_encode(KW_BASE64URL, data, len, (char *)out->data + out->len);
    out->len += strlen((const char *)out->data + out->len);
    return KW_OK;
}

/* ---- signing ---- */

static enum kw_status sign_as(struct kw_token *token, const struct kw_token_key *signer,
                              enum kw_signature_alg alg, const struct kw_buffer *payload,
                              struct kw_buffer *out, enum kw_signature_alg *ret_alg,
                              struct kw_error *err)
{
    char id[2 * KW_KEY_ID_MAX + 1], header[KW_JWS_HEADER_MAX];
    uint8_t signature[KW_RSA_MAX_BYTES];
    kw_hex_encode(signer->id, signer->id_len, id);
    int len = snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"%s\"}",
                       kw_signature_alg_name(alg), id);
    enum kw_status status;
    if (len < 0 || (size_t)len >= sizeof(header))
        return kw_fail(err, KW_FAULT, "a signature's header is too long");
    if ((status = append_base64url(out, header, (size_t)len, err)) ||
        (status = kw_buffer_append(out, ".", 1, err)) ||
        (status = append_base64url(out, payload->data, payload->len, err)) ||
        (status = kw_token_sign(token, signer, out->data, out->len, ret_alg, signature, err)) ||
        (status = kw_buffer_append(out, ".", 1, err)))
        return status;
    return append_base64url(out, signature, signer->public.modulus_len, err);
}

/* The header names the algorithm and is signed itself; which one the token does is known only
 * afterwards. */
enum kw_status kw_jws_sign(struct kw_token *token, const struct kw_token_key *signer,
                           const struct kw_buffer *payload, struct kw_buffer *ret_jws,
                           struct kw_error *err)
{
    size_t start = ret_jws->len;
    enum kw_signature_alg claimed = KW_PS256, done = KW_PS256;
    enum kw_status status = sign_as(token, signer, claimed, payload, ret_jws, &done, err);
    if (!status && done != claimed) {
        claimed = done;
        ret_jws->len = start;
        status = sign_as(token, signer, claimed, payload, ret_jws, &done, err);
    }
    if (!status && done != claimed)
        status = kw_fail(err, KW_TOKEN, "the token signs now in one way and now in another");
    if (status)
        ret_jws->len = start;
    return status;
}

/* ---- verifying ---- */

struct parts {
    const char *text[3];
    size_t len[3];
};

static bool split(const char *jws, size_t len, struct parts *parts)
{
    for (size_t i = 0; i < 3; i++) {
        const char *dot = memchr(jws, '.', len);
        bool last = i == 2;
        if (last != (dot == NULL))
            return false;
        parts->text[i] = jws;
        parts->len[i] = last ? len : (size_t)(dot - jws);
        if (!last) {
            len -= parts->len[i] + 1;
            jws = dot + 1;
        }
    }
    return true;
}

static enum kw_status read_header(const struct parts *parts, kw_jws_signer_fn find_signer,
                                  void *context, enum kw_signature_alg *ret_alg,
                                  const struct kw_token_key **ret_signer, const char **ret_fault,
                                  struct kw_error *err)
{
    uint8_t header[KW_JWS_HEADER_MAX];
    size_t len = 0;
    cJSON *json = NULL;
    *ret_fault = "its header is damaged";
    if (!kw_base64_decode(KW_BASE64URL, parts->text[0], parts->len[0], header, sizeof(header),
                          &len))
        return KW_OK;
    enum kw_status status =
        kw_json_parse((const char *)header, len, &limits, "a header", KW_DAMAGED, &json, err);
    if (status)
        return status == KW_DAMAGED ? KW_OK : status;
    const char *alg = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "alg"));
    const char *kid = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "kid"));
    *ret_fault = NULL;
    if (!alg || !kid || cJSON_GetArraySize(json) != 2 || !kw_signature_alg_parse(alg, ret_alg))
        *ret_fault = "its header names no algorithm and key that are used here";
    else if (!(status = find_signer(context, kid, ret_signer, err)) && !*ret_signer)
        *ret_fault = "the key that signed it is not on the token";
    cJSON_Delete(json);
    return status;
}

static enum kw_status check_signature(struct kw_crypto *crypto, const struct parts *parts,
                                      const struct kw_token_key *signer, enum kw_signature_alg alg,
                                      const char **ret_fault, struct kw_error *err)
{
    uint8_t signature[KW_RSA_MAX_BYTES];
    size_t len = 0;
    enum kw_status status = KW_DAMAGED;
    if (kw_base64_decode(KW_BASE64URL, parts->text[2], parts->len[2], signature, sizeof(signature),
                         &len))
        status = kw_rsa_verify(crypto, &signer->public, alg, parts->text[0],
                               parts->len[0] + 1 + parts->len[1], signature, len, err);
    if (status != KW_DAMAGED)
        return status;
    *ret_fault = "its signature is wrong: it was edited, or is damaged";
    return KW_OK;
}

enum kw_status kw_jws_verify(struct kw_crypto *crypto, const char *jws, size_t len,
                             kw_jws_signer_fn find_signer, void *context,
                             struct kw_buffer *ret_payload, const char **ret_fault,
                             struct kw_error *err)
{
    struct parts parts;
    enum kw_signature_alg alg;
    const struct kw_token_key *signer = NULL;
    const char *fault = "it is not in three parts";
    size_t payload_len = 0;
    enum kw_status status = KW_OK;
    if (split(jws, len, &parts))
        status = read_header(&parts, find_signer, context, &alg, &signer, &fault, err);
    if (!status && !fault)
        status = check_signature(crypto, &parts, signer, alg, &fault, err);
    if (!status && !fault &&
        KW_BASE64_DECODED_MAX(parts.len[1]) > ret_payload->max - ret_payload->len)
        fault = "its payload is damaged";
    if (!status && !fault)
        status = kw_buffer_reserve(ret_payload, KW_BASE64_DECODED_MAX(parts.len[1]), err);
    if (status)
        return status;
    if (!fault && !kw_base64_decode(KW_BASE64URL, parts.text[1], parts.len[1],
                                    ret_payload->data + ret_payload->len,
                                    ret_payload->capacity - ret_payload->len, &payload_len))
        fault = "its payload is damaged";
    ret_payload->len += payload_len;
    *ret_fault = fault;
    return KW_OK;
}
