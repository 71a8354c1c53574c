/* keyward byok: private keys to Azure Key Vault and Managed HSM, and from such files. */
#include <string.h>

#include "byok/byok.h"
#include "cli.h"

/* --kek: a pkcs11: URI of a key on the token, or a file. */
static enum kw_status find_kek(struct kw_keyring *keyring, const struct arguments *arguments,
                               struct kw_rsa_public *ret_kek, char kid[KW_BYOK_TEXT_MAX],
                               struct kw_error *err)
{
    const struct kw_token_key *key = NULL;
    struct kw_buffer text = KW_BUFFER_INIT(KW_BYOK_MAX_BYTES + 1);
    char shown[SHOWN_TEXT];
    enum kw_status status;
    kid[0] = '\0';
    if (kw_is_uri(arguments->kek)) {
        status = kw_keyring_find(keyring, "", arguments->kek, &key, err);
        if (!status)
            *ret_kek = key->public;
        return status;
    }
    status = read_text(arguments->kek, &text, err);
    if (!status)
        status = kw_byok_read_kek(kw_keyring_crypto(keyring), (const char *)text.data, text.len,
                                  show(arguments->kek, shown), ret_kek, kid, err);
    kw_buffer_cleanup(&text);
    return status;
}

static enum kw_status wrap_to_file(struct kw_keyring *keyring, const struct arguments *arguments,
                                   const char **ret_mechanism, struct kw_error *err)
{
    const struct kw_token_key *key = NULL;
    const struct kw_token_info *token = NULL;
    struct kw_rsa_public kek;
    struct kw_byok byok = {.ciphertext = KW_BUFFER_INIT(KW_TRANSFER_MAX)};
    struct kw_buffer text = KW_BUFFER_INIT(KW_BYOK_MAX_BYTES);
    enum kw_status status;
    if ((status = kw_keyring_find(keyring, "", arguments->operands[0], &key, err)) ||
        (status = kw_keyring_token(keyring, &token, err)) ||
        (status = find_kek(keyring, arguments, &kek, byok.kid, err)))
        return status;
    /* One that does not fit is none. */
    if (arguments->kid && strlen(arguments->kid) < sizeof(byok.kid))
        memcpy(byok.kid, arguments->kid, strlen(arguments->kid) + 1);
    else if (arguments->kid)
        byok.kid[0] = '\0';
    (void)snprintf(byok.generator, sizeof(byok.generator), "keyward %s; %s %s", kw_version(),
                   token->manufacturer, token->model);
    if (!kw_byok_is_kid(byok.kid))
        status = kw_fail(err, KW_USAGE,
                         "give the key exchange key's id with --kid, as "
                         "https://VAULT/keys/NAME/VERSION of less than %d bytes",
                         KW_BYOK_TEXT_MAX);
    else if (!(status =
                   kw_keyring_wrap_key(keyring, key, &kek, &byok.ciphertext, ret_mechanism, err)) &&
             !(status = kw_byok_write(&byok, &text, err)))
        status = write_text(arguments->out, arguments->force != 0, &text, err);
    kw_buffer_cleanup(&text);
    kw_byok_cleanup(&byok);
    return status;
}

void warn_of_wrapping(const char *mechanism)
{
    if (kw_wrap_adds_zeros(mechanism))
        (void)fprintf(stderr,
                      "keyward: warning: this token adds up to 7 zero bytes to a key before "
                      "it wraps it; a strict reader may refuse the file\n");
    if (kw_wrap_was_in_clear(mechanism))
        (void)fprintf(stderr,
                      "keyward: warning: this token is software in the process that uses it, and "
                      "adds zero bytes to a key; to take them off, the key was in clear in locked "
                      "memory for a moment\n");
}

