/* Reads a private key from a file, takes it apart, gives everything back, and looks for what is
 * left of it in memory.
 *
 *     keyfile_memory FILE MASKED-PASSPHRASE MASKED-NUMBER...
 *
 * In hex, and masked as memory_search.h says. Prints how many pieces of the numbers were found
 * while they were in use, and how many afterwards. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/crypto.h"
#include "memory_search.h"

/* Bytes: that many of a number together are no accident. */
#define WINDOW      16
#define STEP        8
#define WINDOWS_MAX 1024

static struct wanted wanted[WINDOWS_MAX];
static size_t wanted_count;

/* Pieces of the number as it is, and as OpenSSL keeps it on this machine: backwards. */
static int want(const char *hex)
{
    uint8_t masked[512];
    size_t len = 0;
    if (!kw_hex_decode(hex, strlen(hex), masked, sizeof(masked), &len))
        return -1;
    for (int backwards = 0; backwards < 2; backwards++)
        for (size_t at = 0; at + WINDOW <= len; at += STEP) {
            if (wanted_count == WINDOWS_MAX)
                return -1;
            struct wanted *window = &wanted[wanted_count++];
            window->len = WINDOW;
            for (size_t i = 0; i < WINDOW; i++)
                window->masked[i] = backwards ? masked[len - 1 - at - i] : masked[at + i];
        }
    return 0;
}

static enum kw_status give(void *context, struct kw_secret **ret_passphrase, struct kw_error *err)
{
    const char *hex = context;
    uint8_t masked[256];
    size_t len = 0;
    if (!kw_hex_decode(hex, strlen(hex), masked, sizeof(masked), &len))
        return KW_FAULT;
    enum kw_status status = kw_secret_new(len, ret_passphrase, err);
    if (status)
        return status;
    for (size_t i = 0; i < len; i++)
        kw_secret_data(*ret_passphrase)[i] = masked[i] ^ MASK;
    kw_secret_set_len(*ret_passphrase, len);
    return KW_OK;
}

static int report(const char *when)
{
    unsigned long found = 0;
    if (search_memory(wanted, wanted_count))
        return -1;
    for (size_t i = 0; i < wanted_count; i++)
        found += wanted[i].found;
    printf("%s %lu\n", when, found);
    return 0;
}

static enum kw_status read_key(struct kw_crypto *crypto, const char *path, char *passphrase,
                               struct kw_secret **ret_pkcs8, struct kw_error *err)
{
    uint8_t *data = malloc(KW_KEY_FILE_MAX);
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (!data || fd < 0)
        return KW_READ;
    enum kw_status status = kw_read_full(fd, data, KW_KEY_FILE_MAX, path, &len, err);
    kw_close(&fd);
    const struct kw_key_file file = {
        .data = data, .len = len, .what = path, .ask = give, .context = passphrase};
    if (!status)
        status = kw_key_file_read(crypto, &file, ret_pkcs8, err);
    kw_wipe(data, KW_KEY_FILE_MAX);
    free(data);
    return status;
}

int main(int argc, char **argv)
{
    struct kw_crypto *crypto = NULL;
    struct kw_secret *pkcs8 = NULL;
    struct kw_rsa_private key = {.numbers = {NULL}};
    struct kw_error err = {.message = ""};
    if (argc < 4)
        return 2;
    for (int i = 3; i < argc; i++)
        if (want(argv[i]))
            return 2;
    if (kw_secret_start(&err) || kw_crypto_new(false, &crypto, &err) ||
        read_key(crypto, argv[1], argv[2], &pkcs8, &err) ||
        kw_rsa_private_from_pkcs8(crypto, pkcs8, &key, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    if (report("during"))
        return 1;
    kw_rsa_private_cleanup(&key);
    kw_secret_free(pkcs8);
    kw_crypto_free(crypto);
    return report("after") ? 1 : 0;
}
