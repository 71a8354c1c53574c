/* flow: builds the chain for one file, runs it, and takes it apart. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "flow/stage.h"

#define CHUNK_MAX ((size_t)16 * 1024 * 1024)
/* Below this, the threads cost more than they save. */
#define HANDOFF_MIN ((uint64_t)4 * KW_PIECE)

struct kw_flow {
    bool threads;
    struct kw_source *source;
    struct kw_stage *cipher;
    struct kw_stage *inflate;
    struct kw_stage *deflate;
    struct kw_stage *handoffs[2];
    /* of one file: */
    struct kw_stage *first;
    struct kw_stage *sink; /* NULL between two files */
    enum kw_flow_work work;
    uint64_t size;
    bool gzip;
    char name[KW_NAME_SIZE];
    struct kw_flow_result result;
};

enum kw_status kw_flow_new(struct kw_crypto *crypto, const struct kw_flow_options *options,
                           struct kw_flow **ret_flow, struct kw_error *err)
{
    size_t chunk = options->chunk == 0 ? KW_PIECE : options->chunk;
    if (chunk % KW_AES_BLOCK != 0 || chunk > CHUNK_MAX)
        return kw_fail(err, KW_FAULT, "files can't be read in chunks of %zu bytes", chunk);
    struct kw_flow *flow = calloc(1, sizeof(*flow));
    if (!flow)
        return kw_fail_memory(err);
    flow->threads = options->threads >= 2;
    enum kw_status status = kw_source_new(crypto, chunk, &flow->source, err);
    if (status == KW_OK)
        status = kw_cipher_new(crypto, &flow->cipher, err);
    if (status == KW_OK)
        status = kw_inflate_new(&flow->inflate, err);
    if (status == KW_OK)
        status = kw_deflate_new(&flow->deflate, err);
    for (size_t i = 0; i < KW_COUNT(flow->handoffs) && flow->threads && status == KW_OK; i++)
        status = kw_handoff_new(&flow->handoffs[i], err);
    if (status != KW_OK) {
        kw_flow_free(flow);
        return status;
    }
    *ret_flow = flow;
    return KW_OK;
}

/* Ends the file that is under way: first the threads, from the source on, then what they use. */
static void take_apart(struct kw_flow *flow)
{
    for (size_t i = 0; i < KW_COUNT(flow->handoffs); i++)
        kw_handoff_stop(flow->handoffs[i]);
    kw_stage_free(flow->sink);
    flow->sink = NULL;
    flow->first = NULL;
}

void kw_flow_free(struct kw_flow *flow)
{
    if (!flow)
        return;
    take_apart(flow);
    for (size_t i = 0; i < KW_COUNT(flow->handoffs); i++)
        kw_stage_free(flow->handoffs[i]);
    kw_stage_free(flow->deflate);
    kw_stage_free(flow->inflate);
    kw_stage_free(flow->cipher);
    kw_source_free(flow->source);
    free(flow);
}

enum kw_status kw_flow_too_large(const char *name, uint64_t limit, struct kw_error *err)
{
    return kw_fail(err, KW_DAMAGED,
                   "%s holds more than %" PRIu64 " bytes of plaintext; if that is meant, raise "
                   "max-plaintext-mib in the configuration",
                   name, limit);
}

/* ---- the chains, from their end to their beginning ---- */

/* `next` on a thread of its own, where that pays. */
static struct kw_stage *beside(struct kw_flow *flow, size_t number, struct kw_stage *next)
{
    if (!flow->threads || flow->size < HANDOFF_MIN || flow->sink->ops->same_thread)
        return next;
    kw_handoff_start(flow->handoffs[number], next);
    return flow->handoffs[number];
}

static enum kw_status build_decrypt(struct kw_flow *flow, const struct kw_flow_job *job,
                                    struct kw_error *err)
{
    struct kw_stage *next = flow->sink;
    if (job->gzip) {
        /* What is not inflated needs no second thread to be written on. */
        kw_inflate_start(flow->inflate, &job->limits, flow->name, beside(flow, 1, flow->sink),
                         flow->sink);
        next = flow->inflate;
        flow->sink->summed = true;
    } else if (job->limits.bytes > 0 && job->source_size > job->limits.bytes + KW_AES_BLOCK) {
        return kw_flow_too_large(flow->name, job->limits.bytes, err);
    }
    /* SHA-256 costs four times what AES does and stays with the source, so then AES leaves it. */
    if (!job->digest)
        next = beside(flow, 0, next);
    enum kw_status status =
        kw_cipher_start(flow->cipher, KW_DECRYPT, job, job->source_size, flow->name, next, err);
    flow->first = job->digest ? beside(flow, 0, flow->cipher) : flow->cipher;
    return status;
}

