/* keyfile_pem: the blocks of a PEM file (RFC 7468, and RFC 1421's encryption as OpenSSL has it). */
#include <string.h>

#include <openssl/evp.h>

#include "crypto/keyfile.h"

struct span {
    const char *at;
    size_t len;
};

/* "-----BEGIN LABEL-----", what is within, and "-----END LABEL-----". */
struct block {
    struct span label;
    struct span body;
};

static const char begin[] = "-----BEGIN ", end[] = "-----END ", dashes[] = "-----";

/* The first `word` in the text, or NULL. */
static const char *find(const struct span *text, const char *word)
{
    return memmem(text->at, text->len, word, strlen(word));
}

static void skip_to(struct span *text, const char *to)
{
    text->len -= (size_t)(to - text->at);
    text->at = to;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool only_space(const struct span *text)
{
    size_t i = 0;
    while (i < text->len && is_space(text->at[i]))
        i++;
    return i == text->len;
}

static bool equals(const struct span *text, const char *word)
{
    return text->len == strlen(word) && strncmp(text->at, word, text->len) == 0;
}

static bool ends_with(const struct span *text, const char *word)
{
    size_t len = strlen(word);
    return text->len >= len && strncmp(text->at + text->len - len, word, len) == 0;
}

bool kw_key_is_pem(const struct kw_key_file *file)
{
    const struct span text = {(const char *)file->data, file->len};
    return find(&text, begin) != NULL;
}

/* The text starts with `begin`. False where the block does not end as it should. */
static bool take_block(struct span *text, struct block *ret_block)
{
    struct block block = {.label.at = text->at + strlen(begin)};
    skip_to(text, block.label.at);
    const char *at = find(text, dashes);
    if (!at)
        return false;
    block.label.len = (size_t)(at - block.label.at);
    skip_to(text, at + strlen(dashes));
    block.body.at = text->at;
    at = find(text, end);
    if (!at || memchr(block.label.at, '\n', block.label.len))
        return false;
    block.body.len = (size_t)(at - block.body.at);
    skip_to(text, at + strlen(end));
    size_t len = block.label.len;
    if (text->len < len + strlen(dashes) || strncmp(text->at, block.label.at, len) != 0 ||
        strncmp(text->at + len, dashes, strlen(dashes)) != 0)
        return false;
    skip_to(text, text->at + len + strlen(dashes));
    *ret_block = block;
    return true;
}

static enum kw_status damaged(const struct kw_key_reader *reader, struct kw_error *err)
{
    return kw_fail(err, KW_KEY_UNUSABLE,
                   "%s is damaged PEM: it is cut short, or has what does not belong there; take it "
                   "from its source once more",
                   reader->file->what);
}

static enum kw_status decode(const struct kw_key_reader *reader, const struct span *base64,
                             struct kw_secret **ret_der, struct kw_error *err)
{
    struct kw_secret *text = NULL, *der = NULL;
    size_t len = 0, der_len = 0;
    for (size_t i = 0; i < base64->len; i++)
        len += !is_space(base64->at[i]);
    if (len > KW_SECRET_MAX)
        return damaged(reader, err);
    enum kw_status status = kw_secret_new(len, &text, err);
    if (!status)
        status = kw_secret_new(KW_BASE64_DECODED_MAX(len), &der, err);
    if (!status) {
        char *out = (char *)kw_secret_data(text);
        for (size_t i = 0; i < base64->len; i++)
            if (!is_space(base64->at[i]))
                *out++ = base64->at[i];
        if (kw_base64_decode(KW_BASE64, (const char *)kw_secret_bytes(text), len,
                             kw_secret_data(der), kw_secret_capacity(der), &der_len))
            kw_secret_set_len(der, der_len);
        else
            status = damaged(reader, err);
    }
    kw_secret_free(text);
    if (status) {
        kw_secret_free(der);
        return status;
    }
    *ret_der = der;
    return KW_OK;
}

/* ---- "Proc-Type: 4,ENCRYPTED" ---- */

struct legacy {
    char cipher[32];
    uint8_t iv[EVP_MAX_IV_LENGTH];
    size_t iv_len;
};

/* Takes the header off the body. */
static bool take_header(struct span *body, struct legacy *ret_legacy)
{
    static const char info[] = "DEK-Info: ";
    struct span rest = *body;
    const char *at = find(&rest, info);
    if (!at)
        return false;
    skip_to(&rest, at + strlen(info));
    const char *comma = memchr(rest.at, ',', rest.len), *line = memchr(rest.at, '\n', rest.len);
    if (!comma || !line || comma > line || (size_t)(comma - rest.at) >= sizeof(ret_legacy->cipher))
        return false;
    size_t name = (size_t)(comma - rest.at), hex = (size_t)(line - comma - 1);
    memcpy(ret_legacy->cipher, rest.at, name);
    ret_legacy->cipher[name] = '\0';
    while (hex > 0 && is_space(comma[hex]))
        hex--;
    if (!kw_hex_decode(comma + 1, hex, ret_legacy->iv, sizeof(ret_legacy->iv), &ret_legacy->iv_len))
        return false;
    skip_to(&rest, line);
    *body = rest;
    return true;
}

static bool decrypt(const struct kw_key_reader *reader, const struct legacy *legacy,
                    const EVP_CIPHER *cipher, const EVP_MD *md5, struct kw_secret *key,
                    struct kw_secret *der)
{
    int first = 0, last = 0;
    uint8_t *data = kw_secret_data(der);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    bool done =
        context && legacy->iv_len >= PKCS5_SALT_LEN &&
        legacy->iv_len == (size_t)EVP_CIPHER_get_iv_length(cipher) &&
        EVP_BytesToKey(cipher, md5, legacy->iv, kw_secret_bytes(reader->passphrase),
                       (int)kw_secret_len(reader->passphrase), 1, kw_secret_data(key), NULL) > 0 &&
        EVP_DecryptInit_ex2(context, cipher, kw_secret_bytes(key), legacy->iv, NULL) == 1 &&
        EVP_DecryptUpdate(context, data, &first, data, (int)kw_secret_len(der)) == 1 &&
        EVP_DecryptFinal_ex(context, data + first, &last) == 1;
    if (done)
        kw_secret_set_len(der, (size_t)first + (size_t)last);
    EVP_CIPHER_CTX_free(context);
    return done;
}

/* OpenSSL's key for it is one round of MD5: whoever has the file can try passphrases fast. */
static enum kw_status decrypt_legacy(struct kw_key_reader *reader, const struct legacy *legacy,
                                     struct kw_secret *der, struct kw_error *err)
{
    struct kw_secret *key = NULL;
    enum kw_status status = kw_key_reader_ask(reader, err);
    if (!status)
        status = kw_secret_new(EVP_MAX_KEY_LENGTH, &key, err);
    if (status)
        return status;
    const struct kw_crypto *crypto = reader->crypto;
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(crypto->context, legacy->cipher, crypto->properties);
    EVP_MD *md5 = EVP_MD_fetch(crypto->context, "MD5", crypto->properties);
    struct kw_der all, in;
    bool done = cipher && md5 && decrypt(reader, legacy, cipher, md5, key, der);
    if (done) {
        all = (struct kw_der){kw_secret_bytes(der), kw_secret_len(der)};
        done = kw_der_take(&all, KW_DER_SEQUENCE, &in) && !all.left;
    }
    EVP_MD_free(md5);
    EVP_CIPHER_free(cipher);
    kw_secret_free(key);
    return done ? KW_OK : kw_key_reader_not_opened(reader, err);
}

/* ---- */

static enum kw_status read_block(struct kw_key_reader *reader, const struct block *block,
                                 struct kw_error *err)
{
    struct legacy legacy;
    struct span body = block->body;
    struct kw_secret *der = NULL;
    bool rsa = equals(&block->label, "RSA PRIVATE KEY");
    bool known = rsa || equals(&block->label, "PRIVATE KEY") ||
                 equals(&block->label, "ENCRYPTED PRIVATE KEY");
    if (!known)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "%s holds a private key that is not RSA; give a file with an RSA key",
                       reader->file->what);
    bool encrypted = rsa && take_header(&body, &legacy);
    enum kw_status status = decode(reader, &body, &der, err);
    if (!status && encrypted)
        status = decrypt_legacy(reader, &legacy, der, err);
    if (!status && !kw_key_read_der(reader, kw_secret_bytes(der), kw_secret_len(der), &status, err))
        status = damaged(reader, err);
    kw_secret_free(der);
    return status;
}

/* Text before a block says what it is (RFC 7468 section 2); what follows the last one is junk. */
enum kw_status kw_key_read_pem(struct kw_key_reader *reader, struct kw_error *err)
{
    struct span text = {(const char *)reader->file->data, reader->file->len};
    struct block block;
    const char *at;
    while ((at = find(&text, begin)) != NULL) {
        skip_to(&text, at);
        if (!take_block(&text, &block))
            return damaged(reader, err);
        if (!ends_with(&block.label, "PRIVATE KEY"))
            continue;
        enum kw_status status = read_block(reader, &block, err);
        if (status)
            return status;
    }
    if (!only_space(&text))
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "%s goes on after the end of its last part; take it from its source once "
                       "more",
                       reader->file->what);
    return KW_OK;
}
