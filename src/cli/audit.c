/* What the subcommands of keyward audit share: where the trail is, and which keys it is checked
 * with. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "audit_cli.h"

#define KEY_FILE_MAX ((size_t)64 * 1024)

enum kw_status read_named_file(const char *path, size_t max, struct kw_buffer *ret_text,
                               struct kw_error *err)
{
    char shown[SHOWN_TEXT];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return kw_fail_errno(err, KW_READ, errno, "%s can't be opened", show(path, shown));
    enum kw_status status = kw_read_file(fd, max, show(path, shown), KW_USAGE, ret_text, err);
    kw_close(&fd);
    return status;
}

static enum kw_status add_key(struct audit *audit, const char *path, struct kw_error *err)
{
    char shown[SHOWN_TEXT];
    struct kw_buffer pem = KW_BUFFER_INIT(0);
    enum kw_status status = read_named_file(path, KEY_FILE_MAX, &pem, err);
    if (!status)
        status = kw_public_key_from_pem(audit->crypto, pem.data, pem.len, show(path, shown),
                                        &audit->keys[audit->key_count], err);
    if (!status)
        audit->key_count++;
    kw_buffer_cleanup(&pem);
    return status;
}

/* The operand, or what the configuration says. */
static enum kw_status find_dir(struct audit *audit, const struct kw_config *config,
                               const char *operand, struct kw_error *err)
{
    if (!operand)
        return kw_trail_dir(config, &audit->dir, err);
    audit->dir = strdup(operand);
    return audit->dir ? KW_OK : kw_fail_memory(err);
}

static enum kw_status confine_to(const struct audit *audit, const struct arguments *arguments,
                                 const struct kw_config *config, struct kw_error *err)
{
    struct kw_confinement confinement = {.items = NULL};
    const char *why = NULL; /* nothing is done here that would be on record */
    enum kw_status status = kw_confine_allow(&confinement, audit->dir, KW_MAY_READ, err);
    if (!status)
        status = confine(arguments, config, &confinement, &why, err);
    kw_confinement_cleanup(&confinement);
    return status;
}

static enum kw_status open_audit(struct audit *audit, const struct arguments *arguments,
                                 const char *operand, struct kw_error *err)
{
    struct kw_config config = {.token_count = 0};
    enum kw_status status = kw_config_load(&config, arguments->config, err);
    if (!status)
        status = kw_crypto_new(config.crypto.fips == KW_YES, &audit->crypto, err);
    if (!status)
        status = find_dir(audit, &config, operand, err);
    if (!status)
        status = confine_to(audit, arguments, &config, err);
    for (size_t i = 0; i < arguments->public_keys_count && !status; i++)
        status = add_key(audit, arguments->public_keys[i], err);
    kw_config_cleanup(&config);
    return status;
}

int with_audit(const struct arguments *arguments, size_t dir_operand, audit_fn work)
{
    struct audit audit = {.dir = NULL};
    struct kw_error err;
    end_at_signal();
    enum kw_status status = open_audit(&audit, arguments, arguments->operands[dir_operand], &err);
    if (!status)
        status = work(&audit, arguments, &err);
    while (audit.key_count > 0)
        kw_public_key_free(audit.keys[--audit.key_count]);
    kw_crypto_free(audit.crypto);
    free(audit.dir);
    return status ? print_error(&err) : 0;
}

enum kw_status parse_count(const char *text, const char *what, uint64_t *ret_number,
                           struct kw_error *err)
{
    char shown[SHOWN_TEXT];
    uint64_t number = 0;
    size_t len = strlen(text);
    if (len == 0 || len > 12 || strspn(text, "0123456789") != len)
        return kw_fail(err, KW_USAGE, "%s is a number from 0 to %llu, not \"%s\"", what,
                       (unsigned long long)KW_TRAIL_MAX, show(text, shown));
    for (size_t i = 0; i < len; i++)
        number = number * 10 + (uint64_t)(text[i] - '0');
    *ret_number = number;
    return KW_OK;
}
