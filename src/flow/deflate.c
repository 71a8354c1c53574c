/* deflate: one gzip member (RFC 1952) as a stage, with ISA-L's level 1. */
#include <stdlib.h>

#include <isa-l/igzip_lib.h>

#include "flow/stage.h"

#define LEVEL 1

struct deflate {
    struct kw_stage stage;
    struct isal_zstream stream;
    uint8_t level_buffer[ISAL_DEF_LVL1_DEFAULT];
    uint8_t out[KW_PIECE];
};

static void begin_piece(struct deflate *deflate)
{
    deflate->stream.next_out = deflate->out;
    deflate->stream.avail_out = (uint32_t)sizeof(deflate->out);
}

static enum kw_status emit(struct deflate *deflate, struct kw_error *err)
{
    size_t len = sizeof(deflate->out) - deflate->stream.avail_out;
    begin_piece(deflate);
    return kw_stage_feed(deflate->stage.next, deflate->out, len, err);
}

/* Deflates what is in the stream's input. Only full pieces leave before the end, so that the cipher
 * gets whole blocks. */
static enum kw_status run(struct deflate *deflate, struct kw_error *err)
{
    struct isal_zstream *stream = &deflate->stream;
    enum kw_status status = KW_OK;
    bool full = true;
    while (status == KW_OK && full) {
        if (isal_deflate(stream) != COMP_OK)
            return kw_fail(err, KW_FAULT, "ISA-L refuses to compress");
        full = stream->avail_out == 0;
        if (full)
            status = emit(deflate, err);
    }
    return status;
}

static enum kw_status deflate_feed(struct kw_stage *stage, uint8_t *data, size_t len,
                                   struct kw_error *err)
{
    struct deflate *deflate = (struct deflate *)stage;
    struct isal_zstream *stream = &deflate->stream;
    while (len > 0) {
        uint32_t piece = len < KW_PIECE ? (uint32_t)len : (uint32_t)KW_PIECE;
        stream->next_in = data;
        stream->avail_in = piece;
        enum kw_status status = run(deflate, err);
        if (status != KW_OK)
            return status;
        if (stream->avail_in != 0)
            return kw_fail(err, KW_FAULT, "ISA-L left bytes that it should compress");
        data += piece;
        len -= piece;
    }
    return KW_OK;
}

static enum kw_status deflate_done(struct kw_stage *stage, struct kw_error *err)
{
    struct deflate *deflate = (struct deflate *)stage;
    struct isal_zstream *stream = &deflate->stream;
    stream->next_in = NULL;
    stream->avail_in = 0;
    stream->end_of_stream = 1;
    enum kw_status status = run(deflate, err);
    if (status == KW_OK && stream->internal_state.state != ZSTATE_END)
        status = kw_fail(err, KW_FAULT, "ISA-L did not end its gzip member");
    if (status == KW_OK)
        status = emit(deflate, err);
    return status == KW_OK ? kw_stage_done(stage->next, err) : status;
}

static void deflate_free(struct kw_stage *stage)
{
    free(stage);
}

static const struct kw_stage_ops deflate_ops = {
    .feed = deflate_feed,
    .done = deflate_done,
    .free = deflate_free,
};

enum kw_status kw_deflate_new(struct kw_stage **ret_stage, struct kw_error *err)
{
    struct deflate *deflate = calloc(1, sizeof(*deflate));
    if (!deflate)
        return kw_fail_memory(err);
    deflate->stage.ops = &deflate_ops;
    *ret_stage = &deflate->stage;
    return KW_OK;
}

void kw_deflate_start(struct kw_stage *stage, struct kw_stage *next)
{
    struct deflate *deflate = (struct deflate *)stage;
    kw_stage_restart(stage, next);
    isal_deflate_init(&deflate->stream);
    deflate->stream.level = LEVEL;
    deflate->stream.level_buf = deflate->level_buffer;
    deflate->stream.level_buf_size = sizeof(deflate->level_buffer);
    deflate->stream.gzip_flag = IGZIP_GZIP;
    begin_piece(deflate);
}
