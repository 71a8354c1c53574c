/* One file of a drop as a stream: to a descriptor, or pulled by a program. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Pulled chunks are small because inflate may make a thousand times as much of one. */
#define PULL_CHUNK      4096
#define PULL_BUFFER_MAX (PULL_CHUNK * 1100 + 1024 * 1024)

/* A file on its way, all but its sink. */
struct one_file {
    struct kw_unlocked unlocked;
    struct kw_flow *flow;
    struct kw_flow_job job;
    int fd;
};

static enum kw_status find_file(const struct kw_drop *drop, const char *path,
                                const struct kw_drop_file **ret_file, struct kw_error *err)
{
    const struct kw_drop_file *file = kw_drop_find(drop, path);
    char shown[256];
    if (!file)
        return kw_fail(err, KW_DROP,
                       "the drop has no data file \"%s\"; keyward inspect lists its files",
                       kw_printable(path, strlen(path), shown, sizeof(shown)));
    *ret_file = file;
    return KW_OK;
}

static enum kw_status open_encrypted(const struct kw_drop *drop, const struct kw_drop_file *file,
                                     int *ret_fd, struct kw_error *err)
{
    bool plain = false;
    char shown[256];
    enum kw_status status = kw_drop_open_file(drop, file, ret_fd, NULL, err);
    if (!status)
        status = kw_file_looks_plain(*ret_fd, file->size, file->path, &plain, err);
    if (!status && plain)
        return kw_fail(err, KW_NOT_ENCRYPTED, "%s is not encrypted; read it as it is",
                       kw_printable(file->path, strlen(file->path), shown, sizeof(shown)));
    return status;
}

static enum kw_status one_file_open(struct one_file *one, struct kw_keyring *keyring,
                                    const struct kw_drop *drop, const char *path,
                                    const struct kw_cat_options *options,
                                    const struct kw_flow_options *flow_options,
                                    struct kw_strings *warnings, struct kw_error *err)
{
    const struct kw_drop_file *file = NULL;
    struct settings settings;
    const struct kw_purpose purpose = {.drop = kw_drop_path(drop), .file = path};
    enum kw_status status;
    *one = (struct one_file){.fd = -1};
    if ((status = kw_settings_resolve(keyring, options->decompress, NULL, 0, &settings, err)) ||
        (status = find_file(drop, path, &file, err)) ||
        (status = kw_unlock(keyring, drop, options->key, options->unwrap_alg, &purpose,
                            &one->unlocked, warnings, err)) ||
        (status = open_encrypted(drop, file, &one->fd, err)) ||
        (status = kw_flow_new(kw_keyring_crypto(keyring), flow_options, &one->flow, err)))
        return status;
    one->job = (struct kw_flow_job){
        .work = KW_FLOW_DECRYPT,
        .source_fd = one->fd,
        .source_size = file->size,
        .source_name = file->path,
        .key = one->unlocked.data_key.secret,
        .iv = kw_drop_envelope(drop)->iv,
        .gzip = settings.gzip,
        .limits = settings.limits,
        .tick = options->tick,
        .tick_context = options->tick_context,
    };
    return KW_OK;
}

static void one_file_close(struct one_file *one)
{
    kw_flow_free(one->flow);
    kw_close(&one->fd);
    kw_data_key_cleanup(&one->unlocked.data_key);
}

enum kw_status kw_cat(struct kw_keyring *keyring, const struct kw_drop *drop, const char *path,
                      const struct kw_cat_options *options, int fd, const char *fd_name,
                      struct kw_strings *warnings, struct kw_error *err)
{
    const struct kw_flow_options two_threads = {.threads = 2};
    struct kw_flow_result result;
    struct one_file one;
    enum kw_status status =
        one_file_open(&one, keyring, drop, path, options, &two_threads, warnings, err);
    if (!status)
        status = kw_sink_fd_new(fd, fd_name, &one.job.sink, err);
    if (!status)
        status = kw_flow_run(one.flow, &one.job, &result, err);
    one_file_close(&one);
    return status;
}

struct kw_plain {
    struct one_file one;
    struct kw_buffer buffer; /* plaintext, of which `offset` bytes were read */
    size_t offset;
    bool ended;
    struct kw_error failure; /* of a stream that failed: every later read says the same */
};

enum kw_status kw_plain_open(struct kw_keyring *keyring, struct kw_drop *drop, const char *path,
                             struct kw_plain **ret_plain, struct kw_error *err)
{
    const struct kw_flow_options pulled = {.threads = 1, .chunk = PULL_CHUNK};
    const struct kw_cat_options options = {.key = NULL};
    struct kw_strings warnings = KW_STRINGS_INIT(8);
    struct kw_plain *plain = calloc(1, sizeof(*plain));
    if (!plain)
        return kw_fail_memory(err);
    plain->buffer.max = PULL_BUFFER_MAX;
    enum kw_status status =
        one_file_open(&plain->one, keyring, drop, path, &options, &pulled, &warnings, err);
    kw_strings_cleanup(&warnings);
    if (!status)
        status = kw_sink_buffer_new(&plain->buffer, &plain->one.job.sink, err);
    if (!status)
        status = kw_flow_start(plain->one.flow, &plain->one.job, err);
    if (status) {
        kw_plain_free(plain);
        return status;
    }
    *ret_plain = plain;
    return KW_OK;
}

enum kw_status kw_plain_read(struct kw_plain *plain, void *buffer, size_t size, size_t *ret_len,
                             struct kw_error *err)
{
    if (size == 0)
        return kw_fail(err, KW_USAGE, "kw_plain_read wants room for at least one byte");
    while (plain->offset == plain->buffer.len && !plain->ended && !plain->failure.status) {
        plain->buffer.len = plain->offset = 0;
        (void)kw_flow_step(plain->one.flow, &plain->ended, &plain->failure);
    }
    if (plain->failure.status) {
        if (err)
            *err = plain->failure;
        return plain->failure.status;
    }
    size_t len = plain->buffer.len - plain->offset;
    if (len > size)
        len = size;
    if (len > 0)
        memcpy(buffer, plain->buffer.data + plain->offset, len);
    plain->offset += len;
    *ret_len = len;
    return KW_OK;
}

void kw_plain_free(struct kw_plain *plain)
{
    if (!plain)
        return;
    one_file_close(&plain->one);
    if (plain->buffer.data)
        kw_wipe(plain->buffer.data, plain->buffer.capacity);
    kw_buffer_cleanup(&plain->buffer);
    free(plain);
}
