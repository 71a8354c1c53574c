/* Two tokens with the same keys: the second one serves while the first one fails. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { FIRST, SECOND };

#define DEFAULT_PROBE_S 10
/* A token that fails again before so many intervals have passed since it came back is flapping, and
 * is waited for longer: up to so many. */
#define CALM_INTERVALS 64
#define MAX_RELAPSES   6 /* 2^6 of them */

/* A PIN that was refused, or a key that does not unwrap, is to be told and not covered up. */
bool kw_is_token_failure(enum kw_status status)
{
    return kw_exit_code(status) == kw_exit_code(KW_TOKEN);
}

const char *kw_keyring_name(const struct kw_keyring *keyring)
{
    return keyring->choice.configured->name;
}

/* ---- which one serves ---- */

enum kw_status kw_failover_new(struct kw_keyring *keyring, struct kw_error *err)
{
    struct failover *failover = calloc(1, sizeof(*failover));
    if (!failover || pthread_mutex_init(&failover->lock, NULL) != 0) {
        free(failover);
        return kw_fail_memory(err);
    }
    kw_cond_init(&failover->wake);
    long probe_s = keyring->choice.configured->failover_probe_s;
    failover->probe_ms = (uint64_t)(probe_s ? probe_s : DEFAULT_PROBE_S) * 1000;
    failover->sides[FIRST] = keyring;
    failover->sides[SECOND] = keyring->twin;
    keyring->failover = failover;
    return KW_OK;
}

static size_t serving(struct failover *failover)
{
    (void)pthread_mutex_lock(&failover->lock);
    size_t side = failover->serving;
    (void)pthread_mutex_unlock(&failover->lock);
    return side;
}

void kw_failover_count(struct failover *failover, struct kw_keyring_stats *stats)
{
    (void)pthread_mutex_lock(&failover->lock);
    stats->failovers = failover->switches[SECOND];
    stats->returns = failover->switches[FIRST];
    stats->on_second = failover->serving == SECOND;
    (void)pthread_mutex_unlock(&failover->lock);
}

struct kw_keyring *kw_failover_serving(struct kw_keyring *keyring)
{
    struct failover *failover = keyring->failover;
    return failover ? failover->sides[serving(failover)] : keyring;
}

/* Of the token's own words, as far as it was ever reached. */
static const struct kw_token_info *info_of(struct kw_keyring *keyring)
{
    static const struct kw_token_info unknown;
    (void)pthread_mutex_lock(&keyring->common->lock);
    const struct kw_token_info *info = kw_keyring_info(keyring);
    (void)pthread_mutex_unlock(&keyring->common->lock);
    return info ? info : &unknown;
}

/* With the lock held. */
static enum kw_status put_on_record(struct failover *failover, size_t to,
                                    const struct kw_token_info *infos[2],
                                    const struct kw_error *why, struct kw_error *err)
{
    const struct kw_token_info *from = infos[1 - to];
    char detail[2 * KW_MESSAGE_SIZE];
    (void)snprintf(detail, sizeof(detail),
                   "[token %s] serves in the place of [token %s] (token %s, serial %s): %s",
                   kw_keyring_name(failover->sides[to]), kw_keyring_name(failover->sides[1 - to]),
                   from->label, from->serial, why ? why->message : "it is back");
    const struct kw_deed deed = {
        .op = to == SECOND ? "token.failover" : "token.return",
        .key = {.token = infos[to]->label, .serial = infos[to]->serial},
        .ck_rv = why ? why->ck_rv : 0,
        .detail = detail,
    };
    return kw_keyring_append(failover->sides[FIRST], &deed, 1, err);
}

static void warn_of_switch(struct failover *failover, size_t to, const struct kw_error *why)
{
    const char *here = kw_keyring_name(failover->sides[to]);
    if (why)
        kw_keyring_warn(failover->sides[to], "[token %s] failed and [token %s] serves instead: %s",
                        kw_keyring_name(failover->sides[1 - to]), here, why->message);
    else
        kw_keyring_warn(failover->sides[to], "[token %s] is back and serves again", here);
}

