/* trail: opening a trail and appending to it. What is announced here is done only after this said
 * that it is on the disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/forward.h"
#include "audit/internal.h"

#define FOLDER_MODE   0750
#define ROTATE_BYTES  ((uint64_t)64 * 1024 * 1024)
#define RESERVE_LEAST ((uint64_t)256 * 1024)
#define RESERVE_AHEAD ((uint64_t)1024 * 1024)
#define LINES_MAX     ((KW_DEEDS_MAX + 2) * (KW_RECORD_MAX + 1))
#define WHAT          "the audit trail"

enum kw_status kw_trail_dir(const struct kw_config *config, char **ret_dir, struct kw_error *err)
{
    if (!config->audit.dir)
        return kw_state_path("audit", WHAT, "dir = PATH in [audit]", ret_dir, err);
    char *dir = strdup(config->audit.dir);
    if (!dir)
        return kw_fail_memory(err);
    *ret_dir = dir;
    return KW_OK;
}

/* ---- appending ---- */

/* Room for these lines, and more for the outcome of what they announce. A file system that can't
 * reserve says so; one that is full says that too, which matters before the deed, not after it. */
static enum kw_status reserve(struct kw_trail *trail, size_t len, bool needed, struct kw_error *err)
{
    struct kw_trail_file *file = &trail->file;
    if (file->end + len + RESERVE_LEAST <= file->reserved)
        return KW_OK;
    uint64_t ahead = len + RESERVE_LEAST + RESERVE_AHEAD;
    int failed =
        fallocate(file->fd, FALLOC_FL_KEEP_SIZE, (off_t)file->end, (off_t)ahead) ? errno : 0;
    if (failed == ENOSPC || failed == EDQUOT) {
        ahead = len + RESERVE_LEAST;
        failed =
            fallocate(file->fd, FALLOC_FL_KEEP_SIZE, (off_t)file->end, (off_t)ahead) ? errno : 0;
    }
    if (!failed || failed == EOPNOTSUPP || failed == ENOSYS)
        file->reserved = file->end + ahead;
    else if (needed)
        return kw_fail_errno(err, KW_AUDIT, failed,
                             "there is no room for the audit trail %s; make some",
                             trail->folder.shown);
    return KW_OK;
}

/* Takes back what was not acknowledged; where that fails, the next one to append finds it. */
static void cut(struct kw_trail *trail)
{
    if (ftruncate(trail->file.fd, (off_t)trail->file.end) == 0)
        (void)fdatasync(trail->file.fd);
    trail->file.reserved = 0;
}

static enum kw_status write_lines(struct kw_trail *trail, const struct kw_buffer *lines,
                                  struct kw_error *err)
{
    char what[KW_SHOWN_DIR + 32];
    (void)snprintf(what, sizeof(what), WHAT " %s", trail->folder.shown);
    enum kw_status status = KW_OK;
    if (trail->file.torn > 0 && ftruncate(trail->file.fd, (off_t)trail->file.end) != 0)
        return kw_fail_errno(err, KW_AUDIT, errno, "%s can't be mended", what);
    status = kw_audit_error(err, kw_write_full(trail->file.fd, lines->data, lines->len, what, err));
    if (!status && fdatasync(trail->file.fd) != 0)
        status = kw_fail_errno(err, KW_AUDIT, errno, "%s can't be brought to the disk", what);
    if (status)
        cut(trail);
    return status;
}

/* The tree has the lines as they were given to the disk, whatever is there later. */
static enum kw_status add_leaves(struct kw_trail *trail, const struct kw_buffer *lines,
                                 struct kw_error *err)
{
    struct kw_frontier grown = trail->frontier;
    enum kw_status status = KW_OK;
    for (size_t at = 0; at < lines->len && !status;) {
        const uint8_t *line = lines->data + at;
        const uint8_t *newline = memchr(line, '\n', lines->len - at);
        size_t len = (size_t)(newline - line);
        struct kw_hash leaf;
        if (!(status = kw_leaf_hash(trail->digest, line, len, &leaf, err)))
            status = kw_frontier_add(trail->digest, &grown, &leaf, err);
        at += len + 1;
    }
    if (!status) {
        trail->frontier = grown;
        trail->file.end += lines->len;
    }
    return status;
}

