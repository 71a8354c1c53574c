/* Makes trails for others to look at: tool DIR KIND BATCHES PER-BATCH ROTATE-BYTES [CHECKPOINTS].
 * KIND is ec or rsa; a checkpoint is signed after each batch, or after every CHECKPOINTS batches.
 */
#include "support.h"

#include "audit/internal.h"

static int usage(void)
{
    (void)fprintf(stderr, "usage: tool DIR ec|rsa BATCHES PER-BATCH ROTATE-BYTES [CHECKPOINTS]\n");
    return 2;
}

static void make(const char *where, bool rsa, unsigned long batches, size_t each,
                 uint64_t rotate_bytes, unsigned long checkpoints)
{
    static struct test_signer signer;
    (void)snprintf(dir, sizeof(dir), "%s", where);
    signer_make(&signer, rsa);
    struct kw_trail *trail = must_open(rotate_bytes);
    for (unsigned long i = 1; i <= batches; i++) {
        must_append(trail, each);
        if (i % checkpoints == 0)
            must_checkpoint(trail, &signer);
    }
    kw_trail_free(trail);
    signer_free(&signer);
}

int main(int argc, char **argv)
{
    if (argc < 6 || argc > 7 || setup_group(NULL))
        return usage();
    unsigned long checkpoints = argc == 7 ? strtoul(argv[6], NULL, 10) : 1;
    make(argv[1], strcmp(argv[2], "rsa") == 0, strtoul(argv[3], NULL, 10),
         strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10), checkpoints ? checkpoints : 1);
    return teardown_group(NULL);
}
