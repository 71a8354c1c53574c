/* library: OpenSSL's library context, its providers, the algorithms fetched once, random bytes. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/provider.h>
#include <openssl/rand.h>

#include "crypto/openssl.h"

#define TRIAL_SIZE 1024

struct library_kind {
    const char *providers[3];
    const char *properties, *with_elsewhere;
};
static const struct library_kind kinds[] = {
    [false] = {{"default", NULL, KW_ELSEWHERE}, "provider=default", "?provider=default"},
    /* base has the readers of keys, which are no cryptography and not in the FIPS module. */
    [true] = {{"fips", "base", KW_ELSEWHERE}, "fips=yes", "?fips=yes"},
};

bool kw_openssl_lacked_memory(void)
{
    bool lacked = false;
    unsigned long error;
    while ((error = ERR_get_error()) != 0)
        lacked = lacked || ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE;
    /* Without any memory there isn't even a queue to note it in. */
    void *trial = lacked ? NULL : OPENSSL_malloc(TRIAL_SIZE);
    OPENSSL_free(trial);
    return !trial;
}

enum kw_status kw_fail_openssl(struct kw_error *err, enum kw_status status, const char *format, ...)
{
    char text[KW_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (written < 0)
        text[0] = '\0';
    /* The oldest entry is the cause, the later ones are what it led to. */
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    if (kw_openssl_lacked_memory())
        return kw_fail_memory(err);
    return kw_fail(err, status, "%s: %s", text, reason ? reason : "OpenSSL gives no reason");
}

static enum kw_status load_providers(struct kw_crypto *crypto, struct kw_error *err)
{
    /* The FIPS module wants the checksum that its installation wrote to OpenSSL's configuration. */
    if (crypto->fips && !OSSL_LIB_CTX_load_config(crypto->context, NULL))
        return kw_fail_openssl(err, KW_CONFIG,
                               "fips = yes, but OpenSSL's configuration can't be loaded; install "
                               "OpenSSL's FIPS provider and run openssl fipsinstall");
    if (!OSSL_PROVIDER_add_builtin(crypto->context, KW_ELSEWHERE, kw_elsewhere_start))
        return kw_fail_openssl(err, KW_FAULT, "OpenSSL takes no provider");
    for (size_t i = 0; i < KW_COUNT(crypto->providers); i++) {
        const char *name = kinds[crypto->fips].providers[i];
        if (!name)
            continue;
        crypto->providers[i] = OSSL_PROVIDER_load(crypto->context, name);
        if (!crypto->providers[i])
            return kw_fail_openssl(err, KW_CONFIG,
                                   "OpenSSL's provider \"%s\" can't be loaded; install and "
                                   "configure it, or change fips in [crypto]",
                                   name);
    }
    if (!EVP_set_default_properties(crypto->context, crypto->properties))
        return kw_fail_openssl(err, KW_FAULT, "OpenSSL refuses the properties \"%s\"",
                               crypto->properties);
    return KW_OK;
}

static enum kw_status fetch(struct kw_crypto *crypto, struct kw_error *err)
{
    crypto->aes_256_cbc = EVP_CIPHER_fetch(crypto->context, "AES-256-CBC", crypto->properties);
    crypto->sha1 = EVP_MD_fetch(crypto->context, "SHA1", crypto->properties);
    crypto->sha256 = EVP_MD_fetch(crypto->context, "SHA256", crypto->properties);
    crypto->sha384 = EVP_MD_fetch(crypto->context, "SHA384", crypto->properties);
    crypto->sha512 = EVP_MD_fetch(crypto->context, "SHA512", crypto->properties);
    if (!crypto->aes_256_cbc || !crypto->sha1 || !crypto->sha256 || !crypto->sha384 ||
        !crypto->sha512)
        return kw_fail_openssl(err, KW_CONFIG,
                               "OpenSSL's provider \"%s\" lacks AES-256-CBC, SHA-1 or SHA-256; "
                               "install one that is complete",
                               kinds[crypto->fips].providers[0]);
    return KW_OK;
}

enum kw_status kw_crypto_new(bool fips, struct kw_crypto **ret_crypto, struct kw_error *err)
{
    struct kw_crypto *crypto = calloc(1, sizeof(*crypto));
    if (!crypto)
        return kw_fail_memory(err);
    crypto->fips = fips;
    crypto->properties = kinds[fips].properties;
    crypto->with_elsewhere = kinds[fips].with_elsewhere;

    enum kw_status status;
    crypto->context = OSSL_LIB_CTX_new();
    if (!crypto->context)
        status = kw_fail_openssl(err, KW_NO_MEMORY, "OpenSSL can't be started");
    else
        status = load_providers(crypto, err);
    if (status == KW_OK)
        status = fetch(crypto, err);
    if (status != KW_OK) {
        kw_crypto_free(crypto);
        return status;
    }
    *ret_crypto = crypto;
    return KW_OK;
}

enum kw_status kw_crypto_find_kinds(struct kw_crypto *crypto, struct kw_error *err)
{
    OSSL_LIB_CTX *context = crypto->context;
    const char *properties = crypto->properties;
    EVP_MAC *mac = EVP_MAC_fetch(context, "HMAC", properties);
    EVP_KDF *kdf = EVP_KDF_fetch(context, "TLS13-KDF", properties);
    EVP_KEYEXCH *exchange = EVP_KEYEXCH_fetch(context, "ECDH", properties);
    EVP_SIGNATURE *signature = EVP_SIGNATURE_fetch(context, "RSA", properties);
    EVP_ASYM_CIPHER *cipher = EVP_ASYM_CIPHER_fetch(context, "RSA", properties);
    EVP_KEYMGMT *keys = EVP_KEYMGMT_fetch(context, "RSA", properties);
    bool found = mac && kdf && exchange && signature && cipher && keys;
    EVP_KEYMGMT_free(keys);
    EVP_ASYM_CIPHER_free(cipher);
    EVP_SIGNATURE_free(signature);
    EVP_KEYEXCH_free(exchange);
    EVP_KDF_free(kdf);
    EVP_MAC_free(mac);
    return found ? KW_OK : kw_fail_openssl(err, KW_NO_MEMORY, "OpenSSL's algorithms can't be had");
}

void kw_crypto_free(struct kw_crypto *crypto)
{
    if (!crypto)
        return;
    EVP_CIPHER_free(crypto->aes_256_cbc);
    EVP_MD_free(crypto->sha1);
    EVP_MD_free(crypto->sha256);
    EVP_MD_free(crypto->sha384);
    EVP_MD_free(crypto->sha512);
    for (size_t i = KW_COUNT(crypto->providers); i-- > 0;) {
        if (crypto->providers[i])
            (void)OSSL_PROVIDER_unload(crypto->providers[i]); /* nothing can be done about it */
    }
    OSSL_LIB_CTX_free(crypto->context);
    free(crypto);
}

bool kw_crypto_is_fips(const struct kw_crypto *crypto)
{
    return crypto->fips;
}

enum kw_status kw_random(struct kw_crypto *crypto, void *out, size_t len, struct kw_error *err)
{
    /* The generator for values that stay secret: most of what is drawn here is data keys. */
    if (RAND_priv_bytes_ex(crypto->context, out, len, 0) != 1)
        return kw_fail_openssl(err, KW_FAULT, "OpenSSL gives no random bytes");
    return KW_OK;
}
