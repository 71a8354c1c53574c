/* Counts the lines of every file of a drop, one after the other, without a plaintext file on the
 * disk. Shows the keyring, the drop, and a file as a stream.
 *
 *     cc example.c $(pkg-config --cflags --libs keyward) -o count-lines
 *     ./count-lines DROP [URI-or-NAME-of-token] */
#include <signal.h>
#include <stdio.h>

#include <keyward/keyward.h>

static enum kw_status count_lines(struct kw_keyring *keyring, struct kw_drop *drop,
                                  const struct kw_drop_file *file, struct kw_error *err)
{
    static char buffer[65536];
    struct kw_plain *plain = NULL;
    unsigned long lines = 0;
    size_t len = 0;
    enum kw_status status = kw_plain_open(keyring, drop, file->path, &plain, err);
    while (!status && !(status = kw_plain_read(plain, buffer, sizeof(buffer), &len, err))) {
        if (len == 0)
            break;
        for (size_t i = 0; i < len; i++)
            lines += buffer[i] == '\n';
    }
    kw_plain_free(plain);
    /* The count means nothing until the stream has ended without an error. */
    if (!status)
        printf("%10lu  %s\n", lines, file->path);
    return status;
}

int main(int argc, char **argv)
{
    struct kw_keyring *keyring = NULL;
    struct kw_drop *drop = NULL;
    struct kw_error err;
    if (argc < 2) {
        fprintf(stderr, "usage: %s DROP [TOKEN]\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    const struct kw_keyring_options options = {.token = argc > 2 ? argv[2] : NULL};
    enum kw_status status = kw_keyring_open(&options, &keyring, &err);
    if (!status)
        status = kw_drop_open(argv[1], &drop, &err);
    for (size_t i = 0; !status && i < kw_drop_file_count(drop); i++) {
        const struct kw_drop_file *file = kw_drop_file_at(drop, i);
        if (file->kind == KW_FILE_DATA)
            status = count_lines(keyring, drop, file, &err);
    }
    if (status)
        fprintf(stderr, "%s\n", err.message);
    kw_drop_free(drop);
    kw_keyring_free(keyring);
    return kw_exit_code(status);
}
