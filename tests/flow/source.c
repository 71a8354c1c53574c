/* The source: sizes, changes under way, digest, tick. */
#include "support.h"

#define SIZE ((size_t)2 * 1024 * 1024)

static uint8_t *data;

static int set_up(void **state)
{
    data = malloc(SIZE + 1);
    if (!data)
        return -1;
    fill(data, SIZE + 1, 10);
    return start_crypto(state);
}

static int tear_down(void **state)
{
    free(data);
    return stop_crypto(state);
}

struct meddler {
    int fd;
    uint64_t bytes;
    int calls;
    int act_at; /* the call at which `act` is called */
    void (*act)(int fd);
    bool stop;
};

static bool meddle(void *context, uint64_t bytes)
{
    struct meddler *meddler = context;
    meddler->bytes += bytes;
    meddler->calls++;
    if (meddler->calls != meddler->act_at)
        return true;
    if (meddler->act)
        meddler->act(meddler->fd);
    return !meddler->stop;
}

/* Copies SIZE bytes to a file in a folder of its own, said to be `said` bytes; counts what is in
 * the folder afterwards. */
static enum kw_status copy(unsigned threads, uint64_t said, struct meddler *meddler,
                           size_t *ret_left, struct kw_error *err)
{
    char path[64];
    struct kw_outdir *outdir = NULL;
    struct kw_stage *sink = NULL;
    make_folder(path);
    assert_int_equal(kw_outdir_open(path, false, &outdir, NULL), KW_OK);
    assert_int_equal(kw_sink_file_new(outdir, "out", false, &sink, NULL), KW_OK);
    struct kw_flow *flow = new_flow(threads, 65536);
    int fd = file_with(data, SIZE);
    struct kw_flow_job job = job_for(KW_FLOW_SEAL, fd, said, false, sink);
    struct kw_flow_result result;
    if (meddler) {
        meddler->fd = fd;
        job.tick = meddle;
        job.tick_context = meddler;
    }
    enum kw_status status = kw_flow_run(flow, &job, &result, err);
    kw_flow_free(flow);
    kw_outdir_free(outdir);
    kw_close(&fd);
    *ret_left = count_below(AT_FDCWD, path, false);
    remove_folder(path);
    return status;
}

static void another_size_is_a_change(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {0, 16, SIZE - 1, SIZE + 1, UINT64_MAX};
    for (size_t i = 0; i < KW_COUNT(sizes); i++) {
        struct kw_error error = {0};
        size_t left = 0;
        assert_int_equal(copy(1, sizes[i], NULL, &left, &error), KW_READ);
        assert_says(&error, KW_READ, "changed while it was read");
        assert_int_equal(left, 0);
    }
}

static void shrink(int fd)
{
    assert_int_equal(ftruncate(fd, SIZE / 2), 0);
}

static void grow(int fd)
{
    assert_int_equal(ftruncate(fd, SIZE + 1), 0);
}

static void rewrite(int fd)
{
    assert_int_equal(pwrite(fd, "x", 1, 0), 1);
    /* Memory filesystems keep time in ticks, which may not have passed. */
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1}};
    assert_int_equal(futimens(fd, times), 0);
}

static void changes_under_way_are_seen(void **state)
{
    (void)state;
    static void (*const acts[])(int fd) = {shrink, grow, rewrite};
    for (size_t i = 0; i < KW_COUNT(acts) * 4; i++) {
        struct meddler meddler = {.act = acts[i / 4], .act_at = i % 2 ? 3 : 1};
        struct kw_error error = {0};
        size_t left = 0;
        assert_int_equal(copy(i % 4 < 2 ? 1 : 2, SIZE, &meddler, &left, &error), KW_READ);
        assert_says(&error, KW_READ, "changed while it was read");
        assert_says(&error, KW_READ, "part-0.json");
        assert_int_equal(left, 0);
    }
}

