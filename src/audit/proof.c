/* proof: that a record is in the tree, and that one tree grew from another; and plain reading. */
#include <stdio.h>
#include <string.h>

#include "audit/internal.h"

#define TEXT_MAX ((size_t)64 * 1024)

enum kw_status kw_trail_read(const char *dir, kw_record_fn visit, void *context,
                             struct kw_error *err)
{
    struct kw_folder folder = {.fd = -1};
    struct kw_reader reader = {.fd = -1};
    struct kw_line line;
    enum kw_status status = kw_folder_open(dir, &folder, err);
    if (!status)
        status = kw_reader_open(&folder, 0, &reader, err);
    if (!status && reader.files.count == 0)
        status =
            kw_fail(err, KW_AUDIT, "there is no audit trail in %s; name its folder", folder.shown);
    while (!status && !(status = kw_reader_next(&reader, &line, err)) && line.kind != KW_LINE_END) {
        if (line.kind == KW_LINE_LONG)
            status = kw_fail(err, KW_AUDIT,
                             "%s in the audit trail %s has a line that is no record; run keyward "
                             "audit verify",
                             reader.name, folder.shown);
        else if (line.kind == KW_LINE)
            status = visit(context, line.text, line.len, err);
    }
    kw_reader_close(&reader);
    kw_folder_close(&folder);
    return status;
}

/* What a proof is made of while the records go by. */
struct proving {
    struct kw_digest *digest;
    struct kw_prover prover;
    uint64_t size; /* of the tree; records after it are not looked at */
    uint64_t next;
    uint64_t wanted; /* the record that an inclusion proof is for */
    struct kw_buffer line;
    struct kw_hash leaf;
    struct kw_frontier frontier; /* for the roots of a consistency proof */
    struct kw_consistency *consistency;
};

static enum kw_status grow(struct proving *proving, const struct kw_hash *leaf,
                           struct kw_error *err)
{
    struct kw_consistency *consistency = proving->consistency;
    enum kw_status status = kw_frontier_add(proving->digest, &proving->frontier, leaf, err);
    if (!status && proving->frontier.size == consistency->first)
        status =
            kw_frontier_root(proving->digest, &proving->frontier, &consistency->first_root, err);
    if (!status && proving->frontier.size == consistency->second)
        status =
            kw_frontier_root(proving->digest, &proving->frontier, &consistency->second_root, err);
    return status;
}

static enum kw_status take_record(void *context, const char *line, size_t len, struct kw_error *err)
{
    struct proving *proving = context;
    struct kw_hash leaf;
    uint64_t seq = 0;
    if (proving->next == proving->size)
        return KW_OK;
    if (!kw_record_seq(line, len, &seq) || seq != proving->next)
        return kw_fail(err, KW_AUDIT,
                       "record %llu is not what should be there; run keyward audit verify",
                       (unsigned long long)proving->next);
    enum kw_status status = kw_leaf_hash(proving->digest, line, len, &leaf, err);
    if (!status && proving->consistency)
        status = grow(proving, &leaf, err);
    if (!status && !proving->consistency && seq == proving->wanted) {
        proving->leaf = leaf;
        status = kw_buffer_append(&proving->line, line, len, err);
    }
    proving->next++;
    return status ? status : kw_prover_add(proving->digest, &proving->prover, seq, &leaf, err);
}

/* ---- inclusion, c2sp.org/tlog-proof ---- */

static enum kw_status add_base64(struct kw_buffer *text, const char *before, const void *data,
                                 size_t len, struct kw_error *err)
{
    enum kw_status status = kw_buffer_printf(text, err, "%s", before);
    if (!status)
        status = kw_buffer_reserve(text, KW_BASE64_ENCODED_SIZE(len), err);
    if (status)
        return status;
    kw_base64_encode(KW_BASE64, data, len, (char *)text->data + text->len);
    text->len += KW_BASE64_ENCODED_SIZE(len) - 1;
    return kw_buffer_append(text, "\n", 1, err);
}

static enum kw_status write_proof(const struct proving *proving, const struct kw_proof *proof,
                                  const struct kw_buffer *note, struct kw_buffer *ret_text,
                                  struct kw_error *err)
{
    struct kw_buffer text = KW_BUFFER_INIT(TEXT_MAX);
    enum kw_status status = kw_buffer_printf(&text, err, "c2sp.org/tlog-proof@v1\n");
    if (!status)
        status = add_base64(&text, "extra ", proving->line.data, proving->line.len, err);
    if (!status)
        status = kw_buffer_printf(&text, err, "index %llu\n", (unsigned long long)proving->wanted);
    for (size_t i = 0; i < proof->count && !status; i++)
        status = add_base64(&text, "", proof->hashes[i].bytes, KW_SHA256_SIZE, err);
    if (!status && !(status = kw_buffer_append(&text, "\n", 1, err)) &&
        !(status = kw_buffer_append(&text, note->data, note->len, err)))
        status = kw_buffer_append(ret_text, text.data, text.len, err);
    kw_buffer_cleanup(&text);
    return status;
}

