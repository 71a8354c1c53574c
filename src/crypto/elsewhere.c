/* elsewhere: private keys that are used and not had, such as a token's. OpenSSL asks providers for
 * all that keys do, so this is one: its RSA keys are public halves with a function that signs. */
#include <stdlib.h>
#include <string.h>

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/proverr.h>
#include <openssl/rsa.h>

#include "crypto/openssl.h"

#define HASH_MAX  64
#define KEY_PARAM "keyward-key" /* of a struct elsewhere, by its address */
/* No fetch for anything else may find what is here. */
#define OURS "provider=" KW_ELSEWHERE ",-fips"

struct elsewhere {
    struct kw_crypto *crypto;
    EVP_PKEY *public;
    struct kw_signing_key key;
};

static void clean_up(struct elsewhere *elsewhere)
{
    EVP_PKEY_free(elsewhere->public);
    if (elsewhere->key.free)
        elsewhere->key.free(elsewhere->key.context);
    *elsewhere = (struct elsewhere){.crypto = NULL};
}

/* ---- provider-keymgmt(7) ---- */

static void *new_key(void *provider)
{
    (void)provider;
    return calloc(1, sizeof(struct elsewhere));
}

static void free_key(void *key)
{
    clean_up(key);
    free(key);
}

static int has(const void *key, int selection)
{
    const struct elsewhere *elsewhere = key;
    (void)selection;
    return elsewhere->public != NULL;
}

static int match(const void *one, const void *other, int selection)
{
    const struct elsewhere *a = one, *b = other;
    (void)selection;
    return a->public && b->public && EVP_PKEY_eq(a->public, b->public) == 1;
}

/* Takes over what it is given. */
static int import(void *key, int selection, const OSSL_PARAM params[])
{
    const OSSL_PARAM *param = OSSL_PARAM_locate_const(params, KEY_PARAM);
    struct elsewhere *given;
    (void)selection;
    if (!param || param->data_size != sizeof(given))
        return 0;
    memcpy(&given, param->data, sizeof(given));
    *(struct elsewhere *)key = *given;
    *given = (struct elsewhere){.crypto = NULL};
    return 1;
}

static const OSSL_PARAM *import_types(int selection)
{
    static const OSSL_PARAM types[] = {OSSL_PARAM_octet_string(KEY_PARAM, NULL, 0), OSSL_PARAM_END};
    (void)selection;
    return types;
}

/* The public half, to be compared with a certificate's; there is no more to be had. */
static int export(void *key, int selection, OSSL_CALLBACK *take, void *argument)
{
    const struct elsewhere *elsewhere = key;
    OSSL_PARAM *params = NULL;
    if (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY || !elsewhere->public ||
        EVP_PKEY_todata(elsewhere->public, EVP_PKEY_PUBLIC_KEY, &params) != 1)
        return 0;
    int taken = take(params, argument);
    OSSL_PARAM_free(params);
    return taken;
}

static const OSSL_PARAM *export_types(int selection)
{
    static const OSSL_PARAM types[] = {OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_N, NULL, 0),
                                       OSSL_PARAM_BN(OSSL_PKEY_PARAM_RSA_E, NULL, 0),
                                       OSSL_PARAM_END};
    return selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY ? NULL : types;
}

static int get_params(void *key, OSSL_PARAM params[])
{
    const struct elsewhere *elsewhere = key;
    return elsewhere->public && EVP_PKEY_get_params(elsewhere->public, params) == 1;
}

static const OSSL_PARAM *gettable_params(void *provider)
{
    static const OSSL_PARAM types[] = {OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
                                       OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
                                       OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
                                       OSSL_PARAM_END};
    (void)provider;
    return types;
}

static const char *operation_name(int operation)
{
    (void)operation;
    return "RSA";
}

/* ---- provider-signature(7): one-shot alone, which is what TLS asks for ---- */

struct signing {
    const struct elsewhere *key;
    size_t hash; /* of algs */
    bool pss;
};

static const enum kw_digest_signature algs[][2] = {
    {KW_DIGEST_RS256, KW_DIGEST_PS256},
    {KW_DIGEST_RS384, KW_DIGEST_PS384},
    {KW_DIGEST_RS512, KW_DIGEST_PS512},
};

