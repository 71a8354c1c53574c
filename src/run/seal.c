/* The sender's side: a drop made from plain files. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "internal.h"

#define PEM_MAX (64 * 1024)

/* What a drop is sealed with. */
struct seal {
    struct kw_keyring *keyring;
    const struct kw_seal_options *options;
    struct kw_rsa_public public;
    struct kw_secret *data_key;
    struct kw_envelope envelope;
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    struct kw_outdir *own_outdir; /* NULL where the caller opened it */
    struct kw_outdir *outdir;
    struct kw_flow *flow;
    struct kw_seal_totals totals;
};

static enum kw_status read_public_key(struct seal *seal, struct kw_error *err)
{
    const char *path = seal->options->public_key;
    char shown[256];
    kw_printable(path, strlen(path), shown, sizeof(shown));
    if (!seal->options->version)
        return kw_fail(err, KW_USAGE,
                       "a public key file says nothing of its version; give it with --key-version");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return kw_fail_errno(err, KW_READ, errno, "cannot open the public key %s", shown);
    struct kw_buffer pem = KW_BUFFER_INIT(PEM_MAX + 1);
    enum kw_status status = kw_read_file(fd, PEM_MAX, shown, KW_CONFIG, &pem, err);
    if (!status)
        status = kw_rsa_public_from_pem(kw_keyring_crypto(seal->keyring), pem.data, pem.len, shown,
                                        &seal->public, err);
    kw_buffer_cleanup(&pem);
    kw_close(&fd);
    return status;
}

static enum kw_status find_key_on_token(struct seal *seal, char id[2 * KW_KEY_ID_MAX + 1],
                                        struct kw_error *err)
{
    const struct kw_token_key *key = NULL;
    enum kw_status status = kw_keyring_find(seal->keyring, "", seal->options->key, &key, err);
    if (!status)
        status = kw_keyring_check_use(seal->keyring, key, err);
    if (status)
        return status;
    char label[96];
    kw_printable(key->label, strlen(key->label), label, sizeof(label));
    enum kw_validity validity = kw_key_validity(key, time(NULL));
    if (validity != KW_VALID)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "key \"%s\" %s %s; nothing new is encrypted to it. Use another version",
                       label, validity == KW_EXPIRED ? "expired on" : "is not valid before",
                       validity == KW_EXPIRED ? key->expires : key->not_before);
    seal->public = key->public;
    kw_hex_encode(key->id, key->id_len, id);
    return KW_OK;
}

static enum kw_status find_public_key(struct seal *seal, struct kw_error *err)
{
    char id[2 * KW_KEY_ID_MAX + 1] = "";
    enum kw_status status =
        seal->options->public_key ? read_public_key(seal, err) : find_key_on_token(seal, id, err);
    if (status)
        return status;
    const char *version = seal->options->version ? seal->options->version : id;
    size_t len = strlen(version);
    if (len == 0 || len > KW_VERSION_MAX)
        return kw_fail(err, KW_USAGE,
                       "the key version has 1 to %d characters; give it with "
                       "--key-version",
                       KW_VERSION_MAX);
    memcpy(seal->envelope.version, version, len + 1);
    return KW_OK;
}

static enum kw_status make_envelope(struct seal *seal, struct kw_error *err)
{
    struct kw_crypto *crypto = kw_keyring_crypto(seal->keyring);
    enum kw_status status;
    if ((status = kw_secret_new(KW_AES256_KEY_SIZE, &seal->data_key, err)) ||
        (status = kw_random(crypto, kw_secret_data(seal->data_key), KW_AES256_KEY_SIZE, err)))
        return status;
    kw_secret_set_len(seal->data_key, KW_AES256_KEY_SIZE);
    if ((status = kw_random(crypto, seal->envelope.iv, KW_AES_BLOCK, err)) ||
        (status = kw_rsa_wrap(crypto, &seal->public, seal->options->alg, seal->data_key,
                              seal->wrapped, err)))
        return status;
    seal->envelope.format = seal->options->format;
    seal->envelope.wrapped = seal->wrapped;
    seal->envelope.wrapped_len = seal->public.modulus_len;
    return KW_OK;
}

static enum kw_status seal_file(struct seal *seal, int fd, uint64_t size, const char *path,
                                struct kw_error *err)
{
    struct kw_flow_job job = {
        .work = KW_FLOW_SEAL,
        .source_fd = fd,
        .source_size = size,
        .source_name = path,
        .key = seal->data_key,
        .iv = seal->envelope.iv,
        .gzip = seal->options->gzip,
        .tick = seal->options->tick,
        .tick_context = seal->options->tick_context,
    };
    struct kw_flow_result result;
    enum kw_status status = kw_sink_file_new(seal->outdir, path, false, &job.sink, err);
    if (!status)
        status = kw_flow_run(seal->flow, &job, &result, err);
    if (status)
        return status;
    seal->totals.files++;
    seal->totals.bytes_in += result.bytes_in;
    seal->totals.bytes_out += result.bytes_out;
    return KW_OK;
}