/* Brings the lines to the disk, and only then further. */
static enum kw_status commit(struct kw_trail *trail, const struct kw_buffer *lines,
                             struct kw_error *err)
{
    enum kw_status status = write_lines(trail, lines, err);
    if (!status)
        status = add_leaves(trail, lines, err);
    for (size_t i = 0; i < trail->forwarder_count && !status; i++)
        kw_forward(trail->forwarders[i], lines);
    return status;
}

static enum kw_status add_record(struct kw_trail *trail, const struct kw_deed *deed,
                                 const char *trail_id, uint64_t *seq, struct kw_buffer *lines,
                                 struct kw_error *err)
{
    struct kw_stamp stamp = {.seq = *seq, .who = &trail->who, .trail = trail_id};
    enum kw_status status = kw_record_write(&stamp, deed, lines, err);
    if (!status)
        (*seq)++;
    return status;
}

static enum kw_status add_share(struct kw_trail *trail, struct kw_share *share, uint64_t *seq,
                                struct kw_buffer *lines, bool *needs_room, struct kw_error *err)
{
    enum kw_status status = KW_OK;
    share->first = *seq;
    for (size_t i = 0; i < share->count && !status; i++) {
        const struct kw_deed *deed = &share->deeds[i];
        *needs_room = *needs_room || deed->phase == KW_INTENT || deed->unannounced;
        status = add_record(trail, deed, NULL, seq, lines, err);
    }
    return status;
}

/* A line that was never finished is cut off, and that is told. */
static enum kw_status make_lines(struct kw_trail *trail, struct kw_share *shares, size_t count,
                                 struct kw_buffer *lines, bool *ret_needs_room,
                                 struct kw_error *err)
{
    const struct kw_deed repair = {
        .op = KW_TRAIL_REPAIR, .has_bytes = true, .bytes = trail->file.torn};
    uint64_t seq = trail->frontier.size;
    enum kw_status status = KW_OK;
    if (trail->file.torn > 0)
        status = add_record(trail, &repair, NULL, &seq, lines, err);
    *ret_needs_room = false;
    for (size_t i = 0; i < count && !status; i++)
        status = add_share(trail, &shares[i], &seq, lines, ret_needs_room, err);
    return status;
}

enum kw_status kw_trail_append_locked(struct kw_trail *trail, struct kw_share *shares, size_t count,
                                      bool *ret_untouched, struct kw_error *err)
{
    struct kw_buffer lines = KW_BUFFER_INIT(LINES_MAX);
    bool needs_room = false;
    enum kw_status status = kw_trail_catch_up(trail, err);
    if (!status)
        status = make_lines(trail, shares, count, &lines, &needs_room, err);
    /* A torn line is mended in its own file first. */
    if (!status && trail->file.end > 0 && trail->file.torn == 0 &&
        trail->file.end + lines.len > trail->rotate_bytes)
        status = kw_trail_new_file(trail, err);
    if (!status)
        status = reserve(trail, lines.len, needs_room, err);
    *ret_untouched = status != KW_OK;
    if (!status)
        status = commit(trail, &lines, err);
    kw_buffer_cleanup(&lines);
    return status;
}

/* ---- opening ---- */

enum kw_status kw_trail_make_dir(const char *dir, struct kw_error *err)
{
    enum kw_status status = kw_audit_error(err, kw_make_folders(dir, WHAT, err));
    char shown[KW_SHOWN_DIR];
    if (!status && mkdir(dir, FOLDER_MODE) != 0 && errno != EEXIST)
        status = kw_fail_errno(err, KW_AUDIT, errno, "the audit trail's folder %s can't be made",
                               kw_printable(dir, strlen(dir), shown, sizeof(shown)));
    return status;
}

