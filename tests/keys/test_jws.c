/* JSON Web Signatures: what OpenSSL signed is read, and nothing that differs from it by a byte. */
#include "signed.h"

#define PAYLOAD "{\"a\":1}"
#define PS256   "{\"alg\":\"PS256\",\"kid\":\"6b6579\"}"
#define RS256   "{\"alg\":\"RS256\",\"kid\":\"6b6579\"}"

static struct kw_crypto *crypto;
static struct signer signer, stranger;

static int set_up(void **state)
{
    (void)state;
    make_signer_key(&signer, "key");
    make_signer_key(&stranger, "other");
    return kw_secret_start(NULL) || kw_crypto_new(false, &crypto, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    EVP_PKEY_free(signer.pkey);
    EVP_PKEY_free(stranger.pkey);
    kw_crypto_free(crypto);
    return 0;
}

static enum kw_status find(void *context, const char *kid, const struct kw_token_key **ret_signer,
                           struct kw_error *err)
{
    unsigned *asked = context;
    (void)err;
    (*asked)++;
    *ret_signer = strcmp(kid, "6b6579") == 0 ? &signer.key : NULL;
    return KW_OK;
}

/* NULL where it verifies; then the payload is added to *payload. */
static const char *verify(const char *jws, size_t len, struct kw_buffer *payload)
{
    unsigned asked = 0;
    char *exact = malloc(len ? len : 1); /* a read beyond its end is seen by a sanitizer */
    assert_non_null(exact);
    memcpy(exact, jws, len);
    const char *fault = NULL;
    assert_int_equal(kw_jws_verify(crypto, exact, len, find, &asked, payload, &fault, NULL), KW_OK);
    assert_true(asked <= 1);
    free(exact);
    return fault;
}

static void is_refused(const char *jws, size_t len, const char *words)
{
    struct kw_buffer payload = KW_BUFFER_INIT(KW_DATA_MAX);
    assert_int_equal(kw_buffer_append(&payload, "x", 1, NULL), KW_OK);
    const char *fault = verify(jws, len, &payload);
    if (!fault)
        fail_msg("verifies: %.*s", (int)len, jws);
    if (words && !strstr(fault, words))
        fail_msg("\"%s\" lacks \"%s\": %.*s", fault, words, (int)len, jws);
    assert_int_equal(payload.len, 1);
    kw_buffer_cleanup(&payload);
}

static void header_is_refused(const char *header, const char *words)
{
    char jws[8192];
    size_t len = make_jws(&signer, KW_PS256, header, PAYLOAD, strlen(PAYLOAD), jws);
    is_refused(jws, len, words);
}

static void what_openssl_signed(void **state)
{
    (void)state;
    static const char *const headers[] = {PS256, RS256};
    static const enum kw_signature_alg algs[] = {KW_PS256, KW_RS256};
    for (size_t i = 0; i < KW_COUNT(headers); i++) {
        char jws[2048];
        struct kw_buffer payload = KW_BUFFER_INIT(KW_DATA_MAX);
        assert_int_equal(kw_buffer_append(&payload, "before ", 7, NULL), KW_OK);
        size_t len = make_jws(&signer, algs[i], headers[i], PAYLOAD, strlen(PAYLOAD), jws);
        assert_null(verify(jws, len, &payload));
        assert_int_equal(payload.len, 7 + strlen(PAYLOAD));
        assert_memory_equal(payload.data, "before " PAYLOAD, payload.len);
        kw_buffer_cleanup(&payload);
        /* The header decides the algorithm, and is signed itself. */
        len = make_jws(&signer, algs[1 - i], headers[i], PAYLOAD, strlen(PAYLOAD), jws);
        is_refused(jws, len, "signature is wrong");
    }
}

static void each_byte_counts(void **state)
{
    (void)state;
    char jws[2048], changed[2048];
    size_t len = make_jws(&signer, KW_RS256, RS256, PAYLOAD, strlen(PAYLOAD), jws);
    for (size_t i = 0; i < len; i++) {
        static const char others[] = {'A', '_', '.', '=', '\0', ' ', '+'};
        for (size_t k = 0; k < sizeof(others); k++) {
            memcpy(changed, jws, len);
            changed[i] = others[k];
            if (changed[i] != jws[i])
                is_refused(changed, len, NULL);
        }
        memcpy(changed, jws, len);
        changed[i] ^= 0x01;
        is_refused(changed, len, NULL);
        changed[i] = (char)(jws[i] ^ 0x20);
        is_refused(changed, len, NULL);
        /* One less, one twice, and all that come before. */
        memmove(changed + i, jws + i + 1, len - i - 1);
        memcpy(changed, jws, i);
        is_refused(changed, len - 1, NULL);
        memcpy(changed, jws, i + 1);
        memcpy(changed + i + 1, jws + i, len - i);
        is_refused(changed, len + 1, NULL);
        is_refused(jws, i, NULL);
    }
}

static void algorithms_that_are_none_here(void **state)
{
    (void)state;
    static const char *const algs[] = {"none",  "None",  "NONE",  "",      "HS256", "RS1",
                                       "RS384", "PS512", "ES256", "ps256", "dir",   "RSA-OAEP"};
    for (size_t i = 0; i < KW_COUNT(algs); i++) {
        char header[128], jws[2048];
        snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"6b6579\"}", algs[i]);
        header_is_refused(header, "names no algorithm and key");
        /* Without a signature, as "none" has it. */
        size_t len = add_base64url(jws, 0, header, strlen(header));
        jws[len++] = '.';
        len = add_base64url(jws, len, PAYLOAD, strlen(PAYLOAD));
        jws[len++] = '.';
        is_refused(jws, len, "names no algorithm and key");
    }
    /* The signature itself may not be empty either. */
    char jws[2048];
    size_t len = make_jws(&signer, KW_PS256, PS256, PAYLOAD, strlen(PAYLOAD), jws);
    while (jws[len - 1] != '.')
        len--;
    is_refused(jws, len, "signature is wrong");
}

