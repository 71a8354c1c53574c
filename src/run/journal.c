/* journal: the file beside a run's output that says how far the run is, so that another process can
 * go on from there. Its lines are in journal_lines.c.
 *
 * A file is listed once it is whole, by its inode, before it gets its name; or, where it gets none,
 * when it has ended. Whatever moment the process is killed at, what is in the folder can be told
 * from what someone else put there. A line is written whole or taken back. It is not brought to the
 * disk line by line: after a power cut there may be files that it does not list, and these count as
 * someone else's. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

/* A path of PATH_MAX with every byte escaped has a tenth of this. */
#define LINE_MAX_BYTES ((size_t)256 * 1024)
#define LINE_DEPTH     8
#define LINE_ITEMS     256

#define NAME_ROOM 256

static const char *show_folder(const struct kw_run *run, char shown[NAME_ROOM])
{
    return kw_printable(run->out_dir, strlen(run->out_dir), shown, NAME_ROOM);
}

static enum kw_status fail_journal(const struct kw_run *run, int code, struct kw_error *err)
{
    char shown[NAME_ROOM];
    return kw_fail_errno(err, KW_WRITE, code,
                         "the run's journal, " KW_JOURNAL_NAME " in %s, can't be written",
                         show_folder(run, shown));
}

static enum kw_status lock(struct kw_run *run, int fd, struct kw_error *err)
{
    char shown[NAME_ROOM];
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return KW_OK;
    if (errno != EWOULDBLOCK)
        return fail_journal(run, errno, err);
    return kw_fail(err, KW_EXISTS,
                   "another run is writing to %s; wait for it, or choose another folder",
                   show_folder(run, shown));
}

/* ---- finding one ---- */

/* -1 in *ret_fd where there is none. */
static enum kw_status open_existing(const struct kw_run *run, int *ret_fd, struct kw_error *err)
{
    struct stat info;
    char shown[NAME_ROOM];
    int fd = kw_open_beneath(kw_outdir_dirfd(run->outdir), KW_JOURNAL_NAME,
                             O_RDWR | O_APPEND | O_NONBLOCK | O_NOFOLLOW, 0);
    *ret_fd = fd;
    if (fd < 0 && errno == ENOENT)
        return KW_OK;
    /* Its lines decide which files may be replaced, so they have to be this user's. */
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == geteuid() &&
        (info.st_mode & 022) == 0)
        return KW_OK;
    kw_close(ret_fd);
    return kw_fail(err, KW_EXISTS,
                   KW_JOURNAL_NAME
                   " in %s is no journal that you alone can write; take it away, or "
                   "choose another folder",
                   show_folder(run, shown));
}

/* The run whose journal it was may have ended while this one waited to look. */
static bool is_gone(int fd)
{
    struct stat info;
    return fstat(fd, &info) != 0 || info.st_nlink == 0;
}

static enum kw_status check_empty(const struct kw_run *run, struct kw_error *err)
{
    bool empty = false;
    char shown[NAME_ROOM];
    enum kw_status status = kw_outdir_is_empty(run->outdir, KW_JOURNAL_NAME, &empty, err);
    if (!status && !empty)
        return kw_fail(err, KW_EXISTS,
                       "%s is not empty and holds no journal to go on from; without --resume a new "
                       "run begins there",
                       show_folder(run, shown));
    return status;
}

/* ---- reading one ---- */

struct reader {
    struct kw_run *run;
    int fd;
    char *data; /* LINE_MAX_BYTES */
    size_t len;
    off_t good; /* up to the end of the last line that was understood */
};

static enum kw_status parse_line(const char *text, size_t len, cJSON **ret_json,
                                 struct kw_error *err)
{
    static const struct kw_json_limits limits = {
        .bytes = LINE_MAX_BYTES, .depth = LINE_DEPTH, .items = LINE_ITEMS};
    return kw_json_parse(text, len, &limits, KW_JOURNAL_NAME, KW_READ, ret_json, err);
}

static enum kw_status take_header(struct reader *reader, size_t len, struct kw_error *err)
{
    char shown[NAME_ROOM];
    cJSON *json = NULL;
    enum kw_status status = parse_line(reader->data, len, &json, err);
    if (status == KW_READ)
        return kw_fail(err, KW_READ,
                       "the journal " KW_JOURNAL_NAME " in %s is damaged; start anew with --force",
                       show_folder(reader->run, shown));
    if (!status)
        status = kw_journal_check_header(reader->run, json, err);
    cJSON_Delete(json);
    return status;
}

/* What a crash left of the end counts for nothing, nor does what comes after it: *ret_taken is
 * false. A line that memory did not suffice for is none of that, and is not cut off. */
static enum kw_status take_line(struct reader *reader, const char *text, size_t len,
                                bool *ret_taken, struct kw_error *err)
{
    cJSON *json = NULL;
    enum kw_status status = parse_line(text, len, &json, err);
    if (!status)
        *ret_taken = kw_journal_take_line(reader->run, json);
    else if (status == KW_READ)
        *ret_taken = false;
    cJSON_Delete(json);
    return status == KW_READ ? KW_OK : status;
}

/* The whole lines of what was read; *ret_on is false where no more is worth reading. */
static enum kw_status take_lines(struct reader *reader, bool *ret_on, struct kw_error *err)
{
    size_t at = 0;
    const char *end;
    while (*ret_on && (end = memchr(reader->data + at, '\n', reader->len - at))) {
        size_t len = (size_t)(end - (reader->data + at));
        enum kw_status status = KW_OK;
        if (reader->good == 0)
            status = take_header(reader, len, err);
        else
            status = take_line(reader, reader->data + at, len, ret_on, err);
        if (status)
            return status;
        at += len + 1;
        if (*ret_on)
            reader->good += (off_t)len + 1;
    }
    memmove(reader->data, reader->data + at, reader->len - at);
    reader->len -= at;
    return KW_OK;
}