static enum kw_status open_folder(struct kw_trail *trail, struct kw_error *err)
{
    enum kw_status status = kw_trail_make_dir(trail->dir, err);
    if (!status)
        status = kw_folder_open(trail->dir, &trail->folder, err);
    if (!status)
        status = kw_audit_error(
            err, kw_check_owner(trail->folder.fd, trail->folder.shown, KW_AUDIT, err));
    if (!status && mkdirat(trail->folder.fd, KW_CHECKPOINTS, FOLDER_MODE) != 0 && errno != EEXIST)
        status = kw_fail_errno(err, KW_AUDIT, errno, "the audit trail %s can't be written",
                               trail->folder.shown);
    if (!status) {
        trail->lock = kw_folder_file(&trail->folder, KW_LOCK_FILE, O_RDWR | O_CREAT, err);
        status = trail->lock < 0 ? KW_AUDIT : KW_OK;
    }
    return status ? status
                  : kw_audit_error(err, kw_check_owner(trail->lock, KW_LOCK_FILE, KW_AUDIT, err));
}

/* Record 0 gives the folder its id, which is in every checkpoint's origin. */
static enum kw_status begin(struct kw_trail *trail, struct kw_error *err)
{
    const struct kw_deed deed = {.op = KW_TRAIL_BEGIN};
    uint8_t id[KW_TRAIL_ID_SIZE];
    uint64_t seq = 0;
    struct kw_buffer lines = KW_BUFFER_INIT(KW_RECORD_MAX + 1);
    enum kw_status status = kw_random(trail->crypto, id, sizeof(id), err);
    if (status)
        return status;
    kw_hex_encode(id, sizeof(id), trail->id);
    /* What a crash left of the first record is no record. */
    if (trail->file.fd < 0)
        status = kw_trail_new_file(trail, err);
    if (!status && !(status = add_record(trail, &deed, trail->id, &seq, &lines, err)) &&
        !(status = reserve(trail, lines.len, true, err)))
        status = commit(trail, &lines, err);
    trail->file.torn = 0;
    kw_buffer_cleanup(&lines);
    return status;
}

static enum kw_status read_id(struct kw_trail *trail, struct kw_error *err)
{
    struct kw_reader reader = {.fd = -1};
    struct kw_line line = {.kind = KW_LINE_END};
    enum kw_status status = kw_reader_open(&trail->folder, 0, &reader, err);
    if (!status)
        status = kw_reader_next(&reader, &line, err);
    if (!status && line.kind == KW_LINE)
        status = kw_record_trail(line.text, line.len, trail->id, err);
    else if (!status)
        status = KW_AUDIT;
    if (status == KW_AUDIT)
        status = kw_fail(err, KW_AUDIT,
                         "the first record of the audit trail %s is not what should be there; run "
                         "keyward audit verify",
                         trail->folder.shown);
    kw_reader_close(&reader);
    return status;
}

static enum kw_status load(struct kw_trail *trail, struct kw_error *err)
{
    struct kw_checkpoint checkpoint;
    struct kw_replay replay;
    struct kw_numbers files = {.items = NULL};
    bool found = false;
    enum kw_status status =
        kw_newest_checkpoint(trail->crypto, &trail->folder, NULL, &checkpoint, &found, err);
    if (status || (status = kw_list_trail(&trail->folder, &files, err)))
        return status;
    size_t count = files.count;
    kw_numbers_cleanup(&files);
    if (count == 0 && !found)
        return begin(trail, err);
    status = kw_replay(trail->crypto, &trail->folder, found ? &checkpoint : NULL, &replay, err);
    if (status)
        return status;
    trail->frontier = replay.frontier;
    status = kw_trail_use_file(trail, replay.file, replay.end, err);
    kw_replay_cleanup(&replay);
    if (!status && trail->frontier.size == 0 && count == 1) {
        trail->file.torn = 1;
        return begin(trail, err);
    }
    return status ? status : read_id(trail, err);
}

static enum kw_status open_trail(struct kw_trail *trail, struct kw_error *err)
{
    enum kw_status status = kw_digest_new(trail->crypto, &trail->digest, err);
    if (!status)
        status = open_folder(trail, err);
    if (!status && !(status = kw_trail_lock(trail, err))) {
        status = load(trail, err);
        kw_trail_unlock(trail);
    }
    return status;
}

/* ---- forwarding ---- */

