/* How many records a second so many threads of one process put on an audit trail, each waiting
 * until its own is on the disk. `bench_appends DIR THREADS SECONDS` */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "audit/audit.h"

#define THREADS_MAX 256

static struct kw_trail *trail;
static atomic_bool over;
static atomic_ulong appended;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void *append(void *unused)
{
    (void)unused;
    struct kw_error err;
    const struct kw_deed deed = {
        .phase = KW_INTENT,
        .op = "unwrap",
        .request = {.client = "bench", .request = "00112233445566778899aabbccddeeff"},
        .key = {.token = "token", .serial = "0123456789abcdef", .label = "bench", .id = "00ff"},
    };
    while (!atomic_load(&over)) {
        if (kw_trail_append(trail, &deed, 1, NULL, &err))
            die(err.message);
        (void)atomic_fetch_add(&appended, 1);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS_MAX];
    struct kw_crypto *crypto = NULL;
    struct kw_error err;
    unsigned long count = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    unsigned long seconds = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    if (count == 0 || count > THREADS_MAX || seconds == 0)
        die("usage: bench_appends DIR THREADS SECONDS");
    const struct kw_trail_options options = {.dir = argv[1]};
    if (kw_crypto_new(false, &crypto, &err) || kw_trail_open(crypto, &options, &trail, &err))
        die(err.message);
    for (unsigned long i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, append, NULL) != 0)
            die("no thread can be made");
    (void)sleep((unsigned)seconds);
    atomic_store(&over, true);
    for (unsigned long i = 0; i < count; i++)
        if (pthread_join(threads[i], NULL) != 0)
            die("a thread can't be joined");
    printf("%lu records/s\n", atomic_load(&appended) / seconds);
    kw_trail_free(trail);
    kw_crypto_free(crypto);
    return 0;
}
