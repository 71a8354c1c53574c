/* A process that goes on: opens the drops that it reads the paths of, one a line, all with one
 * keyring. For each it writes a line: the exit code that a program would end with, and what is in
 * the first file of data, or the error. tests/tokens/outlast.py takes the token away meanwhile. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <keyward/keyward.h>

#define SHOWN 200 /* bytes; the files are shorter */

static const char *first_file(const struct kw_drop *drop)
{
    for (size_t i = 0; i < kw_drop_file_count(drop); i++)
        if (kw_drop_file_at(drop, i)->kind == KW_FILE_DATA)
            return kw_drop_file_at(drop, i)->path;
    return "";
}

static enum kw_status read_drop(struct kw_keyring *keyring, const char *path, char text[SHOWN + 1],
                                struct kw_error *err)
{
    struct kw_drop *drop = NULL;
    struct kw_plain *plain = NULL;
    size_t used = 0, len = 0;
    enum kw_status status = kw_drop_open(path, &drop, err);
    if (!status)
        status = kw_plain_open(keyring, drop, first_file(drop), &plain, err);
    while (!status && used < SHOWN) {
        status = kw_plain_read(plain, text + used, SHOWN - used, &len, err);
        if (status || len == 0)
            break;
        used += len;
    }
    text[used] = '\0';
    text[strcspn(text, "\n")] = '\0';
    kw_plain_free(plain);
    kw_drop_free(drop);
    return status;
}

int main(int argc, char **argv)
{
    char path[4096], text[SHOWN + 1];
    struct kw_keyring *keyring = NULL;
    struct kw_error err = {.status = KW_OK};
    if (argc != 2) {
        fprintf(stderr, "usage: %s CONFIG\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    const struct kw_keyring_options options = {.config_file = argv[1], .token = "t"};
    if (kw_keyring_open(&options, &keyring, &err) != KW_OK) {
        fprintf(stderr, "%s\n", err.message);
        return kw_exit_code(err.status);
    }
    while (fgets(path, sizeof(path), stdin)) {
        path[strcspn(path, "\n")] = '\0';
        enum kw_status status = read_drop(keyring, path, text, &err);
        printf("%d %s\n", kw_exit_code(status), status ? err.message : text);
        fflush(stdout);
    }
    kw_keyring_free(keyring);
    return 0;
}
