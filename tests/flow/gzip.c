/* gzip through the inflate stage, compared with zlib's verdict. */
#include <zlib.h>

#include "flow/gzip.h"
#include "support.h"

#define SMALL_MAX 4096

static struct kw_stage *inflate_stage;
static const struct kw_flow_limits no_limits;

static int set_up(void **state)
{
    return kw_inflate_new(&inflate_stage, NULL) == KW_OK ? start_crypto(state) : -1;
}

static int tear_down(void **state)
{
    kw_stage_free(inflate_stage);
    return stop_crypto(state);
}

/* Inflates `data`, fed in pieces of `piece` bytes, each in memory of its exact size. */
static enum kw_status inflate_in(size_t piece, const uint8_t *data, size_t len,
                                 struct kw_buffer *out, struct kw_error *err)
{
    struct kw_stage *sink = NULL;
    kw_buffer_cleanup(out);
    *out = (struct kw_buffer)KW_BUFFER_INIT(BUFFER_MAX);
    assert_int_equal(kw_sink_buffer_new(out, &sink, NULL), KW_OK);
    kw_inflate_start(inflate_stage, &no_limits, "part-0.json", sink, sink);
    enum kw_status status = KW_OK;
    while (len > 0 && status == KW_OK) {
        size_t part = piece < len ? piece : len;
        uint8_t *copy = malloc(part);
        assert_non_null(copy);
        memcpy(copy, data, part);
        status = kw_stage_feed(inflate_stage, copy, part, err);
        free(copy);
        data += part;
        len -= part;
    }
    if (status == KW_OK)
        status = kw_stage_done(inflate_stage, err);
    kw_stage_free(sink);
    return status;
}

/* ---- zlib ---- */

/* What zlib makes of it: members one after the other, and nothing else. */
static bool reference(const uint8_t *data, size_t len, struct kw_buffer *out)
{
    static uint8_t room[1 << 20];
    kw_buffer_cleanup(out);
    *out = (struct kw_buffer)KW_BUFFER_INIT(BUFFER_MAX);
    if (len < 2 || data[0] != 0x1f || data[1] != 0x8b)
        return kw_buffer_append(out, data, len, NULL) == KW_OK;
    bool good = true;
    while (len > 0 && good) {
        z_stream stream = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)len};
        assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
        int code = Z_OK;
        while (code == Z_OK) {
            stream.next_out = room;
            stream.avail_out = sizeof(room);
            code = inflate(&stream, Z_NO_FLUSH);
            assert_int_equal(kw_buffer_append(out, room, sizeof(room) - stream.avail_out, NULL),
                             KW_OK);
        }
        good = code == Z_STREAM_END;
        data += len - stream.avail_in;
        len = stream.avail_in;
        inflateEnd(&stream);
    }
    return good;
}

struct shape {
    int level;
    int strategy;
    uint8_t extra_len; /* times 256 */
    size_t name_len;
    const char *comment;
    int header_crc;
};

static void add_member(struct kw_buffer *out, const void *data, size_t len,
                       const struct shape *shape)
{
    static uint8_t extra[256 * 256];
    uint8_t *name = calloc(1, shape->name_len + 1);
    assert_non_null(name);
    memset(name, 'n', shape->name_len);
    gz_header header = {.text = 1,
                        .time = 12345,
                        .extra = shape->extra_len ? extra : NULL,
                        .extra_len = shape->extra_len * 256U,
                        .name = shape->name_len ? name : NULL,
                        .comment = (Bytef *)(uintptr_t)shape->comment,
                        .hcrc = shape->header_crc};
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)len};
    assert_int_equal(deflateInit2(&stream, shape->level, Z_DEFLATED, 15 + 16, 8, shape->strategy),
                     Z_OK);
    assert_int_equal(deflateSetHeader(&stream, &header), Z_OK);
    uLong bound = deflateBound(&stream, (uLong)len);
    assert_int_equal(kw_buffer_reserve(out, bound, NULL), KW_OK);
    stream.next_out = out->data + out->len;
    stream.avail_out = (uInt)bound;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out->len += bound - stream.avail_out;
    deflateEnd(&stream);
    free(name);
}