/* With the lock held. */
static void count_relapses(struct failover *failover, size_t to)
{
    uint64_t now = kw_now_ms();
    if (to == FIRST) {
        failover->returned_ms = now;
        return;
    }
    bool flaps =
        failover->returned_ms && now - failover->returned_ms < CALM_INTERVALS * failover->probe_ms;
    if (!flaps)
        failover->relapses = 0;
    else if (failover->relapses < MAX_RELAPSES)
        failover->relapses++;
}

enum kw_status kw_failover_switch(struct failover *failover, size_t to, const struct kw_error *why,
                                  struct kw_error *err)
{
    const struct kw_token_info *infos[2] = {info_of(failover->sides[FIRST]),
                                            info_of(failover->sides[SECOND])};
    (void)pthread_mutex_lock(&failover->lock);
    enum kw_status status = KW_OK;
    bool moves = failover->serving != to;
    if (moves)
        status = put_on_record(failover, to, infos, why, err);
    if (moves && !status) {
        failover->serving = to;
        failover->switches[to]++;
        warn_of_switch(failover, to, why);
        count_relapses(failover, to);
        if (to == SECOND)
            kw_failback_start(failover, failover->probe_ms << failover->relapses);
    }
    (void)pthread_mutex_unlock(&failover->lock);
    return status;
}

/* ---- the same key on the other token ---- */

static bool is_own(const struct kw_keyring *keyring, const struct kw_token_key *key)
{
    bool own = false;
    (void)pthread_mutex_lock(&keyring->common->lock);
    for (size_t i = 0; i < keyring->key_count && !own; i++)
        own = key == &keyring->keys[i];
    (void)pthread_mutex_unlock(&keyring->common->lock);
    return own;
}

/* One that may decrypt before one that may not. *ret_namesake: a key has its name or id, but not
 * its modulus. */
static const struct kw_token_key *find_twin(const struct kw_keyring *keyring,
                                            const struct kw_token_key *key, bool *ret_namesake)
{
    const struct kw_token_key *found = NULL;
    (void)pthread_mutex_lock(&keyring->common->lock);
    for (size_t i = 0; i < keyring->key_count; i++) {
        const struct kw_token_key *candidate = &keyring->keys[i];
        if (!kw_rsa_same(&candidate->public, &key->public))
            *ret_namesake |= strcmp(candidate->label, key->label) == 0 ||
                             (key->id_len > 0 && candidate->id_len == key->id_len &&
                              memcmp(candidate->id, key->id, key->id_len) == 0);
        else if (!found || (candidate->decrypt && !found->decrypt))
            found = candidate;
    }
    (void)pthread_mutex_unlock(&keyring->common->lock);
    return found;
}

/* The key itself, or its twin if it is another token's. */
static enum kw_status bring_over(struct failover *failover, size_t side,
                                 const struct kw_token_key *key,
                                 const struct kw_token_key **ret_key, struct kw_error *err)
{
    struct kw_keyring *keyring = failover->sides[side];
    bool namesake = false;
    char label[96];
    if (is_own(keyring, key) || (side == FIRST && !is_own(failover->sides[SECOND], key))) {
        *ret_key = key;
        return KW_OK;
    }
    const struct kw_token_key *twin = find_twin(keyring, key, &namesake);
    if (twin) {
        *ret_key = twin;
        return KW_OK;
    }
    return kw_fail(err, KW_KEY_NOT_FOUND,
                   namesake
                       ? "the key of [token %s] that is called like \"%s\" is another key, with "
                         "another modulus, and is not used"
                       : "[token %s] has no key with the modulus of \"%s\"; restore it there",
                   kw_keyring_name(keyring),
                   kw_printable(key->label, strlen(key->label), label, sizeof(label)));
}

/* ---- changing over ---- */

/* What is looked for on the other token: a key, or where none was found yet, what it is called. */
struct wish {
    const struct kw_token_key *key;
    const char *version, *override;
};

static bool keys_are_known(const struct kw_keyring *keyring)
{
    (void)pthread_mutex_lock(&keyring->common->lock);
    bool known = keyring->keys != NULL;
    (void)pthread_mutex_unlock(&keyring->common->lock);
    return known;
}

/* The first token's names count as long as they are known, whatever the keys of the other one are
 * called. */
