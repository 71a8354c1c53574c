/* Clients by their certificates, what roles allow, what a configuration may not say, and rates. */
#include "serve_test.h"

#include "serve/access_parts.h"

static enum kw_status make(const char *text, struct kw_access **ret_access, struct kw_error *err)
{
    struct kw_config config = {.tokens = NULL};
    enum kw_status status = kw_config_parse(&config, text, strlen(text), "x.conf", err);
    if (status == KW_OK)
        status = kw_access_new(test_crypto(), &config, ret_access, err);
    kw_config_cleanup(&config);
    return status;
}

/* ---- roles ---- */

#define OFFICER  "Key Vault Crypto Officer"
#define USER     "Key Vault Crypto User"
#define SERVICE  "Key Vault Crypto Service Encryption User"
#define READER   "Key Vault Reader"
#define AUDITOR  "Key Vault Crypto Auditor"
#define MHSM     "Managed HSM Crypto Service Encryption User"
#define MHSM_AUD "Managed HSM Crypto Auditor"

static void matrix(void **state)
{
    (void)state;
    /* A letter for each action, in the order of enum kw_action; "." is denied. */
    static const struct {
        const char *role, *allowed;
    } rows[] = {
        {OFFICER, "rcIudRpbsoqQ........."},
        {USER, "r...........edwWSv*.."},
        {SERVICE, "r.............wW....."},
        {READER, "r.........q.........."},
        {AUDITOR, "r.........q........mt"},
        {MHSM, "r.............wW....."},
        {MHSM_AUD, "r.........q........mt"},
        {"keys/wrap/action", "..............w......"},
        {"keys/unwrap/action", "...............W....."},
        {"keys/read", "r...................."},
        {"keys/delete", "....d................"},
        {"keyrotationpolicies/write", "...........Q........."},
        {"rng/action", "..................*.."},
        {"status/read", "...................m."},
        {"trail/read", "....................t"},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        struct kw_error err;
        struct kw_grants grants = {.items = NULL};
        char text[128];
        snprintf(text, sizeof(text), "%s: a*", rows[i].role);
        assert_int_equal(strlen(rows[i].allowed), KW_ACT_COUNT);
        assert_ok(kw_grants_parse(text, "x", &grants, &err));
        for (int action = 0; action < KW_ACT_COUNT; action++) {
            bool wanted = rows[i].allowed[action] != '.';
            if (kw_grants_allow(&grants, (enum kw_action)action, "abc") != wanted)
                fail_msg("%s, %s: wanted %d", rows[i].role, kw_action_name((enum kw_action)action),
                         wanted);
            assert_int_equal(kw_grants_allow(&grants, (enum kw_action)action, NULL), wanted);
            assert_false(kw_grants_allow(&grants, (enum kw_action)action, "b"));
        }
        kw_grants_cleanup(&grants);
    }
}

static void action_names(void **state)
{
    (void)state;
    assert_string_equal(kw_action_name(KW_ACT_UNWRAP), "keys/unwrap/action");
    for (int a = 0; a < KW_ACT_COUNT; a++) {
        assert_non_null(kw_action_name((enum kw_action)a));
        for (int b = 0; b < a; b++)
            assert_string_not_equal(kw_action_name((enum kw_action)a),
                                    kw_action_name((enum kw_action)b));
    }
}

static void globs(void **state)
{
    (void)state;
    static const struct {
        const char *globs, *name;
        bool match;
    } rows[] = {
        {"*", "", true},         {"*", "anything", true},    {"a", "a", true},
        {"a", "A", true},        {"A-b", "a-B", true},       {"a", "ab", false},
        {"a", "", false},        {"a?", "a", false},         {"a?", "ab", true},
        {"a?", "abc", false},    {"?*", "", false},          {"?*", "x", true},
        {"*b", "aab", true},     {"*b", "aba", false},       {"a*b*c", "aXbbYc", true},
        {"a*b*c", "acb", false}, {"*ab*ab", "abab", true},   {"*ab*ab", "abcab", true},
        {"*ab*ab", "ab", false}, {"a**", "a", true},         {"x, y", "y", true},
        {"x,y", "x,y", false},   {" x , *z ", "abcz", true}, {"", "", false},
        {",", "", false},        {NULL, "x", false},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++)
        if (kw_globs_match(rows[i].globs, rows[i].name) != rows[i].match)
            fail_msg("%s and %s", rows[i].globs, rows[i].name);
    /* what takes exponential time where each star is tried anew */
    char name[128];
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_false(kw_globs_match("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", name));
}

