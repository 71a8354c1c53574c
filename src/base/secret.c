/* Secrets on OpenSSL's secure heap. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/base.h"

#define HEAP_LARGEST   ((size_t)1024 * 1024) /* for as many threads as a token may have sessions */
#define HEAP_SMALLEST  ((size_t)16 * 1024)   /* room for one secret of the largest size, and more */
#define HEAP_MIN_BLOCK ((size_t)32)

struct kw_secret {
    size_t capacity;
    size_t len;
    uint8_t data[];
};

/* OpenSSL has one secure heap in a process. A heap that the process made before is used as it is.
 * 2 from the initialisation means that the heap is there but could be swapped out. */
static enum kw_status start_heap(struct kw_error *err)
{
    if (CRYPTO_secure_malloc_initialized())
        return KW_OK;
    for (size_t size = HEAP_LARGEST; size >= HEAP_SMALLEST; size /= 2) {
        int made = CRYPTO_secure_malloc_init(size, HEAP_MIN_BLOCK);
        if (made == 1)
            return KW_OK;
        if (made == 2 && !CRYPTO_secure_malloc_done())
            return kw_fail(err, KW_FAULT,
                           "OpenSSL did not give its secure heap back; this is a fault of Keyward");
    }
    return kw_fail(err, KW_NO_MEMORY,
                   "No memory can be locked for secrets; raise the locked-memory limit to 1 MiB or "
                   "more (LimitMEMLOCK= of a systemd unit, ulimit -l in a shell)");
}

static enum kw_status forbid_dumps(struct kw_error *err)
{
    const struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return kw_fail_errno(err, KW_FAULT, errno,
                             "Core files can't be turned off; allow setrlimit and prctl");
    return KW_OK;
}

enum kw_status kw_secret_start(struct kw_error *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    if (pthread_mutex_lock(&lock) != 0)
        return kw_fail(err, KW_FAULT, "a mutex can't be locked; this is a fault of Keyward");
    enum kw_status status = forbid_dumps(err);
    if (status == KW_OK)
        status = start_heap(err);
    (void)pthread_mutex_unlock(&lock); /* can't fail: it is ours */
    return status;
}

/* Without a secure heap OpenSSL would quietly give ordinary memory. */
static struct kw_secret *allocate(size_t capacity, struct kw_error *err)
{
    size_t size = sizeof(struct kw_secret) + capacity;
    struct kw_secret *secret = OPENSSL_secure_zalloc(size);
    if (secret && !CRYPTO_secure_allocated(secret)) {
        OPENSSL_secure_clear_free(secret, size);
        secret = NULL;
    }
    if (!secret) {
        (void)kw_fail(err, KW_NO_MEMORY,
                      "The memory locked for secrets is used up; raise the locked-memory limit "
                      "(LimitMEMLOCK= of a systemd unit, ulimit -l in a shell) or use fewer keys");
        return NULL;
    }
    secret->capacity = capacity;
    return secret;
}

/* Constants are returned, not what kw_fail gives: the compiler then sees that KW_OK means a secret,
 * and does not warn of a NULL one when it optimises the whole program. */
enum kw_status kw_secret_new(size_t capacity, struct kw_secret **ret_secret, struct kw_error *err)
{
    if (capacity > KW_SECRET_MAX) {
        (void)kw_fail(err, KW_FAULT,
                      "A secret of %zu bytes was asked for, more than %d; this is a fault of "
                      "Keyward",
                      capacity, KW_SECRET_MAX);
        return KW_FAULT;
    }
    struct kw_secret *secret = allocate(capacity, err);
    if (!secret)
        return KW_NO_MEMORY;
    *ret_secret = secret;
    return KW_OK;
}

enum kw_status kw_secret_from(const void *data, size_t len, struct kw_secret **ret_secret,
                              struct kw_error *err)
{
    struct kw_secret *secret = NULL;
    enum kw_status status = kw_secret_new(len, &secret, err);
    if (status != KW_OK)
        return status;
    if (len > 0)
        memcpy(secret->data, data, len);
    secret->len = len;
    *ret_secret = secret;
    return KW_OK;
}

void kw_secret_free(struct kw_secret *secret)
{
    if (secret)
        OPENSSL_secure_clear_free(secret, sizeof(*secret) + secret->capacity);
}

uint8_t *kw_secret_data(struct kw_secret *secret)
{
    return secret->data;
}

const uint8_t *kw_secret_bytes(const struct kw_secret *secret)
{
    return secret->data;
}

size_t kw_secret_len(const struct kw_secret *secret)
{
    return secret->len;
}

size_t kw_secret_capacity(const struct kw_secret *secret)
{
    return secret->capacity;
}

void kw_secret_set_len(struct kw_secret *secret, size_t len)
{
    if (len > secret->capacity)
        abort(); /* not assert: release builds must stop here too */
    kw_wipe(secret->data + len, secret->capacity - len);
    secret->len = len;
}

bool kw_secret_equal(const struct kw_secret *a, const struct kw_secret *b)
{
    return a->len == b->len && CRYPTO_memcmp(a->data, b->data, a->len) == 0;
}

/* Fills the secret up to its capacity at most. A byte at a time: what follows the line on a pipe
 * belongs to others. */
static enum kw_status read_bytes(int fd, bool one_line, const char *what, struct kw_secret *secret,
                                 struct kw_error *err)
{
    while (secret->len < secret->capacity) {
        ssize_t got = read(fd, secret->data + secret->len, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return kw_fail_errno(err, KW_READ, errno, "%s can't be read", what);
        if (got == 0)
            return KW_OK;
        if (one_line && secret->data[secret->len] == '\n') {
            bool has_cr = secret->len > 0 && secret->data[secret->len - 1] == '\r';
            kw_secret_set_len(secret, secret->len - has_cr);
            return KW_OK;
        }
        secret->len++;
    }
    return KW_OK;
}

enum kw_status kw_secret_read(int fd, size_t max, bool one_line, const char *what,
                              struct kw_secret **ret_secret, struct kw_error *err)
{
    if (max > KW_SECRET_MAX)
        return kw_fail(err, KW_FAULT,
                       "%s may not have more than %d bytes; this is a fault of Keyward", what,
                       KW_SECRET_MAX);
    struct kw_secret *secret = allocate(max + 2, err); /* "\r\n", or to see that it is over */
    if (!secret)
        return KW_NO_MEMORY;
    enum kw_status status = read_bytes(fd, one_line, what, secret, err);
    if (status == KW_OK && secret->len > max)
        status =
            kw_fail(err, KW_CONFIG, "%s is longer than %zu bytes; give the right one", what, max);
    if (status != KW_OK) {
        kw_secret_free(secret);
        return status;
    }
    *ret_secret = secret;
    return KW_OK;
}

void kw_wipe(void *data, size_t len)
{
    if (len > 0)
        OPENSSL_cleanse(data, len);
}
