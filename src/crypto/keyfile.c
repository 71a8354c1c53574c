/* keyfile: a private key from the file that holds it, as PKCS#8. */
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>

#include "crypto/keyfile.h"

/* ---- the passphrase ---- */

enum kw_status kw_key_reader_ask(struct kw_key_reader *reader, struct kw_error *err)
{
    const struct kw_key_file *file = reader->file;
    return reader->passphrase ? KW_OK : file->ask(file->context, &reader->passphrase, err);
}

/* OpenSSL's reasons for not knowing how, wherever they are in its queue. */
static bool lacks_algorithm(void)
{
    static const int reasons[] = {
        ERR_R_UNSUPPORTED,
        EVP_R_UNKNOWN_PBE_ALGORITHM,
        EVP_R_UNSUPPORTED_CIPHER,
        EVP_R_UNKNOWN_CIPHER,
        EVP_R_UNSUPPORTED_PRF,
        EVP_R_UNKNOWN_DIGEST,
        EVP_R_UNSUPPORTED_KEY_DERIVATION_FUNCTION,
        ERR_R_FETCH_FAILED,
    };
    bool lacks = false;
    unsigned long error;
    while ((error = ERR_get_error()) != 0)
        for (size_t i = 0; i < KW_COUNT(reasons); i++)
            if (ERR_GET_LIB(error) == ERR_LIB_EVP && ERR_GET_REASON(error) == reasons[i])
                lacks = true;
    return lacks;
}

enum kw_status kw_key_reader_not_opened(const struct kw_key_reader *reader, struct kw_error *err)
{
    const char *what = reader->file->what;
    if (lacks_algorithm())
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "%s is encrypted in a way that OpenSSL's provider \"%s\" lacks, such as RC2 "
                       "or DES; encrypt it anew with AES: openssl pkcs12 -legacy, openssl pkcs8 "
                       "-topk8",
                       what, reader->crypto->fips ? "fips" : "default");
    return kw_fail(err, KW_PIN_WRONG,
                   "the passphrase does not open %s; give the right one, or take the file from its "
                   "source once more",
                   what);
}

/* ---- the rounds that make a key of it ---- */

#define ROUNDS_BYTES 3 /* KW_KEY_ROUNDS_MAX, as an INTEGER */
#define DEPTH_MAX    6

static bool numbers_fit(struct kw_der in, unsigned depth)
{
    struct kw_der value;
    while (in.left > 0) {
        uint8_t tag = in.at[0];
        if (!kw_der_take(&in, tag, &value) || (tag == KW_DER_INTEGER && value.left > ROUNDS_BYTES))
            return false;
        if (tag == KW_DER_SEQUENCE && (depth == 0 || !numbers_fit(value, depth - 1)))
            return false;
    }
    return true;
}

enum kw_status kw_key_reader_too_many_rounds(const struct kw_key_reader *reader,
                                             struct kw_error *err)
{
    return kw_fail(err, KW_KEY_UNUSABLE,
                   "%s wants more than %d rounds to make a key of the passphrase; encrypt it anew "
                   "with fewer",
                   reader->file->what, KW_KEY_ROUNDS_MAX);
}

enum kw_status kw_key_reader_check_rounds(const struct kw_key_reader *reader,
                                          const X509_ALGOR *algorithm, struct kw_error *err)
{
    unsigned char *der = NULL;
    int len = i2d_X509_ALGOR(algorithm, &der);
    bool fit = len > 0 && numbers_fit((struct kw_der){der, (size_t)len}, DEPTH_MAX);
    OPENSSL_free(der);
    return fit ? KW_OK : kw_key_reader_too_many_rounds(reader, err);
}

/* ---- what was found ---- */

enum kw_status kw_key_reader_found(struct kw_key_reader *reader, struct kw_secret *pkcs8,
                                   struct kw_error *err)
{
    if (reader->pkcs8) {
        kw_secret_free(pkcs8);
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "%s holds more than one private key; give a file with the one that is meant",
                       reader->file->what);
    }
    reader->pkcs8 = pkcs8;
    return KW_OK;
}

static enum kw_status too_large(const struct kw_key_reader *reader, struct kw_error *err)
{
    return kw_fail(err, KW_KEY_UNUSABLE,
                   "the private key in %s is larger than any RSA key of %d bits; use another one",
                   reader->file->what, KW_RSA_MAX_BITS);
}

enum kw_status kw_key_read_info(struct kw_key_reader *reader, const PKCS8_PRIV_KEY_INFO *info,
                                struct kw_error *err)
{
    int len = i2d_PKCS8_PRIV_KEY_INFO(info, NULL);
    struct kw_secret *pkcs8 = NULL;
    enum kw_status status = KW_OK;
    if (len <= 0 || len > KW_SECRET_MAX)
        status = too_large(reader, err);
    else
        status = kw_secret_new((size_t)len, &pkcs8, err);
    if (!status) {
        unsigned char *end = kw_secret_data(pkcs8);
        kw_secret_set_len(pkcs8, (size_t)i2d_PKCS8_PRIV_KEY_INFO(info, &end));
        status = kw_key_reader_found(reader, pkcs8, err);
    }
    return status;
}

