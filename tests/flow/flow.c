/* Whole flows: seal, decrypt and copy, by run and by step. */
#include "support.h"

/* Enough for threads, when it is compressed too. */
#define LARGE (9 * KW_PIECE + 123)

static uint8_t *large;

static int set_up(void **state)
{
    large = malloc(LARGE);
    if (!large)
        return -1;
    fill(large, LARGE, 9);
    return start_crypto(state);
}

static int tear_down(void **state)
{
    free(large);
    return stop_crypto(state);
}

static void there_and_back(unsigned threads, size_t chunk, bool gzip, size_t len)
{
    struct kw_flow *flow = new_flow(threads, chunk);
    struct kw_buffer sealed = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_flow_result result = {0};
    assert_int_equal(run_bytes(flow, KW_FLOW_SEAL, gzip, large, len, &sealed, &result, NULL),
                     KW_OK);
    assert_int_equal(result.bytes_in, len);
    assert_int_equal(result.bytes_out, sealed.len);
    assert_int_equal(sealed.len % KW_AES_BLOCK, 0);
    assert_false(result.inflated);
    if (gzip && len > 1000)
        assert_true(sealed.len < len);

    assert_int_equal(
        run_bytes(flow, KW_FLOW_DECRYPT, true, sealed.data, sealed.len, &out, &result, NULL),
        KW_OK);
    assert_bytes(&out, large, len);
    assert_int_equal(result.bytes_in, sealed.len);
    assert_int_equal(result.bytes_out, len);
    assert_int_equal(result.inflated, gzip);

    /* Without inflating, what was sealed as gzip stays gzip. */
    assert_int_equal(
        run_bytes(flow, KW_FLOW_DECRYPT, false, sealed.data, sealed.len, &out, &result, NULL),
        KW_OK);
    assert_false(result.inflated);
    if (gzip)
        assert_memory_equal(out.data, "\x1f\x8b\x08", 3);
    else
        assert_bytes(&out, large, len);
    kw_buffer_cleanup(&sealed);
    kw_buffer_cleanup(&out);
    kw_flow_free(flow);
}

static void seal_and_decrypt(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 15, 16, 17, 1000, KW_PIECE, LARGE};
    static const size_t chunks[] = {0, 16, 48, 4096, 1048576};
    for (size_t i = 0; i < KW_COUNT(sizes); i++) {
        for (size_t j = 0; j < KW_COUNT(chunks); j++) {
            if (sizes[i] >= KW_PIECE && chunks[j] > 0 && chunks[j] < 4096)
                continue;
            there_and_back(1, chunks[j], true, sizes[i]);
            there_and_back(2, chunks[j], true, sizes[i]);
            there_and_back(1, chunks[j], false, sizes[i]);
            there_and_back(2, chunks[j], false, sizes[i]);
        }
    }
}

static void copy_is_as_it_was(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 17, LARGE};
    struct kw_flow *flow = new_flow(2, 0);
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_flow_result result = {0};
    for (size_t i = 0; i < KW_COUNT(sizes); i++) {
        assert_int_equal(run_bytes(flow, KW_FLOW_COPY, true, large, sizes[i], &out, &result, NULL),
                         KW_OK);
        assert_bytes(&out, large, sizes[i]);
        assert_int_equal(result.bytes_out, sizes[i]);
        assert_false(result.inflated);
    }
    kw_buffer_cleanup(&out);
    kw_flow_free(flow);
}

static void refuses_other_chunks(void **state)
{
    (void)state;
    static const size_t chunks[] = {1, 15, 17, (size_t)1 << 40};
    for (size_t i = 0; i < KW_COUNT(chunks); i++) {
        struct kw_flow_options options = {.threads = 1, .chunk = chunks[i]};
        struct kw_flow *flow = NULL;
        assert_int_equal(kw_flow_new(crypto, &options, &flow, NULL), KW_FAULT);
        assert_null(flow);
    }
}

/* ---- damage ---- */

/* Seals `len` bytes and hands them back with `sealed` to be broken. */
static struct kw_flow *sealed_sample(unsigned threads, bool gzip, size_t len,
                                     struct kw_buffer *sealed)
{
    struct kw_flow *flow = new_flow(threads, 0);
    struct kw_flow_result result;
    assert_int_equal(run_bytes(flow, KW_FLOW_SEAL, gzip, large, len, sealed, &result, NULL), KW_OK);
    return flow;
}