static enum kw_status build_seal(struct kw_flow *flow, const struct kw_flow_job *job,
                                 struct kw_error *err)
{
    flow->first = flow->cipher;
    if (job->gzip) {
        kw_deflate_start(flow->deflate, flow->cipher);
        flow->first = flow->deflate;
    }
    return kw_cipher_start(flow->cipher, KW_ENCRYPT, job, 0, flow->name,
                           beside(flow, 0, flow->sink), err);
}

static enum kw_status build_copy(struct kw_flow *flow, const struct kw_flow_job *job,
                                 struct kw_error *err)
{
    (void)job;
    (void)err;
    flow->first = flow->sink;
    return KW_OK;
}

static enum kw_status (*const build[])(struct kw_flow *flow, const struct kw_flow_job *job,
                                       struct kw_error *err) = {
    [KW_FLOW_DECRYPT] = build_decrypt,
    [KW_FLOW_SEAL] = build_seal,
    [KW_FLOW_COPY] = build_copy,
};

/* ---- one file ---- */

enum kw_status kw_flow_start(struct kw_flow *flow, const struct kw_flow_job *job,
                             struct kw_error *err)
{
    take_apart(flow);
    flow->sink = job->sink;
    flow->work = job->work;
    flow->size = job->source_size;
    flow->gzip = job->gzip;
    flow->result = (struct kw_flow_result){0};
    kw_printable(job->source_name, strlen(job->source_name), flow->name, sizeof(flow->name));

    enum kw_status status = KW_OK;
    if (job->work != KW_FLOW_COPY && (!job->key || !job->iv))
        status = kw_fail(err, KW_FAULT, "%s has no key or IV", flow->name);
    if (status == KW_OK)
        status = kw_source_start(flow->source, job, flow->name, err);
    if (status == KW_OK)
        status = build[job->work](flow, job, err);
    if (status != KW_OK)
        take_apart(flow);
    return status;
}

static struct kw_flow_result sum_up(const struct kw_flow *flow)
{
    struct kw_flow_result result = flow->result;
    result.bytes_in = flow->size;
    result.bytes_out = flow->sink->fed;
    result.crc32 = flow->sink->summed ? kw_inflate_crc32(flow->inflate) : flow->sink->crc32;
    result.inflated =
        flow->work == KW_FLOW_DECRYPT && flow->gzip && kw_inflate_was_gzip(flow->inflate);
    return result;
}

/* The last checks of the source come before done, which gives the output its name. */
static enum kw_status finish(struct kw_flow *flow, struct kw_error *err)
{
    enum kw_status status = kw_source_finish(flow->source, flow->result.sha256, err);
    if (status == KW_OK)
        status = kw_stage_done(flow->first, err);
    if (status == KW_OK)
        flow->result = sum_up(flow);
    return status;
}

enum kw_status kw_flow_step(struct kw_flow *flow, bool *ret_ended, struct kw_error *err)
{
    if (!flow->sink)
        return kw_fail(err, KW_FAULT, "no file is under way");
    enum kw_status status = kw_source_step(flow->source, flow->first, err);
    bool ended = status == KW_OK && kw_source_at_end(flow->source);
    if (ended)
        status = finish(flow, err);
    if (ended || status != KW_OK)
        take_apart(flow);
    if (status == KW_OK)
        *ret_ended = ended;
    return status;
}

void kw_flow_result(const struct kw_flow *flow, struct kw_flow_result *ret_result)
{
    *ret_result = flow->sink ? sum_up(flow) : flow->result;
}

enum kw_status kw_flow_run(struct kw_flow *flow, const struct kw_flow_job *job,
                           struct kw_flow_result *ret_result, struct kw_error *err)
{
    bool ended = false;
    enum kw_status status = kw_flow_start(flow, job, err);
    while (status == KW_OK && !ended)
        status = kw_flow_step(flow, &ended, err);
    if (status == KW_OK)
        kw_flow_result(flow, ret_result);
    return status;
}
