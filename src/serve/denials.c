/* What was denied is on the trail, but whoever is denied can't fill the disk with that: of each
 * client so many a second, and how many more there were. */
#include <stdio.h>
#include <string.h>

#include "serve/internal.h"

#define OF_A_CLIENT   20 /* a second */
#define OF_STRANGERS  10 /* of all that are not known, together */
#define FLUSH_EVERY_S 60

/* Takes one. False where that is too many; *ret_left_out is how many were since the last one. */
static bool take(struct kw_denials *denials, const char *client, unsigned most,
                 uint64_t *ret_left_out)
{
    uint64_t second = kw_now_ms() / 1000;
    struct kw_denied *row = NULL, *oldest = &denials->rows[0];
    (void)pthread_mutex_lock(&denials->lock);
    for (size_t i = 0; i < KW_COUNT(denials->rows) && !row; i++) {
        if (strcmp(denials->rows[i].client, client) == 0)
            row = &denials->rows[i];
        if (denials->rows[i].second < oldest->second)
            oldest = &denials->rows[i];
    }
    if (!row) {
        row = oldest;
        *row = (struct kw_denied){.second = 0};
        (void)snprintf(row->client, sizeof(row->client), "%s", client);
    }
    if (row->second != second) {
        row->second = second;
        row->count = 0;
    }
    bool fits = row->count++ < most;
    *ret_left_out = fits ? row->left_out : 0;
    row->left_out = fits ? 0 : row->left_out + 1;
    (void)pthread_mutex_unlock(&denials->lock);
    return fits;
}

static void put(struct kw_service *service, const struct kw_deed *deed)
{
    struct kw_error err;
    if (kw_keyring_witness(kw_store_keyring(service->store), deed, 1, &err))
        kw_service_tell(service, "a denied request is not on the audit trail: %s", err.message);
}

void kw_call_note_denial(struct kw_call *call, const char *why)
{
    const char *client = call->purpose.client;
    char detail[KW_MESSAGE_SIZE], more[64] = "";
    uint64_t left_out = 0;
    if (!take(&call->service->denials, client ? client : "", client ? OF_A_CLIENT : OF_STRANGERS,
              &left_out))
        return;
    if (left_out)
        (void)snprintf(more, sizeof(more), " (%llu more before were left out)",
                       (unsigned long long)left_out);
    (void)snprintf(detail, sizeof(detail), "from %.64s: %.350s%s", call->request->peer.address, why,
                   more);
    const struct kw_deed deed = {
        .op = "serve.denied",
        .phase = KW_OUTCOME,
        .unannounced = true,
        .status = KW_DENIED,
        .key.label = call->name,
        .detail = detail,
        .request = {.client = client,
                    .request = call->id,
                    .correlation = call->purpose.correlation,
                    .outer = call->purpose.outer,
                    .pool = call->purpose.pool},
    };
    put(call->service, &deed);
}

void kw_denials_flush(struct kw_service *service)
{
    struct kw_denials *denials = &service->denials;
    uint64_t second = kw_now_ms() / 1000;
    for (size_t i = 0; i < KW_COUNT(denials->rows); i++) {
        (void)pthread_mutex_lock(&denials->lock);
        struct kw_denied row = denials->rows[i];
        bool due = row.left_out > 0 && second - row.second >= FLUSH_EVERY_S;
        if (due)
            denials->rows[i].left_out = 0;
        (void)pthread_mutex_unlock(&denials->lock);
        if (!due)
            continue;
        char detail[96];
        (void)snprintf(detail, sizeof(detail), "%llu more denied requests were left out",
                       (unsigned long long)row.left_out);
        const struct kw_deed deed = {.op = "serve.denied",
                                     .phase = KW_OUTCOME,
                                     .unannounced = true,
                                     .status = KW_DENIED,
                                     .detail = detail,
                                     .request.client = row.client[0] ? row.client : NULL};
        put(service, &deed);
    }
}