static enum kw_status seal_single(struct seal *seal, const char *source, struct kw_error *err)
{
    char shown[256];
    kw_printable(source, strlen(source), shown, sizeof(shown));
    const char *slash = strrchr(source, '/');
    struct stat info;
    int fd = open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return kw_fail_errno(err, KW_READ, errno, "cannot open %s", shown);
    enum kw_status status;
    if (fstat(fd, &info) != 0)
        status = kw_fail_errno(err, KW_READ, errno, "cannot read %s", shown);
    else if (!S_ISREG(info.st_mode))
        status = kw_fail(err, KW_READ, "%s is neither a file nor a folder", shown);
    else
        status = seal_file(seal, fd, (uint64_t)info.st_size, slash ? slash + 1 : source, err);
    kw_close(&fd);
    return status;
}

/* A folder of plain files is listed as a drop that is not encrypted. */
static enum kw_status seal_folder(struct seal *seal, const char *source, struct kw_error *err)
{
    struct kw_drop *drop = NULL;
    bool within = false;
    enum kw_status status = kw_drop_open(source, &drop, err);
    if (!status)
        status = kw_outdir_is_within(seal->outdir, kw_drop_dirfd(drop), &within, err);
    if (!status && within)
        status = kw_fail(err, KW_USAGE,
                         "the drop would be inside the folder that is sealed; choose one outside");
    for (size_t i = 0; !status && i < kw_drop_file_count(drop); i++) {
        const struct kw_drop_file *file = kw_drop_file_at(drop, i);
        int fd = -1;
        if (file->kind == KW_FILE_METADATA)
            status = kw_fail(err, KW_DROP,
                             "the folder to seal has a metadata folder of its own; is it a drop "
                             "already?");
        else if (file->kind == KW_FILE_DATA)
            status = kw_drop_open_file(drop, file, &fd, NULL, err);
        if (!status && fd >= 0)
            status = seal_file(seal, fd, file->size, file->path, err);
        kw_close(&fd);
    }
    kw_drop_free(drop);
    return status;
}

static enum kw_status seal_source(struct seal *seal, const char *source, struct kw_error *err)
{
    struct stat info;
    char shown[256];
    if (stat(source, &info) != 0)
        return kw_fail_errno(err, KW_READ, errno, "cannot open %s",
                             kw_printable(source, strlen(source), shown, sizeof(shown)));
    enum kw_status status =
        S_ISDIR(info.st_mode) ? seal_folder(seal, source, err) : seal_single(seal, source, err);
    if (!status && seal->totals.files == 0)
        return kw_fail(err, KW_DROP, "%s has no file to seal",
                       kw_printable(source, strlen(source), shown, sizeof(shown)));
    return status;
}

static enum kw_status write_metadata(struct seal *seal, struct kw_error *err)
{
    struct kw_buffer text = KW_BUFFER_INIT(KW_METADATA_MAX_BYTES);
    enum kw_status status = kw_drop_write_metadata(&seal->envelope, &text, err);
    if (!status)
        status = kw_outdir_write(seal->outdir, kw_drop_metadata_path(seal->envelope.format), false,
                                 text.data, text.len, err);
    kw_buffer_cleanup(&text);
    return status;
}

/* Nothing is replaced, not even on request: files under a lost key can't be had back. */
static enum kw_status open_output(struct seal *seal, const char *out_dir, struct kw_error *err)
{
    char shown[256];
    bool empty = false;
    enum kw_status status = KW_OK;
    if (!seal->options->output)
        status = kw_outdir_open(out_dir, true, &seal->own_outdir, err);
    seal->outdir = seal->options->output ? seal->options->output : seal->own_outdir;
    if (!status)
        status = kw_outdir_is_empty(seal->outdir, NULL, &empty, err);
    if (!status && !empty)
        status = kw_fail(err, KW_EXISTS,
                         "%s is not empty; name a new folder for the drop, nothing is replaced",
                         kw_printable(out_dir, strlen(out_dir), shown, sizeof(shown)));
    return status;
}

enum kw_status kw_seal(struct kw_keyring *keyring, const char *source, const char *out_dir,
                       const struct kw_seal_options *options, struct kw_seal_totals *ret_totals,
                       struct kw_error *err)
{
    const struct kw_flow_options flow_options = {.threads = 2};
    struct seal seal = {.keyring = keyring, .options = options};
    enum kw_status status;
    if ((status = find_public_key(&seal, err)) || (status = make_envelope(&seal, err)) ||
        (status = open_output(&seal, out_dir, err)) ||
        (status = kw_flow_new(kw_keyring_crypto(keyring), &flow_options, &seal.flow, err)) ||
        (status = seal_source(&seal, source, err)) || (status = write_metadata(&seal, err)) ||
        (status = kw_outdir_sync(seal.outdir, err)))
        goto out;
    *ret_totals = seal.totals;
out:
    kw_flow_free(seal.flow);
    kw_outdir_free(seal.own_outdir);
    kw_secret_free(seal.data_key);
    return status;
}
