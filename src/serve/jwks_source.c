/* Where the issuers' public keys come from, and the thread that keeps them fresh. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <curl/curl.h>

#include "serve/access_parts.h"

const struct kw_jwks_options kw_jwks_defaults = {
    .file = {.every = 5 * 1000, .soonest = 1000},
    .url = {.every = 10 * 60 * 1000, .soonest = 60 * 1000},
    .kept = UINT64_C(24) * 60 * 60 * 1000,
    .wait = 3000,
};

/* Which version of a file it is. */
struct version {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed, modified;
};

struct source {
    const struct kw_config_issuer *issuer;
    bool is_url;
    struct version version; /* of the file that `set` is from; the thread's own */
    /* Under the lock: */
    struct kw_jwk_set *set;
    uint64_t generation; /* of it, from 1 */
    uint64_t good_ms;    /* when it was last there */
    uint64_t tried_ms, due_ms;
    bool tried;
};
struct kw_jwks {
    struct kw_jwks_options options;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* `due_ms`, `tried` or `stop` */
    atomic_bool stop;
    pthread_t thread;
    bool started;
    size_t count;
    struct source sources[];
};

/* ---- one source, read by one thread at a time ---- */

static struct version version_of(const struct stat *info)
{
    return (struct version){info->st_dev, info->st_ino, info->st_size, info->st_ctim,
                            info->st_mtim};
}

static bool same_version(const struct version *a, const struct version *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec &&
           a->modified.tv_sec == b->modified.tv_sec && a->modified.tv_nsec == b->modified.tv_nsec;
}

/* Who may write the file decides who is let in. */
static enum kw_status read_open_file(struct source *source, int fd, struct kw_jwk_set **ret_set,
                                     struct kw_error *err)
{
    const char *path = source->issuer->jwks;
    struct stat info;
    if (fstat(fd, &info) != 0)
        return kw_fail_errno(err, KW_CONFIG, errno, "%s can't be read", path);
    struct version version = version_of(&info);
    if (same_version(&version, &source->version))
        return KW_OK;
    enum kw_status status = kw_check_owner(fd, path, KW_CONFIG, err);
    if (status != KW_OK)
        return status;
    struct kw_buffer text = KW_BUFFER_INIT(0);
    status = kw_read_file(fd, KW_JWKS_MAX_BYTES, path, KW_CONFIG, &text, err);
    if (status == KW_OK)
        status = kw_jwk_set_parse((const char *)text.data, text.len, path, ret_set, err);
    kw_buffer_cleanup(&text);
    if (status == KW_OK)
        source->version = version;
    return status;
}

