/* keyward key backup and restore: a key to a file, wrapped under another key, and back. */
#include <string.h>

#include "byok/byok.h"
#include "cli.h"

/* What both work with. */
struct work {
    const struct arguments *arguments;
    struct kw_keyring *keyring;
    const struct kw_token_key *key; /* to back up */
    struct kw_keyring *other; /* of the KEK's token, where its URI says how to reach it; or NULL */
};

/* ---- the key encryption key ---- */

/* Before the keyring is opened: that takes the PINs out of the arguments. */
static enum kw_status open_other(struct work *work, struct kw_error *err)
{
    const struct kw_keyring_options options = {
        .config_file = work->arguments->config, .token = work->arguments->kek, .ask_pin = ask_pin};
    return names_a_module(work->arguments->kek) ? kw_keyring_open(&options, &work->other, err)
                                                : KW_OK;
}

static enum kw_status find_kek(const struct work *work, struct kw_kek *ret_kek,
                               struct kw_error *err)
{
    const char *name = work->arguments->kek;
    struct kw_kek kek = {.keyring = NULL};
    struct kw_buffer text = KW_BUFFER_INIT(KW_BYOK_MAX_BYTES + 1);
    char kid[KW_BYOK_TEXT_MAX], shown[SHOWN_TEXT];
    enum kw_status status = KW_OK;
    if (kw_is_uri(name)) {
        bool same = work->other == NULL;
        if (!same)
            status = kw_keyring_answers_to(work->keyring, name, &same, err);
        return status ? status
                      : kw_keyring_find_kek(same ? work->keyring : work->other, name, ret_kek, err);
    }
    status = read_text(name, &text, err);
    if (!status)
        status = kw_byok_read_kek(kw_keyring_crypto(work->keyring), (const char *)text.data,
                                  text.len, show(name, shown), &kek.key.public, kid, err);
    kw_buffer_cleanup(&text);
    if (!status)
        *ret_kek = kek;
    return status;
}

/* ---- backup ---- */

static enum kw_status seal(struct work *work, struct kw_backup *backup,
                           struct kw_sealed_key *sealed, struct kw_error *err)
{
    struct kw_kek kek;
    enum kw_status status;
    if ((status =
             kw_keyring_find(work->keyring, "", work->arguments->operands[0], &work->key, err)) ||
        (status = find_kek(work, &kek, err)) ||
        (status = kw_backup_describe(work->keyring, work->key, &kek, backup, err)))
        return status;
    return kw_keyring_backup(work->keyring, work->key, &kek, sealed, err);
}

/* The backup is there, whether or not that can be noted. */
static void note(const struct work *work)
{
    struct kw_error err;
    if (kw_keyring_note_backup(work->keyring, work->key, &err) != KW_OK)
        (void)fprintf(stderr, "keyward: warning: no record says that there is a backup: %s\n",
                      err.message);
}

static enum kw_status back_up(struct work *work, struct kw_error *err)
{
    const struct arguments *arguments = work->arguments;
    struct kw_backup backup = {.ciphertext = KW_BUFFER_INIT(KW_TRANSFER_MAX)};
    struct kw_sealed_key sealed = {.mechanism = ""};
    struct kw_buffer text = KW_BUFFER_INIT(KW_BACKUP_MAX_BYTES);
    char shown[SHOWN_TEXT];
    enum kw_status status = seal(work, &backup, &sealed, err);
    if (status)
        return status;
    backup.ciphertext = sealed.wrapped;
    status = kw_backup_write(&backup, &text, err);
    if (!status)
        status = write_text(arguments->to, arguments->force != 0, &text, err);
    if (!status)
        note(work);
    if (!status)
        warn_of_wrapping(sealed.mechanism);
    if (!status && !sealed.verified)
        (void)fprintf(stderr,
                      "keyward: warning: the backup could not be tried out here; only a token that "
                      "has the private half of the key given with --kek can do that\n");
    if (!status && !arguments->quiet) {
        printf("key backed up to %s by %s%s\n", show(arguments->to, shown), sealed.mechanism,
               sealed.verified ? ", and verified" : "");
        status = finish_output(err);
    }
    kw_buffer_cleanup(&text);
    kw_backup_cleanup(&backup);
    return status;
}

/* ---- restore ---- */