static void several_roles(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_access *access = NULL;
    assert_ok(make("[client a]\nsubject = a\nroles = " SERVICE ": storage-*, sql-?;  " READER
                   ":*;keys/sign/action : Sign\n",
                   &access, &err));
    const struct kw_http_peer peer = {.verified = true, .common_name = "a"};
    const struct kw_client *client = NULL;
    assert_ok(kw_access_identify(access, &peer, NULL, 0, &client, &err));
    assert_true(kw_client_may(client, KW_ACT_UNWRAP, "storage-1"));
    assert_true(kw_client_may(client, KW_ACT_UNWRAP, "STORAGE-x"));
    assert_true(kw_client_may(client, KW_ACT_WRAP, "sql-1"));
    assert_false(kw_client_may(client, KW_ACT_WRAP, "sql-12"));
    assert_false(kw_client_may(client, KW_ACT_UNWRAP, "other"));
    assert_true(kw_client_may(client, KW_ACT_READ, "other"));
    assert_true(kw_client_may(client, KW_ACT_SIGN, "sign"));
    assert_false(kw_client_may(client, KW_ACT_SIGN, "storage-1"));
    assert_false(kw_client_may(client, KW_ACT_DELETE, NULL));
    assert_true(kw_client_may(client, KW_ACT_UNWRAP, NULL));
    kw_access_free(access);
}

/* ---- configurations ---- */

#define ISSUER "[issuer i]\nissuer = i\naudience = a\njwks = https://localhost:1/\n"
#define ROLES  "roles = " READER ": *\n"

static void faults(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } rows[] = {
        {"[client a]\nsubject = a\n", "[client a] has no roles"},
        {"[client a]\n" ROLES, "[client a] can't be known"},
        {ISSUER "[client a]\nissuer = i\n" ROLES, "[client a] has one of issuer and claim"},
        {"[client a]\nsubject = a\nclaim = x=y\n" ROLES, "[client a] has one of issuer and claim"},
        {ISSUER "[client a]\nissuer = j\nclaim = x=y\n" ROLES, "issuer names no [issuer]"},
        {"[client a]\nsubject = a\n" ROLES "[client b]\nsubject = a\n" ROLES,
         "[client a] and [client b] have the same subject"},
        {"[client a]\nsan = a.B\n" ROLES "[client b]\nsan = A.b\n" ROLES, "have the same san"},
        {"[client a]\nsan = spiffe://a\n" ROLES "[client b]\nsan = spiffe://a\n" ROLES,
         "have the same san"},
        {ISSUER "[client a]\nissuer = i\nclaim = x=y\n" ROLES
                "[client b]\nissuer = i\nclaim = x=y\nsubject = b\n" ROLES,
         "have the same claim"},
        {"[issuer i]\nissuer = i\naudience = a\n", "[issuer i] lacks a setting"},
        {"[issuer i]\nissuer = i\njwks = /x\n", "[issuer i] lacks a setting"},
        {"[issuer i]\naudience = a\njwks = /x\n", "[issuer i] lacks a setting"},
        {ISSUER "[issuer j]\nissuer = i\naudience = b\njwks = /y\n",
         "[issuer i] and [issuer j] are one"},
        {"[issuer i]\nissuer = i\naudience = a\njwks = /nowhere/x\n", "/nowhere/x can't be opened"},
        {"[issuer i]\nissuer = i\naudience = a\njwks = /dev/null\n", "/dev/null"},
        /* roles */
        {"[client a]\nsubject = a\nroles = x\n", "roles must be ROLE: NAME"},
        {"[client a]\nsubject = a\nroles = x; y: *\n", "roles must be ROLE: NAME"},
        {"[client a]\nsubject = a\nroles = : *\n", "there is no role \"\""},
        {"[client a]\nsubject = a\nroles = key vault reader: *\n", "there is no role"},
        {"[client a]\nsubject = a\nroles = Key Vault Administrator: *\n", "there is no role"},
        {"[client a]\nsubject = a\nroles = Managed HSM Crypto User: *\n", "there is no role"},
        {"[client a]\nsubject = a\nroles = keys/*: *\n", "there is no role"},
        {"[client a]\nsubject = a\nroles = " READER ":\n", "a name of keys that is none"},
        {"[client a]\nsubject = a\nroles = " READER ": a_b\n", "a name of keys that is none"},
        {"[client a]\nsubject = a\nroles = " READER ": a b\n", "a name of keys that is none"},
        {"[client a]\nsubject = a\nroles = " READER ": [a-z]\n", "a name of keys that is none"},
        {"[client a]\nsubject = a\nroles = " READER ": a,\n", "a name of keys that is none"},
        {"[client a]\nsubject = a\nroles = " READER ": a,,b\n", "a name of keys that is none"},
        {"[client a]\nsubject = a\nroles = " READER ": a: b\n", "a name of keys that is none"},
        {"[client a]\nsubject = a\nroles = " READER ": a;\n", "roles must be ROLE: NAME"},
        {"[client a]\nsubject = a\nroles = " OFFICER ": a; " AUDITOR ": b\n",
         "can't both manage keys and read the trail"},
        {"[client a]\nsubject = a\nroles = " AUDITOR ": *; keys/rotate/action: b\n",
         "can't both manage keys and read the trail"},
        {"[client a]\nsubject = a\nroles = trail/read: *; keys/backup/action: b\n",
         "can't both manage keys and read the trail"},
    };
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        struct kw_error err;
        struct kw_access *access = NULL;
        assert_fails(make(rows[i].text, &access, &err), KW_CONFIG, rows[i].part);
        assert_null(access);
    }
}