static enum kw_status export_key(struct kw_keyring *keyring, const struct arguments *arguments,
                                 struct kw_error *err)
{
    const char *mechanism = NULL;
    char shown[SHOWN_TEXT];
    if (!arguments->kek || !arguments->out)
        return kw_fail(err, KW_USAGE, "byok export needs --kek and --out FILE");
    enum kw_status status = wrap_to_file(keyring, arguments, &mechanism, err);
    if (!status)
        warn_of_wrapping(mechanism);
    if (!status && !arguments->quiet) {
        printf("key wrapped to %s by %s\n", show(arguments->out, shown), mechanism);
        status = finish_output(err);
    }
    return status;
}

int run_byok_export(const struct arguments *arguments, char **argv)
{
    return with_keyring(arguments, argv, KEYS_SCHEMA, export_key);
}

static enum kw_status unwrap_file(struct kw_keyring *keyring, const struct arguments *arguments,
                                  struct kw_token_key *ret_key, struct kw_error *err)
{
    const struct kw_new_key wanted = new_key_of(arguments, arguments->name, "0");
    const struct kw_token_key *kek = NULL;
    struct kw_buffer text = KW_BUFFER_INIT(KW_BYOK_MAX_BYTES + 1);
    struct kw_byok byok = {.ciphertext = KW_BUFFER_INIT(KW_TRANSFER_MAX)};
    char shown[SHOWN_TEXT];
    enum kw_status status;
    if (!(status = read_text(arguments->operands[0], &text, err)) &&
        !(status = kw_byok_parse((const char *)text.data, text.len,
                                 show(arguments->operands[0], shown), &byok, err)) &&
        !(status = kw_keyring_find(keyring, "", arguments->kek, &kek, err)))
        status = kw_keyring_unwrap_key(keyring, kek, byok.ciphertext.data, byok.ciphertext.len,
                                       &wanted, ret_key, err);
    kw_byok_cleanup(&byok);
    kw_buffer_cleanup(&text);
    return status;
}

static enum kw_status import_key(struct kw_keyring *keyring, const struct arguments *arguments,
                                 struct kw_error *err)
{
    struct kw_token_key key;
    if (!arguments->kek || !arguments->name)
        return kw_fail(err, KW_USAGE, "byok import needs --kek KEY and --name NAME");
    enum kw_status status = check_expiry(arguments, true, err);
    if (!status)
        status = unwrap_file(keyring, arguments, &key, err);
    return status ? status : print_key_of(keyring, &key, arguments, err);
}

int run_byok_import(const struct arguments *arguments, char **argv)
{
    return with_keyring(arguments, argv, KEYS_SCHEMA, import_key);
}

int run_byok_inspect(const struct arguments *arguments, char **argv)
{
    struct kw_buffer text = KW_BUFFER_INIT(KW_BYOK_MAX_BYTES + 1);
    struct kw_byok byok = {.ciphertext = KW_BUFFER_INIT(KW_TRANSFER_MAX)};
    struct kw_error err;
    char shown[SHOWN_TEXT];
    unsigned bits[KW_BYOK_KEK_SIZES];
    (void)argv;
    enum kw_status status = confine_alone(arguments, NULL, &err);
    if (!status)
        status = read_text(arguments->operands[0], &text, &err);
    if (!status)
        status = kw_byok_parse((const char *)text.data, text.len,
                               show(arguments->operands[0], shown), &byok, &err);
    if (!status) {
        size_t count = kw_byok_kek_sizes(&byok, bits);
        printf("key exchange key:  %s\n", show(byok.kid, shown));
        printf("made by:           %s\n", byok.generator[0] ? show(byok.generator, shown) : "-");
        printf("ciphertext:        %zu bytes, for a key exchange key of", byok.ciphertext.len);
        for (size_t i = 0; i < count; i++)
            printf("%s %u", i ? " or" : "", bits[i]);
        printf("%s bits\n", count ? "" : " no known number of");
        status = finish_output(&err);
    }
    kw_byok_cleanup(&byok);
    kw_buffer_cleanup(&text);
    return status ? print_error(&err) : 0;
}
