/* Keyward's side of the bare C_Decrypt loop in token.c: every 256 bytes of WRAPPED, with one
 * keyring and so many threads. `bench_unwraps CONFIG TOKEN WRAPPED THREADS` */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keys/keys.h"
#include "wrapped.h"

#define THREADS_MAX 64

static struct kw_keyring *keyring;
static const struct kw_token_key *key;
static struct kw_unwrap_policy policy;
static uint8_t *wrapped;
static size_t wrapped_count;
static size_t thread_count;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void check(enum kw_status status, const struct kw_error *err)
{
    if (status)
        die(err->message);
}

/* Every thread_count-th, from number `first` on. */
static void *unwrap_share(void *first)
{
    const struct kw_purpose purpose = {.run = NULL};
    struct kw_error err;
    for (size_t i = (size_t)first; i < wrapped_count; i += thread_count) {
        struct kw_data_key data_key = {.secret = NULL};
        check(kw_keyring_unwrap(keyring, key, &policy, &purpose, wrapped + i * BENCH_WRAPPED,
                                BENCH_WRAPPED, &data_key, &err),
              &err);
        if (memcmp(kw_secret_bytes(data_key.secret), &i, sizeof(i)) != 0)
            die("a data key is not the one that was wrapped");
        kw_data_key_cleanup(&data_key);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS_MAX];
    struct kw_error err;
    thread_count = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
    if (thread_count == 0 || thread_count > THREADS_MAX)
        die("usage: bench_unwraps CONFIG TOKEN WRAPPED THREADS");
    const struct kw_keyring_options options = {.config_file = argv[1], .token = argv[2]};
    wrapped = bench_read_wrapped(argv[3], &wrapped_count);
    if (!wrapped)
        die(argv[3]);
    check(kw_keyring_open(&options, &keyring, &err), &err);
    check(kw_unwrap_policy_parse(keyring, "RSA-OAEP", &policy, &err), &err);
    check(kw_keyring_find_to_unwrap(keyring, "cafe0000", NULL, &key, &err), &err);
    for (size_t i = 0; i < thread_count; i++)
        if (pthread_create(&threads[i], NULL, unwrap_share, (void *)i) != 0)
            die("no thread can be made");
    for (size_t i = 0; i < thread_count; i++)
        if (pthread_join(threads[i], NULL) != 0)
            die("a thread can't be joined");
    kw_keyring_free(keyring);
    free(wrapped);
    return 0;
}
