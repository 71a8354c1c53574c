/* Fuzzes gzip framing: the inflate stage must give the same for one input however it is cut into
 * pieces. The first byte says how long the pieces are. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "flow/stage.h"

/* Over it the input is given up: a small one can inflate to a thousandfold. */
#define OUTPUT_MAX ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum kw_status run(struct kw_stage *inflate, size_t piece, const uint8_t *data, size_t size,
                          struct kw_buffer *out, bool *ret_gzip)
{
    struct kw_stage *sink = NULL;
    struct kw_error error = {0};
    if (kw_sink_buffer_new(out, &sink, NULL) != KW_OK)
        abort();
    static const struct kw_flow_limits limits;
    kw_inflate_start(inflate, &limits, "input", sink, sink);
    enum kw_status status = KW_OK;
    while (size > 0 && status == KW_OK) {
        size_t part = piece < size ? piece : size;
        /* Of the exact size, so that a read beyond it is seen. */
        uint8_t *copy = malloc(part);
        if (!copy)
            abort();
        memcpy(copy, data, part);
        status = kw_stage_feed(inflate, copy, part, &error);
        free(copy);
        data += part;
        size -= part;
    }
    if (status == KW_OK)
        status = kw_stage_done(inflate, &error);
    if (status != error.status || (status != KW_OK && error.message[0] == '\0'))
        abort();
    *ret_gzip = kw_inflate_was_gzip(inflate);
    kw_stage_free(sink);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct kw_stage *inflate = NULL;
    struct kw_buffer whole = KW_BUFFER_INIT(OUTPUT_MAX);
    struct kw_buffer pieces = KW_BUFFER_INIT(OUTPUT_MAX);
    bool gzip[2] = {false, false};
    if (kw_inflate_new(&inflate, NULL) != KW_OK)
        abort();
    enum kw_status first = run(inflate, size, data + 1, size - 1, &whole, &gzip[0]);
    enum kw_status second =
        run(inflate, (size_t)data[0] + 1, data + 1, size - 1, &pieces, &gzip[1]);
    /* A full buffer may come before or after a fault. */
    bool full = first == KW_FAULT || second == KW_FAULT;
    /* What is not gzip is judged by the first piece, which is longer in a run. */
    bool judged = !gzip[0] && !gzip[1] && (first == KW_DAMAGED || second == KW_DAMAGED);
    if (!full && !judged && (first != second || gzip[0] != gzip[1]))
        abort();
    if (first == KW_OK && second == KW_OK && !full &&
        (whole.len != pieces.len || (whole.len && memcmp(whole.data, pieces.data, whole.len) != 0)))
        abort();
    kw_buffer_cleanup(&whole);
    kw_buffer_cleanup(&pieces);
    kw_stage_free(inflate);
    return 0;
}