static void good_configurations(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "[client a]\nsubject = a\nroles = " USER ": *; " AUDITOR ": *\n",
        "[client a]\nsubject = a\nroles = " OFFICER ": *; status/read: *\n",
        "[client a]\nsubject = a\nroles = " OFFICER ": *; " USER ": x\n",
        "[client a]\nsubject = a\n" ROLES "[client b]\nsan = a\n" ROLES,
        "[client a]\nsan = spiffe://a\n" ROLES "[client b]\nsan = spiffe://A\n" ROLES,
    };
    for (size_t i = 0; i < KW_COUNT(texts); i++) {
        struct kw_error err;
        struct kw_access *access = NULL;
        assert_ok(make(texts[i], &access, &err));
        kw_access_free(access);
    }
}

static void many_names(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_buffer text = KW_BUFFER_INIT(4096);
    struct kw_grants grants = {.items = NULL};
    assert_ok(kw_buffer_printf(&text, &err, READER ": a"));
    for (int i = 1; i < 256; i++)
        assert_ok(kw_buffer_printf(&text, &err, ",a"));
    assert_ok(kw_buffer_append(&text, "", 1, &err));
    assert_ok(kw_grants_parse((char *)text.data, "x", &grants, &err));
    kw_grants_cleanup(&grants);
    text.len--;
    assert_ok(kw_buffer_append(&text, ",a", 3, &err));
    assert_fails(kw_grants_parse((char *)text.data, "x", &grants, &err), KW_CONFIG,
                 "more than 256 names");
    kw_grants_cleanup(&grants);
    kw_buffer_cleanup(&text);
}

/* ---- certificates ---- */

static void certificates(void **state)
{
    (void)state;
    static const struct {
        bool verified;
        const char *common_name, *names[2];
        const char *wanted; /* the client, or a part of the reason */
    } rows[] = {
        {true, "one", {NULL, NULL}, "a"},
        {true, NULL, {"two.example", NULL}, "b"},
        {true, NULL, {"x", "TWO.example"}, "b"},
        {true, NULL, {"spiffe://h/c", NULL}, "c"},
        {true, "three", {"spiffe://h/c", NULL}, "c"},
        {false, "one", {NULL, NULL}, "neither a certificate nor"},
        {false, NULL, {NULL, NULL}, "neither a certificate nor"},
        {true, NULL, {NULL, NULL}, "of no [client]"},
        {true, "", {"", NULL}, "of no [client]"},
        {true, "One", {NULL, NULL}, "of no [client]"},
        {true, "one ", {NULL, NULL}, "of no [client]"},
        {true, "two.example", {"one", NULL}, "of no [client]"},
        {true, NULL, {"spiffe://H/c", NULL}, "of no [client]"},
        {true, NULL, {"x.two.example", NULL}, "of no [client]"},
        {true, NULL, {"*.example", NULL}, "of no [client]"},
        {true, "one", {"two.example", NULL}, "of more than one [client]"},
        {true, NULL, {"spiffe://h/c", "two.example"}, "of more than one [client]"},
    };
    struct kw_error err;
    struct kw_access *access = NULL;
    assert_ok(make("[client a]\nsubject = one\n" ROLES "[client b]\nsan = two.example\n" ROLES
                   "[client c]\nsubject = three\nsan = spiffe://h/c\n" ROLES,
                   &access, &err));
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        struct kw_http_peer peer = {.verified = rows[i].verified,
                                    .common_name = rows[i].common_name};
        for (; peer.name_count < 2 && rows[i].names[peer.name_count]; peer.name_count++)
            peer.names[peer.name_count] = rows[i].names[peer.name_count];
        const struct kw_client *client = NULL;
        if (strlen(rows[i].wanted) == 1) {
            assert_ok(kw_access_identify(access, &peer, NULL, 0, &client, &err));
            assert_string_equal(kw_client_name(client), rows[i].wanted);
        } else {
            assert_fails(kw_access_identify(access, &peer, NULL, 0, &client, &err), KW_DENIED,
                         rows[i].wanted);
            assert_null(client);
        }
    }
    /* a token that is no good is not made up for by a certificate */
    const struct kw_http_peer good = {.verified = true, .common_name = "one"};
    const struct kw_client *client = NULL;
    assert_fails(kw_access_identify(access, &good, "", 0, &client, &err), KW_DENIED, "no bearer");
    assert_fails(kw_access_identify(access, &good, "Bearer a.b.c", 0, &client, &err), KW_DENIED,
                 "token");
    assert_null(client);
    kw_access_free(access);
}