static const EVP_MD *hash_of(const struct signing *signing)
{
    return kw_digest_signature_hash(signing->key->crypto, algs[signing->hash][signing->pss]);
}

static void *new_signing(void *provider, const char *properties)
{
    (void)provider;
    (void)properties;
    return calloc(1, sizeof(struct signing));
}

static bool set_padding(struct signing *signing, const OSSL_PARAM *param)
{
    int mode = 0;
    const char *name = NULL;
    if (OSSL_PARAM_get_utf8_string_ptr(param, &name) == 1)
        mode = strcmp(name, OSSL_PKEY_RSA_PAD_MODE_PSS) == 0       ? RSA_PKCS1_PSS_PADDING
               : strcmp(name, OSSL_PKEY_RSA_PAD_MODE_PKCSV15) == 0 ? RSA_PKCS1_PADDING
                                                                   : 0;
    else if (OSSL_PARAM_get_int(param, &mode) != 1)
        return false;
    signing->pss = mode == RSA_PKCS1_PSS_PADDING;
    return signing->pss || mode == RSA_PKCS1_PADDING;
}

/* As long as the digest, and no other. */
static bool check_salt(const struct signing *signing, const OSSL_PARAM *param)
{
    int len = 0;
    const char *name = NULL;
    if (OSSL_PARAM_get_utf8_string_ptr(param, &name) == 1) {
        if (strcmp(name, OSSL_PKEY_RSA_PSS_SALT_LEN_DIGEST) == 0)
            return true;
        len = (int)strtol(name, NULL, 10);
    } else if (OSSL_PARAM_get_int(param, &len) != 1) {
        return false;
    }
    return len == RSA_PSS_SALTLEN_DIGEST || len == EVP_MD_get_size(hash_of(signing));
}

static bool check_mgf(const struct signing *signing, const OSSL_PARAM *param)
{
    const char *name = NULL;
    return OSSL_PARAM_get_utf8_string_ptr(param, &name) == 1 &&
           EVP_MD_is_a(hash_of(signing), name) == 1;
}

static int set_signing(void *context, const OSSL_PARAM params[])
{
    struct signing *signing = context;
    if (!params)
        return 1;
    const OSSL_PARAM *padding = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PAD_MODE);
    const OSSL_PARAM *salt = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_PSS_SALTLEN);
    const OSSL_PARAM *mgf = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_MGF1_DIGEST);
    bool good = (!padding || set_padding(signing, padding)) &&
                (!salt || check_salt(signing, salt)) && (!mgf || check_mgf(signing, mgf));
    if (!good)
        ERR_raise(ERR_LIB_PROV, PROV_R_ILLEGAL_OR_UNSUPPORTED_PADDING_MODE);
    return good;
}

static const OSSL_PARAM *settable_signing(void *context, void *provider)
{
    static const OSSL_PARAM types[] = {
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
        OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0), OSSL_PARAM_END};
    (void)context;
    (void)provider;
    return types;
}

static int begin_signing(void *context, const char *hash, void *key, const OSSL_PARAM params[])
{
    struct signing *signing = context;
    *signing = (struct signing){.key = key};
    if (!key || !signing->key->public)
        return 0;
    while (hash && EVP_MD_is_a(hash_of(signing), hash) != 1)
        if (++signing->hash == KW_COUNT(algs)) {
            signing->hash = 0;
            ERR_raise(ERR_LIB_PROV, PROV_R_DIGEST_NOT_ALLOWED);
            return 0;
        }
    return set_signing(signing, params);
}

static int sign(void *context, unsigned char *out, size_t *ret_len, size_t size,
                const unsigned char *data, size_t len)
{
    struct signing *signing = context;
    const struct kw_signing_key *key = signing->key ? &signing->key->key : NULL;
    uint8_t digest[HASH_MAX];
    uint8_t signature[KW_RSA_MAX_BYTES];
    unsigned digest_len = 0;
    if (!key)
        return 0;
    if (out && (size < key->public.modulus_len ||
                EVP_Digest(data, len, digest, &digest_len, hash_of(signing), NULL) != 1))
        return 0;
    if (out && key->sign(key->context, algs[signing->hash][signing->pss], digest, digest_len,
                         signature) != KW_OK) {
        ERR_raise(ERR_LIB_PROV, PROV_R_FAILED_TO_SIGN);
        return 0;
    }
    if (out)
        memcpy(out, signature, key->public.modulus_len);
    *ret_len = key->public.modulus_len;
    return 1;
}