static const struct shape shapes[] = {
    {.level = 6},
    {.level = 9, .strategy = Z_FIXED, .name_len = 9},
    {.level = 0, .comment = "stored"},
    {.level = 6, .header_crc = 1},
    {.level = 6, .extra_len = 1},
    {.level = 1, .strategy = Z_HUFFMAN_ONLY, .name_len = 3, .comment = "c", .header_crc = 1},
    {.level = 6, .extra_len = 255, .name_len = 70000, .comment = "all", .header_crc = 1},
};

/* Three members with every field, small enough to be broken everywhere. */
static void small_sample(struct kw_buffer *out)
{
    static const struct shape small[] = {
        {.level = 6, .name_len = 5, .comment = "hi", .header_crc = 1},
        {.level = 9, .strategy = Z_FIXED},
        {.level = 0, .extra_len = 0},
    };
    uint8_t text[300];
    fill(text, sizeof(text), 1);
    for (size_t i = 0; i < KW_COUNT(small); i++)
        add_member(out, text, i == 0 ? sizeof(text) : 40, &small[i]);
    assert_true(out->len < SMALL_MAX);
}

/* ---- good data ---- */

static void every_shape_in_every_piece(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 100, 70000};
    static uint8_t text[70000];
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    fill(text, sizeof(text), 2);
    for (size_t i = 0; i < KW_COUNT(shapes) * KW_COUNT(sizes); i++) {
        size_t len = sizes[i / KW_COUNT(shapes)];
        struct kw_buffer gz = KW_BUFFER_INIT(BUFFER_MAX);
        add_member(&gz, text, len, &shapes[i % KW_COUNT(shapes)]);
        for (size_t piece = 1; piece <= 40; piece += gz.len > SMALL_MAX ? 13 : 1) {
            assert_int_equal(inflate_in(piece, gz.data, gz.len, &out, NULL), KW_OK);
            assert_true(kw_inflate_was_gzip(inflate_stage));
            assert_bytes(&out, text, len);
        }
        kw_buffer_cleanup(&gz);
    }
    kw_buffer_cleanup(&out);
}

static void members_follow_each_other(void **state)
{
    (void)state;
    static uint8_t text[5000];
    struct kw_buffer gz = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_buffer wanted = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    fill(text, sizeof(text), 3);
    for (size_t i = 0; i < 30; i++) {
        size_t len = i % 4 == 3 ? 0 : sizeof(text) / (i + 1);
        add_member(&gz, text + i, len - (len ? i : 0), &shapes[i % 6]);
        assert_int_equal(kw_buffer_append(&wanted, text + i, len - (len ? i : 0), NULL), KW_OK);
    }
    for (size_t piece = 1; piece <= 40; piece++) {
        assert_int_equal(inflate_in(piece, gz.data, gz.len, &out, NULL), KW_OK);
        assert_bytes(&out, wanted.data, wanted.len);
    }
    assert_int_equal(inflate_in(gz.len, gz.data, gz.len, &out, NULL), KW_OK);
    assert_bytes(&out, wanted.data, wanted.len);
    assert_int_equal(kw_inflate_crc32(inflate_stage), crc32_z(0, wanted.data, wanted.len));
    kw_buffer_cleanup(&gz);
    kw_buffer_cleanup(&wanted);
    kw_buffer_cleanup(&out);
}

/* More output than the stage's buffer holds, from input that is read in one go. */
static void output_of_any_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {32 * 1024,    64 * 1024,    KW_PIECE - 1, KW_PIECE,
                                   KW_PIECE + 1, 2 * KW_PIECE, 9000000};
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    uint8_t *text = malloc(9000000);
    assert_non_null(text);
    for (size_t i = 0; i < KW_COUNT(sizes) * 2; i++) {
        size_t len = sizes[i / 2];
        if (i % 2 == 0)
            memset(text, 'z', len);
        else
            fill(text, len, 4);
        struct kw_buffer gz = KW_BUFFER_INIT(BUFFER_MAX);
        add_member(&gz, text, len, &shapes[i % 3]);
        assert_int_equal(inflate_in(gz.len, gz.data, gz.len, &out, NULL), KW_OK);
        assert_bytes(&out, text, len);
        assert_int_equal(inflate_in(1000, gz.data, gz.len, &out, NULL), KW_OK);
        assert_bytes(&out, text, len);
        kw_buffer_cleanup(&gz);
    }
    free(text);
    kw_buffer_cleanup(&out);
}