static enum kw_status read_all(struct reader *reader, struct kw_error *err)
{
    bool on = true;
    while (on && reader->len < LINE_MAX_BYTES) {
        size_t got = 0;
        enum kw_status status =
            kw_read_full(reader->fd, reader->data + reader->len, LINE_MAX_BYTES - reader->len,
                         KW_JOURNAL_NAME, &got, err);
        reader->len += got;
        if (!status)
            status = take_lines(reader, &on, err);
        if (status)
            return status;
        on = on && got > 0;
    }
    return reader->good > 0 ? KW_OK : take_header(reader, 0, err);
}

static enum kw_status read_journal(struct kw_run *run, struct kw_error *err)
{
    struct journal *journal = &run->journal;
    struct reader reader = {.run = run, .fd = journal->fd, .data = malloc(LINE_MAX_BYTES)};
    if (!reader.data)
        return kw_fail_memory(err);
    enum kw_status status = read_all(&reader, err);
    free(reader.data);
    if (!status && ftruncate(journal->fd, reader.good) != 0)
        status = fail_journal(run, errno, err);
    journal->size = reader.good;
    journal->resumed = status == KW_OK;
    return status;
}

enum kw_status kw_journal_find(struct kw_run *run, struct kw_error *err)
{
    struct journal *journal = &run->journal;
    char shown[NAME_ROOM];
    bool resume = run->options->resume != 0;
    bool force = run->options->force != 0;
    enum kw_status status = open_existing(run, &journal->fd, err);
    if (!status && journal->fd >= 0 && !resume && !force)
        return kw_fail(err, KW_EXISTS,
                       "%s holds the journal of a run that did not end; go on from there with "
                       "--resume, or start anew with --force",
                       show_folder(run, shown));
    if (!status && journal->fd >= 0)
        status = lock(run, journal->fd, err);
    if (!status && journal->fd >= 0 && is_gone(journal->fd))
        kw_close(&journal->fd);
    if (status || !resume)
        return status;
    if (journal->fd < 0)
        return force ? KW_OK : check_empty(run, err);
    return read_journal(run, err);
}

/* ---- writing one ---- */

static enum kw_status make_header(const struct kw_run *run, struct kw_buffer *text,
                                  struct kw_error *err)
{
    cJSON *json = NULL;
    enum kw_status status = kw_journal_describe(run, &json, err);
    return status ? status : kw_json_write(json, KW_JSON_LINE, text, err);
}

enum kw_status kw_journal_begin(struct kw_run *run, struct kw_error *err)
{
    struct journal *journal = &run->journal;
    struct kw_buffer text = KW_BUFFER_INIT(LINE_MAX_BYTES);
    if (journal->resumed)
        return KW_OK;
    bool replace = journal->fd >= 0;
    enum kw_status status = make_header(run, &text, err);
    if (!status)
        status = kw_outdir_write(run->outdir, KW_JOURNAL_NAME, replace, text.data, text.len, err);
    kw_close(&journal->fd);
    if (!status)
        status = open_existing(run, &journal->fd, err);
    if (!status && journal->fd < 0)
        status = fail_journal(run, ENOENT, err);
    if (!status)
        status = lock(run, journal->fd, err);
    /* Once, so that what survives a power cut has a beginning. */
    if (!status && fdatasync(journal->fd) != 0)
        status = fail_journal(run, errno, err);
    /* Of a run that was killed before it had a journal. */
    if (!status)
        kw_outdir_remove_temporaries(run->outdir, ".");
    journal->size = (off_t)text.len;
    kw_buffer_cleanup(&text);
    return status;
}

static enum kw_status append(struct kw_run *run, const struct kw_buffer *line, struct kw_error *err)
{
    struct journal *journal = &run->journal;
    (void)pthread_mutex_lock(&journal->lock);
    enum kw_status status = kw_write_full(journal->fd, line->data, line->len,
                                          "the run's journal " KW_JOURNAL_NAME, err);
    if (!status)
        journal->size += (off_t)line->len;
    else if (ftruncate(journal->fd, journal->size) != 0)
        status = fail_journal(run, errno, err);
    (void)pthread_mutex_unlock(&journal->lock);
    return status;
}

enum kw_status kw_journal_list(struct kw_run *run, size_t index, const struct run_file *file,
                               struct kw_error *err)
{
    struct kw_buffer line = KW_BUFFER_INIT(LINE_MAX_BYTES);
    enum kw_status status = kw_journal_line(file, index, &line, err);
    if (!status)
        status = append(run, &line, err);
    kw_buffer_cleanup(&line);
    return status;
}

enum kw_status kw_journal_recorded(struct kw_run *run, const size_t *files, size_t count,
                                   struct kw_error *err)
{
    struct kw_buffer line = KW_BUFFER_INIT(LINE_MAX_BYTES);
    enum kw_status status = kw_journal_recorded_line(files, count, &line, err);
    if (!status)
        status = append(run, &line, err);
    kw_buffer_cleanup(&line);
    return status;
}

/* ---- the end ---- */

enum kw_status kw_journal_remove(struct kw_run *run, struct kw_error *err)
{
    if (run->journal.fd < 0)
        return KW_OK;
    enum kw_status status = kw_outdir_remove(run->outdir, KW_JOURNAL_NAME, err);
    kw_close(&run->journal.fd);
    return status;
}

void kw_journal_cleanup(struct journal *journal)
{
    kw_close(&journal->fd);
    free(journal->key);
    (void)pthread_mutex_destroy(&journal->lock);
}
