/* Where sets of public keys come from: files that change, a server that fails or is slow, and what
 * is used meanwhile. */
#include <sys/stat.h>
#include <unistd.h>

#include "serve_test.h"

#include "serve/access_parts.h"

#define WAIT_MS 10000 /* for what must come; a machine under load is slow */

static const struct kw_jwks_options quick = {.file = {.every = 20, .soonest = 10},
                                             .url = {.every = 100000, .soonest = 300},
                                             .kept = 600000,
                                             .wait = 5000};

/* Good until it is called 16 times more. */
static const char *in_folder(const char *name)
{
    static char paths[16][512];
    static size_t next;
    char *path = paths[next++ % KW_COUNT(paths)];
    snprintf(path, sizeof(paths[0]), "%s/%s", getenv("KW_TEST_TOKENS"), name);
    return path;
}

static const char *url_of(const char *path)
{
    static char url[128];
    snprintf(url, sizeof(url), "https://localhost:%s%s", getenv("KW_TEST_PORT"), path);
    return url;
}

static void sleep_ms(long ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* In one step, as a program that changes such files does. */
static void copy(const char *from, const char *to)
{
    char text[65536], fresh[600];
    FILE *file = fopen(from, "r");
    assert_non_null(file);
    size_t len = fread(text, 1, sizeof(text), file);
    assert_int_equal(fclose(file), 0);
    snprintf(fresh, sizeof(fresh), "%s.new", to);
    file = fopen(fresh, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(rename(fresh, to), 0);
}

static bool has_key(struct kw_jwks *jwks, const char *kid)
{
    struct kw_jwk_set *set = kw_jwks_get(jwks, 0);
    bool has = set && kw_jwk_set_find(set, KW_JWS_RS256, kid);
    kw_jwk_set_free(set);
    return has;
}

static bool is_gone(struct kw_jwks *jwks)
{
    struct kw_jwk_set *set = kw_jwks_get(jwks, 0);
    kw_jwk_set_free(set);
    return !set;
}

static bool comes(struct kw_jwks *jwks, const char *kid)
{
    for (int i = 0; i < WAIT_MS / 5 && !has_key(jwks, kid); i++)
        sleep_ms(5);
    return has_key(jwks, kid);
}

static bool goes(struct kw_jwks *jwks)
{
    for (int i = 0; i < WAIT_MS / 5 && !is_gone(jwks); i++)
        sleep_ms(5);
    return is_gone(jwks);
}

/* ---- files ---- */

static struct kw_config_issuer issuer_at(const char *jwks)
{
    static char copies[4][512];
    static size_t next;
    char *kept = copies[next++ % KW_COUNT(copies)];
    snprintf(kept, sizeof(copies[0]), "%s", jwks);
    return (struct kw_config_issuer){.name = (char *)"x", .jwks = kept};
}

static void a_file_that_changes(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_jwks *jwks = NULL;
    const char *path = in_folder("changes.json");
    copy(in_folder("a.json"), path);
    const struct kw_config_issuer issuer = issuer_at(path);
    assert_ok(kw_jwks_new(&issuer, 1, &quick, &jwks, &err));
    assert_true(has_key(jwks, "r1"));
    copy(in_folder("other.json"), path);
    assert_true(comes(jwks, "new"));
    assert_false(has_key(jwks, "r1"));
    /* one that is no good changes nothing, nor does one that is not there */
    copy(in_folder("tokens.tsv"), path);
    sleep_ms(200);
    assert_true(has_key(jwks, "new"));
    assert_int_equal(unlink(path), 0);
    sleep_ms(200);
    assert_true(has_key(jwks, "new"));
    copy(in_folder("a.json"), path);
    assert_true(comes(jwks, "r1"));
    kw_jwks_free(jwks);
}

static void a_file_that_is_gone_for_long(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_jwks *jwks = NULL;
    struct kw_jwks_options options = quick;
    options.kept = 300;
    const char *path = in_folder("gone.json");
    copy(in_folder("a.json"), path);
    const struct kw_config_issuer issuer = issuer_at(path);
    assert_ok(kw_jwks_new(&issuer, 1, &options, &jwks, &err));
    sleep_ms(600);
    assert_true(has_key(jwks, "r1")); /* it is there and has not changed: that is young */
    assert_int_equal(unlink(path), 0);
    assert_true(goes(jwks));
    copy(in_folder("a.json"), path);
    assert_true(comes(jwks, "r1"));
    kw_jwks_free(jwks);
}

static void files_that_are_no_good(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_jwks *jwks = NULL;
    struct kw_config_issuer issuer = issuer_at(in_folder("nowhere.json"));
    assert_fails(kw_jwks_new(&issuer, 1, &quick, &jwks, &err), KW_CONFIG, "can't be opened");
    issuer = issuer_at(in_folder("tokens.tsv"));
    assert_fails(kw_jwks_new(&issuer, 1, &quick, &jwks, &err), KW_CONFIG, "tokens.tsv");
    issuer = issuer_at(in_folder(""));
    assert_fails(kw_jwks_new(&issuer, 1, &quick, &jwks, &err), KW_CONFIG, "");
    const char *path = in_folder("anyone.json");
    copy(in_folder("a.json"), path);
    assert_int_equal(chmod(path, 0666), 0);
    issuer = issuer_at(path);
    assert_fails(kw_jwks_new(&issuer, 1, &quick, &jwks, &err), KW_CONFIG, "anyone.json");
    assert_null(jwks);
}

/* ---- a server ---- */

static void fetching(void **state)
{
    (void)state;
    static const struct {
        const char *path, *ca, *part; /* of the sentence; NULL where it succeeds */
    } rows[] = {
        {"/set", "ca.pem", NULL},
        {"/set", "other-ca.pem", "can't be read"},
        {"/set", NULL, "can't be read"},
        {"/set", "nowhere.pem", "can't be read"},
        {"/redirect", "ca.pem", "answers with status 302"},
        {"/error", "ca.pem", "answers with status 500"},
        {"/nothing", "ca.pem", "answers with status 404"},
        {"/huge", "ca.pem", "can't be read"},
    };
    copy(in_folder("a.json"), in_folder("served.json"));
    for (size_t i = 0; i < KW_COUNT(rows); i++) {
        struct kw_error err;
        atomic_bool stop = false;
        struct kw_buffer out = KW_BUFFER_INIT(KW_JWKS_MAX_BYTES);
        const char *ca = rows[i].ca ? in_folder(rows[i].ca) : NULL;
        if (rows[i].part)
            assert_fails(kw_jwks_fetch(url_of(rows[i].path), ca, &stop, &out, &err), KW_READ,
                         rows[i].part);
        else
            assert_ok(kw_jwks_fetch(url_of(rows[i].path), ca, &stop, &out, &err));
        assert_true(out.len <= KW_JWKS_MAX_BYTES);
        kw_buffer_cleanup(&out);
    }
}

static void fetching_from_others(void **state)
{
    (void)state;
    static const char *const starts[] = {
        "https://127.0.0.1:", "http://localhost:", "file://localhost/proc/self/status?",
        "https://localhost:1/", "https://:"};
    for (size_t i = 0; i < KW_COUNT(starts); i++) {
        struct kw_error err;
        char url[128];
        atomic_bool stop = false;
        struct kw_buffer out = KW_BUFFER_INIT(KW_JWKS_MAX_BYTES);
        snprintf(url, sizeof(url), "%s%s/set", starts[i], getenv("KW_TEST_PORT"));
        assert_fails(kw_jwks_fetch(url, in_folder("ca.pem"), &stop, &out, &err), KW_READ,
                     "can't be read");
        assert_int_equal(out.len, 0);
        kw_buffer_cleanup(&out);
    }
}

/* How often /set was asked. */
static long asked(void)
{
    struct kw_error err;
    atomic_bool stop = false;
    struct kw_buffer out = KW_BUFFER_INIT(64);
    assert_ok(kw_jwks_fetch(url_of("/count"), in_folder("ca.pem"), &stop, &out, &err));
    assert_ok(kw_buffer_append(&out, "", 1, &err));
    long count = atol((char *)out.data);
    kw_buffer_cleanup(&out);
    return count;
}

static struct kw_config_issuer issuer_of(const char *path)
{
    static char ca[512];
    struct kw_config_issuer issuer = issuer_at(url_of(path));
    snprintf(ca, sizeof(ca), "%s", in_folder("ca.pem"));
    issuer.ca = ca;
    return issuer;
}

static void an_unknown_key(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_jwks *jwks = NULL;
    copy(in_folder("a.json"), in_folder("served.json"));
    const struct kw_config_issuer issuer = issuer_of("/set");
    long before = asked();
    assert_ok(kw_jwks_new(&issuer, 1, &quick, &jwks, &err));
    assert_true(has_key(jwks, "r1"));
    assert_int_equal(asked(), before + 1);
    copy(in_folder("other.json"), in_folder("served.json"));
    sleep_ms(400);
    assert_true(has_key(jwks, "r1")); /* nobody wants it anew */
    assert_int_equal(asked(), before + 1);
    uint64_t start = kw_now_ms();
    kw_jwks_want(jwks, 0);
    assert_true(comes(jwks, "new"));
    /* asked for again and again, it is fetched each 300 ms at most */
    while (kw_now_ms() < start + 1000) {
        kw_jwks_want(jwks, 0);
        sleep_ms(1);
    }
    long elapsed = (long)(kw_now_ms() - start);
    assert_in_range(asked() - before - 1, 2, (unsigned long)(elapsed / 300 + 2));
    kw_jwks_free(jwks);
}

static void a_server_that_fails(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_jwks *jwks = NULL;
    struct kw_jwks_options options = quick;
    options.url = (struct kw_jwks_pace){.every = 20, .soonest = 10};
    options.kept = 500;
    assert_int_equal(unlink(in_folder("served.json")), 0);
    const struct kw_config_issuer issuer = issuer_of("/set");
    assert_ok(kw_jwks_new(&issuer, 1, &options, &jwks, &err)); /* it starts without */
    assert_true(is_gone(jwks));
    copy(in_folder("a.json"), in_folder("served.json"));
    assert_true(comes(jwks, "r1"));
    copy(in_folder("tokens.tsv"), in_folder("served.json")); /* no set */
    sleep_ms(100);
    assert_true(has_key(jwks, "r1"));
    assert_true(goes(jwks));
    copy(in_folder("other.json"), in_folder("served.json"));
    assert_true(comes(jwks, "new"));
    kw_jwks_free(jwks);
}

static void a_server_that_is_slow(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_jwks *jwks = NULL;
    struct kw_jwks_options options = quick;
    options.wait = 300;
    const struct kw_config_issuer issuer = issuer_of("/slow");
    uint64_t start = kw_now_ms();
    assert_ok(kw_jwks_new(&issuer, 1, &options, &jwks, &err));
    assert_in_range(kw_now_ms() - start, 290, 3000); /* no longer than it may wait */
    start = kw_now_ms();
    for (int i = 0; i < 1000; i++) {
        assert_true(is_gone(jwks));
        kw_jwks_want(jwks, 0);
    }
    assert_in_range(kw_now_ms() - start, 0, 1000); /* nobody waits for it */
    start = kw_now_ms();
    kw_jwks_free(jwks);
    assert_in_range(kw_now_ms() - start, 0, 3000); /* nor is it waited for at the end */
}

/* ---- many threads ---- */

static void *look(void *argument)
{
    struct kw_jwks *jwks = argument;
    for (int i = 0; i < 3000; i++) {
        struct kw_jwk_set *set = kw_jwks_get(jwks, 0);
        if (set && kw_jwk_set_count(set) == 0)
            abort();
        kw_jwk_set_free(set);
        kw_jwks_want(jwks, 0);
    }
    return NULL;
}

static void many_threads(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_jwks *jwks = NULL;
    struct kw_jwks_options options = quick;
    options.file = (struct kw_jwks_pace){.every = 1, .soonest = 1};
    const char *path = in_folder("many.json");
    copy(in_folder("a.json"), path);
    const struct kw_config_issuer issuer = issuer_at(path);
    pthread_t threads[4];
    assert_ok(kw_jwks_new(&issuer, 1, &options, &jwks, &err));
    for (size_t i = 0; i < KW_COUNT(threads); i++)
        assert_ok(kw_thread_start(&threads[i], look, jwks, &err));
    for (int i = 0; i < 50; i++) {
        copy(in_folder(i % 2 ? "a.json" : "other.json"), path);
        sleep_ms(2);
    }
    for (size_t i = 0; i < KW_COUNT(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(comes(jwks, "r1"));
    kw_jwks_free(jwks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_changes),    cmocka_unit_test(a_file_that_is_gone_for_long),
        cmocka_unit_test(files_that_are_no_good), cmocka_unit_test(fetching),
        cmocka_unit_test(fetching_from_others),   cmocka_unit_test(an_unknown_key),
        cmocka_unit_test(a_server_that_fails),    cmocka_unit_test(a_server_that_is_slow),
        cmocka_unit_test(many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
