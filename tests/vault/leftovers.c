/* Unwraps once, closes the vault, and looks in all of the process's memory for what must not be
 * there any more. Usage: leftovers URL NAME VERSION WRAPPED MASKED..., all but the first three in
 * hex; each MASKED is XORed with MASK. The first of them is what is unwrapped. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "memory_search.h"
#include "vault/vault.h"

#define WANTED_MAX 8

static struct wanted wanted[WANTED_MAX];
static size_t wanted_count;

static int fail(const char *what)
{
    printf("%s\n", what);
    return 1;
}

/* How many of them there are, each once. */
static size_t count_found(void)
{
    size_t found = 0;
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0 || search_memory(wanted, wanted_count) != 0)
        return SIZE_MAX;
    for (size_t i = 0; i < wanted_count; i++)
        found += wanted[i].found > 0;
    return found;
}

static struct kw_secret *unwrap(char **argv, struct kw_vault **ret_vault, struct kw_error *err)
{
    const struct kw_vault_options options = {.url = argv[1]};
    uint8_t wrapped[KW_RSA_MAX_BYTES];
    size_t len = 0, count = 0;
    struct kw_vault_key *keys = NULL;
    struct kw_secret *secret = NULL;
    if (!kw_hex_decode(argv[4], strlen(argv[4]), wrapped, sizeof(wrapped), &len) ||
        kw_secret_start(err) || kw_vault_open(&options, ret_vault, err) ||
        kw_vault_find(*ret_vault, argv[2], argv[3], &keys, &count, err))
        return NULL;
    (void)kw_vault_unwrap(*ret_vault, &keys[0], KW_RSA_OAEP, wrapped, len, &secret, err);
    free(keys);
    return secret;
}

int main(int argc, char **argv)
{
    struct kw_vault *vault = NULL;
    struct kw_error err = {.message = ""};
    for (int i = 5; i < argc && wanted_count < WANTED_MAX; i++, wanted_count++) {
        struct wanted *next = &wanted[wanted_count];
        next->name = "what is looked for";
        if (!kw_hex_decode(argv[i], strlen(argv[i]), next->masked, sizeof(next->masked),
                           &next->len))
            return 2;
    }
    if (wanted_count == 0)
        return 2;
    struct kw_secret *secret = unwrap(argv, &vault, &err);
    if (!secret)
        return fail(err.message);
    size_t before = count_found();
    if (before == 0 || before == SIZE_MAX || wanted[0].found == 0)
        return fail("what is in use is not found: the search is of no use");
    kw_secret_free(secret);
    kw_vault_free(vault);
    size_t after = count_found();
    for (size_t i = 0; i < wanted_count; i++)
        if (wanted[i].found > 0)
            printf("number %zu is still there, %lu times\n", i, wanted[i].found);
    return after == 0 ? 0 : 1;
}
