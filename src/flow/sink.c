/* sink: the ends of a flow that are no files by name: a descriptor, a pipe, a buffer. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "flow/stage.h"

static void simple_free(struct kw_stage *stage)
{
    free(stage);
}

static enum kw_status simple_done(struct kw_stage *stage, struct kw_error *err)
{
    (void)stage;
    (void)err;
    return KW_OK;
}

/* ---- a descriptor ---- */

struct fd_sink {
    struct kw_stage stage;
    int fd;
    char name[KW_NAME_SIZE];
};

static enum kw_status fd_feed(struct kw_stage *stage, uint8_t *data, size_t len,
                              struct kw_error *err)
{
    struct fd_sink *sink = (struct fd_sink *)stage;
    return kw_write_full(sink->fd, data, len, sink->name, err);
}

static const struct kw_stage_ops fd_ops = {
    .feed = fd_feed,
    .done = simple_done,
    .free = simple_free,
};

enum kw_status kw_sink_fd_new(int fd, const char *name, struct kw_stage **ret_sink,
                              struct kw_error *err)
{
    struct fd_sink *sink = calloc(1, sizeof(*sink));
    if (!sink)
        return kw_fail_memory(err);
    sink->stage.ops = &fd_ops;
    sink->fd = fd;
    kw_printable(name, strlen(name), sink->name, sizeof(sink->name));
    *ret_sink = &sink->stage;
    return KW_OK;
}

/* ---- a pipe ---- */

#define PIPE_WAIT_MS 100

struct pipe_sink {
    struct kw_stage stage;
    int fd;
    bool (*go_on)(void *context);
    void *context;
    char name[KW_NAME_SIZE];
};

static enum kw_status wait_for_room(const struct pipe_sink *sink, struct kw_error *err)
{
    struct pollfd room = {.fd = sink->fd, .events = POLLOUT};
    (void)poll(&room, 1, PIPE_WAIT_MS); /* whatever it says, the next write says it better */
    return sink->go_on(sink->context)
               ? KW_OK
               : kw_fail(err, KW_INTERRUPTED, "stopped while %s took no more", sink->name);
}

static enum kw_status pipe_feed(struct kw_stage *stage, uint8_t *data, size_t len,
                                struct kw_error *err)
{
    const struct pipe_sink *sink = (struct pipe_sink *)stage;
    enum kw_status status = KW_OK;
    while (len > 0 && !status) {
        ssize_t written = write(sink->fd, data, len);
        if (written > 0) {
            data += written;
            len -= (size_t)written;
        } else if (written == 0 || errno == EAGAIN) {
            status = wait_for_room(sink, err);
        } else if (errno != EINTR) {
            status = kw_fail_errno(err, KW_WRITE, errno, "%s can't be written to", sink->name);
        }
    }
    return status;
}

static const struct kw_stage_ops pipe_ops = {
    .feed = pipe_feed,
    .done = simple_done,
    .free = simple_free,
};

enum kw_status kw_sink_pipe_new(int fd, const char *name, bool (*go_on)(void *context),
                                void *context, struct kw_stage **ret_sink, struct kw_error *err)
{
    struct pipe_sink *sink = calloc(1, sizeof(*sink));
    if (!sink)
        return kw_fail_memory(err);
    sink->stage.ops = &pipe_ops;
    sink->fd = fd;
    sink->go_on = go_on;
    sink->context = context;
    kw_printable(name, strlen(name), sink->name, sizeof(sink->name));
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        free(sink);
        return kw_fail_errno(err, KW_WRITE, errno, "a pipe can't be made ready");
    }
    *ret_sink = &sink->stage;
    return KW_OK;
}

/* ---- a buffer ---- */

struct buffer_sink {
    struct kw_stage stage;
    struct kw_buffer *buffer;
};

static enum kw_status buffer_feed(struct kw_stage *stage, uint8_t *data, size_t len,
                                  struct kw_error *err)
{
    return kw_buffer_append(((struct buffer_sink *)stage)->buffer, data, len, err);
}

static const struct kw_stage_ops buffer_ops = {
    .feed = buffer_feed,
    .done = simple_done,
    .free = simple_free,
    .same_thread = true,
};

enum kw_status kw_sink_buffer_new(struct kw_buffer *buffer, struct kw_stage **ret_sink,
                                  struct kw_error *err)
{
    struct buffer_sink *sink = calloc(1, sizeof(*sink));
    if (!sink)
        return kw_fail_memory(err);
    sink->stage.ops = &buffer_ops;
    sink->buffer = buffer;
    *ret_sink = &sink->stage;
    return KW_OK;
}