/* HS256 with the public key as the secret is what careless readers take. */
static void a_public_key_is_no_secret(void **state)
{
    (void)state;
    char jws[2048], header[] = "{\"alg\":\"HS256\",\"kid\":\"6b6579\"}";
    uint8_t mac[32];
    size_t mac_len = sizeof(mac), len = add_base64url(jws, 0, header, strlen(header));
    jws[len++] = '.';
    len = add_base64url(jws, len, PAYLOAD, strlen(PAYLOAD));
    const struct kw_rsa_public *public = &signer.key.public;
    assert_non_null(EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, public->modulus,
                              public->modulus_len, (const uint8_t *)jws, len, mac, sizeof(mac),
                              &mac_len));
    jws[len++] = '.';
    len = add_base64url(jws, len, mac, mac_len);
    is_refused(jws, len, "names no algorithm and key");
}

static void headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        const char *words;
    } rows[] = {
        {"{\"alg\":\"PS256\",\"kid\":\"6b657a\"}", "not on the token"},
        {"{\"alg\":\"PS256\",\"kid\":\"6B6579\"}", "not on the token"},
        {"{\"alg\":\"PS256\",\"kid\":\"key\"}", "not on the token"},
        {"{\"alg\":\"PS256\",\"kid\":\"\"}", "not on the token"},
        {"{\"alg\":\"PS256\"}", "names no algorithm and key"},
        {"{\"kid\":\"6b6579\"}", "names no algorithm and key"},
        {"{\"alg\":\"PS256\",\"kid\":\"6b6579\",\"typ\":\"JWT\"}", "names no algorithm and key"},
        {"{\"alg\":\"PS256\",\"kid\":\"6b6579\",\"b64\":false}", "names no algorithm and key"},
        {"{\"alg\":\"PS256\",\"kid\":\"6b6579\",\"crit\":\"b64\"}", "names no algorithm and key"},
        {"{\"alg\":\"PS256\",\"kid\":\"6b6579\",\"crit\":[\"b64\"]}", "header is damaged"},
        {"{\"alg\":\"PS256\",\"kid\":\"6b6579\",\"jwk\":{}}", "header is damaged"},
        {"{\"alg\":\"PS256\",\"alg\":\"none\",\"kid\":\"6b6579\"}", "header is damaged"},
        {"{\"alg\":\"PS256\",\"Alg\":\"none\",\"kid\":\"6b6579\"}", "header is damaged"},
        {"{\"alg\":256,\"kid\":\"6b6579\"}", "names no algorithm and key"},
        {"{\"alg\":\"PS256\",\"kid\":null}", "names no algorithm and key"},
        {"{\"ALG\":\"PS256\",\"kid\":\"6b6579\"}", "names no algorithm and key"},
        {"[\"PS256\",\"6b6579\"]", "names no algorithm and key"},
        {"\"PS256\"", "names no algorithm and key"},
        {"{}", "names no algorithm and key"},
        {"", "header is damaged"},
        {PS256 " x", "header is damaged"},
        {"{\"alg\":\"PS256\",\"kid\":\"6b6579\\u0000\"}", NULL},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++)
        header_is_refused(rows[i].header, rows[i].words);
    char header[KW_JWS_HEADER_MAX + 2];
    snprintf(header, sizeof(header), "{\"alg\":\"PS256\",\"kid\":\"%0*d\"}", 2 * KW_KEY_ID_MAX, 0);
    header_is_refused(header, "not on the token");
    memset(header, ' ', sizeof(header));
    memcpy(header + 1, PS256, strlen(PS256));
    header[sizeof(header) - 1] = '\0';
    header_is_refused(header, "header is damaged");
}

