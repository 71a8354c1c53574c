/* keyward key import: a private key from a file, for key ceremonies. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* Where the passphrase is to come from, should one be needed. */
struct asking {
    const struct arguments *arguments;
    const char *what;
};

static enum kw_status give_passphrase(void *context, struct kw_secret **ret_passphrase,
                                      struct kw_error *err)
{
    const struct asking *asking = context;
    const char *source = asking->arguments->passphrase_source;
    struct kw_strings warnings = KW_STRINGS_INIT(4);
    struct kw_error failure;
    if (!source || strcmp(source, "prompt") == 0)
        return ask_passphrase(asking->what, ret_passphrase, err);
    enum kw_status status = kw_pin_read(source, &warnings, ret_passphrase, &failure);
    print_warnings(&warnings, asking->arguments);
    kw_strings_cleanup(&warnings);
    /* The passphrase is read as PINs are, and so are the messages. */
    return status ? kw_fail(err, status, "--passphrase-source: %.400s", failure.message) : KW_OK;
}

/* The file may hold the key in clear, so what was read of it is wiped. It is not in locked memory:
 * it comes from a disk. */
static enum kw_status read_key(struct kw_keyring *keyring, const struct arguments *arguments,
                               struct kw_secret **ret_pkcs8, struct kw_error *err)
{
    const char *path = arguments->operands[0];
    char shown[SHOWN_TEXT];
    struct asking asking = {arguments, show(path, shown)};
    size_t len = 0, capacity = KW_KEY_FILE_MAX + 1; /* to see that it is over */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return kw_fail_errno(err, KW_READ, errno, "%s can't be opened", asking.what);
    uint8_t *data = malloc(capacity);
    enum kw_status status =
        data ? kw_read_full(fd, data, capacity, asking.what, &len, err) : kw_fail_memory(err);
    kw_close(&fd);
    const struct kw_key_file file = {
        .data = data, .len = len, .what = asking.what, .ask = give_passphrase, .context = &asking};
    if (!status)
        status = kw_key_file_read(kw_keyring_crypto(keyring), &file, ret_pkcs8, err);
    if (data)
        kw_wipe(data, capacity);
    free(data);
    return status;
}

static enum kw_status check(const struct arguments *arguments, uint8_t id[KW_KEY_ID_MAX],
                            size_t *ret_id_len, struct kw_error *err)
{
    const char *hex = arguments->id;
    if (!arguments->name)
        return kw_fail(err, KW_USAGE, "key import needs --name NAME");
    if (hex && !kw_hex_decode(hex, strlen(hex), id, KW_KEY_ID_MAX, ret_id_len))
        return kw_fail(err, KW_USAGE, "--id is 1 to %d bytes in hex, such as %s", KW_KEY_ID_MAX,
                       "0123456789abcdef0123456789abcdef");
    return check_expiry(arguments, true, err);
}

static enum kw_status import_key(struct kw_keyring *keyring, const struct arguments *arguments,
                                 struct kw_error *err)
{
    const struct kw_new_key wanted = new_key_of(arguments, arguments->name, "0");
    uint8_t id[KW_KEY_ID_MAX];
    size_t id_len = 0;
    struct kw_secret *pkcs8 = NULL;
    struct kw_token_key key;
    enum kw_status status = check(arguments, id, &id_len, err);
    if (!status)
        status = read_key(keyring, arguments, &pkcs8, err);
    if (!status)
        status = kw_keyring_import_key(keyring, pkcs8, id, id_len, &wanted, &key, err);
    kw_secret_free(pkcs8);
    return status ? status : print_key_of(keyring, &key, arguments, err);
}

int run_key_import(const struct arguments *arguments, char **argv)
{
    return with_keyring(arguments, argv, KEYS_SCHEMA, import_key);
}
