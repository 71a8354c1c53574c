/* keyfile_pkcs12: the keys of a PKCS#12 file (RFC 7292). */
#include <openssl/err.h>
#include <openssl/pkcs12.h>

#include "crypto/keyfile.h"

/* Bags within bags. */
#define DEPTH_MAX 4

/* The passphrase as PKCS#12 wants it: none at all and an empty one are not the same. */
struct opening {
    struct kw_key_reader *reader;
    const char *passphrase;
    int len;
    bool known;
    bool decrypted; /* what is read now was encrypted as a whole */
};

static enum kw_status ask(struct opening *opening, struct kw_error *err)
{
    if (opening->known)
        return KW_OK;
    enum kw_status status = kw_key_reader_ask(opening->reader, err);
    if (status)
        return status;
    opening->passphrase = (const char *)kw_secret_bytes(opening->reader->passphrase);
    opening->len = (int)kw_secret_len(opening->reader->passphrase);
    opening->known = true;
    return KW_OK;
}

/* The code over all of it tells a wrong passphrase from damage inside. */
static enum kw_status check_mac(struct opening *opening, PKCS12 *p12, struct kw_error *err)
{
    if (!PKCS12_mac_present(p12))
        return KW_OK; /* asked for where something turns out to be encrypted */
    static const char *const without[] = {NULL, ""};
    const ASN1_INTEGER *rounds = NULL;
    int64_t count = 1;
    PKCS12_get0_mac(NULL, NULL, NULL, &rounds, p12);
    if (rounds && (!ASN1_INTEGER_get_int64(&count, rounds) || count > KW_KEY_ROUNDS_MAX))
        return kw_key_reader_too_many_rounds(opening->reader, err);
    for (size_t i = 0; i < KW_COUNT(without) && !opening->known; i++) {
        opening->passphrase = without[i];
        opening->known = PKCS12_verify_mac(p12, without[i], 0) == 1;
    }
    if (opening->known)
        return KW_OK;
    ERR_clear_error();
    enum kw_status status = ask(opening, err);
    if (!status && PKCS12_verify_mac(p12, opening->passphrase, opening->len) != 1)
        status = kw_key_reader_not_opened(opening->reader, err);
    return status;
}

static enum kw_status read_shrouded(struct opening *opening, const PKCS12_SAFEBAG *bag,
                                    struct kw_error *err)
{
    const struct kw_crypto *crypto = opening->reader->crypto;
    const X509_ALGOR *algorithm = NULL;
    X509_SIG_get0(PKCS12_SAFEBAG_get0_pkcs8(bag), &algorithm, NULL);
    enum kw_status status = kw_key_reader_check_rounds(opening->reader, algorithm, err);
    if (!status)
        status = ask(opening, err);
    if (status)
        return status;
    PKCS8_PRIV_KEY_INFO *info = PKCS12_decrypt_skey_ex(bag, opening->passphrase, opening->len,
                                                       crypto->context, crypto->properties);
    status = info ? kw_key_read_info(opening->reader, info, err)
                  : kw_key_reader_not_opened(opening->reader, err);
    PKCS8_PRIV_KEY_INFO_free(info);
    return status;
}

/* Not within something that was decrypted, OpenSSL would leave copies of it on the heap. */
static enum kw_status read_plain(struct opening *opening, const PKCS12_SAFEBAG *bag,
                                 struct kw_error *err)
{
    if (!opening->decrypted)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "%s is PKCS#12 whose private key is not encrypted; give the key as PKCS#8, "
                       "or write the file anew with openssl pkcs12",
                       opening->reader->file->what);
    return kw_key_read_info(opening->reader, PKCS12_SAFEBAG_get0_p8inf(bag), err);
}

static enum kw_status read_bags(struct opening *opening, const STACK_OF(PKCS12_SAFEBAG) * bags,
                                unsigned depth, struct kw_error *err)
{
    enum kw_status status = KW_OK;
    for (int i = 0; i < sk_PKCS12_SAFEBAG_num(bags) && !status; i++) {
        const PKCS12_SAFEBAG *bag = sk_PKCS12_SAFEBAG_value(bags, i);
        int kind = PKCS12_SAFEBAG_get_nid(bag);
        if (kind == NID_pkcs8ShroudedKeyBag)
            status = read_shrouded(opening, bag, err);
        else if (kind == NID_keyBag)
            status = read_plain(opening, bag, err);
        else if (kind == NID_safeContentsBag && depth < DEPTH_MAX)
            status = read_bags(opening, PKCS12_SAFEBAG_get0_safes(bag), depth + 1, err);
    }
    return status;
}

static enum kw_status read_safe(struct opening *opening, PKCS7 *safe, struct kw_error *err)
{
    bool encrypted = PKCS7_type_is_encrypted(safe);
    STACK_OF(PKCS12_SAFEBAG) *bags = NULL;
    enum kw_status status = KW_OK;
    if (encrypted)
        status = kw_key_reader_check_rounds(opening->reader, safe->d.encrypted->enc_data->algorithm,
                                            err);
    if (!status && encrypted)
        status = ask(opening, err);
    if (status)
        return status;
    opening->decrypted = encrypted;
    if (encrypted)
        bags = PKCS12_unpack_p7encdata(safe, opening->passphrase, opening->len);
    else if (PKCS7_type_is_data(safe))
        bags = PKCS12_unpack_p7data(safe);
    if (bags)
        status = read_bags(opening, bags, 0, err);
    else if (encrypted)
        status = kw_key_reader_not_opened(opening->reader, err);
    else
        status = kw_fail(err, KW_KEY_UNUSABLE,
                         "%s is PKCS#12 with a part that can't be read; write it anew with openssl "
                         "pkcs12",
                         opening->reader->file->what);
    sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
    return status;
}

static enum kw_status read_safes(struct kw_key_reader *reader, PKCS12 *p12, struct kw_error *err)
{
    struct opening opening = {.reader = reader};
    enum kw_status status = check_mac(&opening, p12, err);
    if (status)
        return status;
    STACK_OF(PKCS7) *safes = PKCS12_unpack_authsafes(p12);
    if (!safes)
        status = kw_fail_openssl(err, KW_KEY_UNUSABLE,
                                 "%s is damaged PKCS#12; take it from its source once more",
                                 reader->file->what);
    for (int i = 0; i < sk_PKCS7_num(safes) && !status; i++)
        status = read_safe(&opening, sk_PKCS7_value(safes, i), err);
    sk_PKCS7_pop_free(safes, PKCS7_free);
    return status;
}

enum kw_status kw_key_read_pkcs12(struct kw_key_reader *reader, struct kw_error *err)
{
    const struct kw_crypto *crypto = reader->crypto;
    const uint8_t *start = reader->file->data, *end = start;
    /* The properties are the context's own. OpenSSL 3.0 would lose, and leak, a copy of them. */
    PKCS12 *p12 = PKCS12_init_ex(NID_pkcs7_data, crypto->context, NULL);
    enum kw_status status;
    /* A failure frees it and sets it to NULL. */
    if (p12 && d2i_PKCS12(&p12, &end, (long)reader->file->len) && end == start + reader->file->len)
        status = read_safes(reader, p12, err);
    else
        status = kw_fail(err, KW_KEY_UNUSABLE,
                         "%s is neither PEM nor PKCS#8 nor PKCS#12, or it is cut short, or "
                         "something follows it; give a file with one RSA private key",
                         reader->file->what);
    PKCS12_free(p12);
    return status;
}
