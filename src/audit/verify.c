/* verify: reads a whole trail and says what is wrong with it, if anything is. */
#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "audit/internal.h"

static const char *const tamper_names[] = {
    [KW_GOOD] = "good",           [KW_EDITED] = "edited",       [KW_REMOVED] = "removed",
    [KW_REORDERED] = "reordered", [KW_TRUNCATED] = "truncated", [KW_ROLLED_BACK] = "rolled-back",
    [KW_FORGED] = "forged",
};

const char *kw_tamper_name(enum kw_tamper tamper)
{
    return (size_t)tamper < KW_COUNT(tamper_names) ? tamper_names[tamper] : "unknown";
}

struct verifier {
    struct kw_crypto *crypto;
    struct kw_digest *digest;
    struct kw_folder folder;
    struct kw_key_list own_keys;
    struct kw_public_key *const *keys;
    size_t key_count;
    struct kw_numbers sizes; /* of the checkpoints */
    size_t next_size;
    struct kw_frontier frontier; /* of the records so far */
    struct kw_frontier good;     /* of those that a checkpoint says the same of */
    char id[2 * KW_TRAIL_ID_SIZE + 1];
    bool has_since;
    bool since_differs;
    struct kw_checkpoint since;
    char told_key[KW_FINGERPRINT_SIZE]; /* of the newest record that tells of another one */
    struct kw_verdict verdict;
};

typedef unsigned long long ull;

/* The first thing that is found wrong is what is told. */
static void find(struct verifier *verifier, enum kw_tamper tamper, uint64_t first, uint64_t last,
                 const char *format, ...) KW_PRINTF(5, 6);

static void find(struct verifier *verifier, enum kw_tamper tamper, uint64_t first, uint64_t last,
                 const char *format, ...)
{
    struct kw_verdict *verdict = &verifier->verdict;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(verdict->message, sizeof(verdict->message), format, args);
    va_end(args);
    verdict->tamper = tamper;
    verdict->first = first;
    verdict->last = last;
}

/* ---- records out of order ---- */

/* What the lines after the wrong one have. */
struct rest {
    bool has_next, expected_later;
    uint64_t next; /* number of the line that comes next */
};

static enum kw_status read_rest(struct verifier *verifier, struct kw_reader *reader,
                                uint64_t expected, struct rest *rest, struct kw_error *err)
{
    struct kw_line line;
    enum kw_status status;
    for (bool first = true;; first = false) {
        uint64_t seq = 0;
        if ((status = kw_reader_next(reader, &line, err)) || line.kind == KW_LINE_END)
            return status;
        verifier->verdict.records++;
        if (line.kind != KW_LINE || !kw_record_seq(line.text, line.len, &seq))
            continue;
        if (first) {
            rest->has_next = true;
            rest->next = seq;
        }
        rest->expected_later = rest->expected_later || seq == expected;
    }
}

static uint64_t newest_size(const struct verifier *verifier)
{
    return verifier->sizes.count > 0 ? verifier->sizes.items[verifier->sizes.count - 1] : 0;
}

/* Record `seq` is where another one should be. */
static enum kw_status judge_order(struct verifier *verifier, struct kw_reader *reader, uint64_t seq,
                                  struct kw_error *err)
{
    struct rest rest = {.has_next = false};
    uint64_t expected = verifier->frontier.size;
    enum kw_status status = read_rest(verifier, reader, expected, &rest, err);
    if (status)
        return status;
    /* The numbers go on behind it as if it were the right one. */
    bool replaced =
        rest.has_next ? rest.next == expected + 1 : newest_size(verifier) == expected + 1;
    if (rest.expected_later)
        find(verifier, KW_REORDERED, expected, expected,
             "records were reordered: record %llu is not in its place, where record %llu is",
             (ull)expected, (ull)seq);
    else if (replaced)
        find(verifier, KW_EDITED, expected, expected,
             "record %llu was edited: it has the number %llu", (ull)expected, (ull)seq);
    else if (seq < expected)
        find(verifier, KW_REORDERED, expected, expected,
             "records were reordered: where record %llu should be, record %llu is once more",
             (ull)expected, (ull)seq);
    else if (seq - expected == 1)
        find(verifier, KW_REMOVED, expected, expected, "record %llu was removed", (ull)expected);
    else
        find(verifier, KW_REMOVED, expected, seq - 1, "records %llu to %llu were removed",
             (ull)expected, (ull)seq - 1);
    return KW_OK;
}