/* ---- DER ---- */

static enum kw_status read_plain(struct kw_key_reader *reader, const uint8_t *der, size_t len,
                                 struct kw_error *err)
{
    struct kw_secret *pkcs8 = NULL;
    if (len > KW_SECRET_MAX)
        return too_large(reader, err);
    enum kw_status status = kw_secret_from(der, len, &pkcs8, err);
    return status ? status : kw_key_reader_found(reader, pkcs8, err);
}

/* RFC 5958 around RFC 8017's RSAPrivateKey. Shorter than 256 bytes none of use is. */
static enum kw_status read_pkcs1(struct kw_key_reader *reader, const uint8_t *der, size_t len,
                                 struct kw_error *err)
{
    uint8_t head[] = {0x30, 0x82, 0,    0,    0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86,
                      0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00, 0x04, 0x82, 0,    0};
    size_t outer = len + sizeof(head) - 4;
    struct kw_secret *pkcs8 = NULL;
    if (len < 256 || outer > KW_SECRET_MAX - 4)
        return kw_fail(
            err, KW_KEY_UNUSABLE,
            "the private key in %s can't be an RSA key of %d to %d bits; use one that is",
            reader->file->what, KW_RSA_MIN_BITS, KW_RSA_MAX_BITS);
    head[2] = (uint8_t)(outer >> 8);
    head[3] = (uint8_t)outer;
    head[24] = (uint8_t)(len >> 8);
    head[25] = (uint8_t)len;
    enum kw_status status = kw_secret_new(sizeof(head) + len, &pkcs8, err);
    if (status)
        return status;
    memcpy(kw_secret_data(pkcs8), head, sizeof(head));
    memcpy(kw_secret_data(pkcs8) + sizeof(head), der, len);
    kw_secret_set_len(pkcs8, sizeof(head) + len);
    return kw_key_reader_found(reader, pkcs8, err);
}

static enum kw_status read_encrypted(struct kw_key_reader *reader, const uint8_t *der, size_t len,
                                     struct kw_error *err)
{
    const X509_ALGOR *algorithm = NULL;
    PKCS8_PRIV_KEY_INFO *info = NULL;
    enum kw_status status = kw_key_reader_ask(reader, err);
    if (status)
        return status;
    X509_SIG *encrypted = d2i_X509_SIG(NULL, &der, (long)len);
    if (encrypted) {
        X509_SIG_get0(encrypted, &algorithm, NULL);
        status = kw_key_reader_check_rounds(reader, algorithm, err);
    }
    if (encrypted && !status)
        info = PKCS8_decrypt_ex(encrypted, (const char *)kw_secret_bytes(reader->passphrase),
                                (int)kw_secret_len(reader->passphrase), reader->crypto->context,
                                reader->crypto->properties);
    X509_SIG_free(encrypted);
    if (!status)
        status = info ? kw_key_read_info(reader, info, err) : kw_key_reader_not_opened(reader, err);
    PKCS8_PRIV_KEY_INFO_free(info);
    return status;
}

bool kw_key_read_der(struct kw_key_reader *reader, const uint8_t *der, size_t len,
                     enum kw_status *ret_status, struct kw_error *err)
{
    struct kw_der all = {der, len}, in, value;
    if (!kw_der_take(&all, KW_DER_SEQUENCE, &in) || all.left)
        return false;
    if (kw_der_take(&in, KW_DER_SEQUENCE, &value) && kw_der_next_is(&in, KW_DER_OCTET_STRING))
        *ret_status = read_encrypted(reader, der, len, err);
    else if (!kw_der_take_number(&in, &value) || value.left != 1 || value.at[0] > 1)
        return false;
    else if (kw_der_next_is(&in, KW_DER_SEQUENCE))
        *ret_status = read_plain(reader, der, len, err);
    else if (kw_der_next_is(&in, KW_DER_INTEGER))
        *ret_status = read_pkcs1(reader, der, len, err);
    else
        return false;
    return true;
}

/* ---- */

enum kw_status kw_key_file_read(struct kw_crypto *crypto, const struct kw_key_file *file,
                                struct kw_secret **ret_pkcs8, struct kw_error *err)
{
    struct kw_key_reader reader = {.crypto = crypto, .file = file};
    enum kw_status status = KW_OK;
    if (file->len > KW_KEY_FILE_MAX)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "%s has more than %d bytes, which is more than a file with a private key "
                       "has; give the right one",
                       file->what, KW_KEY_FILE_MAX);
    if (kw_key_is_pem(file))
        status = kw_key_read_pem(&reader, err);
    else if (!kw_key_read_der(&reader, file->data, file->len, &status, err))
        status = kw_key_read_pkcs12(&reader, err);
    if (!status && !reader.pkcs8)
        status =
            kw_fail(err, KW_KEY_UNUSABLE,
                    "%s holds no private key; give the file that has the private half", file->what);
    ERR_clear_error();
    kw_secret_free(reader.passphrase);
    if (status) {
        kw_secret_free(reader.pkcs8);
        return status;
    }
    *ret_pkcs8 = reader.pkcs8;
    return KW_OK;
}
