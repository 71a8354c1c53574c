/* The bare token: what any program does at least that wants the same of it.
 *
 *     bench_token unwrap MODULE LABEL PIN-FILE WRAPPED SESSIONS [NAME]
 *     bench_token find MODULE LABEL PIN-FILE
 *     bench_token read MODULE LABEL PIN-FILE
 *
 * unwrap: initialise, log in, find the key with the id "cafe0000", or with the label NAME, and
 * C_Decrypt (RSAES-OAEP, SHA-1) of every 256 bytes of WRAPPED, in so many sessions with a thread
 * each; prints how many seconds that took alone. find: initialise,
 * log in, and one search for all private keys; read: and id, label and modulus of each. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cryptoki.h"
#include "wrapped.h"

#define SESSIONS_MAX 64
#define KEYS_MAX     100000

static struct bench_token token;
static CK_OBJECT_HANDLE key;
static uint8_t *wrapped;
static size_t wrapped_count;
static size_t session_count;

/* Every session_count-th, from number `first` on. */
static void *unwrap_share(void *first)
{
    CK_RSA_PKCS_OAEP_PARAMS oaep = {
        .hashAlg = CKM_SHA_1, .mgf = CKG_MGF1_SHA1, .source = CKZ_DATA_SPECIFIED};
    CK_MECHANISM mechanism = {CKM_RSA_PKCS_OAEP, &oaep, sizeof(oaep)};
    CK_SESSION_HANDLE session = bench_session(&token, 0);
    for (size_t i = (size_t)first; i < wrapped_count; i += session_count) {
        CK_BYTE plain[BENCH_WRAPPED];
        CK_ULONG len = sizeof(plain);
        bench_check(token.functions->C_DecryptInit(session, &mechanism, key), "C_DecryptInit");
        bench_check(token.functions->C_Decrypt(session, wrapped + i * BENCH_WRAPPED, BENCH_WRAPPED,
                                               plain, &len),
                    "C_Decrypt");
        if (len != 32 || memcmp(plain, &i, sizeof(i)) != 0)
            bench_fail("comparing a data key", len);
    }
    return NULL;
}

static double now_s(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0)
        bench_fail("clock_gettime", 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void unwrap(char *name)
{
    static const CK_BYTE id[] = {0xca, 0xfe, 0x00, 0x00};
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof(class)}, {CKA_ID, (void *)id, sizeof(id)}};
    pthread_t threads[SESSIONS_MAX];
    if (name)
        wanted[1] = (CK_ATTRIBUTE){CKA_LABEL, name, strlen(name)};
    if (bench_find(&token, wanted, 2, &key, 1) != 1)
        bench_fail("finding one key", 0);
    double started = now_s();
    for (size_t i = 0; i < session_count; i++)
        if (pthread_create(&threads[i], NULL, unwrap_share, (void *)i) != 0)
            bench_fail("pthread_create", i);
    for (size_t i = 0; i < session_count; i++)
        if (pthread_join(threads[i], NULL) != 0)
            bench_fail("pthread_join", i);
    printf("%.3f\n", now_s() - started);
}

static void find(int also_read)
{
    static CK_OBJECT_HANDLE handles[KEYS_MAX];
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted = {CKA_CLASS, &class, sizeof(class)};
    size_t count = bench_find(&token, &wanted, 1, handles, KEYS_MAX);
    for (size_t i = 0; also_read && i < count; i++) {
        CK_BYTE id[64], label[128], modulus[512];
        CK_ATTRIBUTE values[] = {{CKA_ID, id, sizeof(id)},
                                 {CKA_LABEL, label, sizeof(label)},
                                 {CKA_MODULUS, modulus, sizeof(modulus)}};
        bench_check(token.functions->C_GetAttributeValue(token.session, handles[i], values, 3),
                    "C_GetAttributeValue");
    }
    printf("%zu\n", count);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        bench_fail("reading the arguments", (unsigned long)argc);
    int unwraps = strcmp(argv[1], "unwrap") == 0 && (argc == 7 || argc == 8);
    if (unwraps) {
        wrapped = bench_read_wrapped(argv[5], &wrapped_count);
        if (!wrapped)
            bench_fail(argv[5], 0);
        session_count = strtoul(argv[6], NULL, 10);
        if (session_count == 0 || session_count > SESSIONS_MAX)
            bench_fail("reading SESSIONS", session_count);
    }
    bench_open(&token, argv[2], argv[3], argv[4], 0);
    if (unwraps)
        unwrap(argc == 8 ? argv[7] : NULL);
    else
        find(strcmp(argv[1], "read") == 0);
    bench_close(&token);
    free(wrapped);
    return 0;
}
