/* replay: keys, checkpoints and the frontier that a folder keeps, and the records after them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit/internal.h"

#define KEY_FILE_MAX 8192

/* ---- keys ---- */

static enum kw_status add_key(struct kw_crypto *crypto, const struct kw_folder *folder,
                              const char *name, struct kw_key_list *keys, struct kw_error *err)
{
    struct kw_buffer pem = KW_BUFFER_INIT(KEY_FILE_MAX);
    if (keys->count == KW_KEYS_MAX)
        return kw_fail(err, KW_AUDIT, "the audit trail %s has more than %d keys; begin a new one",
                       folder->shown, KW_KEYS_MAX);
    enum kw_status status = kw_folder_read(folder, name, KEY_FILE_MAX, &pem, err);
    if (!status)
        status =
            kw_public_key_from_pem(crypto, pem.data, pem.len, name, &keys->items[keys->count], err);
    if (!status)
        keys->count++;
    kw_buffer_cleanup(&pem);
    return kw_audit_error(err, status);
}

static bool is_key_name(const char *name)
{
    size_t len = strlen(name);
    return strcmp(name, KW_KEY_FILE) == 0 ||
           (len < KW_TRAIL_NAME && strncmp(name, "key-", 4) == 0 &&
            strspn(name + 4, "0123456789abcdef") == len - 8 && strcmp(name + len - 4, ".pem") == 0);
}

enum kw_status kw_folder_keys(struct kw_crypto *crypto, const struct kw_folder *folder,
                              struct kw_key_list *ret_keys, struct kw_error *err)
{
    struct kw_key_list keys = {.count = 0};
    enum kw_status status = KW_OK;
    int fd = kw_open_beneath(folder->fd, ".", O_RDONLY | O_DIRECTORY, 0);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    if (!stream) {
        status = kw_fail_errno(err, KW_AUDIT, errno, "the audit trail's folder %s can't be read",
                               folder->shown);
        kw_close(&fd);
        return status;
    }
    const struct dirent *entry;
    while (!status && (entry = readdir(stream)) != NULL)
        if (is_key_name(entry->d_name))
            status = add_key(crypto, folder, entry->d_name, &keys, err);
    (void)closedir(stream); /* nothing was written */
    if (status)
        kw_key_list_cleanup(&keys);
    else
        *ret_keys = keys;
    return status;
}

void kw_key_list_cleanup(struct kw_key_list *keys)
{
    while (keys->count > 0)
        kw_public_key_free(keys->items[--keys->count]);
}

enum kw_status kw_key_fingerprint(struct kw_crypto *crypto, const struct kw_public_key *key,
                                  char out[KW_FINGERPRINT_SIZE], struct kw_error *err)
{
    uint8_t hash[KW_SHA256_SIZE];
    size_t len = 0;
    const uint8_t *spki = kw_public_key_spki(key, &len);
    enum kw_status status = kw_sha256(crypto, spki, len, hash, err);
    if (!status)
        kw_hex_encode(hash, sizeof(hash), out);
    return status;
}

/* The name that a key keeps when another one takes its place. */
static enum kw_status old_key_name(struct kw_crypto *crypto, const struct kw_public_key *key,
                                   char out[KW_TRAIL_NAME], struct kw_error *err)
{
    char fingerprint[KW_FINGERPRINT_SIZE];
    enum kw_status status = kw_key_fingerprint(crypto, key, fingerprint, err);
    if (!status)
        (void)snprintf(out, KW_TRAIL_NAME, "key-%.16s.pem", fingerprint);
    return status;
}

static bool same_key(const struct kw_public_key *a, const struct kw_public_key *b)
{
    size_t a_len = 0, b_len = 0;
    const uint8_t *a_spki = kw_public_key_spki(a, &a_len);
    const uint8_t *b_spki = kw_public_key_spki(b, &b_len);
    return a_len == b_len && memcmp(a_spki, b_spki, a_len) == 0;
}

