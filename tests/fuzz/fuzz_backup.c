/* Backups of keys: what is read can be written again and reads as the same. */
#include <stdlib.h>
#include <string.h>

#include "byok/byok.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void must_equal(const struct kw_backup *a, const struct kw_backup *b)
{
    must(strcmp(a->created, b->created) == 0 && strcmp(a->key.name, b->key.name) == 0);
    must(a->key.id_len == b->key.id_len && memcmp(a->key.id, b->key.id, a->key.id_len) == 0);
    must(a->key.bits == b->key.bits && a->key.extractable == b->key.extractable);
    must(memcmp(a->key.fingerprint, b->key.fingerprint, sizeof(a->key.fingerprint)) == 0);
    must(strcmp(a->key.not_before, b->key.not_before) == 0);
    must(strcmp(a->key.expires, b->key.expires) == 0);
    must(strcmp(a->token.label, b->token.label) == 0);
    must(strcmp(a->token.serial, b->token.serial) == 0);
    must(a->kek.aes == b->kek.aes && strcmp(a->kek.label, b->kek.label) == 0);
    must(a->kek.id_len == b->kek.id_len && memcmp(a->kek.id, b->kek.id, a->kek.id_len) == 0);
    must(memcmp(a->kek.fingerprint, b->kek.fingerprint, sizeof(a->kek.fingerprint)) == 0);
    must(a->ciphertext.len == b->ciphertext.len &&
         memcmp(a->ciphertext.data, b->ciphertext.data, a->ciphertext.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kw_backup backup, again;
    struct kw_error err = {.status = KW_OK};
    struct kw_buffer text = KW_BUFFER_INIT(2 * KW_BACKUP_MAX_BYTES);
    enum kw_status status = kw_backup_parse((const char *)data, size, "fuzz", &backup, &err);
    if (status) {
        must(status == KW_METADATA && err.status == status);
        return 0;
    }
    must(backup.key.id_len > 0 && backup.key.name[0]);
    must(kw_backup_write(&backup, &text, NULL) == KW_OK);
    must(kw_backup_parse((const char *)text.data, text.len, "again", &again, NULL) == KW_OK);
    must_equal(&backup, &again);
    kw_backup_cleanup(&again);
    kw_buffer_cleanup(&text);
    kw_backup_cleanup(&backup);
    return 0;
}
