/* inflate: gzip (RFC 1952), member after member, as a stage; other content passes as it is.
 *
 * ISA-L inflates the deflate stream of a member and sums its output. Header and trailer are read
 * here: ISA-L does not read a header that comes in pieces, and its one error for a bad trailer does
 * not say what is wrong with it. */
#include <inttypes.h>
#include <stdlib.h>

#include <isa-l/igzip_lib.h>

#include "flow/gzip.h"
#include "flow/stage.h"

#define TRAILER_SIZE 8

enum part { HEADER, BODY, TRAILER, PLAIN };

struct inflate {
    struct kw_stage stage;
    const char *name;
    struct kw_flow_limits limits;
    struct kw_stage *next_inflated;
    struct kw_stage *next_plain;
    enum part part;
    bool gzip; /* a member has begun */
    struct kw_gzip_header header;
    struct inflate_state state;
    uint64_t member_size; /* of the output */
    uint32_t crc32;       /* of all output before the member, or of plain content */
    uint8_t trailer[TRAILER_SIZE];
    size_t trailer_len;
    uint8_t *own; /* KW_PIECE of output, where the next stage has no memory to offer */
};

struct span {
    uint8_t *data;
    size_t len;
};

static enum kw_status damaged(const struct inflate *inflate, const char *what, struct kw_error *err)
{
    return kw_fail(err, KW_DAMAGED, "%s: %s; get the file again", inflate->name, what);
}

static enum kw_status cut_short(const struct inflate *inflate, struct kw_error *err)
{
    return damaged(inflate, "the gzip data in it is cut short", err);
}

/* A bomb is deflated well: what it inflates to is watched as it comes, not afterwards. */
static enum kw_status check_limits(const struct inflate *inflate, size_t len, struct kw_error *err)
{
    const struct kw_flow_limits *limits = &inflate->limits;
    uint64_t out = inflate->stage.next->fed + len;
    if (limits->bytes > 0 && out > limits->bytes)
        return kw_flow_too_large(inflate->name, limits->bytes, err);
    if (limits->ratio > 0 && out > KW_RATIO_FREE && out / limits->ratio > inflate->stage.fed)
        return kw_fail(err, KW_DAMAGED,
                       "%s inflates to more than %" PRIu64 " times its size; if that is meant, "
                       "raise max-ratio in the configuration",
                       inflate->name, limits->ratio);
    return KW_OK;
}

static enum kw_status trailing(const struct inflate *inflate, struct kw_error *err)
{
    return damaged(inflate, "bytes follow after the end of the gzip stream in it", err);
}

static void begin_header(struct inflate *inflate)
{
    inflate->part = HEADER;
    inflate->header = (struct kw_gzip_header){0};
}

static void begin_body(struct inflate *inflate)
{
    inflate->part = BODY;
    inflate->gzip = true;
    inflate->stage.next = inflate->next_inflated;
    inflate->member_size = 0;
    inflate->trailer_len = 0;
    isal_inflate_reset(&inflate->state);
    inflate->state.crc_flag = ISAL_GZIP_NO_HDR;
}

/* It is not gzip, and `held` bytes of the magic were taken for one. In CBC a wrong IV, or damage to
 * the first block, spoils the magic and no more: without a look at what there is instead, such a
 * file would pass unchecked. */
static enum kw_status begin_plain(struct inflate *inflate, size_t held, struct span in,
                                  struct kw_error *err)
{
    if (held > 0 || !kw_is_known_content(in.data, in.len))
        return kw_fail(err, KW_DAMAGED,
                       "%s holds neither gzip nor text: its first block is damaged, or the IV or "
                       "the key is wrong; --decompress none takes it as it is",
                       inflate->name);
    inflate->part = PLAIN;
    inflate->stage.next = inflate->next_plain;
    return KW_OK;
}

static enum kw_status feed_header(struct inflate *inflate, struct span *in, struct kw_error *err)
{
    enum kw_gzip_verdict verdict = KW_GZIP_GOOD;
    size_t used = kw_gzip_header_feed(&inflate->header, in->data, in->len, &verdict);
    in->data += used;
    in->len -= used;
    if (verdict == KW_GZIP_NO_MAGIC)
        return inflate->gzip ? trailing(inflate, err)
                             : begin_plain(inflate, inflate->header.have, *in, err);
    if (verdict == KW_GZIP_BAD)
        return damaged(inflate, "a gzip header in it is damaged", err);
    if (inflate->header.part == KW_GZIP_COMPLETE)
        begin_body(inflate);
    return KW_OK;
}

/* ISA-L reads ahead: the whole bytes that it holds are the first of the trailer. */
static void begin_trailer(struct inflate *inflate)
{
    struct inflate_state *state = &inflate->state;
    uint64_t held = state->read_in >> (state->read_in_length % 8);
    inflate->part = TRAILER;
    for (int32_t left = state->read_in_length / 8; left > 0; left--) {
        inflate->trailer[inflate->trailer_len++] = (uint8_t)held;
        held >>= 8;
    }
}

/* One call of isal_inflate, and what comes of it goes to the next stage. */
static enum kw_status inflate_piece(struct inflate *inflate, bool *ret_full, struct kw_error *err)
{
    struct inflate_state *state = &inflate->state;
    size_t capacity = KW_PIECE;
    uint8_t *out = kw_stage_reserve(inflate->stage.next, &capacity);
    if (!out) {
        out = inflate->own;
        capacity = KW_PIECE;
    }
    state->next_out = out;
    state->avail_out = (uint32_t)capacity;
    if (isal_inflate(state) != ISAL_DECOMP_OK)
        return damaged(inflate, "the gzip data in it is damaged", err);
    size_t len = capacity - state->avail_out;
    inflate->member_size += len;
    *ret_full = state->avail_out == 0;
    enum kw_status status = check_limits(inflate, len, err);
    return status == KW_OK ? kw_stage_feed(inflate->stage.next, out, len, err) : status;
}