static void assert_damaged(struct kw_flow *flow, const struct kw_buffer *sealed, size_t len,
                           const char *says)
{
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_flow_result result = {.bytes_out = 77};
    struct kw_error error = {0};
    assert_int_equal(
        run_bytes(flow, KW_FLOW_DECRYPT, true, sealed->data, len, &out, &result, &error),
        KW_DAMAGED);
    assert_says(&error, KW_DAMAGED, says);
    assert_says(&error, KW_DAMAGED, "part-0.json");
    assert_int_equal(result.bytes_out, 77);
    kw_buffer_cleanup(&out);
}

static void damage_has_its_sentence(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 2; threads++) {
        struct kw_buffer sealed = KW_BUFFER_INIT(BUFFER_MAX);
        struct kw_flow *flow = sealed_sample(threads, true, LARGE, &sealed);
        assert_damaged(flow, &sealed, 0, "is empty");
        assert_damaged(flow, &sealed, sealed.len - 1, "no multiple of 16");
        assert_damaged(flow, &sealed, 7, "no multiple of 16");
        /* The block before the last decrypts to noise and flips bits of the last, the padding. */
        sealed.data[sealed.len - KW_AES_BLOCK - 1] ^= 0x80;
        assert_damaged(flow, &sealed, sealed.len, "padding");
        sealed.data[sealed.len - KW_AES_BLOCK - 1] ^= 0x80;
        sealed.data[sealed.len / 2] ^= 0x01;
        assert_damaged(flow, &sealed, sealed.len, "gzip");
        sealed.data[sealed.len / 2] ^= 0x01;

        struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
        struct kw_flow_result result;
        assert_int_equal(
            run_bytes(flow, KW_FLOW_DECRYPT, true, sealed.data, sealed.len, &out, &result, NULL),
            KW_OK);
        assert_bytes(&out, large, LARGE);
        kw_buffer_cleanup(&out);
        kw_buffer_cleanup(&sealed);
        kw_flow_free(flow);
    }
}

/* With a digest the threads part at another place. */
static void digest_of_the_ciphertext(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        bool gzip = (i & 1) != 0;
        bool damaged = (i & 2) != 0;
        struct kw_buffer sealed = KW_BUFFER_INIT(BUFFER_MAX);
        struct kw_flow *flow = sealed_sample(1 + (i >> 2), gzip, LARGE, &sealed);
        struct kw_stage *sink = NULL;
        struct kw_flow_result result = {0};
        struct kw_error error = {0};
        uint8_t wanted[KW_SHA256_SIZE];
        if (damaged)
            sealed.data[sealed.len - KW_AES_BLOCK - 1] ^= 0x80;
        int fd = file_with(sealed.data, sealed.len);
        int out = memfd_create("out", MFD_CLOEXEC);
        assert_int_equal(kw_sink_fd_new(out, "out", &sink, NULL), KW_OK);
        struct kw_flow_job job = job_for(KW_FLOW_DECRYPT, fd, sealed.len, true, sink);
        job.digest = true;
        enum kw_status status = kw_flow_run(flow, &job, &result, &error);
        assert_int_equal(status, damaged ? KW_DAMAGED : KW_OK);
        if (damaged) {
            assert_says(&error, KW_DAMAGED, "padding");
        } else {
            assert_int_equal(kw_sha256(crypto, sealed.data, sealed.len, wanted, NULL), KW_OK);
            assert_memory_equal(result.sha256, wanted, sizeof(wanted));
            assert_int_equal(result.bytes_out, LARGE);
        }
        kw_close(&fd);
        kw_close(&out);
        kw_buffer_cleanup(&sealed);
        kw_flow_free(flow);
    }
}

/* A whole block less is no damage that the size shows. */
static void every_block_that_is_missing(void **state)
{
    (void)state;
    struct kw_buffer sealed = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_buffer out = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_flow *flow = sealed_sample(1, true, 2000, &sealed);
    for (size_t len = KW_AES_BLOCK; len < sealed.len; len += KW_AES_BLOCK) {
        struct kw_flow_result result;
        assert_int_equal(
            run_bytes(flow, KW_FLOW_DECRYPT, true, sealed.data, len, &out, &result, NULL),
            KW_DAMAGED);
    }
    kw_buffer_cleanup(&sealed);
    kw_buffer_cleanup(&out);
    kw_flow_free(flow);
}

