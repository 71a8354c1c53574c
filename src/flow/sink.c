/* sink: the ends of a flow that are no files by name: a descriptor, a buffer. */
#include <stdlib.h>
#include <string.h>

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