static enum kw_status feed_body(struct inflate *inflate, struct span *in, struct kw_error *err)
{
    struct inflate_state *state = &inflate->state;
    uint32_t piece = in->len < UINT32_MAX ? (uint32_t)in->len : UINT32_MAX;
    state->next_in = in->data;
    state->avail_in = piece;
    bool full = true;
    while (state->block_state != ISAL_BLOCK_FINISH && (state->avail_in > 0 || full)) {
        uint32_t before = state->avail_in;
        enum kw_status status = inflate_piece(inflate, &full, err);
        if (status != KW_OK)
            return status;
        if (!full && state->avail_in == before && before > 0 &&
            state->block_state != ISAL_BLOCK_FINISH)
            return damaged(inflate, "the gzip data in it is damaged", err);
    }
    in->data += piece - state->avail_in;
    in->len -= piece - state->avail_in;
    if (state->block_state == ISAL_BLOCK_FINISH)
        begin_trailer(inflate);
    return KW_OK;
}

static uint32_t little_endian(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static enum kw_status feed_trailer(struct inflate *inflate, struct span *in, struct kw_error *err)
{
    while (inflate->trailer_len < TRAILER_SIZE && in->len > 0) {
        inflate->trailer[inflate->trailer_len++] = *in->data++;
        in->len--;
    }
    if (inflate->trailer_len < TRAILER_SIZE)
        return KW_OK;
    if (little_endian(inflate->trailer) != inflate->state.crc)
        return damaged(inflate, "what it inflates to does not have the CRC-32 that gzip noted",
                       err);
    if (little_endian(inflate->trailer + 4) != (uint32_t)inflate->member_size)
        return damaged(inflate, "what it inflates to does not have the length that gzip noted",
                       err);
    /* It is summed already, so that nobody needs to do it again. */
    inflate->crc32 = kw_crc32_join(inflate->crc32, inflate->state.crc, inflate->member_size);
    begin_header(inflate);
    return KW_OK;
}

static enum kw_status feed_plain(struct inflate *inflate, struct span *in, struct kw_error *err)
{
    uint8_t *data = in->data;
    size_t len = in->len;
    in->len = 0;
    inflate->crc32 = kw_crc32(inflate->crc32, data, len);
    enum kw_status status = check_limits(inflate, len, err);
    return status == KW_OK ? kw_stage_feed(inflate->stage.next, data, len, err) : status;
}

static enum kw_status (*const feed_part[])(struct inflate *inflate, struct span *in,
                                           struct kw_error *err) = {
    [HEADER] = feed_header,
    [BODY] = feed_body,
    [TRAILER] = feed_trailer,
    [PLAIN] = feed_plain,
};

static enum kw_status inflate_feed(struct kw_stage *stage, uint8_t *data, size_t len,
                                   struct kw_error *err)
{
    struct inflate *inflate = (struct inflate *)stage;
    struct span in = {data, len};
    enum kw_status status = KW_OK;
    /* A trailer may be whole already with what the body's reading ahead took. */
    while (status == KW_OK &&
           (in.len > 0 || (inflate->part == TRAILER && inflate->trailer_len == TRAILER_SIZE)))
        status = feed_part[inflate->part](inflate, &in, err);
    return status;
}

static enum kw_status inflate_done(struct kw_stage *stage, struct kw_error *err)
{
    struct inflate *inflate = (struct inflate *)stage;
    enum kw_status status = KW_OK;
    size_t held = inflate->header.have;
    bool at_start = inflate->part == HEADER && inflate->header.part == KW_GZIP_FIXED && held < 2;
    if (at_start && !inflate->gzip)
        status = begin_plain(inflate, held, (struct span){0}, err); /* too short to be gzip */
    else if (at_start && held > 0)
        status = trailing(inflate, err);
    else if (inflate->part != PLAIN && !at_start)
        status = cut_short(inflate, err);
    return status == KW_OK ? kw_stage_done(stage->next, err) : status;
}

static void inflate_free(struct kw_stage *stage)
{
    struct inflate *inflate = (struct inflate *)stage;
    free(inflate->own);
    free(inflate);
}

static const struct kw_stage_ops inflate_ops = {
    .feed = inflate_feed,
    .done = inflate_done,
    .free = inflate_free,
};

enum kw_status kw_inflate_new(struct kw_stage **ret_stage, struct kw_error *err)
{
    struct inflate *inflate = calloc(1, sizeof(*inflate));
    if (!inflate)
        return kw_fail_memory(err);
    inflate->own = malloc(KW_PIECE);
    if (!inflate->own) {
        free(inflate);
        return kw_fail_memory(err);
    }
    inflate->stage.ops = &inflate_ops;
    isal_inflate_init(&inflate->state);
    *ret_stage = &inflate->stage;
    return KW_OK;
}

void kw_inflate_start(struct kw_stage *stage, const struct kw_flow_limits *limits, const char *name,
                      struct kw_stage *next_inflated, struct kw_stage *next_plain)
{
    struct inflate *inflate = (struct inflate *)stage;
    kw_stage_restart(stage, NULL); /* known when the first bytes are */
    inflate->name = name;
    inflate->limits = *limits;
    inflate->next_inflated = next_inflated;
    inflate->next_plain = next_plain;
    inflate->gzip = false;
    inflate->crc32 = 0;
    begin_header(inflate);
}

uint32_t kw_inflate_crc32(const struct kw_stage *stage)
{
    return ((const struct inflate *)stage)->crc32;
}

bool kw_inflate_was_gzip(const struct kw_stage *stage)
{
    return ((const struct inflate *)stage)->gzip;
}