/* ---- checkpoints ---- */

/* Compares the records after the last good checkpoint with their hashes. */
static enum kw_status compare_leaves(struct verifier *verifier, const struct kw_hash *leaves,
                                     uint64_t end, struct kw_error *err)
{
    struct kw_reader reader;
    struct kw_line line;
    uint64_t first = verifier->good.size, next = first;
    enum kw_status status = kw_reader_open(&verifier->folder, first, &reader, err);
    if (status)
        return status;
    while (next < end && !(status = kw_reader_next(&reader, &line, err)) &&
           line.kind != KW_LINE_END) {
        struct kw_hash leaf;
        uint64_t seq = 0;
        if (!kw_record_seq(line.text, line.len, &seq) || seq != next)
            continue;
        if ((status = kw_leaf_hash(verifier->digest, line.text, line.len, &leaf, err)))
            break;
        if (!kw_hash_equal(&leaf, &leaves[next - first])) {
            find(verifier, KW_EDITED, next, next, "record %llu was edited", (ull)next);
            break;
        }
        next++;
    }
    kw_reader_close(&reader);
    return status;
}

/* The hashes that are kept beside a checkpoint name the record, if they are what was signed. */
static enum kw_status name_edited(struct verifier *verifier, const struct kw_checkpoint *checkpoint,
                                  struct kw_error *err)
{
    char name[KW_TRAIL_NAME];
    struct kw_buffer file = KW_BUFFER_INIT(0);
    struct kw_frontier frontier = verifier->good;
    uint64_t first = frontier.size, count = checkpoint->size - first;
    kw_checkpoint_name(checkpoint->size, ".leaves", name);
    find(verifier, KW_EDITED, first, checkpoint->size - 1,
         "a record between %llu and %llu was edited: they are not what was signed", (ull)first,
         (ull)checkpoint->size - 1);
    if (kw_folder_read(&verifier->folder, name, KW_LEAVES_MAX, &file, NULL))
        return KW_OK;
    enum kw_status status = KW_OK;
    const struct kw_hash *leaves = (const struct kw_hash *)(const void *)file.data;
    struct kw_hash root;
    bool fits = file.len / sizeof(*leaves) == count && file.len % sizeof(*leaves) == 0;
    for (uint64_t i = 0; fits && i < count && !status; i++)
        status = kw_frontier_add(verifier->digest, &frontier, &leaves[i], err);
    if (fits && !status)
        status = kw_frontier_root(verifier->digest, &frontier, &root, err);
    if (fits && !status && kw_hash_equal(&root, &checkpoint->root))
        status = compare_leaves(verifier, leaves, checkpoint->size, err);
    kw_buffer_cleanup(&file);
    return status;
}

static bool is_this_trail(const struct verifier *verifier, const struct kw_checkpoint *checkpoint)
{
    const char *slash = strrchr(checkpoint->origin, '/');
    return slash && strcmp(slash + 1, verifier->id) == 0;
}

/* *ret_good is false once a fault was found. */
static enum kw_status read_checkpoint(struct verifier *verifier, uint64_t size,
                                      struct kw_checkpoint *ret_checkpoint, size_t *ret_key,
                                      bool *ret_good, struct kw_error *err)
{
    struct kw_error fault;
    enum kw_status status =
        kw_folder_checkpoint(verifier->crypto, &verifier->folder, size, verifier->keys,
                             verifier->key_count, ret_checkpoint, ret_key, NULL, &fault);
    *ret_good = false;
    if (status == KW_NO_MEMORY || status == KW_FAULT)
        return kw_fail(err, status, "%s", fault.message);
    if (status)
        find(verifier, KW_FORGED, size, size, "the checkpoint of %llu records is not genuine: %s",
             (ull)size, fault.message);
    else if (verifier->id[0] && !is_this_trail(verifier, ret_checkpoint))
        find(verifier, KW_FORGED, size, size,
             "the checkpoint of %llu records is of another trail, %s", (ull)size,
             ret_checkpoint->origin);
    else
        *ret_good = true;
    return KW_OK;
}

/* ---- the key that signs ---- */

/* Only what kw_trail_checkpoint writes counts; what is in other members can't look like it, as
 * their quotes are escaped. */
