/* Checkpoints as signed notes. */
#include "support.h"

static struct test_signer signers[3]; /* P-256, RSA, P-256 */
static struct kw_public_key *keys[3];

static const struct kw_checkpoint example = {
    .origin = "keyward/12ab/0011223344556677", .size = 42, .root = {{1, 2, 3}}};

static int setup(void **state)
{
    if (setup_group(state))
        return 1;
    for (size_t i = 0; i < KW_COUNT(signers); i++) {
        signer_make(&signers[i], i == 1);
        keys[i] = signer_key(&signers[i]);
    }
    return 0;
}

static int teardown(void **state)
{
    for (size_t i = 0; i < KW_COUNT(signers); i++) {
        kw_public_key_free(keys[i]);
        signer_free(&signers[i]);
    }
    return teardown_group(state);
}

static char *make_note(size_t which)
{
    struct kw_buffer note = KW_BUFFER_INIT(KW_NOTE_MAX);
    struct kw_error err;
    assert_ok(kw_checkpoint_sign(crypto, &example, &signers[which].signer, &note, &err));
    assert_ok(kw_buffer_append(&note, "", 1, &err));
    return (char *)note.data;
}

static enum kw_status verify(const char *note, size_t first_key, size_t key_count,
                             struct kw_error *err)
{
    struct kw_checkpoint checkpoint;
    return kw_checkpoint_verify(crypto, note, strlen(note), keys + first_key, key_count, "x",
                                &checkpoint, NULL, err);
}

static void test_signed(void **state)
{
    (void)state;
    static const char wanted[] = "keyward/12ab/0011223344556677\n42\n"
                                 "AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n"
                                 "\xE2\x80\x94 keyward/12ab/0011223344556677 ";
    struct kw_error err;
    for (size_t i = 0; i < KW_COUNT(signers); i++) {
        struct kw_checkpoint checkpoint;
        size_t key = 9;
        char *note = make_note(i);
        assert_ok(kw_checkpoint_verify(crypto, note, strlen(note), keys, 3, "x", &checkpoint, &key,
                                       &err));
        assert_int_equal(key, i);
        assert_string_equal(checkpoint.origin, example.origin);
        assert_int_equal(checkpoint.size, example.size);
        assert_true(kw_hash_equal(&checkpoint.root, &example.root));
        assert_int_equal(strncmp(note, wanted, strlen(wanted)), 0);
        free(note);
    }
}

static void test_other_key(void **state)
{
    (void)state;
    struct kw_error err;
    char *note = make_note(0);
    assert_fails(verify(note, 1, 2, &err), KW_AUDIT, "not signed by the key, but by another");
    assert_fails(verify(note, 0, 0, &err), KW_AUDIT, "not signed by the key, but by another");
    free(note);
}

/* One bit anywhere makes it another note, or none. */
static void test_each_bit(void **state)
{
    (void)state;
    struct kw_error err;
    for (size_t which = 0; which < 2; which++) {
        char *note = make_note(which);
        for (size_t i = 0; note[i]; i++) {
            note[i] ^= 1;
            memset(&err, 0, sizeof(err));
            assert_int_equal(verify(note, 0, 3, &err), KW_AUDIT);
            assert_int_equal(err.status, KW_AUDIT);
            note[i] ^= 1;
        }
        assert_ok(verify(note, 0, 3, &err));
        free(note);
    }
}

/* A signature by someone else beside the right one does no harm; a wrong one by the key does. */
static void test_more_signatures(void **state)
{
    (void)state;
    struct kw_error err;
    char text[KW_NOTE_MAX];
    char *first = make_note(0), *second = make_note(1), *third = make_note(2);
    const char *line = strstr(second, "\n\n") + 2;
    (void)snprintf(text, sizeof(text), "%s%s\xE2\x80\x94 witness AAAAAAAA\n", first, line);
    assert_ok(verify(text, 0, 1, &err));
    assert_ok(verify(text, 0, 2, &err));
    assert_ok(verify(text, 1, 2, &err));
    assert_fails(verify(text, 2, 1, &err), KW_AUDIT, "not signed by the key");
    /* The third key's id before the first one's signature. */
    char *blob = strstr(third, "\n\n") + 2 + strlen("\xE2\x80\x94 keyward/12ab/0011223344556677 ");
    uint8_t ours[200], theirs[200];
    size_t our_len = 0, their_len = 0;
    char encoded[400];
    char *own = strstr(first, "\n\n") + 2 + strlen("\xE2\x80\x94 keyward/12ab/0011223344556677 ");
    assert_true(kw_base64_decode(KW_BASE64, own, strcspn(own, "\n"), ours, 200, &our_len));
    assert_true(kw_base64_decode(KW_BASE64, blob, strcspn(blob, "\n"), theirs, 200, &their_len));
    memcpy(ours, theirs, 4);
    kw_base64_encode(KW_BASE64, ours, our_len, encoded);
    (void)snprintf(text, sizeof(text), "%s\xE2\x80\x94 keyward/12ab/0011223344556677 %s\n", first,
                   encoded);
    assert_fails(verify(text, 0, 3, &err), KW_AUDIT, "wrong signature");
    assert_ok(verify(text, 0, 2, &err));
    free(first);
    free(second);
    free(third);
}

