/* checkpoint: signing the tree of all records, once what was signed before is found in it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/internal.h"

enum kw_status kw_newest_checkpoint(struct kw_crypto *crypto, const struct kw_folder *folder,
                                    struct kw_public_key *more,
                                    struct kw_checkpoint *ret_checkpoint, bool *ret_found,
                                    struct kw_error *err)
{
    struct kw_numbers sizes = {.items = NULL};
    struct kw_key_list keys = {.count = 0};
    enum kw_status status = kw_list_checkpoints(folder, &sizes, err);
    uint64_t newest = sizes.count > 0 ? sizes.items[sizes.count - 1] : 0;
    bool found = sizes.count > 0;
    kw_numbers_cleanup(&sizes);
    if (status || !found) {
        if (!status)
            *ret_found = false;
        return status;
    }
    if ((status = kw_folder_keys(crypto, folder, &keys, err)))
        return status;
    struct kw_public_key *known[KW_KEYS_MAX + 1];
    size_t count = 0;
    for (; count < keys.count; count++)
        known[count] = keys.items[count];
    if (more)
        known[count++] = more;
    status =
        kw_folder_checkpoint(crypto, folder, newest, known, count, ret_checkpoint, NULL, NULL, err);
    if (!status)
        *ret_found = true;
    kw_key_list_cleanup(&keys);
    return status;
}

/* A token's serial number may hold anything; an origin may not. */
static void write_origin(const struct kw_trail *trail, const char *serial,
                         char out[KW_ORIGIN_MAX + 1])
{
    size_t len = (size_t)snprintf(out, KW_ORIGIN_MAX + 1, "keyward/%.128s/%s",
                                  serial && serial[0] ? serial : "unknown", trail->id);
    size_t fixed = strlen("keyward/");
    for (size_t i = fixed; i + sizeof(trail->id) < len; i++)
        if (out[i] <= ' ' || out[i] >= 0x7F || out[i] == '+' || out[i] == '/')
            out[i] = '-';
}

/* The records since the last checkpoint, as they are on the disk now, must be those that this
 * process wrote or read. */
static enum kw_status check_records(struct kw_trail *trail, const struct kw_checkpoint *last,
                                    struct kw_replay *ret_replay, struct kw_hash *ret_root,
                                    struct kw_error *err)
{
    struct kw_replay replay;
    struct kw_hash there, root;
    enum kw_status status = kw_replay(trail->crypto, &trail->folder, last, &replay, err);
    if (status)
        return status;
    if ((status = kw_frontier_root(trail->digest, &replay.frontier, &there, err)) ||
        (status = kw_frontier_root(trail->digest, &trail->frontier, &root, err))) {
        kw_replay_cleanup(&replay);
        return status;
    }
    if (replay.frontier.size != trail->frontier.size || !kw_hash_equal(&there, &root)) {
        kw_replay_cleanup(&replay);
        return kw_fail(err, KW_AUDIT,
                       "records of the audit trail %s are not what they were when they were "
                       "written; nothing is signed until that is looked into",
                       trail->folder.shown);
    }
    *ret_replay = replay;
    *ret_root = root;
    return KW_OK;
}

/* What is to be signed: the tree as it was while the trail was locked. */
struct tree {
    struct kw_checkpoint checkpoint;
    struct kw_kept_frontier kept;
    struct kw_replay replay;
};

/* The hashes since the checkpoint before, which may be a newer one than when they were gathered. */
static enum kw_status keep_leaves(struct kw_trail *trail, const struct tree *tree, uint64_t before,
                                  struct kw_error *err)
{
    char name[KW_TRAIL_NAME];
    size_t wanted = (size_t)(tree->checkpoint.size - before) * sizeof(struct kw_hash);
    const struct kw_buffer *leaves = &tree->replay.leaves;
    if (leaves->len < wanted)
        return KW_OK;
    kw_checkpoint_name(tree->checkpoint.size, ".leaves", name);
    return kw_folder_write(&trail->folder, name, leaves->data + (leaves->len - wanted), wanted,
                           false, err);
}

static enum kw_status keep(struct kw_trail *trail, const struct tree *tree,
                           const struct kw_buffer *note, uint64_t before, struct kw_error *err)
{
    char name[KW_TRAIL_NAME];
    enum kw_status status = keep_leaves(trail, tree, before, err);
    kw_checkpoint_name(tree->checkpoint.size, "", name);
    if (!status)
        status = kw_folder_write(&trail->folder, name, note->data, note->len, true, err);
    if (!status)
        status = kw_folder_sync(&trail->folder, KW_CHECKPOINTS, err);
    return status ? status : kw_keep_frontier(&trail->folder, &tree->kept, err);
}