static void note_told_key(struct verifier *verifier, const char *line, size_t len)
{
    static const char op[] = "\"op\":\"" KW_TRAIL_KEY "\"";
    cJSON *record = NULL;
    if (!memmem(line, len, op, sizeof(op) - 1) || kw_record_parse(line, len, &record, NULL))
        return;
    const char *detail = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(record, "detail"));
    const char *last = detail ? strrchr(detail, ' ') : NULL;
    if (last)
        (void)snprintf(verifier->told_key, sizeof(verifier->told_key), "%s", last + 1);
    cJSON_Delete(record);
}

static enum kw_status note_key(struct verifier *verifier, size_t index, struct kw_error *err)
{
    struct kw_verdict *verdict = &verifier->verdict;
    char key[KW_FINGERPRINT_SIZE];
    enum kw_status status = kw_key_fingerprint(verifier->crypto, verifier->keys[index], key, err);
    if (status)
        return status;
    bool changed = verdict->key[0] && strcmp(verdict->key, key) != 0;
    bool told = strcmp(verifier->told_key, key) == 0;
    verdict->key_changes += changed;
    if (changed && !told && verdict->untold++ == 0)
        verdict->change = (struct kw_range){verifier->good.size, verifier->frontier.size};
    memcpy(verdict->key, key, sizeof(key));
    verifier->told_key[0] = '\0';
    return KW_OK;
}

static enum kw_status check_size(struct verifier *verifier, const struct kw_hash *root,
                                 struct kw_error *err)
{
    struct kw_checkpoint checkpoint;
    bool good = false;
    size_t key = 0;
    enum kw_status status =
        read_checkpoint(verifier, verifier->frontier.size, &checkpoint, &key, &good, err);
    if (status || !good)
        return status;
    if (!kw_hash_equal(root, &checkpoint.root))
        return name_edited(verifier, &checkpoint, err);
    if ((status = note_key(verifier, key, err)))
        return status;
    verifier->good = verifier->frontier;
    verifier->verdict.signed_records = verifier->frontier.size;
    verifier->verdict.checkpoints++;
    verifier->next_size++;
    return KW_OK;
}

/* Whether a checkpoint says something of as many records as were read. */
static enum kw_status check_tree(struct verifier *verifier, struct kw_error *err)
{
    uint64_t size = verifier->frontier.size;
    bool signed_here = verifier->next_size < verifier->sizes.count &&
                       verifier->sizes.items[verifier->next_size] == size;
    bool known = verifier->has_since && verifier->since.size == size;
    struct kw_hash root;
    if (!signed_here && !known)
        return KW_OK;
    enum kw_status status = kw_frontier_root(verifier->digest, &verifier->frontier, &root, err);
    if (!status && known)
        verifier->since_differs = !kw_hash_equal(&root, &verifier->since.root);
    return status || !signed_here ? status : check_size(verifier, &root, err);
}

/* ---- the records ---- */

static enum kw_status take_record(struct verifier *verifier, struct kw_reader *reader,
                                  const struct kw_line *line, struct kw_error *err)
{
    struct kw_hash leaf;
    uint64_t seq = 0, expected = verifier->frontier.size;
    verifier->verdict.records++;
    bool is_record = line->kind == KW_LINE && kw_record_seq(line->text, line->len, &seq);
    enum kw_status status = KW_OK;
    if (is_record && expected == 0 && seq == 0)
        status = kw_record_trail(line->text, line->len, verifier->id, err);
    if (status && status != KW_AUDIT)
        return status;
    if (!is_record || status) {
        find(verifier, KW_EDITED, expected, expected, "record %llu was edited: it is no record",
             (ull)expected);
        return KW_OK;
    }
    if (seq != expected)
        return judge_order(verifier, reader, seq, err);
    if (reader->at_start && reader->first != seq) {
        find(verifier, KW_EDITED, seq, seq, "%s was renamed: its first record is %llu",
             reader->name, (ull)seq);
        return KW_OK;
    }
    note_told_key(verifier, line->text, line->len);
    status = kw_leaf_hash(verifier->digest, line->text, line->len, &leaf, err);
    if (!status)
        status = kw_frontier_add(verifier->digest, &verifier->frontier, &leaf, err);
    return status ? status : check_tree(verifier, err);
}