#define ROOT "AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define SIGN "\n\xE2\x80\x94 a AAAAAAAA\n"

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *note, *part;
    } cases[] = {
        {"", "no signature"},
        {"\n\n", "no signature"},
        {"a\n1\n" ROOT "\n", "no signature"},
        {"a\n1\n" ROOT "\n\n", "no signature"},
        {"a\n1\n" ROOT "\n\n\xE2\x80\x94 a AAAAAAAA", "no signature"},
        {"a\n1\n" ROOT "\n\n- a AAAAAAAA\n", "can't be read"},
        {"a\n1\n" ROOT "\n\n\xE2\x80\x94 aAAAAAAAA\n", "can't be read"},
        {"a\n1\n" ROOT "\n\n\xE2\x80\x94  AAAAAAAA\n", "can't be read"},
        {"a\n1\n" ROOT "\n\n\xE2\x80\x94 a AAAAAAA\n", "can't be read"},
        {"a\n1\n" ROOT "\n\n\xE2\x80\x94 a AAAA\n", "can't be read"},
        {"a\n1\n" ROOT "\n\n\xE2\x80\x94 a AAAAAAAA \n", "can't be read"},
        {"\n1\n" ROOT "\n" SIGN, "no origin"},
        {"a b\n1\n" ROOT "\n" SIGN, "no origin"},
        {"a+b\n1\n" ROOT "\n" SIGN, "no origin"},
        {"a\n01\n" ROOT "\n" SIGN, "no number"},
        {"a\n-1\n" ROOT "\n" SIGN, "no number"},
        {"a\n\n" ROOT "\n" SIGN, "no number"},
        {"a\n1000000000000\n" ROOT "\n" SIGN, "no number"},
        {"a\n1\nAQID\n" SIGN, "no hash"},
        {"a\n1\n" ROOT "AAAA\n" SIGN, "no hash"},
        {"a\n1\n" SIGN, "no hash"},
        {"a\n1\n" ROOT "\nmore\n" SIGN, "more than three lines"},
        {"a\n1\n" ROOT "\n\n" SIGN, "more than three lines"},
        {"a\r\n1\n" ROOT "\n" SIGN, "not text"},
        {"\xFF\n1\n" ROOT "\n" SIGN, "not text"},
        {"a\n1\n" ROOT "\n" SIGN, "not signed by the key"},
    };
    struct kw_error err;
    for (size_t i = 0; i < KW_COUNT(cases); i++)
        assert_fails(verify(cases[i].note, 0, 3, &err), KW_AUDIT, cases[i].part);
}

static void test_limits(void **state)
{
    (void)state;
    struct kw_error err;
    char *note = make_note(0);
    static char text[KW_NOTE_MAX + 2];
    size_t len = strlen(note);
    memcpy(text, note, len);
    for (int i = 0; i < 15; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "\xE2\x80\x94 w%d AAAAAAAA\n", i);
    assert_ok(verify(text, 0, 1, &err));
    (void)snprintf(text + len, sizeof(text) - len, "\xE2\x80\x94 w AAAAAAAA\n");
    assert_fails(verify(text, 0, 1, &err), KW_AUDIT, "more than 16");
    memset(text, 'a', sizeof(text) - 1);
    assert_fails(verify(text, 0, 1, &err), KW_AUDIT, "too long");
    free(note);
}

/* A token that signs something else, or with another key than it says, is found at once. */
static void test_bad_signer(void **state)
{
    (void)state;
    struct kw_note_signer liar = signers[0].signer;
    struct kw_buffer note = KW_BUFFER_INIT(KW_NOTE_MAX);
    struct kw_error err;
    liar.context = &signers[2];
    assert_fails(kw_checkpoint_sign(crypto, &example, &liar, &note, &err), KW_AUDIT,
                 "wrong signature");
    assert_int_equal(note.len, 0);
    liar.pem = "nothing";
    liar.pem_len = 7;
    assert_fails(kw_checkpoint_sign(crypto, &example, &liar, &note, &err), KW_CONFIG, "not PEM");
}

static void test_keys(void **state)
{
    (void)state;
    static const char p384[] = "-----BEGIN PUBLIC KEY-----\n"
                               "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEqofKIr6LBTeOscce8yCtdG4dO2KLp5uY\n"
                               "WfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3NhfeSpYmLG9dnpi/kpLcKfj0Hb0omhR8\n"
                               "6doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f\n-----END PUBLIC KEY-----\n";
    struct kw_public_key *key = NULL;
    struct kw_error err;
    assert_fails(kw_public_key_from_pem(crypto, p384, strlen(p384), "x", &key, &err), KW_CONFIG,
                 "neither a key on the curve P-256");
    assert_false(kw_public_key_is_rsa(keys[0]));
    assert_true(kw_public_key_is_rsa(keys[1]));
    assert_fails(kw_public_key_verify(keys[0], "a", 1, (const uint8_t *)"b", 1, &err), KW_DAMAGED,
                 "not one of this key");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signed),     cmocka_unit_test(test_other_key),
        cmocka_unit_test(test_each_bit),   cmocka_unit_test(test_more_signatures),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_limits),
        cmocka_unit_test(test_bad_signer), cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