static void other_content_passes(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        size_t len;
    } plains[] = {
        {"", 0},
        {"{\"a\":1}\n", 8},
        {"x", 1},
        {"\xef\xbb\xbf{}", 5},           /* UTF-8 with its mark */
        {"\xff\xfe{\0\"\0a\0", 8},       /* UTF-16LE with its mark */
        {"{\0\"\0a\0\"\0:\0\x31\4", 12}, /* UTF-16LE without, and one letter that is not ASCII */
        {"\0{\0\"\0a\0\"", 8},           /* UTF-16BE without */
        {"PAR1\x15\x04\x15\x00", 8},     /* Parquet */
    };
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    for (size_t i = 0; i < KW_COUNT(plains); i++) {
        const uint8_t *data = (const uint8_t *)plains[i].data;
        assert_int_equal(inflate_in(SMALL_MAX, data, plains[i].len, &out, NULL), KW_OK);
        assert_bytes(&out, data, plains[i].len);
        assert_false(kw_inflate_was_gzip(inflate_stage));
    }
    kw_buffer_cleanup(&out);
}

/* What a wrong IV or damage to the first block leaves of gzip's magic. */
static void neither_gzip_nor_text(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        size_t len;
    } others[] = {
        {"\x1f", 1},          {"\x1fx", 2}, {"\x8b\x1f", 2},           {"\x1f\x1f\x8b", 3},
        {"x\x1f\x8b\x08", 4}, {"\0", 1},    {"{\"a\":1}\n\xff{}", 11}, {"\0\0\0\0", 4},
    };
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_error error = {0};
    for (size_t i = 0; i < KW_COUNT(others); i++) {
        const uint8_t *data = (const uint8_t *)others[i].data;
        assert_int_equal(inflate_in(SMALL_MAX, data, others[i].len, &out, &error), KW_DAMAGED);
        assert_says(&error, KW_DAMAGED, "neither gzip nor text");
    }
    kw_buffer_cleanup(&out);
}

/* ---- bad data ---- */

static void assert_same_verdict(const uint8_t *data, size_t len, const char *what, size_t at)
{
    struct kw_buffer wanted = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    bool is_gzip = len >= 2 && data[0] == 0x1f && data[1] == 0x8b;
    bool good = len == 0 || (is_gzip && reference(data, len, &wanted));
    static const size_t pieces[] = {1, 7, SMALL_MAX};
    for (size_t i = 0; i < KW_COUNT(pieces); i++) {
        /* Whether it is text is asked of the first piece, which is larger in a run. */
        if (!is_gzip && pieces[i] != SMALL_MAX)
            continue;
        enum kw_status status = inflate_in(pieces[i], data, len, &out, NULL);
        if (status != (good ? KW_OK : KW_DAMAGED))
            fail_msg("%s %zu in pieces of %zu: %d, zlib finds it %s", what, at, pieces[i],
                     (int)status, good ? "good" : "bad");
        if (good)
            assert_bytes(&out, wanted.data, wanted.len);
    }
    kw_buffer_cleanup(&wanted);
    kw_buffer_cleanup(&out);
}

static void every_truncation(void **state)
{
    (void)state;
    struct kw_buffer gz = KW_BUFFER_INIT(BUFFER_MAX);
    small_sample(&gz);
    for (size_t len = 0; len <= gz.len; len++)
        assert_same_verdict(gz.data, len, "cut at", len);
    kw_buffer_cleanup(&gz);
}