static enum kw_status read_records(struct verifier *verifier, struct kw_error *err)
{
    struct kw_reader reader;
    struct kw_line line;
    enum kw_status status = kw_reader_open(&verifier->folder, 0, &reader, err);
    if (status)
        return status;
    if (reader.files.count == 0 && verifier->sizes.count == 0)
        status = kw_fail(err, KW_AUDIT, "there is no audit trail in %s; name its folder",
                         verifier->folder.shown);
    while (!status && verifier->verdict.tamper == KW_GOOD) {
        if ((status = kw_reader_next(&reader, &line, err)) || line.kind == KW_LINE_END)
            break;
        if (line.kind == KW_LINE_TORN && reader.next_file == reader.files.count)
            verifier->verdict.torn_bytes = line.len;
        else
            status = take_record(verifier, &reader, &line, err);
    }
    kw_reader_close(&reader);
    return status;
}

/* ---- what should have come after them ---- */

static enum kw_status check_end(struct verifier *verifier, struct kw_error *err)
{
    uint64_t records = verifier->frontier.size;
    struct kw_checkpoint checkpoint;
    for (; verifier->next_size < verifier->sizes.count; verifier->next_size++) {
        bool good = false;
        enum kw_status status = read_checkpoint(
            verifier, verifier->sizes.items[verifier->next_size], &checkpoint, NULL, &good, err);
        if (status || !good)
            return status;
    }
    if (newest_size(verifier) > records)
        find(verifier, KW_TRUNCATED, records, newest_size(verifier) - 1,
             "the trail was truncated: it ends before record %llu, and %llu records were signed",
             (ull)records, (ull)newest_size(verifier));
    else if (verifier->has_since && !is_this_trail(verifier, &verifier->since))
        find(verifier, KW_ROLLED_BACK, verifier->since.size, verifier->since.size,
             "the checkpoint that was remembered is of another trail, %s: this one was begun anew",
             verifier->since.origin);
    else if (verifier->has_since && verifier->since.size > records)
        find(verifier, KW_ROLLED_BACK, verifier->since.size, verifier->since.size,
             "the trail was rolled back to an older state: it has %llu records, and had %llu "
             "before",
             (ull)records, (ull)verifier->since.size);
    else if (verifier->since_differs)
        find(verifier, KW_ROLLED_BACK, verifier->since.size, verifier->since.size,
             "the trail was rolled back to an older state and went on from there: its first %llu "
             "records are not those that were remembered",
             (ull)verifier->since.size);
    return KW_OK;
}

/* ---- beginning ---- */

static enum kw_status prepare(struct verifier *verifier, const struct kw_verify_options *options,
                              struct kw_error *err)
{
    enum kw_status status = kw_list_checkpoints(&verifier->folder, &verifier->sizes, err);
    verifier->keys = options->keys;
    verifier->key_count = options->key_count;
    if (!status && options->key_count == 0) {
        status = kw_folder_keys(verifier->crypto, &verifier->folder, &verifier->own_keys, err);
        verifier->keys = verifier->own_keys.items;
        verifier->key_count = verifier->own_keys.count;
        verifier->verdict.own_key = true;
    }
    bool need_keys = verifier->sizes.count > 0 || options->since;
    if (!status && need_keys && verifier->key_count == 0)
        status = kw_fail(err, KW_AUDIT,
                         "the audit trail %s has no key that its checkpoints could be checked "
                         "with; give one with --key",
                         verifier->folder.shown);
    if (!status && options->since) {
        verifier->has_since = true;
        status = kw_checkpoint_verify(
            verifier->crypto, options->since, options->since_len, verifier->keys,
            verifier->key_count, "the checkpoint that was remembered", &verifier->since, NULL, err);
    }
    return status;
}

enum kw_status kw_trail_verify(struct kw_crypto *crypto, const char *dir,
                               const struct kw_verify_options *options,
                               struct kw_verdict *ret_verdict, struct kw_error *err)
{
    struct verifier verifier = {.crypto = crypto, .folder.fd = -1};
    enum kw_status status;
    if (!(status = kw_digest_new(crypto, &verifier.digest, err)) &&
        !(status = kw_folder_open(dir, &verifier.folder, err)) &&
        !(status = prepare(&verifier, options, err)) && !(status = read_records(&verifier, err)) &&
        verifier.verdict.tamper == KW_GOOD)
        status = check_end(&verifier, err);
    if (!status)
        *ret_verdict = verifier.verdict;
    kw_numbers_cleanup(&verifier.sizes);
    kw_key_list_cleanup(&verifier.own_keys);
    kw_folder_close(&verifier.folder);
    kw_digest_free(verifier.digest);
    return kw_audit_error(err, status);
}