static enum kw_status grant(struct failover *failover, size_t side, const struct wish *wish,
                            const struct kw_token_key **ret_key, struct kw_error *err)
{
    const struct kw_token_key *key = wish->key;
    size_t known_by = keys_are_known(failover->sides[FIRST]) ? FIRST : side;
    enum kw_status status = KW_OK;
    if (!key)
        status =
            kw_keyring_find(failover->sides[known_by], wish->version, wish->override, &key, err);
    return status ? status : bring_over(failover, side, key, ret_key, err);
}

/* The status stays the first failure's: what to do about that one is what helps. */
static enum kw_status fail_both(const struct kw_error *why, const struct kw_keyring *other,
                                const struct kw_error *failure, struct kw_error *err)
{
    return kw_fail_ck(err, why->status, why->ck_rv,
                      "%.230s; and [token %.60s] can't serve instead: %.150s", why->message,
                      kw_keyring_name(other), failure->message);
}

/* After side `from` failed: the other one serves, if it works and has the key. */
static enum kw_status change_over(struct failover *failover, size_t from, const struct wish *wish,
                                  const struct kw_error *why, const struct kw_token_key **ret_key,
                                  struct kw_error *err)
{
    size_t to = 1 - from;
    struct kw_error failure = {.status = KW_OK};
    enum kw_status status = KW_OK;
    if (serving(failover) == from)
        status = kw_keyring_reach(failover->sides[to], false, NULL, 0, &failure);
    if (!status)
        status = grant(failover, to, wish, ret_key, &failure);
    if (status)
        return fail_both(why, failover->sides[to], &failure, err);
    return kw_failover_switch(failover, to, why, err);
}

enum kw_status kw_keyring_find_to_unwrap(struct kw_keyring *keyring, const char *version,
                                         const char *override, const struct kw_token_key **ret_key,
                                         struct kw_error *err)
{
    struct failover *failover = keyring->failover;
    if (!failover)
        return kw_keyring_find(keyring, version, override, ret_key, err);
    const struct wish wish = {.version = version, .override = override};
    struct kw_error why = {.status = KW_OK};
    size_t side = serving(failover);
    enum kw_status status = grant(failover, side, &wish, ret_key, &why);
    if (kw_is_token_failure(status))
        return change_over(failover, side, &wish, &why, ret_key, err);
    if (status && err)
        *err = why;
    return status;
}

/* ---- using a key on either ---- */

static void note_use(struct failover *failover, const struct kw_token_key *key)
{
    bool known = false;
    (void)pthread_mutex_lock(&failover->lock);
    for (size_t i = 0; i < USED_KEYS && !known; i++)
        known = kw_rsa_same(&failover->used[i], &key->public);
    if (!known)
        failover->used[failover->used_next++ % USED_KEYS] = key->public;
    (void)pthread_mutex_unlock(&failover->lock);
}

static enum kw_status use_on(struct failover *failover, size_t side, const struct kw_token_key *key,
                             const struct kw_operation *operation, struct kw_error *err)
{
    enum kw_status status = kw_operate_here(failover->sides[side], key, operation, err);
    if (!status)
        note_use(failover, key);
    return status;
}

enum kw_status kw_failover_operate(struct failover *failover, const struct kw_token_key *key,
                                   const struct kw_operation *operation, struct kw_error *err)
{
    const struct wish wish = {.key = key};
    struct kw_error why = {.status = KW_OK};
    size_t side = serving(failover);
    const struct kw_token_key *here = NULL;
    enum kw_status status = grant(failover, side, &wish, &here, &why);
    if (!status)
        status = use_on(failover, side, here, operation, &why);
    if (kw_is_token_failure(status)) {
        status = change_over(failover, side, &wish, &why, &here, err);
        return status ? status : use_on(failover, 1 - side, here, operation, err);
    }
    if (status && err)
        *err = why;
    return status;
}

enum kw_status kw_keyring_token_of(struct kw_keyring *keyring, const struct kw_token_key *key,
                                   const struct kw_token_info **ret_info, struct kw_error *err)
{
    bool on_twin = keyring->twin && is_own(keyring->twin, key);
    return kw_keyring_token(on_twin ? keyring->twin : keyring, ret_info, err);
}