static enum kw_status add_forwarders(struct kw_trail *trail,
                                     const struct kw_forward_options *options, struct kw_error *err)
{
    const struct {
        const struct kw_receiver_kind *kind;
        const char *address;
    } receivers[KW_RECEIVERS_MAX] = {{&kw_journald, options->journald},
                                     {&kw_syslog, options->syslog}};
    enum kw_status status = KW_OK;
    trail->forward_timeout_ms = options->timeout_ms;
    for (size_t i = 0; i < KW_COUNT(receivers) && !status; i++) {
        if (!receivers[i].address)
            continue;
        status = kw_forwarder_new(receivers[i].kind, receivers[i].address, &trail->who,
                                  &trail->forwarders[trail->forwarder_count], err);
        trail->forwarder_count += status == KW_OK;
    }
    return status;
}

size_t kw_trail_losses(struct kw_trail *trail, struct kw_loss losses[KW_RECEIVERS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < trail->forwarder_count; i++) {
        kw_forwarder_take_loss(trail->forwarders[i], &losses[count]);
        count += losses[count].count > 0;
    }
    return count;
}

void kw_loss_sentence(const struct kw_loss *loss, char out[KW_MESSAGE_SIZE])
{
    const char *where = loss->last - loss->first + 1 == loss->count ? "" : "between ";
    unsigned long long first = loss->first, last = loss->last;
    if (loss->count == 1)
        (void)snprintf(out, KW_MESSAGE_SIZE, "record %llu was not sent to %s %s: %s", first,
                       loss->receiver, loss->address, loss->why);
    else
        (void)snprintf(out, KW_MESSAGE_SIZE,
                       "%llu records, %s%llu %s %llu, were not sent to %s %s: %s",
                       (unsigned long long)loss->count, where, first, *where ? "and" : "to", last,
                       loss->receiver, loss->address, loss->why);
}

void kw_trail_end_forwarding(struct kw_trail *trail)
{
    uint64_t deadline = kw_now_ms() + trail->forward_timeout_ms;
    for (size_t i = 0; i < trail->forwarder_count; i++)
        kw_forwarder_end_at(trail->forwarders[i], deadline);
    for (size_t i = 0; i < trail->forwarder_count; i++)
        kw_forwarder_wait(trail->forwarders[i]);
}

enum kw_status kw_trail_open(struct kw_crypto *crypto, const struct kw_trail_options *options,
                             struct kw_trail **ret_trail, struct kw_error *err)
{
    struct kw_trail *trail = calloc(1, sizeof(*trail));
    if (!trail)
        return kw_fail_memory(err);
    trail->crypto = crypto;
    trail->folder.fd = trail->lock = trail->file.fd = -1;
    trail->rotate_bytes = options->rotate_bytes ? options->rotate_bytes : ROTATE_BYTES;
    if (options->who)
        trail->who = *options->who;
    else
        kw_who_am_i(&trail->who);
    if (pthread_mutex_init(&trail->mutex, NULL) != 0) {
        free(trail);
        return kw_fail_memory(err);
    }
    if (pthread_mutex_init(&trail->queue.mutex, NULL) != 0) {
        (void)pthread_mutex_destroy(&trail->mutex); /* nobody has it */
        free(trail);
        return kw_fail_memory(err);
    }
    trail->dir = strdup(options->dir);
    enum kw_status status = trail->dir ? KW_OK : kw_fail_memory(err);
    if (!status)
        status = add_forwarders(trail, &options->forward, err);
    if (!status)
        status = open_trail(trail, err);
    if (status)
        kw_trail_free(trail);
    else
        *ret_trail = trail;
    return status;
}

void kw_trail_free(struct kw_trail *trail)
{
    if (!trail)
        return;
    kw_trail_end_forwarding(trail);
    for (size_t i = 0; i < trail->forwarder_count; i++)
        kw_forwarder_free(trail->forwarders[i]);
    kw_close(&trail->file.fd);
    kw_close(&trail->lock);
    kw_folder_close(&trail->folder);
    kw_digest_free(trail->digest);
    (void)pthread_mutex_destroy(&trail->queue.mutex); /* nobody has it, nor the other one */
    (void)pthread_mutex_destroy(&trail->mutex);
    free(trail->dir);
    free(trail);
}
