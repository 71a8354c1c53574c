/* Unwraps with one vault by many threads, and compares what comes. Usage: threads URL NAME VERSION
 * WRAPPED SECRET, the last two in hex. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vault/vault.h"

#define THREADS 8
#define ROUNDS  40

static struct kw_vault *vault;
static struct kw_vault_key key;
static uint8_t wrapped[KW_RSA_MAX_BYTES], secret[64];
static size_t wrapped_len, secret_len;

static void *work(void *argument)
{
    struct kw_error *err = argument;
    for (int i = 0; i < ROUNDS; i++) {
        struct kw_secret *unwrapped = NULL;
        if (kw_vault_unwrap(vault, &key, KW_RSA_OAEP, wrapped, wrapped_len, &unwrapped, err))
            return NULL;
        bool same = kw_secret_len(unwrapped) == secret_len &&
                    memcmp(kw_secret_bytes(unwrapped), secret, secret_len) == 0;
        kw_secret_free(unwrapped);
        if (!same) {
            (void)kw_fail(err, KW_DAMAGED, "something else was unwrapped");
            return NULL;
        }
        if (i % 10 == 0)
            kw_vault_forget(vault);
        struct kw_vault_key *keys = NULL;
        size_t count = 0;
        if (kw_vault_find(vault, key.name, key.version, &keys, &count, err))
            return NULL;
        free(keys);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    struct kw_error errors[THREADS] = {{.status = KW_OK}}, err;
    int failed = 0;
    if (argc != 6 ||
        !kw_hex_decode(argv[4], strlen(argv[4]), wrapped, sizeof(wrapped), &wrapped_len) ||
        !kw_hex_decode(argv[5], strlen(argv[5]), secret, sizeof(secret), &secret_len))
        return 2;
    const struct kw_vault_options options = {.url = argv[1]};
    struct kw_vault_key *keys = NULL;
    size_t count = 0;
    if (kw_secret_start(&err) || kw_vault_open(&options, &vault, &err) ||
        kw_vault_find(vault, argv[2], argv[3], &keys, &count, &err)) {
        printf("%s\n", err.message);
        return 1;
    }
    key = keys[0];
    free(keys);
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, &errors[i]) != 0)
            return 1;
    for (size_t i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
        if (errors[i].status) {
            printf("%s\n", errors[i].message);
            failed = 1;
        }
    }
    kw_vault_free(vault);
    return failed;
}