/* Adds key.pem, if it is there. */
static enum kw_status add_current(struct kw_crypto *crypto, const struct kw_folder *folder,
                                  struct kw_key_list *keys, struct kw_error *err)
{
    if (faccessat(folder->fd, KW_KEY_FILE, F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)
        return KW_OK;
    return add_key(crypto, folder, KW_KEY_FILE, keys, err);
}

enum kw_status kw_folder_key_fingerprint(struct kw_crypto *crypto, const struct kw_folder *folder,
                                         char out[KW_FINGERPRINT_SIZE], struct kw_error *err)
{
    struct kw_key_list current = {.count = 0};
    enum kw_status status = add_current(crypto, folder, &current, err);
    if (!status && current.count == 0)
        out[0] = '\0';
    else if (!status)
        status = kw_key_fingerprint(crypto, current.items[0], out, err);
    kw_key_list_cleanup(&current);
    return status;
}

static enum kw_status replace_key(struct kw_crypto *crypto, const struct kw_folder *folder,
                                  const struct kw_public_key *new_key,
                                  const struct kw_note_signer *signer, struct kw_error *err)
{
    struct kw_key_list old = {.count = 0};
    char name[KW_TRAIL_NAME];
    enum kw_status status = add_current(crypto, folder, &old, err);
    bool same = !status && old.count > 0 && same_key(old.items[0], new_key);
    if (!status && old.count > 0 && !same &&
        !(status = old_key_name(crypto, old.items[0], name, err)) &&
        renameat(folder->fd, KW_KEY_FILE, folder->fd, name) != 0)
        status = kw_fail_errno(err, KW_AUDIT, errno, "%s in the audit trail %s can't be renamed",
                               KW_KEY_FILE, folder->shown);
    if (!status && !same)
        status = kw_folder_write(folder, KW_KEY_FILE, signer->pem, signer->pem_len, true, err);
    kw_key_list_cleanup(&old);
    return status;
}

enum kw_status kw_folder_keep_key(struct kw_crypto *crypto, const struct kw_folder *folder,
                                  const struct kw_note_signer *signer, struct kw_error *err)
{
    struct kw_public_key *key = NULL;
    enum kw_status status = kw_public_key_from_pem(crypto, signer->pem, signer->pem_len,
                                                   "the key that signs", &key, err);
    if (!status)
        status = replace_key(crypto, folder, key, signer, err);
    kw_public_key_free(key);
    return kw_audit_error(err, status);
}

/* ---- checkpoints ---- */

enum kw_status kw_folder_checkpoint(struct kw_crypto *crypto, const struct kw_folder *folder,
                                    uint64_t size, struct kw_public_key *const *keys,
                                    size_t key_count, struct kw_checkpoint *ret_checkpoint,
                                    size_t *ret_key, struct kw_buffer *ret_note,
                                    struct kw_error *err)
{
    char name[KW_TRAIL_NAME];
    struct kw_buffer note = KW_BUFFER_INIT(0);
    struct kw_checkpoint checkpoint;
    kw_checkpoint_name(size, "", name);
    enum kw_status status = kw_folder_read(folder, name, KW_NOTE_MAX, &note, err);
    if (!status)
        status = kw_checkpoint_verify(crypto, (const char *)note.data, note.len, keys, key_count,
                                      name, &checkpoint, ret_key, err);
    if (!status && checkpoint.size != size)
        status = kw_fail(err, KW_AUDIT,
                         "%s is the checkpoint of another number of records: it was "
                         "replaced",
                         name);
    if (!status && ret_note)
        status = kw_buffer_append(ret_note, note.data, note.len, err);
    if (!status)
        *ret_checkpoint = checkpoint;
    kw_buffer_cleanup(&note);
    return status;
}

/* ---- the frontier: its size, the place of its last record, then a hash a line ---- */

enum kw_status kw_keep_frontier(const struct kw_folder *folder, const struct kw_kept_frontier *kept,
                                struct kw_error *err)
{
    const struct kw_frontier *frontier = &kept->frontier;
    struct kw_buffer text = KW_BUFFER_INIT(KW_NOTE_MAX);
    enum kw_status status =
        kw_buffer_printf(&text, err, "%llu\n%llu\n%llu\n", (unsigned long long)frontier->size,
                         (unsigned long long)kept->file, (unsigned long long)kept->start);
    for (size_t i = 0; i < frontier->count && !status; i++) {
        char hash[KW_BASE64_ENCODED_SIZE(KW_SHA256_SIZE)];
        kw_base64_encode(KW_BASE64, frontier->hashes[i].bytes, KW_SHA256_SIZE, hash);
        status = kw_buffer_printf(&text, err, "%s\n", hash);
    }
    if (!status)
        status = kw_folder_write(folder, KW_FRONTIER_FILE, text.data, text.len, false, err);
    kw_buffer_cleanup(&text);
    return status;
}

static bool parse_frontier(const char *text, size_t len, struct kw_kept_frontier *kept)
{
    struct kw_frontier *frontier = &kept->frontier;
    uint64_t *const numbers[] = {&frontier->size, &kept->file, &kept->start};
    const char *at = text, *end;
    for (size_t i = 0; i < KW_COUNT(numbers); i++, at = end + 1) {
        end = memchr(at, '\n', len - (size_t)(at - text));
        if (!end || !kw_parse_number(at, (size_t)(end - at), numbers[i]))
            return false;
    }
    frontier->count = 0;
    for (; at < text + len; at = end + 1) {
        size_t hash_len = 0;
        end = memchr(at, '\n', len - (size_t)(at - text));
        if (!end || frontier->count == KW_COUNT(frontier->hashes) ||
            !kw_base64_decode(KW_BASE64, at, (size_t)(end - at),
                              frontier->hashes[frontier->count].bytes, KW_SHA256_SIZE, &hash_len) ||
            hash_len != KW_SHA256_SIZE)
            return false;
        frontier->count++;
    }
    return frontier->count == (size_t)__builtin_popcountll(frontier->size);
}

/* The frontier that is kept, if it is the checkpoint's tree. */
static bool read_frontier(const struct kw_folder *folder, struct kw_digest *digest,
                          const struct kw_checkpoint *checkpoint, struct kw_kept_frontier *ret_kept)
{
    struct kw_buffer text = KW_BUFFER_INIT(0);
    struct kw_kept_frontier kept;
    struct kw_hash root;
    if (kw_folder_read(folder, KW_FRONTIER_FILE, KW_NOTE_MAX, &text, NULL))
        return false;
    bool good = parse_frontier((const char *)text.data, text.len, &kept) &&
                kept.frontier.size > 0 && kept.frontier.size == checkpoint->size &&
                kw_frontier_root(digest, &kept.frontier, &root, NULL) == KW_OK &&
                kw_hash_equal(&root, &checkpoint->root);
    kw_buffer_cleanup(&text);
    if (good)
        *ret_kept = kept;
    return good;
}

/* ---- the records after it ---- */

#define VERIFY_IT "run keyward audit verify"

static enum kw_status check_root(const struct kw_folder *folder, struct kw_digest *digest,
                                 const struct kw_frontier *frontier,
                                 const struct kw_checkpoint *checkpoint, struct kw_error *err)
{
    struct kw_hash root;
    enum kw_status status = kw_frontier_root(digest, frontier, &root, err);
    if (status || kw_hash_equal(&root, &checkpoint->root))
        return status;
    return kw_fail(
        err, KW_AUDIT,
        "the first %llu records of the audit trail %s are not those that were signed; " VERIFY_IT,
        (unsigned long long)checkpoint->size, folder->shown);
}

static enum kw_status take_line(struct kw_digest *digest, const struct kw_reader *reader,
                                const struct kw_line *line, uint64_t signed_size,
                                struct kw_replay *replay, struct kw_error *err)
{
    struct kw_hash leaf;
    uint64_t seq = 0, next = replay->frontier.size;
    bool last = reader->next_file == reader->files.count;
    enum kw_status status;
    if (line->kind == KW_LINE_TORN && last)
        return KW_OK;
    if (line->kind != KW_LINE || !kw_record_seq(line->text, line->len, &seq) || seq > next ||
        (reader->at_start && seq != reader->first))
        return kw_fail(err, KW_AUDIT,
                       "record %llu of the audit trail %s is not what should be there; " VERIFY_IT,
                       (unsigned long long)next, reader->folder->shown);
    if (seq < next)
        return KW_OK;
    if ((status = kw_leaf_hash(digest, line->text, line->len, &leaf, err)) ||
        (status = kw_frontier_add(digest, &replay->frontier, &leaf, err)))
        return status;
    replay->last_file = reader->first;
    replay->last_start = reader->whole - line->len - 1;
    /* Without the hashes of very many records an edit among them is only not named as well. */
    if (seq >= signed_size && replay->leaves.len + sizeof(leaf) <= KW_LEAVES_MAX)
        status = kw_buffer_append(&replay->leaves, leaf.bytes, sizeof(leaf.bytes), err);
    return status;
}

static enum kw_status read_records(struct kw_digest *digest, struct kw_reader *reader,
                                   const struct kw_checkpoint *checkpoint, struct kw_replay *replay,
                                   struct kw_error *err)
{
    uint64_t size = checkpoint ? checkpoint->size : 0;
    struct kw_line line;
    enum kw_status status;
    do {
        uint64_t before = replay->frontier.size;
        if ((status = kw_reader_next(reader, &line, err)))
            return status;
        if (line.kind != KW_LINE_END)
            status = take_line(digest, reader, &line, size, replay, err);
        if (!status && checkpoint && before < size && replay->frontier.size == size)
            status = check_root(reader->folder, digest, &replay->frontier, checkpoint, err);
    } while (!status && line.kind != KW_LINE_END);
    if (!status && replay->frontier.size < size)
        status = kw_fail(err, KW_AUDIT,
                         "the audit trail %s has %llu records where %llu were signed; " VERIFY_IT,
                         reader->folder->shown, (unsigned long long)replay->frontier.size,
                         (unsigned long long)size);
    replay->file = reader->first;
    replay->end = reader->whole;
    return status;
}

/* The last record of the frontier is read for its number alone: so the place is the right one. */
static enum kw_status skip_known(struct kw_reader *reader, const struct kw_kept_frontier *kept,
                                 struct kw_error *err)
{
    struct kw_line line;
    uint64_t seq = 0;
    enum kw_status status = kw_reader_skip(reader, kept->file, kept->start, err);
    if (status || (status = kw_reader_next(reader, &line, err)))
        return status;
    if (line.kind == KW_LINE && kw_record_seq(line.text, line.len, &seq) &&
        seq + 1 == kept->frontier.size)
        return KW_OK;
    return kw_fail(err, KW_AUDIT, "record %llu of the audit trail %s is not where it was",
                   (unsigned long long)(kept->frontier.size - 1), reader->folder->shown);
}

static enum kw_status replay_after(const struct kw_folder *folder, struct kw_digest *digest,
                                   const struct kw_checkpoint *checkpoint,
                                   const struct kw_kept_frontier *kept,
                                   struct kw_replay *ret_replay, struct kw_error *err)
{
    struct kw_replay replay = {.leaves = KW_BUFFER_INIT(KW_LEAVES_MAX)};
    struct kw_reader reader = {.fd = -1};
    enum kw_status status =
        kw_reader_open(folder, kept ? kept->frontier.size - 1 : 0, &reader, err);
    if (!status && kept) {
        replay.frontier = kept->frontier;
        status = skip_known(&reader, kept, err);
    }
    if (!status)
        status = read_records(digest, &reader, checkpoint, &replay, err);
    kw_reader_close(&reader);
    if (status)
        kw_replay_cleanup(&replay);
    else
        *ret_replay = replay;
    return status;
}

enum kw_status kw_replay(struct kw_crypto *crypto, const struct kw_folder *folder,
                         const struct kw_checkpoint *checkpoint, struct kw_replay *ret_replay,
                         struct kw_error *err)
{
    struct kw_kept_frontier kept;
    struct kw_digest *digest = NULL;
    enum kw_status status = kw_digest_new(crypto, &digest, err);
    if (status)
        return status;
    bool known = checkpoint && read_frontier(folder, digest, checkpoint, &kept);
    if (known)
        status = replay_after(folder, digest, checkpoint, &kept, ret_replay, err);
    /* Whatever is wrong with a cache, it is the records that count. */
    if (!known || status == KW_AUDIT)
        status = replay_after(folder, digest, checkpoint, NULL, ret_replay, err);
    kw_digest_free(digest);
    return kw_audit_error(err, status);
}

void kw_replay_cleanup(struct kw_replay *replay)
{
    kw_buffer_cleanup(&replay->leaves);
}