/* ---- rates ---- */

static void rates(void **state)
{
    (void)state;
    struct kw_bucket bucket;
    unsigned retry = 77;
    kw_bucket_init(&bucket, 2, 3, 1000);
    for (int i = 0; i < 3; i++)
        assert_true(kw_bucket_take(&bucket, 1000, &retry));
    assert_int_equal(retry, 77);
    assert_false(kw_bucket_take(&bucket, 1000, &retry));
    assert_int_equal(retry, 1);
    assert_false(kw_bucket_take(&bucket, 1499, &retry));
    assert_true(kw_bucket_take(&bucket, 1500, &retry));
    assert_false(kw_bucket_take(&bucket, 1500, &retry));
    assert_false(kw_bucket_take(&bucket, 0, &retry)); /* a clock that goes back gives nothing */
    assert_true(kw_bucket_take(&bucket, 2000, &retry));
    for (int i = 0; i < 3; i++) /* never more than the burst */
        assert_true(kw_bucket_take(&bucket, UINT64_MAX, &retry));
    assert_false(kw_bucket_take(&bucket, UINT64_MAX, &retry));
    kw_bucket_init(&bucket, 1000000, 1000000, 0);
    for (int i = 0; i < 1000000; i++)
        assert_true(kw_bucket_take(&bucket, 0, &retry));
    assert_false(kw_bucket_take(&bucket, 0, &retry));
    assert_true(kw_bucket_take(&bucket, 1, &retry));
    kw_bucket_init(&bucket, 0, 0, 0); /* as documented */
    for (int i = 0; i < 2000; i++)
        assert_true(kw_bucket_take(&bucket, 0, &retry));
    assert_false(kw_bucket_take(&bucket, 0, &retry));
}

static void each_its_own(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_access *access = NULL;
    assert_ok(make("[client a]\nsubject = a\nrate = 1\nburst = 1\n" ROLES
                   "[client b]\nsubject = b\nrate = 1\nburst = 1\n" ROLES,
                   &access, &err));
    const struct kw_http_peer peers[] = {{.verified = true, .common_name = "a"},
                                         {.verified = true, .common_name = "b"}};
    uint64_t now = kw_now_ms();
    for (size_t i = 0; i < KW_COUNT(peers); i++) {
        const struct kw_client *client = NULL;
        unsigned retry = 0;
        assert_ok(kw_access_identify(access, &peers[i], NULL, 0, &client, &err));
        assert_true(kw_access_admit(access, client, now, &retry));
        assert_false(kw_access_admit(access, client, now, &retry));
        assert_int_equal(retry, 1);
    }
    kw_access_free(access);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrix),     cmocka_unit_test(action_names),
        cmocka_unit_test(globs),      cmocka_unit_test(several_roles),
        cmocka_unit_test(faults),     cmocka_unit_test(good_configurations),
        cmocka_unit_test(many_names), cmocka_unit_test(certificates),
        cmocka_unit_test(rates),      cmocka_unit_test(each_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