static void another_signer(void **state)
{
    (void)state;
    char jws[2048];
    size_t len = make_jws(&stranger, KW_PS256, PS256, PAYLOAD, strlen(PAYLOAD), jws);
    is_refused(jws, len, "signature is wrong");
}

static void parts(void **state)
{
    (void)state;
    char jws[2048], more[4096];
    size_t len = make_jws(&signer, KW_PS256, PS256, PAYLOAD, strlen(PAYLOAD), jws);
    is_refused("", 0, "three parts");
    is_refused(".", 1, "three parts");
    is_refused("..", 2, "header is damaged");
    is_refused("...", 3, "three parts");
    is_refused("a.b", 3, "three parts");
    is_refused("a.b.c.d", 7, "three parts");
    is_refused("a.b.c.d.e", 9, "three parts");
    memcpy(more, jws, len);
    more[len] = '.';
    is_refused(more, len + 1, "three parts");
    memcpy(more + len + 1, jws, len);
    is_refused(more, 2 * len + 1, "three parts");
    more[0] = '.';
    memcpy(more + 1, jws, len);
    is_refused(more, len + 1, "three parts");
}

static void large_and_empty_payloads(void **state)
{
    (void)state;
    static char large[KW_DATA_MAX + 1], jws[2 * KW_DATA_MAX];
    struct kw_buffer payload = KW_BUFFER_INIT(KW_BASE64_DECODED_MAX(KW_DATA_MAX));
    size_t len = make_jws(&signer, KW_PS256, PS256, "", 0, jws);
    assert_null(verify(jws, len, &payload));
    assert_int_equal(payload.len, 0);
    memset(large, 'x', sizeof(large));
    len = make_jws(&signer, KW_PS256, PS256, large, 11800, jws);
    assert_in_range(len, KW_DATA_MAX - 400, KW_DATA_MAX);
    assert_null(verify(jws, len, &payload));
    assert_int_equal(payload.len, 11800);
    kw_buffer_cleanup(&payload);
    /* Whatever else has 16 KiB. */
    is_refused(large, KW_DATA_MAX, "three parts");
    memset(large, '.', sizeof(large));
    is_refused(large, KW_DATA_MAX, "three parts");
    memset(large, 'A', sizeof(large));
    large[1] = large[3] = '.';
    is_refused(large, KW_DATA_MAX, NULL);
    large[3] = 'A';
    large[KW_DATA_MAX - 1] = '.';
    is_refused(large, KW_DATA_MAX, NULL);
    /* More than the buffer may hold. */
    len = make_jws(&signer, KW_PS256, PS256, large, KW_DATA_MAX, jws);
    struct kw_buffer small = KW_BUFFER_INIT(16);
    assert_non_null(strstr(verify(jws, len, &small), "payload is damaged"));
    assert_int_equal(small.len, 0);
    kw_buffer_cleanup(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_openssl_signed),
        cmocka_unit_test(each_byte_counts),
        cmocka_unit_test(algorithms_that_are_none_here),
        cmocka_unit_test(a_public_key_is_no_secret),
        cmocka_unit_test(headers),
        cmocka_unit_test(another_signer),
        cmocka_unit_test(parts),
        cmocka_unit_test(large_and_empty_payloads),
    };
    return cmocka_run_group_tests_name("keys/jws", tests, set_up, tear_down);
}
