/* A program that uses the library for long: for each line of its input, the path of a drop, it
 * streams the drop's first data file and says how that ended. Usage: kw_stream CONFIG */
#include <stdio.h>
#include <string.h>

#include <keyward/keyward.h>

static const char *first_file(const struct kw_drop *drop)
{
    for (size_t i = 0; i < kw_drop_file_count(drop); i++)
        if (kw_drop_file_at(drop, i)->kind == KW_FILE_DATA)
            return kw_drop_file_at(drop, i)->path;
    return "";
}

static enum kw_status stream(struct kw_keyring *keyring, const char *path, size_t *ret_bytes,
                             struct kw_error *err)
{
    char buffer[4096];
    size_t len = 1;
    struct kw_drop *drop = NULL;
    struct kw_plain *plain = NULL;
    enum kw_status status = kw_drop_open(path, &drop, err);
    if (!status)
        status = kw_plain_open(keyring, drop, first_file(drop), &plain, err);
    while (!status && len > 0) {
        status = kw_plain_read(plain, buffer, sizeof(buffer), &len, err);
        *ret_bytes += status ? 0 : len;
    }
    kw_plain_free(plain);
    kw_drop_free(drop);
    return status;
}

int main(int argc, char **argv)
{
    char line[512];
    struct kw_error err;
    struct kw_keyring *keyring = NULL;
    const struct kw_keyring_options options = {.config_file = argc == 2 ? argv[1] : NULL};
    if (kw_keyring_open(&options, &keyring, &err)) {
        printf("failed: %s\n", err.message);
        return 1;
    }
    while (fgets(line, sizeof(line), stdin)) {
        size_t bytes = 0;
        line[strcspn(line, "\n")] = '\0';
        if (stream(keyring, line, &bytes, &err))
            printf("%s: %s\n", kw_status_name(err.status), err.message);
        else
            printf("ok %zu\n", bytes);
        (void)fflush(stdout);
    }
    kw_keyring_free(keyring);
    return 0;
}