static void every_bit_flip(void **state)
{
    (void)state;
    struct kw_buffer gz = KW_BUFFER_INIT(BUFFER_MAX);
    small_sample(&gz);
    for (size_t bit = 0; bit < gz.len * 8; bit++) {
        gz.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_same_verdict(gz.data, gz.len, "bit", bit);
        gz.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    kw_buffer_cleanup(&gz);
}

static void bytes_after_the_end(void **state)
{
    (void)state;
    static const char *const tails[] = {"x", "\n", "\x1f", "\x1fx", "\x1f\x8b\x08"};
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    for (size_t i = 0; i <= KW_COUNT(tails); i++) {
        struct kw_buffer gz = KW_BUFFER_INIT(BUFFER_MAX);
        struct kw_error error = {0};
        add_member(&gz, "text", 4, &shapes[0]);
        const char *tail = i < KW_COUNT(tails) ? tails[i] : "";
        /* The last one is a zero byte, as tape blocks and tar leave them. */
        size_t tail_len = i < KW_COUNT(tails) ? strlen(tail) : 1;
        assert_int_equal(kw_buffer_append(&gz, tail, tail_len, NULL), KW_OK);
        for (size_t piece = 1; piece < 40; piece++) {
            assert_int_equal(inflate_in(piece, gz.data, gz.len, &out, &error), KW_DAMAGED);
            assert_says(&error, KW_DAMAGED,
                        tail_len == 3 ? "cut short" : "bytes follow after the end");
        }
        kw_buffer_cleanup(&gz);
    }
    kw_buffer_cleanup(&out);
}

/* Where each fault is, from the end where that is negative, and the sentence that it must give. */
static const struct {
    int at;
    uint8_t flip;
    const char *says;
} faults[] = {
    {2, 0x01, "gzip header"}, /* method 9 */
    {3, 0x20, "gzip header"}, /* reserved flags */
    {3, 0x40, "gzip header"}, {3, 0x80, "gzip header"},
    {10, 0x07, "gzip data"}, /* the first block's type */
    {-8, 0x01, "CRC-32"},     {-5, 0x80, "CRC-32"},
    {-4, 0x01, "the length"}, {-1, 0x80, "the length"},
};

static void each_fault_has_its_sentence(void **state)
{
    (void)state;
    struct kw_buffer gz = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_error error = {0};
    uint8_t text[500];
    fill(text, sizeof(text), 5);
    add_member(&gz, text, sizeof(text), &(const struct shape){.level = 6, .strategy = 0});
    /* zlib sets FTEXT alone here, so the header has ten bytes. */
    for (size_t i = 0; i < KW_COUNT(faults); i++) {
        size_t at = faults[i].at < 0 ? gz.len - (size_t)-faults[i].at : (size_t)faults[i].at;
        gz.data[at] ^= faults[i].flip;
        assert_int_equal(inflate_in(3, gz.data, gz.len, &out, &error), KW_DAMAGED);
        assert_says(&error, KW_DAMAGED, faults[i].says);
        assert_says(&error, KW_DAMAGED, "part-0.json");
        gz.data[at] ^= faults[i].flip;
    }
    for (size_t len = 2; len < gz.len; len++) {
        assert_int_equal(inflate_in(5, gz.data, len, &out, &error), KW_DAMAGED);
        assert_says(&error, KW_DAMAGED, "cut short");
    }
    kw_buffer_cleanup(&gz);
    kw_buffer_cleanup(&out);
}

static void a_wrong_header_crc_is_seen(void **state)
{
    (void)state;
    struct kw_buffer gz = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_error error = {0};
    add_member(&gz, "text", 4, &shapes[5]);
    gz.data[4] ^= 1; /* the time, which nothing else looks at */
    for (size_t piece = 1; piece < 40; piece++) {
        assert_int_equal(inflate_in(piece, gz.data, gz.len, &out, &error), KW_DAMAGED);
        assert_says(&error, KW_DAMAGED, "gzip header");
    }
    kw_buffer_cleanup(&gz);
    kw_buffer_cleanup(&out);
}

/* What one file left in the stage does not reach the next. */
/* ---- sums and limits ---- */

static void sums_of_pieces_join(void **state)
{
    (void)state;
    static uint8_t data[70001];
    fill(data, sizeof(data), 3);
    const uint32_t whole = (uint32_t)crc32_z(0, data, sizeof(data));
    static const size_t cuts[] = {0, 1, 2, 255, 4096, 65535, 70000, 70001};
    for (size_t i = 0; i < KW_COUNT(cuts); i++) {
        uint32_t first = kw_crc32(0, data, cuts[i]);
        assert_int_equal(kw_crc32(first, data + cuts[i], sizeof(data) - cuts[i]), whole);
        uint32_t second = kw_crc32(0, data + cuts[i], sizeof(data) - cuts[i]);
        assert_int_equal(kw_crc32_join(first, second, sizeof(data) - cuts[i]), whole);
    }
    /* Longer than any data here: as zlib has it. */
    const uint64_t lens[] = {UINT32_MAX, (uint64_t)UINT32_MAX + 1, (uint64_t)1 << 40};
    for (size_t i = 0; i < KW_COUNT(lens); i++)
        assert_int_equal(kw_crc32_join(whole, 7, lens[i]),
                         crc32_combine64(whole, 7, (z_off64_t)lens[i]));
}

static enum kw_status inflate_within(const struct kw_flow_limits *limits, uint8_t *data, size_t len,
                                     struct kw_buffer *out, struct kw_error *err)
{
    struct kw_stage *sink = NULL;
    kw_buffer_cleanup(out);
    *out = (struct kw_buffer)KW_BUFFER_INIT(BUFFER_MAX);
    assert_int_equal(kw_sink_buffer_new(out, &sink, NULL), KW_OK);
    kw_inflate_start(inflate_stage, limits, "part-0.json", sink, sink);
    enum kw_status status = kw_stage_feed(inflate_stage, data, len, err);
    if (status == KW_OK)
        status = kw_stage_done(inflate_stage, err);
    kw_stage_free(sink);
    return status;
}

static void limits_are_kept_to_the_byte(void **state)
{
    (void)state;
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_error error = {0};
    const size_t size = 3 * (size_t)KW_RATIO_FREE;
    uint8_t *plain = malloc(size);
    uint8_t *packed = malloc(size);
    assert_non_null(plain);
    assert_non_null(packed);
    memset(plain, ' ', size);
    z_stream deflater = {
        .next_in = plain, .avail_in = (uInt)size, .next_out = packed, .avail_out = (uInt)size};
    assert_int_equal(deflateInit2(&deflater, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&deflater, Z_FINISH), Z_STREAM_END);
    const size_t len = deflater.total_out;
    deflateEnd(&deflater);
    const uint64_t ratio = size / len;

    const struct kw_flow_limits enough = {.bytes = size, .ratio = ratio + 1};
    assert_int_equal(inflate_within(&enough, packed, len, &out, &error), KW_OK);
    assert_int_equal(kw_inflate_crc32(inflate_stage), crc32_z(0, plain, size));
    const struct kw_flow_limits less = {.bytes = size - 1};
    assert_int_equal(inflate_within(&less, packed, len, &out, &error), KW_DAMAGED);
    assert_says(&error, KW_DAMAGED, "max-plaintext-mib");
    assert_true(out.len < size);
    const struct kw_flow_limits flat = {.ratio = ratio / 2};
    assert_int_equal(inflate_within(&flat, packed, len, &out, &error), KW_DAMAGED);
    assert_says(&error, KW_DAMAGED, "max-ratio");
    assert_true(out.len >= KW_RATIO_FREE && out.len < size);

    /* Content that is not gzip. */
    const struct kw_flow_limits small = {.bytes = 1000, .ratio = 1};
    memset(plain, 'x', 1001);
    assert_int_equal(inflate_within(&small, plain, 1000, &out, &error), KW_OK);
    assert_int_equal(kw_inflate_crc32(inflate_stage), crc32_z(0, plain, 1000));
    assert_int_equal(inflate_within(&small, plain, 1001, &out, &error), KW_DAMAGED);
    free(plain);
    free(packed);
    kw_buffer_cleanup(&out);
}

static void is_fit_for_use_after_a_fault(void **state)
{
    (void)state;
    struct kw_buffer gz = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    small_sample(&gz);
    for (size_t len = 1; len < gz.len; len++) {
        (void)inflate_in(9, gz.data, len, &out, NULL);
        assert_int_equal(inflate_in(9, gz.data, gz.len, &out, NULL), KW_OK);
        assert_int_equal(out.len, 380);
    }
    kw_buffer_cleanup(&gz);
    kw_buffer_cleanup(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_in_every_piece),
        cmocka_unit_test(members_follow_each_other),
        cmocka_unit_test(output_of_any_size),
        cmocka_unit_test(other_content_passes),
        cmocka_unit_test(neither_gzip_nor_text),
        cmocka_unit_test(every_truncation),
        cmocka_unit_test(every_bit_flip),
        cmocka_unit_test(bytes_after_the_end),
        cmocka_unit_test(each_fault_has_its_sentence),
        cmocka_unit_test(a_wrong_header_crc_is_seen),
        cmocka_unit_test(sums_of_pieces_join),
        cmocka_unit_test(limits_are_kept_to_the_byte),
        cmocka_unit_test(is_fit_for_use_after_a_fault),
    };
    return cmocka_run_group_tests_name("flow/gzip", tests, set_up, tear_down);
}
