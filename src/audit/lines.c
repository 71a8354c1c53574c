/* lines: reading records, file after file. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit/internal.h"

#define BUFFER_SIZE ((size_t)256 * 1024)
_Static_assert(BUFFER_SIZE > KW_RECORD_MAX + 1, "a whole record fits");

enum kw_status kw_lines_new(int fd, struct kw_lines *ret_lines, struct kw_error *err)
{
    char *buffer = malloc(BUFFER_SIZE);
    if (!buffer)
        return kw_fail_memory(err);
    *ret_lines = (struct kw_lines){.fd = fd, .buffer = buffer};
    return KW_OK;
}

void kw_lines_cleanup(struct kw_lines *lines)
{
    free(lines->buffer);
    lines->buffer = NULL;
}

/* More bytes behind those that are there. */
static enum kw_status fill(struct kw_lines *lines, const char *what, struct kw_error *err)
{
    size_t got = 0;
    memmove(lines->buffer, lines->buffer + lines->start, lines->len);
    lines->start = 0;
    enum kw_status status = kw_read_full(lines->fd, lines->buffer + lines->len,
                                         BUFFER_SIZE - lines->len, what, &got, err);
    if (status)
        return kw_audit_error(err, status);
    lines->ended = got < BUFFER_SIZE - lines->len;
    lines->len += got;
    return KW_OK;
}

enum kw_status kw_lines_next(struct kw_lines *lines, const char *what, struct kw_line *ret_line,
                             struct kw_error *err)
{
    const char *newline = memchr(lines->buffer + lines->start, '\n', lines->len);
    if (!newline && !lines->ended && lines->len <= KW_RECORD_MAX) {
        enum kw_status status = fill(lines, what, err);
        if (status)
            return status;
        newline = memchr(lines->buffer + lines->start, '\n', lines->len);
    }
    struct kw_line line = {.kind = KW_LINE, .text = lines->buffer + lines->start};
    line.len = newline ? (size_t)(newline - line.text) : lines->len;
    if (line.len > KW_RECORD_MAX)
        line.kind = KW_LINE_LONG;
    else if (!newline)
        line.kind = lines->len > 0 ? KW_LINE_TORN : KW_LINE_END;
    size_t used = line.len + (newline ? 1 : 0);
    lines->start += used;
    lines->len -= used;
    *ret_line = line;
    return KW_OK;
}

/* ---- all files ---- */

enum kw_status kw_reader_open(const struct kw_folder *folder, uint64_t seq,
                              struct kw_reader *ret_reader, struct kw_error *err)
{
    struct kw_reader reader = {.folder = folder, .fd = -1};
    enum kw_status status = kw_list_trail(folder, &reader.files, err);
    if (status)
        return status;
    while (reader.next_file + 1 < reader.files.count &&
           reader.files.items[reader.next_file + 1] <= seq)
        reader.next_file++;
    *ret_reader = reader;
    return KW_OK;
}

static void close_file(struct kw_reader *reader)
{
    kw_lines_cleanup(&reader->lines);
    kw_close(&reader->fd);
}

void kw_reader_close(struct kw_reader *reader)
{
    close_file(reader);
    kw_numbers_cleanup(&reader->files);
}

static enum kw_status open_next(struct kw_reader *reader, struct kw_error *err)
{
    reader->first = reader->files.items[reader->next_file];
    kw_trail_file_name(reader->first, reader->name);
    reader->fd = kw_folder_file(reader->folder, reader->name, O_RDONLY, err);
    if (reader->fd < 0)
        return KW_AUDIT;
    reader->next_file++;
    reader->whole = 0;
    return kw_lines_new(reader->fd, &reader->lines, err);
}

static enum kw_status no_line_there(const struct kw_reader *reader, uint64_t first, uint64_t offset,
                                    struct kw_error *err)
{
    return kw_fail(err, KW_AUDIT,
                   "no line of the audit trail %s begins at byte %llu of the file of record %llu",
                   reader->folder->shown, (unsigned long long)offset, (unsigned long long)first);
}

enum kw_status kw_reader_skip(struct kw_reader *reader, uint64_t first, uint64_t offset,
                              struct kw_error *err)
{
    char before = '\n';
    if (reader->next_file == reader->files.count || reader->files.items[reader->next_file] != first)
        return no_line_there(reader, first, offset, err);
    enum kw_status status = open_next(reader, err);
    if (status)
        return status;
    bool fits =
        offset == 0 || (offset <= INT64_MAX &&
                        pread(reader->fd, &before, 1, (off_t)offset - 1) == 1 && before == '\n');
    if (!fits || lseek(reader->fd, (off_t)offset, SEEK_SET) < 0)
        return no_line_there(reader, first, offset, err);
    reader->whole = offset;
    return KW_OK;
}

enum kw_status kw_reader_next(struct kw_reader *reader, struct kw_line *ret_line,
                              struct kw_error *err)
{
    enum kw_status status;
    for (;;) {
        bool fresh = reader->fd < 0;
        if (fresh && reader->next_file == reader->files.count) {
            *ret_line = (struct kw_line){.kind = KW_LINE_END};
            return KW_OK;
        }
        if (fresh && (status = open_next(reader, err)))
            return status;
        struct kw_line line;
        if ((status = kw_lines_next(&reader->lines, reader->name, &line, err)))
            return status;
        if (line.kind != KW_LINE_END) {
            reader->at_start = fresh;
            reader->whole += line.kind == KW_LINE ? line.len + 1 : 0;
            *ret_line = line;
            return KW_OK;
        }
        /* The last file stays open, for its name and size. */
        if (reader->next_file == reader->files.count) {
            *ret_line = line;
            return KW_OK;
        }
        close_file(reader);
    }
}