/* ---- provider-base(7) ---- */

#define FUNCTION(number, function)                                                                 \
    {                                                                                              \
        number, (void (*)(void))(function)                                                         \
    }
static const OSSL_DISPATCH key_functions[] = {
    FUNCTION(OSSL_FUNC_KEYMGMT_NEW, new_key),
    FUNCTION(OSSL_FUNC_KEYMGMT_FREE, free_key),
    FUNCTION(OSSL_FUNC_KEYMGMT_HAS, has),
    FUNCTION(OSSL_FUNC_KEYMGMT_MATCH, match),
    FUNCTION(OSSL_FUNC_KEYMGMT_IMPORT, import),
    FUNCTION(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, import_types),
    FUNCTION(OSSL_FUNC_KEYMGMT_EXPORT, export),
    FUNCTION(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, export_types),
    FUNCTION(OSSL_FUNC_KEYMGMT_GET_PARAMS, get_params),
    FUNCTION(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, gettable_params),
    FUNCTION(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, operation_name),
    {0, NULL},
};
static const OSSL_DISPATCH signature_functions[] = {
    FUNCTION(OSSL_FUNC_SIGNATURE_NEWCTX, new_signing),
    FUNCTION(OSSL_FUNC_SIGNATURE_FREECTX, free),
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, begin_signing),
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, sign),
    FUNCTION(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, set_signing),
    FUNCTION(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, settable_signing),
    {0, NULL},
};

static const OSSL_ALGORITHM *query(void *provider, int operation, int *ret_no_cache)
{
    static const OSSL_ALGORITHM keys[] = {{"RSA", "provider=" KW_ELSEWHERE, key_functions, NULL},
                                          {NULL, NULL, NULL, NULL}};
    static const OSSL_ALGORITHM signatures[] = {
        {"RSA", "provider=" KW_ELSEWHERE, signature_functions, NULL}, {NULL, NULL, NULL, NULL}};
    (void)provider;
    *ret_no_cache = 0;
    return operation == OSSL_OP_KEYMGMT ? keys : operation == OSSL_OP_SIGNATURE ? signatures : NULL;
}

int kw_elsewhere_start(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *core,
                       const OSSL_DISPATCH **ret_functions, void **ret_context)
{
    static const OSSL_DISPATCH functions[] = {FUNCTION(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query),
                                              {0, NULL}};
    (void)handle;
    (void)core;
    *ret_functions = functions;
    *ret_context = NULL;
    return 1;
}

/* ---- keys ---- */

/* Moves what it is given into the key. */
static enum kw_status make(struct elsewhere *given, EVP_PKEY **ret_key, struct kw_error *err)
{
    OSSL_LIB_CTX *library = given->crypto->context;
    OSSL_PARAM params[] = {OSSL_PARAM_octet_string(KEY_PARAM, &given, sizeof(given)),
                           OSSL_PARAM_END};
    EVP_PKEY *made = NULL;
    EVP_PKEY_CTX *context = given->public ? EVP_PKEY_CTX_new_from_name(library, "RSA", OURS) : NULL;
    bool good = context && EVP_PKEY_fromdata_init(context) == 1 &&
                EVP_PKEY_fromdata(context, &made, EVP_PKEY_KEYPAIR, params) == 1;
    EVP_PKEY_CTX_free(context);
    if (!good)
        return kw_fail_openssl(err, KW_KEY_UNUSABLE, "OpenSSL takes no such key");
    *ret_key = made;
    return KW_OK;
}

enum kw_status kw_private_key_new(struct kw_crypto *crypto, const struct kw_signing_key *key,
                                  EVP_PKEY **ret_key, struct kw_error *err)
{
    struct elsewhere given = {.crypto = crypto, .key = *key};
    enum kw_status status = kw_rsa_check(&key->public, "the key", KW_KEY_UNUSABLE, err);
    if (!status) {
        given.public = kw_rsa_public_import(crypto, &key->public);
        status = make(&given, ret_key, err);
    }
    clean_up(&given);
    return status;
}

void kw_private_key_free(EVP_PKEY *key)
{
    EVP_PKEY_free(key);
}