static void tick_counts_and_stops(void **state)
{
    (void)state;
    int chunks = (int)(SIZE / 65536);
    for (unsigned threads = 1; threads <= 2; threads++) {
        struct meddler meddler = {0};
        struct kw_error error = {0};
        size_t left = 0;
        assert_int_equal(copy(threads, SIZE, &meddler, &left, &error), KW_OK);
        assert_int_equal(meddler.bytes, SIZE);
        assert_int_equal(meddler.calls, chunks);
        assert_int_equal(left, 1);
        for (int call = 1; call <= chunks; call += call == 1 ? chunks / 2 - 1 : chunks / 2) {
            meddler = (struct meddler){.act_at = call, .stop = true};
            assert_int_equal(copy(threads, SIZE, &meddler, &left, &error), KW_INTERRUPTED);
            assert_int_equal(error.status, KW_INTERRUPTED);
            assert_int_equal(meddler.calls, call);
            assert_int_equal(left, 0);
        }
    }
}

static void digest_is_of_what_was_read(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, SIZE};
    struct kw_flow *flow = new_flow(1, 4096);
    for (size_t i = 0; i < KW_COUNT(sizes); i++) {
        uint8_t wanted[KW_SHA256_SIZE];
        struct kw_stage *sink = NULL;
        struct kw_flow_result result = {0};
        int fd = file_with(data, sizes[i]);
        int out = memfd_create("out", MFD_CLOEXEC);
        assert_int_equal(kw_sink_fd_new(out, "out", &sink, NULL), KW_OK);
        struct kw_flow_job job = job_for(KW_FLOW_SEAL, fd, sizes[i], true, sink);
        job.digest = true;
        assert_int_equal(kw_flow_run(flow, &job, &result, NULL), KW_OK);
        assert_int_equal(kw_sha256(crypto, data, sizes[i], wanted, NULL), KW_OK);
        assert_memory_equal(result.sha256, wanted, sizeof(wanted));
        kw_close(&fd);
        kw_close(&out);
    }
    kw_flow_free(flow);
}

/* A pipe has no size and no times; its bytes are counted all the same. */
static enum kw_status from_pipe(size_t given, uint64_t said, struct kw_error *err)
{
    int ends[2];
    struct kw_stage *sink = NULL;
    struct kw_flow_result result;
    struct kw_flow *flow = new_flow(1, 0);
    int out = memfd_create("out", MFD_CLOEXEC);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(kw_write_full(ends[1], data, given, "pipe", NULL), KW_OK);
    kw_close(&ends[1]);
    assert_int_equal(kw_sink_fd_new(out, "out", &sink, NULL), KW_OK);
    struct kw_flow_job job = job_for(KW_FLOW_COPY, ends[0], said, false, sink);
    enum kw_status status = kw_flow_run(flow, &job, &result, err);
    kw_close(&ends[0]);
    kw_close(&out);
    kw_flow_free(flow);
    return status;
}

static void a_pipe_is_counted(void **state)
{
    (void)state;
    struct kw_error error = {0};
    assert_int_equal(from_pipe(1000, 1000, NULL), KW_OK);
    assert_int_equal(from_pipe(0, 0, NULL), KW_OK);
    assert_int_equal(from_pipe(1000, 999, &error), KW_READ);
    assert_says(&error, KW_READ, "changed while it was read");
    assert_int_equal(from_pipe(1000, 1001, &error), KW_READ);
    assert_says(&error, KW_READ, "changed while it was read");
}

static void reading_that_fails_names_the_file(void **state)
{
    (void)state;
    struct kw_flow *flow = new_flow(1, 0);
    struct kw_stage *sink = NULL;
    struct kw_flow_result result;
    struct kw_error error = {0};
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(kw_sink_fd_new(fd, "out", &sink, NULL), KW_OK);
    struct kw_flow_job job = job_for(KW_FLOW_COPY, fd, 16, false, sink);
    job.source_name = "odd\nname\x1b[31m";
    assert_int_equal(kw_flow_run(flow, &job, &result, &error), KW_READ);
    assert_says(&error, KW_READ, "odd\\x0aname\\x1b[31m");
    kw_close(&fd);
    kw_flow_free(flow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_size_is_a_change),
        cmocka_unit_test(changes_under_way_are_seen),
        cmocka_unit_test(tick_counts_and_stops),
        cmocka_unit_test(digest_is_of_what_was_read),
        cmocka_unit_test(a_pipe_is_counted),
        cmocka_unit_test(reading_that_fails_names_the_file),
    };
    return cmocka_run_group_tests_name("flow/source", tests, set_up, tear_down);
}
