#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "support.h"

struct kw_crypto *crypto;
char scratch[256];
char dir[300];

static enum kw_status sign(void *context, const void *data, size_t len,
                           uint8_t signature[KW_SIGNATURE_MAX], size_t *ret_len,
                           struct kw_error *err)
{
    struct test_signer *signer = context;
    EVP_PKEY_CTX *how = NULL;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    size_t signature_len = KW_SIGNATURE_MAX;
    assert_non_null(md);
    signer->calls++;
    assert_int_equal(EVP_DigestSignInit(md, &how, EVP_sha256(), NULL, signer->pkey), 1);
    if (EVP_PKEY_is_a(signer->pkey, "RSA")) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(how, RSA_PSS_SALTLEN_DIGEST), 1);
    }
    assert_int_equal(EVP_DigestSign(md, signature, &signature_len, data, len), 1);
    EVP_MD_CTX_free(md);
    *ret_len = signature_len;
    (void)err;
    return KW_OK;
}

void signer_make(struct test_signer *signer, bool rsa)
{
    BIO *bio = BIO_new(BIO_s_mem());
    *signer = (struct test_signer){.calls = 0};
    signer->pkey = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    assert_non_null(signer->pkey);
    assert_int_equal(PEM_write_bio_PUBKEY(bio, signer->pkey), 1);
    int len = BIO_read(bio, signer->pem, sizeof(signer->pem) - 1);
    assert_true(len > 0);
    BIO_free(bio);
    signer->signer = (struct kw_note_signer){.pem = signer->pem,
                                             .pem_len = (size_t)len,
                                             .serial = "12ab",
                                             .sign = sign,
                                             .context = signer};
}

void signer_free(struct test_signer *signer)
{
    EVP_PKEY_free(signer->pkey);
}

struct kw_public_key *signer_key(const struct test_signer *signer)
{
    struct kw_public_key *key = NULL;
    struct kw_error err;
    assert_ok(
        kw_public_key_from_pem(crypto, signer->pem, signer->signer.pem_len, "key", &key, &err));
    return key;
}

int setup_group(void **state)
{
    (void)state;
    return kw_crypto_new(false, &crypto, NULL) == KW_OK ? 0 : 1;
}

int teardown_group(void **state)
{
    (void)state;
    kw_crypto_free(crypto);
    return 0;
}

int setup_scratch(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    (void)snprintf(scratch, sizeof(scratch), "%s/keyward-audit-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(scratch))
        return 1;
    (void)snprintf(dir, sizeof(dir), "%s/trail", scratch);
    return 0;
}

int teardown_scratch(void **state)
{
    (void)state;
    shell("rm -rf '%s'", scratch);
    return 0;
}

struct kw_trail *must_open(uint64_t rotate_bytes)
{
    const struct kw_trail_options options = {.dir = dir, .rotate_bytes = rotate_bytes};
    struct kw_trail *trail = NULL;
    struct kw_error err;
    assert_ok(kw_trail_open(crypto, &options, &trail, &err));
    return trail;
}

void must_append(struct kw_trail *trail, size_t count)
{
    struct kw_deed deeds[KW_DEEDS_MAX];
    struct kw_error err;
    for (size_t i = 0; i < count; i++)
        deeds[i] = (struct kw_deed){.phase = i % 2 ? KW_OUTCOME : KW_INTENT,
                                    .op = "unwrap",
                                    .run = "00112233445566778899aabbccddeeff",
                                    .key = {.token = "hsm", .serial = "12ab", .label = "key"},
                                    .drop = "drop/of/the/day",
                                    .file = "part-0001.json",
                                    .has_bytes = true,
                                    .bytes = i};
    assert_ok(kw_trail_append(trail, deeds, count, NULL, &err));
}

void must_checkpoint(struct kw_trail *trail, struct test_signer *signer)
{
    struct kw_error err;
    assert_ok(kw_trail_checkpoint(trail, &signer->signer, &err));
}

const char *in_trail(const char *name)
{
    static char paths[4][400];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

void read_text(const char *path, char **ret_text, size_t *ret_len)
{
    struct kw_buffer buffer;
    struct kw_error err;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_ok(kw_read_file(fd, (size_t)1 << 28, path, KW_READ, &buffer, &err));
    kw_close(&fd);
    *ret_text = (char *)buffer.data;
    *ret_len = buffer.len;
}

void write_text(const char *path, const char *text, size_t len)
{
    struct kw_error err;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    assert_true(fd >= 0);
    assert_ok(kw_write_full(fd, text, len, path, &err));
    kw_close(&fd);
}

void shell(const char *format, ...)
{
    char command[1024];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    assert_true(len > 0 && (size_t)len < sizeof(command));
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}
