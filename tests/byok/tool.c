/* One step of a transfer on the token that the environment names, for open_with_openssl.py. Prints
 * what it found, or the status and the message of what failed; the exit code is 1 then. */
#include "../pkcs11/fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "byok/byok.h"

#define KID "https://v.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef"

static int failed(const struct kw_error *err)
{
    printf("%s: %s\n", kw_status_name(err->status), err->message);
    return 1;
}

static void read_all(const char *path, struct kw_buffer *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(kw_read_file(fd, text->max, path, KW_READ, text, NULL), KW_OK);
    kw_close(&fd);
}

static void print_modulus(const struct kw_token_key *key)
{
    char text[2 * KW_RSA_MAX_BYTES + 1];
    kw_hex_encode(key->public.modulus, key->public.modulus_len, text);
    printf("%s\n", text);
}

static struct kw_key_plan plan_of(const char *label)
{
    return (struct kw_key_plan){
        .label = label, .id = (const uint8_t *)label, .id_len = strlen(label), .extractable = true};
}

/* put LABEL PKCS8.der */
static int put(struct kw_token *token, char **argv)
{
    struct kw_buffer der = KW_BUFFER_INIT(KW_SECRET_MAX);
    struct kw_secret *pkcs8 = NULL;
    struct kw_token_key key;
    struct kw_error err = {.status = KW_OK};
    const struct kw_key_plan plan = plan_of(argv[0]);
    read_all(argv[1], &der);
    assert_int_equal(kw_secret_from(der.data, der.len, &pkcs8, NULL), KW_OK);
    enum kw_status status = kw_token_import_key(token, &plan, pkcs8, &key, &err);
    kw_secret_free(pkcs8);
    kw_buffer_cleanup(&der);
    if (status)
        return failed(&err);
    print_modulus(&key);
    return 0;
}

/* out LABEL KEK.pem OUT.byok */
static int out(struct kw_token *token, char **argv)
{
    struct kw_buffer pem = KW_BUFFER_INIT(8192), text = KW_BUFFER_INIT(KW_BYOK_MAX_BYTES);
    struct kw_byok byok = {
        .kid = KID, .generator = "test", .ciphertext = KW_BUFFER_INIT(KW_TRANSFER_MAX)};
    const struct kw_token_key key = hsm_find_key(token, argv[0]);
    struct kw_rsa_public kek;
    const char *mechanism = "";
    struct kw_error err = {.status = KW_OK};
    read_all(argv[1], &pem);
    enum kw_status status =
        kw_rsa_public_from_pem(hsm.crypto, pem.data, pem.len, "kek", &kek, &err);
    if (!status)
        status = kw_token_wrap_key(token, &key, &kek, &byok.ciphertext, &mechanism, &err);
    if (!status)
        status = kw_byok_write(&byok, &text, &err);
    if (!status) {
        FILE *file = fopen(argv[2], "w");
        assert_non_null(file);
        assert_int_equal(fwrite(text.data, 1, text.len, file), text.len);
        assert_int_equal(fclose(file), 0);
        printf("%s\n", mechanism);
    }
    kw_buffer_cleanup(&text);
    kw_buffer_cleanup(&pem);
    kw_byok_cleanup(&byok);
    return status ? failed(&err) : 0;
}

/* in FILE.byok KEK LABEL */
static int in(struct kw_token *token, char **argv)
{
    struct kw_buffer text = KW_BUFFER_INIT(KW_BYOK_MAX_BYTES);
    struct kw_byok byok = {.ciphertext = KW_BUFFER_INIT(KW_TRANSFER_MAX)};
    const struct kw_token_key kek = hsm_find_key(token, argv[1]);
    const struct kw_key_plan plan = plan_of(argv[2]);
    struct kw_token_key key;
    struct kw_error err = {.status = KW_OK};
    read_all(argv[0], &text);
    enum kw_status status =
        kw_byok_parse((const char *)text.data, text.len, "the file", &byok, &err);
    if (!status)
        status = kw_token_unwrap_key(token, &kek, byok.ciphertext.data, byok.ciphertext.len, &plan,
                                     &key, &err);
    kw_byok_cleanup(&byok);
    kw_buffer_cleanup(&text);
    if (status)
        return failed(&err);
    key = hsm_find_key(token, argv[2]);
    hsm_assert_unwraps(token, &key, KW_RSA_OAEP);
    print_modulus(&key);
    return 0;
}

/* delete LABEL */
static int delete (struct kw_token *token, char **argv)
{
    const struct kw_token_key key = hsm_find_key(token, argv[0]);
    struct kw_error err = {.status = KW_OK};
    return kw_token_destroy_key(token, &key, &err) ? failed(&err) : 0;
}

/* count: all objects of the token */
static int count(struct kw_token *token, char **argv)
{
    CK_OBJECT_HANDLE handles[4096];
    CK_ULONG found = 0;
    CK_FUNCTION_LIST *functions = hsm_functions();
    CK_SESSION_HANDLE session = hsm_session();
    (void)token;
    (void)argv;
    assert_int_equal(functions->C_FindObjectsInit(session, NULL, 0), CKR_OK);
    assert_int_equal(functions->C_FindObjects(session, handles, KW_COUNT(handles), &found), CKR_OK);
    printf("%lu\n", found);
    return 0;
}

static const struct {
    const char *name;
    int arguments;
    int (*run)(struct kw_token *token, char **argv);
} commands[] = {
    {"put", 2, put}, {"out", 3, out}, {"in", 3, in}, {"delete", 1, delete}, {"count", 0, count},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < KW_COUNT(commands); i++) {
        if (strcmp(argv[1], commands[i].name) != 0 || argc != commands[i].arguments + 2)
            continue;
        assert_int_equal(hsm_setup(NULL), 0);
        struct kw_token *token = hsm_open(0);
        int result = commands[i].run(token, argv + 2);
        kw_token_free(token);
        kw_crypto_free(hsm.crypto);
        return result;
    }
    fprintf(stderr, "usage: %s put|out|in|delete|count ARGUMENT...\n", argv[0]);
    return 2;
}