/* The KEK that --kek names, or the one on this token that the backup names. */
static enum kw_status find_kek_of(const struct work *work, const struct kw_backup *backup,
                                  struct kw_kek *ret_kek, struct kw_error *err)
{
    uint8_t found[KW_SHA256_SIZE];
    struct kw_token_key aes = {.id_len = backup->kek.id_len};
    memcpy(aes.id, backup->kek.id, sizeof(aes.id));
    memcpy(aes.label, backup->kek.label, sizeof(aes.label));
    if (!work->arguments->kek)
        return kw_keyring_recall_kek(work->keyring, backup->kek.aes ? &aes : NULL,
                                     backup->kek.fingerprint, ret_kek, err);
    enum kw_status status = find_kek(work, ret_kek, err);
    if (!status && ret_kek->aes == backup->kek.aes && !ret_kek->aes)
        status =
            kw_rsa_fingerprint(kw_keyring_crypto(work->keyring), &ret_kek->key.public, found, err);
    if (!status && (ret_kek->aes != backup->kek.aes ||
                    (!ret_kek->aes && memcmp(found, backup->kek.fingerprint, sizeof(found)) != 0)))
        status = kw_fail(err, KW_KEY_UNUSABLE,
                         "the backup was made for another key than --kek names; give the %s key "
                         "that it was made for",
                         backup->kek.aes ? "AES-256" : "RSA");
    return status;
}

static enum kw_status restore_from(const struct work *work, const struct kw_backup *backup,
                                   struct kw_token_key *ret_key, struct kw_error *err)
{
    const struct arguments *arguments = work->arguments;
    const struct kw_key_plan plan = {
        .label = arguments->name ? arguments->name : backup->key.name,
        .id = backup->key.id,
        .id_len = backup->key.id_len,
        .bits = backup->key.bits,
        .not_before = arguments->not_before ? arguments->not_before : backup->key.not_before,
        .expires = arguments->expires     ? arguments->expires
                   : arguments->no_expiry ? ""
                                          : backup->key.expires,
        .extractable = arguments->exportable != 0,
    };
    struct kw_kek kek;
    enum kw_status status = find_kek_of(work, backup, &kek, err);
    return status ? status
                  : kw_keyring_restore(work->keyring, &kek, backup->ciphertext.data,
                                       backup->ciphertext.len, backup->key.fingerprint, &plan, NULL,
                                       ret_key, err);
}

static enum kw_status restore(struct work *work, struct kw_error *err)
{
    const char *path = work->arguments->operands[0];
    struct kw_backup backup = {.ciphertext = KW_BUFFER_INIT(0)};
    struct kw_buffer text = KW_BUFFER_INIT(KW_BACKUP_MAX_BYTES + 1);
    struct kw_token_key key;
    char shown[SHOWN_TEXT];
    enum kw_status status = read_text(path, &text, err);
    if (!status)
        status =
            kw_backup_parse((const char *)text.data, text.len, show(path, shown), &backup, err);
    if (!status)
        status = restore_from(work, &backup, &key, err);
    kw_backup_cleanup(&backup);
    kw_buffer_cleanup(&text);
    return status ? status : print_key_of(work->keyring, &key, work->arguments, err);
}

/* ---- */

static int with_both(const struct arguments *arguments, char **argv,
                     enum kw_status (*do_it)(struct work *work, struct kw_error *err))
{
    struct work work = {.arguments = arguments};
    struct kw_error err;
    enum kw_status status;
    if (!(status = kw_secret_start(&err)) && !(status = open_other(&work, &err)) &&
        !(status = open_keyring_beside(arguments, argv, work.other, &work.keyring, &err)))
        status = do_it(&work, &err);
    hide_pins(argv);
    int exit_code = status ? fail_with(arguments, KEYS_SCHEMA, &err) : 0;
    kw_keyring_close_trail(work.keyring);
    print_keyring_warnings(work.keyring, arguments);
    print_keyring_warnings(work.other, arguments);
    kw_keyring_free(work.other);
    kw_keyring_free(work.keyring);
    return exit_code;
}

int run_key_backup(const struct arguments *arguments, char **argv)
{
    struct kw_error err;
    if (arguments->kek && arguments->to)
        return with_both(arguments, argv, back_up);
    (void)kw_fail(&err, KW_USAGE, "key backup needs --to FILE and --kek URI or FILE");
    return print_error(&err);
}

int run_key_restore(const struct arguments *arguments, char **argv)
{
    struct kw_error err;
    if (check_expiry(arguments, false, &err))
        return print_error(&err);
    return with_both(arguments, argv, restore);
}
