/* The cipher, deflate and handoff stages, fed in pieces of every size. */
#include <zlib.h>

#include "support.h"

#define TEXT 3000

static uint8_t text[TEXT];
static struct kw_stage *cipher;
static struct kw_stage *deflate_stage;
static struct kw_stage *handoff;

static int set_up(void **state)
{
    fill(text, sizeof(text), 7);
    if (start_crypto(state) != 0)
        return -1;
    return kw_cipher_new(crypto, &cipher, NULL) == KW_OK &&
                   kw_deflate_new(&deflate_stage, NULL) == KW_OK &&
                   kw_handoff_new(&handoff, NULL) == KW_OK
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    kw_stage_free(cipher);
    kw_stage_free(deflate_stage);
    kw_stage_free(handoff);
    return stop_crypto(state);
}

static struct kw_stage *sink_to(struct kw_buffer *out)
{
    struct kw_stage *sink = NULL;
    out->len = 0;
    assert_int_equal(kw_sink_buffer_new(out, &sink, NULL), KW_OK);
    return sink;
}

/* In memory of each piece's exact size, so that a sanitizer sees a step beyond it. */
static enum kw_status feed_in(size_t piece, struct kw_stage *stage, const uint8_t *data, size_t len)
{
    enum kw_status status = KW_OK;
    while (len > 0 && status == KW_OK) {
        size_t part = piece < len ? piece : len;
        uint8_t *copy = malloc(part);
        assert_non_null(copy);
        memcpy(copy, data, part);
        status = kw_stage_feed(stage, copy, part, NULL);
        free(copy);
        data += part;
        len -= part;
    }
    return status == KW_OK ? kw_stage_done(stage, NULL) : status;
}

static enum kw_status run_cipher(enum kw_direction direction, size_t piece, const uint8_t *data,
                                 size_t len, struct kw_buffer *out)
{
    struct kw_stage *sink = sink_to(out);
    struct kw_flow_job job = job_for(KW_FLOW_SEAL, -1, 0, false, NULL);
    assert_int_equal(kw_cipher_start(cipher, direction, &job, len, "part", sink, NULL), KW_OK);
    enum kw_status status = feed_in(piece, cipher, data, len);
    kw_stage_free(sink);
    return status;
}

static void cipher_in_every_piece(void **state)
{
    (void)state;
    struct kw_buffer sealed = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_buffer whole = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    for (size_t len = 0; len <= 200; len++) {
        assert_int_equal(run_cipher(KW_ENCRYPT, TEXT, text, len, &whole), KW_OK);
        assert_int_equal(whole.len, len / 16 * 16 + 16);
        for (size_t piece = 1; piece <= 40; piece++) {
            assert_int_equal(run_cipher(KW_ENCRYPT, piece, text, len, &sealed), KW_OK);
            assert_bytes(&sealed, whole.data, whole.len);
        }
        for (size_t piece = 16; piece <= 224; piece += 16) {
            assert_int_equal(run_cipher(KW_DECRYPT, piece, whole.data, whole.len, &out), KW_OK);
            assert_bytes(&out, text, len);
        }
    }
    kw_buffer_cleanup(&sealed);
    kw_buffer_cleanup(&whole);
    kw_buffer_cleanup(&out);
}

static void cipher_notices_another_length(void **state)
{
    (void)state;
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_stage *sink = sink_to(&out);
    struct kw_flow_job job = job_for(KW_FLOW_DECRYPT, -1, 0, false, NULL);
    assert_int_equal(kw_cipher_start(cipher, KW_DECRYPT, &job, 64, "part", sink, NULL), KW_OK);
    assert_int_equal(feed_in(16, cipher, text, 48), KW_FAULT);
    assert_int_equal(kw_cipher_start(cipher, KW_DECRYPT, &job, 64, "part", sink, NULL), KW_OK);
    assert_int_equal(feed_in(80, cipher, text, 80), KW_FAULT);
    kw_stage_free(sink);
    kw_buffer_cleanup(&out);
}

static void assert_zlib_reads(const struct kw_buffer *gz, const uint8_t *wanted, size_t len)
{
    uint8_t *out = malloc(len + 1);
    assert_non_null(out);
    z_stream stream = {.next_in = gz->data,
                       .avail_in = (uInt)gz->len,
                       .next_out = out,
                       .avail_out = (uInt)len + 1};
    assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
    assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(stream.avail_in, 0);
    assert_int_equal(stream.total_out, len);
    assert_memory_equal(out, wanted, len);
    inflateEnd(&stream);
    free(out);
}

static void deflate_in_every_piece(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 15, 16, 17, 300, TEXT};
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    for (size_t i = 0; i < KW_COUNT(sizes); i++) {
        for (size_t piece = 1; piece <= 40; piece++) {
            struct kw_stage *sink = sink_to(&out);
            kw_deflate_start(deflate_stage, sink);
            assert_int_equal(feed_in(piece, deflate_stage, text, sizes[i]), KW_OK);
            assert_zlib_reads(&out, text, sizes[i]);
            kw_stage_free(sink);
        }
    }
    kw_buffer_cleanup(&out);
}

/* The cipher behind it wants whole blocks. */
struct piece_check {
    struct kw_stage stage;
    size_t odd;
    size_t count;
};

static enum kw_status check_feed(struct kw_stage *stage, uint8_t *data, size_t len,
                                 struct kw_error *err)
{
    struct piece_check *check = (struct piece_check *)stage;
    (void)data;
    (void)err;
    check->odd += len % KW_AES_BLOCK != 0;
    check->count++;
    return KW_OK;
}

static enum kw_status check_done(struct kw_stage *stage, struct kw_error *err)
{
    (void)stage;
    (void)err;
    return KW_OK;
}

static void deflate_gives_whole_blocks(void **state)
{
    (void)state;
    static const struct kw_stage_ops ops = {.feed = check_feed, .done = check_done};
    struct piece_check check = {.stage = {.ops = &ops}};
    size_t len = 9000001;
    uint8_t *data = malloc(len);
    assert_non_null(data);
    assert_int_equal(kw_random(crypto, data, len, NULL), KW_OK);
    kw_deflate_start(deflate_stage, &check.stage);
    assert_int_equal(feed_in(KW_PIECE, deflate_stage, data, len), KW_OK);
    assert_true(check.count >= len / KW_PIECE);
    assert_true(check.odd <= 1); /* the last one */
    free(data);
}

static void handoff_in_every_piece(void **state)
{
    (void)state;
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    for (size_t piece = 1; piece <= 40; piece++) {
        struct kw_stage *sink = sink_to(&out);
        kw_handoff_start(handoff, sink);
        assert_int_equal(feed_in(piece, handoff, text, sizeof(text)), KW_OK);
        assert_bytes(&out, text, sizeof(text));
        kw_stage_free(sink);
    }
    struct kw_stage *sink = sink_to(&out);
    size_t len = 5 * KW_PIECE + 77;
    uint8_t *data = malloc(len);
    assert_non_null(data);
    fill(data, len, 8);
    kw_handoff_start(handoff, sink);
    assert_int_equal(feed_in(2 * KW_PIECE + 5, handoff, data, len), KW_OK);
    assert_bytes(&out, data, len);
    kw_stage_free(sink);
    free(data);
    kw_buffer_cleanup(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cipher_in_every_piece),  cmocka_unit_test(cipher_notices_another_length),
        cmocka_unit_test(deflate_in_every_piece), cmocka_unit_test(deflate_gives_whole_blocks),
        cmocka_unit_test(handoff_in_every_piece),
    };
    return cmocka_run_group_tests_name("flow/stages", tests, set_up, tear_down);
}