static enum kw_status prove(struct proving *proving, const char *dir,
                            const struct kw_checkpoint *checkpoint, const struct kw_buffer *note,
                            struct kw_buffer *ret_text, struct kw_error *err)
{
    struct kw_proof proof;
    enum kw_status status;
    proving->size = checkpoint->size;
    if (proving->wanted >= checkpoint->size)
        return kw_fail(err, KW_AUDIT,
                       "record %llu is not signed yet: the newest checkpoint is of %llu records",
                       (unsigned long long)proving->wanted, (unsigned long long)checkpoint->size);
    if ((status = kw_prove_inclusion(&proving->prover, proving->wanted, checkpoint->size, err)) ||
        (status = kw_trail_read(dir, take_record, proving, err)) ||
        (status = kw_prover_finish(&proving->prover, &proof, err)) ||
        (status = kw_check_inclusion(proving->digest, &proving->leaf, proving->wanted,
                                     checkpoint->size, &proof, &checkpoint->root, err)))
        return status;
    return write_proof(proving, &proof, note, ret_text, err);
}

/* The newest checkpoint, which has to be signed by one of the keys. */
static enum kw_status find_checkpoint(struct kw_crypto *crypto, const char *dir,
                                      const struct kw_verify_options *options,
                                      struct kw_checkpoint *ret_checkpoint,
                                      struct kw_buffer *ret_note, struct kw_error *err)
{
    struct kw_folder folder = {.fd = -1};
    struct kw_numbers sizes = {.items = NULL};
    struct kw_key_list own = {.count = 0};
    enum kw_status status = kw_folder_open(dir, &folder, err);
    if (!status)
        status = kw_list_checkpoints(&folder, &sizes, err);
    if (!status && sizes.count == 0)
        status = kw_fail(err, KW_AUDIT, "the audit trail %s has no checkpoint yet", folder.shown);
    if (!status && options->key_count == 0)
        status = kw_folder_keys(crypto, &folder, &own, err);
    if (!status)
        status = kw_folder_checkpoint(crypto, &folder, sizes.items[sizes.count - 1],
                                      options->key_count ? options->keys : own.items,
                                      options->key_count ? options->key_count : own.count,
                                      ret_checkpoint, NULL, ret_note, err);
    kw_key_list_cleanup(&own);
    kw_numbers_cleanup(&sizes);
    kw_folder_close(&folder);
    return status;
}

enum kw_status kw_trail_prove(struct kw_crypto *crypto, const char *dir, uint64_t seq,
                              const struct kw_verify_options *options, struct kw_buffer *ret_text,
                              struct kw_error *err)
{
    struct proving proving = {.wanted = seq, .line = KW_BUFFER_INIT(KW_RECORD_MAX)};
    struct kw_checkpoint checkpoint;
    struct kw_buffer note = KW_BUFFER_INIT(KW_NOTE_MAX);
    enum kw_status status = kw_digest_new(crypto, &proving.digest, err);
    if (!status)
        status = find_checkpoint(crypto, dir, options, &checkpoint, &note, err);
    if (!status)
        status = prove(&proving, dir, &checkpoint, &note, ret_text, err);
    kw_buffer_cleanup(&note);
    kw_buffer_cleanup(&proving.line);
    kw_digest_free(proving.digest);
    return kw_audit_error(err, status);
}

/* ---- consistency ---- */

enum kw_status kw_trail_consistency(struct kw_crypto *crypto, const char *dir, uint64_t first,
                                    uint64_t second, struct kw_consistency *ret_consistency,
                                    struct kw_error *err)
{
    struct kw_consistency consistency = {.first = first, .second = second};
    struct proving proving = {.size = second, .consistency = &consistency};
    enum kw_status status = kw_digest_new(crypto, &proving.digest, err);
    if (!status)
        status = kw_prove_consistency(&proving.prover, first, second, err);
    if (!status)
        status = kw_trail_read(dir, take_record, &proving, err);
    if (!status && proving.next < second)
        status = kw_fail(err, KW_AUDIT, "the audit trail has %llu records, not %llu",
                         (unsigned long long)proving.next, (unsigned long long)second);
    if (!status)
        status = kw_prover_finish(&proving.prover, &consistency.proof, err);
    if (!status)
        status = kw_check_consistency(proving.digest, first, &consistency.first_root, second,
                                      &consistency.second_root, &consistency.proof, err);
    kw_digest_free(proving.digest);
    if (!status)
        *ret_consistency = consistency;
    return kw_audit_error(err, status);
}