static void the_sink_is_taken_over_on_failure(void **state)
{
    (void)state;
    struct kw_flow *flow = new_flow(1, 0);
    struct kw_stage *sink = NULL;
    struct kw_flow_result result;
    int fd = file_with("", 0);
    assert_int_equal(kw_sink_fd_new(fd, "out", &sink, NULL), KW_OK);
    struct kw_flow_job job = job_for(KW_FLOW_DECRYPT, fd, 16, true, sink);
    job.key = NULL;
    assert_int_equal(kw_flow_run(flow, &job, &result, NULL), KW_FAULT);
    bool ended = false;
    assert_int_equal(kw_flow_step(flow, &ended, NULL), KW_FAULT);
    kw_close(&fd);
    kw_flow_free(flow);
    kw_flow_free(NULL);
}

/* ---- by steps ---- */

/* Pulls with a buffer that is emptied after each step: threads must keep away from it. */
static void pulled_step_by_step(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 2; threads++) {
        struct kw_buffer sealed = KW_BUFFER_INIT(BUFFER_MAX);
        struct kw_buffer window = KW_BUFFER_INIT(BUFFER_MAX);
        struct kw_flow *flow = sealed_sample(threads, true, LARGE, &sealed);
        struct kw_stage *sink = NULL;
        int fd = file_with(sealed.data, sealed.len);
        assert_int_equal(kw_sink_buffer_new(&window, &sink, NULL), KW_OK);
        struct kw_flow_job job = job_for(KW_FLOW_DECRYPT, fd, sealed.len, true, sink);
        assert_int_equal(kw_flow_start(flow, &job, NULL), KW_OK);
        size_t got = 0;
        bool ended = false;
        while (!ended) {
            assert_int_equal(kw_flow_step(flow, &ended, NULL), KW_OK);
            assert_true(window.len <= LARGE - got);
            assert_memory_equal(window.data, large + got, window.len);
            got += window.len;
            window.len = 0;
        }
        assert_int_equal(got, LARGE);
        struct kw_flow_result result;
        kw_flow_result(flow, &result);
        assert_int_equal(result.bytes_out, LARGE);
        assert_int_equal(kw_flow_step(flow, &ended, NULL), KW_FAULT);
        kw_close(&fd);
        kw_buffer_cleanup(&sealed);
        kw_buffer_cleanup(&window);
        kw_flow_free(flow);
    }
}

static void freed_or_started_again_half_way(void **state)
{
    (void)state;
    struct kw_buffer sealed = KW_BUFFER_INIT(BUFFER_MAX);
    struct kw_flow *flow = sealed_sample(2, true, LARGE, &sealed);
    int out = memfd_create("out", MFD_CLOEXEC);
    int fd = file_with(sealed.data, sealed.len);
    for (int i = 0; i < 20; i++) {
        struct kw_stage *sink = NULL;
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_int_equal(kw_sink_fd_new(out, "out", &sink, NULL), KW_OK);
        struct kw_flow_job job = job_for(KW_FLOW_DECRYPT, fd, sealed.len, true, sink);
        assert_int_equal(kw_flow_start(flow, &job, NULL), KW_OK);
        bool ended = false;
        for (int step = 0; step < i % 5; step++)
            assert_int_equal(kw_flow_step(flow, &ended, NULL), KW_OK);
        assert_false(ended);
    }
    kw_flow_free(flow);
    kw_close(&fd);
    kw_close(&out);
    kw_buffer_cleanup(&sealed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seal_and_decrypt),
        cmocka_unit_test(copy_is_as_it_was),
        cmocka_unit_test(refuses_other_chunks),
        cmocka_unit_test(damage_has_its_sentence),
        cmocka_unit_test(digest_of_the_ciphertext),
        cmocka_unit_test(every_block_that_is_missing),
        cmocka_unit_test(the_sink_is_taken_over_on_failure),
        cmocka_unit_test(pulled_step_by_step),
        cmocka_unit_test(freed_or_started_again_half_way),
    };
    return cmocka_run_group_tests_name("flow/flow", tests, set_up, tear_down);
}
