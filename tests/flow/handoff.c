/* The handoff between threads: failures on either side, and at any moment. */
#include <time.h>

#include "support.h"

/* An end that fails when told to, and is slow when told to. */
struct end {
    struct kw_stage stage;
    size_t pieces;
    size_t fail_at; /* the piece that fails; 0 for none */
    bool fail_done;
    bool slow;
    bool done;
};

static enum kw_status end_feed(struct kw_stage *stage, uint8_t *data, size_t len,
                               struct kw_error *err)
{
    struct end *end = (struct end *)stage;
    (void)data;
    (void)len;
    end->pieces++;
    if (end->slow)
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    if (end->pieces == end->fail_at)
        return kw_fail(err, KW_WRITE, "piece %zu failed", end->pieces);
    return KW_OK;
}

static enum kw_status end_done(struct kw_stage *stage, struct kw_error *err)
{
    struct end *end = (struct end *)stage;
    end->done = true;
    return end->fail_done ? kw_fail(err, KW_EXISTS, "the end failed") : KW_OK;
}

static const struct kw_stage_ops end_ops = {.feed = end_feed, .done = end_done};

static struct kw_stage *handoff;

static int set_up(void **state)
{
    return kw_handoff_new(&handoff, NULL) == KW_OK ? start_crypto(state) : -1;
}

static int tear_down(void **state)
{
    kw_stage_free(handoff);
    return stop_crypto(state);
}

static enum kw_status feed_pieces(struct end *end, size_t pieces, struct kw_error *err)
{
    uint8_t data[64] = {0};
    end->stage.ops = &end_ops;
    kw_handoff_start(handoff, &end->stage);
    for (size_t i = 0; i < pieces; i++) {
        enum kw_status status = kw_stage_feed(handoff, data, sizeof(data), err);
        if (status != KW_OK)
            return status;
    }
    return KW_OK;
}

static void everything_arrives(void **state)
{
    (void)state;
    for (size_t pieces = 0; pieces <= 40; pieces++) {
        struct end end = {.slow = pieces % 10 == 9};
        assert_int_equal(feed_pieces(&end, pieces, NULL), KW_OK);
        assert_int_equal(kw_stage_done(handoff, NULL), KW_OK);
        assert_int_equal(end.pieces, pieces);
        assert_int_equal(end.stage.fed, pieces * 64);
        assert_true(end.done);
    }
}

static void failures_come_back(void **state)
{
    (void)state;
    for (size_t fail_at = 1; fail_at <= 20; fail_at++) {
        struct end end = {.fail_at = fail_at};
        struct kw_error error = {0};
        /* More than the ring holds: a feed must notice. */
        assert_int_equal(feed_pieces(&end, 1000000, &error), KW_WRITE);
        char wanted[32];
        snprintf(wanted, sizeof(wanted), "piece %zu failed", fail_at);
        assert_says(&error, KW_WRITE, wanted);
        kw_handoff_stop(handoff);
        assert_int_equal(end.pieces, fail_at);
        assert_false(end.done);
    }
}

static void failures_come_back_with_done(void **state)
{
    (void)state;
    struct end end = {.fail_at = 1, .slow = true};
    struct kw_error error = {0};
    assert_int_equal(feed_pieces(&end, 1, NULL), KW_OK);
    assert_int_equal(kw_stage_done(handoff, &error), KW_WRITE);
    assert_says(&error, KW_WRITE, "piece 1 failed");
    assert_false(end.done);

    end = (struct end){.fail_done = true};
    assert_int_equal(feed_pieces(&end, 3, NULL), KW_OK);
    assert_int_equal(kw_stage_done(handoff, &error), KW_EXISTS);
    assert_says(&error, KW_EXISTS, "the end failed");

    end = (struct end){.fail_done = true};
    assert_int_equal(feed_pieces(&end, 0, NULL), KW_OK);
    assert_int_equal(kw_stage_done(handoff, &error), KW_EXISTS);
}

static void stops_wherever_it_is(void **state)
{
    (void)state;
    for (size_t pieces = 0; pieces <= 12; pieces++) {
        struct end end = {.slow = true};
        assert_int_equal(feed_pieces(&end, pieces, NULL), KW_OK);
        kw_handoff_stop(handoff);
        kw_handoff_stop(handoff);
        assert_false(end.done);
        assert_true(end.pieces <= pieces);
    }
}

/* Starting again stops what was under way, and its failure is forgotten. */
static void starts_again(void **state)
{
    (void)state;
    struct end failing = {.fail_at = 1};
    struct end end = {0};
    assert_int_equal(feed_pieces(&failing, 1000000, NULL), KW_WRITE);
    assert_int_equal(feed_pieces(&end, 100, NULL), KW_OK);
    assert_int_equal(kw_stage_done(handoff, NULL), KW_OK);
    assert_int_equal(end.pieces, 100);
}

static void a_flow_reports_its_sink(void **state)
{
    (void)state;
    size_t len = 8 * KW_PIECE;
    uint8_t *data = malloc(len);
    assert_non_null(data);
    fill(data, len, 11);
    struct kw_flow *flow = new_flow(2, 0);
    for (int i = 0; i < 10; i++) {
        struct kw_stage *sink = NULL;
        struct kw_flow_result result;
        struct kw_error error = {0};
        int fd = file_with(data, len);
        int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
        assert_int_equal(kw_sink_fd_new(full, "the full one", &sink, NULL), KW_OK);
        struct kw_flow_job job = job_for(KW_FLOW_SEAL, fd, len, i % 2 == 0, sink);
        assert_int_equal(kw_flow_run(flow, &job, &result, &error), KW_WRITE);
        assert_says(&error, KW_WRITE, "the full one");
        assert_int_equal(error.sys_errno, ENOSPC);
        kw_close(&fd);
        kw_close(&full);
    }
    kw_flow_free(flow);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_arrives),
        cmocka_unit_test(failures_come_back),
        cmocka_unit_test(failures_come_back_with_done),
        cmocka_unit_test(stops_wherever_it_is),
        cmocka_unit_test(starts_again),
        cmocka_unit_test(a_flow_reports_its_sink),
    };
    return cmocka_run_group_tests_name("flow/handoff", tests, set_up, tear_down);
}