/* The record is among those that the new key signs, and the new key the folder's from then on:
 * where it can't sign after all, that is not told again. */
static enum kw_status tell_new_key(struct kw_trail *trail, const struct kw_note_signer *signer,
                                   const struct kw_public_key *key, struct kw_error *err)
{
    char old[KW_FINGERPRINT_SIZE], now[KW_FINGERPRINT_SIZE], detail[KW_MESSAGE_SIZE];
    const struct kw_deed deed = {
        .op = KW_TRAIL_KEY, .key = {.serial = signer->serial}, .detail = detail};
    struct kw_share share = {.deeds = &deed, .count = 1};
    bool untouched = false;
    enum kw_status status;
    if ((status = kw_folder_key_fingerprint(trail->crypto, &trail->folder, old, err)) ||
        (status = kw_key_fingerprint(trail->crypto, key, now, err)) || !old[0] ||
        strcmp(old, now) == 0)
        return status;
    (void)snprintf(detail, sizeof(detail), "the key that signs is another one: from %s to %s", old,
                   now);
    status = kw_trail_append_locked(trail, &share, 1, &untouched, err);
    return status ? status : kw_folder_keep_key(trail->crypto, &trail->folder, signer, err);
}

/* `tree->checkpoint.size` stays 0 where all is signed already. */
static enum kw_status gather(struct kw_trail *trail, const struct kw_note_signer *signer,
                             struct kw_public_key *key, struct tree *tree, struct kw_error *err)
{
    struct kw_checkpoint last;
    bool found = false;
    enum kw_status status = kw_trail_catch_up(trail, err);
    if (!status)
        status = kw_newest_checkpoint(trail->crypto, &trail->folder, key, &last, &found, err);
    if (status || (found && last.size == trail->frontier.size))
        return status;
    if ((status = tell_new_key(trail, signer, key, err)) ||
        (status = check_records(trail, found ? &last : NULL, &tree->replay, &tree->checkpoint.root,
                                err)))
        return status;
    write_origin(trail, signer->serial, tree->checkpoint.origin);
    tree->kept =
        (struct kw_kept_frontier){trail->frontier, tree->replay.last_file, tree->replay.last_start};
    tree->checkpoint.size = trail->frontier.size;
    return KW_OK;
}

/* Another process may have signed as many records meanwhile, or more. */
static enum kw_status add(struct kw_trail *trail, const struct kw_note_signer *signer,
                          struct kw_public_key *key, const struct tree *tree,
                          const struct kw_buffer *note, struct kw_error *err)
{
    struct kw_checkpoint last;
    bool found = false;
    enum kw_status status = kw_trail_catch_up(trail, err);
    if (!status)
        status = kw_newest_checkpoint(trail->crypto, &trail->folder, key, &last, &found, err);
    if (status || (found && last.size >= tree->checkpoint.size))
        return status;
    status = kw_folder_keep_key(trail->crypto, &trail->folder, signer, err);
    return status ? status : keep(trail, tree, note, found ? last.size : 0, err);
}

/* Others may append while the token signs, which may take as long as it is given. */
static enum kw_status sign_unlocked(struct kw_trail *trail, const struct kw_note_signer *signer,
                                    struct kw_public_key *key, struct tree *tree,
                                    struct kw_error *err)
{
    struct kw_buffer note = KW_BUFFER_INIT(KW_NOTE_MAX);
    enum kw_status status = kw_trail_lock(trail, err);
    if (status)
        return status;
    status = gather(trail, signer, key, tree, err);
    kw_trail_unlock(trail);
    if (status || tree->checkpoint.size == 0)
        return status;
    status = kw_checkpoint_sign(trail->crypto, &tree->checkpoint, signer, &note, err);
    if (!status && !(status = kw_trail_lock(trail, err))) {
        status = add(trail, signer, key, tree, &note, err);
        kw_trail_unlock(trail);
    }
    kw_buffer_cleanup(&note);
    return status;
}

enum kw_status kw_trail_checkpoint(struct kw_trail *trail, const struct kw_note_signer *signer,
                                   struct kw_error *err)
{
    struct kw_public_key *key = NULL;
    struct tree *tree = calloc(1, sizeof(*tree));
    if (!tree)
        return kw_fail_memory(err);
    enum kw_status status = kw_public_key_from_pem(trail->crypto, signer->pem, signer->pem_len,
                                                   "the key that signs", &key, err);
    if (!status)
        status = sign_unlocked(trail, signer, key, tree, err);
    kw_replay_cleanup(&tree->replay);
    kw_public_key_free(key);
    free(tree);
    return status;
}