static enum kw_status read_file(struct source *source, struct kw_jwk_set **ret_set,
                                struct kw_error *err)
{
    int fd = open(source->issuer->jwks, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return kw_fail_errno(err, KW_CONFIG, errno, "%s can't be opened", source->issuer->jwks);
    enum kw_status status = read_open_file(source, fd, ret_set, err);
    kw_close(&fd);
    return status;
}

static enum kw_status read_url(const struct kw_jwks *jwks, const struct source *source,
                               struct kw_jwk_set **ret_set, struct kw_error *err)
{
    const struct kw_config_issuer *issuer = source->issuer;
    struct kw_buffer text = KW_BUFFER_INIT(KW_JWKS_MAX_BYTES);
    enum kw_status status = kw_jwks_fetch(issuer->jwks, issuer->ca, &jwks->stop, &text, err);
    if (status == KW_OK)
        status = kw_jwk_set_parse((const char *)text.data, text.len, issuer->jwks, ret_set, err);
    kw_buffer_cleanup(&text);
    return status;
}

/* *ret_set stays as it was where the set is the one that is there already. */
static enum kw_status read_source(const struct kw_jwks *jwks, struct source *source,
                                  struct kw_jwk_set **ret_set, struct kw_error *err)
{
    return source->is_url ? read_url(jwks, source, ret_set, err) : read_file(source, ret_set, err);
}

static const struct kw_jwks_pace *pace_of(const struct kw_jwks *jwks, const struct source *source)
{
    return source->is_url ? &jwks->options.url : &jwks->options.file;
}

/* Under the lock. */
static void take_set(const struct kw_jwks *jwks, struct source *source, enum kw_status status,
                     struct kw_jwk_set *set)
{
    const struct kw_jwks_pace *pace = pace_of(jwks, source);
    uint64_t now = kw_now_ms();
    if (set) {
        kw_jwk_set_free(source->set);
        source->set = set;
        source->generation++;
    }
    if (status == KW_OK)
        source->good_ms = now;
    source->tried = true;
    source->tried_ms = now;
    source->due_ms = now + (status == KW_OK ? pace->every : pace->soonest);
}

/* ---- the thread ---- */

static struct source *next_source(struct kw_jwks *jwks)
{
    struct source *next = &jwks->sources[0];
    for (size_t i = 1; i < jwks->count; i++)
        if (jwks->sources[i].due_ms < next->due_ms)
            next = &jwks->sources[i];
    return next;
}

/* Under the lock, but for the time of reading. */
static void refresh(struct kw_jwks *jwks, struct source *source)
{
    struct kw_jwk_set *set = NULL;
    (void)pthread_mutex_unlock(&jwks->lock);
    enum kw_status status = read_source(jwks, source, &set, NULL);
    (void)pthread_mutex_lock(&jwks->lock);
    take_set(jwks, source, status, set);
    (void)pthread_cond_broadcast(&jwks->changed);
}

static void *keep_fresh(void *argument)
{
    struct kw_jwks *jwks = argument;
    (void)pthread_mutex_lock(&jwks->lock);
    while (!atomic_load(&jwks->stop)) {
        struct source *next = next_source(jwks);
        if (next->due_ms <= kw_now_ms())
            refresh(jwks, next);
        else
            (void)kw_cond_wait_until(&jwks->changed, &jwks->lock, next->due_ms);
    }
    (void)pthread_mutex_unlock(&jwks->lock);
    return NULL;
}

/* ---- from outside ---- */

static bool all_tried(const struct kw_jwks *jwks)
{
    for (size_t i = 0; i < jwks->count; i++)
        if (!jwks->sources[i].tried)
            return false;
    return true;
}

static void wait_for_all(struct kw_jwks *jwks)
{
    uint64_t end = kw_now_ms() + jwks->options.wait;
    (void)pthread_mutex_lock(&jwks->lock);
    while (!all_tried(jwks) && kw_now_ms() < end)
        (void)kw_cond_wait_until(&jwks->changed, &jwks->lock, end);
    (void)pthread_mutex_unlock(&jwks->lock);
}

static enum kw_status read_files(struct kw_jwks *jwks, struct kw_error *err)
{
    for (size_t i = 0; i < jwks->count; i++) {
        struct kw_jwk_set *set = NULL;
        struct source *source = &jwks->sources[i];
        if (source->is_url)
            continue;
        enum kw_status status = read_source(jwks, source, &set, err);
        if (status != KW_OK)
            return status;
        take_set(jwks, source, status, set);
    }
    return KW_OK;
}

static enum kw_status start(struct kw_jwks *jwks, struct kw_error *err)
{
    enum kw_status status = read_files(jwks, err);
    if (status != KW_OK || jwks->count == 0)
        return status;
    status = kw_thread_start(&jwks->thread, keep_fresh, jwks, err);
    jwks->started = status == KW_OK;
    if (jwks->started)
        wait_for_all(jwks);
    return status;
}

enum kw_status kw_jwks_new(const struct kw_config_issuer *issuers, size_t count,
                           const struct kw_jwks_options *options, struct kw_jwks **ret_jwks,
                           struct kw_error *err)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return kw_fail_memory(err);
    struct kw_jwks *jwks = calloc(1, sizeof(*jwks) + count * sizeof(jwks->sources[0]));
    if (!jwks || pthread_mutex_init(&jwks->lock, NULL) != 0) {
        free(jwks);
        curl_global_cleanup();
        return kw_fail_memory(err);
    }
    kw_cond_init(&jwks->changed);
    jwks->options = *options;
    jwks->count = count;
    atomic_init(&jwks->stop, false);
    for (size_t i = 0; i < count; i++) {
        jwks->sources[i].issuer = &issuers[i];
        jwks->sources[i].is_url = issuers[i].jwks[0] != '/';
    }
    enum kw_status status = start(jwks, err);
    if (status == KW_OK)
        *ret_jwks = jwks;
    else
        kw_jwks_free(jwks);
    return status;
}

void kw_jwks_free(struct kw_jwks *jwks)
{
    if (!jwks)
        return;
    (void)pthread_mutex_lock(&jwks->lock);
    atomic_store(&jwks->stop, true);
    (void)pthread_cond_broadcast(&jwks->changed);
    (void)pthread_mutex_unlock(&jwks->lock);
    if (jwks->started)
        (void)pthread_join(jwks->thread, NULL);
    for (size_t i = 0; i < jwks->count; i++)
        kw_jwk_set_free(jwks->sources[i].set);
    (void)pthread_cond_destroy(&jwks->changed);
    (void)pthread_mutex_destroy(&jwks->lock);
    free(jwks);
    curl_global_cleanup();
}

/* Under the lock. */
static bool has_young(const struct kw_jwks *jwks, const struct source *source)
{
    return source->set && kw_now_ms() - source->good_ms <= jwks->options.kept;
}

struct kw_jwk_set *kw_jwks_get(struct kw_jwks *jwks, size_t issuer)
{
    (void)pthread_mutex_lock(&jwks->lock);
    const struct source *source = &jwks->sources[issuer];
    struct kw_jwk_set *set = has_young(jwks, source) ? kw_jwk_set_share(source->set) : NULL;
    (void)pthread_mutex_unlock(&jwks->lock);
    return set;
}

uint64_t kw_jwks_generation(struct kw_jwks *jwks, size_t issuer)
{
    (void)pthread_mutex_lock(&jwks->lock);
    const struct source *source = &jwks->sources[issuer];
    uint64_t generation = has_young(jwks, source) ? source->generation : 0;
    (void)pthread_mutex_unlock(&jwks->lock);
    return generation;
}

void kw_jwks_want(struct kw_jwks *jwks, size_t issuer)
{
    (void)pthread_mutex_lock(&jwks->lock);
    struct source *source = &jwks->sources[issuer];
    uint64_t soonest = source->tried_ms + pace_of(jwks, source)->soonest;
    if (soonest < source->due_ms) {
        source->due_ms = soonest;
        (void)pthread_cond_broadcast(&jwks->changed);
    }
    (void)pthread_mutex_unlock(&jwks->lock);
}
