/* Bearer tokens and sets of public keys that another library made: with-tokens.py says which are
 * good, and why the others are not. */
#include <time.h>
#include <unistd.h>

#include "serve_test.h"

#include "serve/access_parts.h"

#define NOW 1800000000

static char *read_rows(const char *name)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", getenv("KW_TEST_TOKENS"), name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = NULL;
    size_t size = 0;
    assert_true(getdelim(&text, &size, '\0', file) > 0);
    assert_int_equal(fclose(file), 0);
    return text;
}

/* The three columns of the next row, or false. */
static bool next_row(char **rest, char *columns[3])
{
    char *line = strsep(rest, "\n");
    if (!line || !*line)
        return false;
    for (size_t i = 0; i < 3; i++)
        columns[i] = strsep(&line, "\t");
    assert_non_null(columns[2]);
    return true;
}

static struct kw_access *make_access(const char *a_json)
{
    static const char text[] = "[issuer a]\nissuer = https://a.example/\n"
                               "audience = https://hsm.example\njwks = %s/%s\n"
                               "[issuer b]\nissuer = https://b.example/\naudience = hsm\n"
                               "jwks = %s/b.json\n"
                               "[client one]\nissuer = a\nclaim = appid=app-1\n"
                               "roles = Key Vault Crypto User: *\n"
                               "[client two]\nissuer = a\nclaim = oid=o-2\nsubject = two\n"
                               "roles = Key Vault Crypto User: *\n"
                               "[client job]\nissuer = b\nclaim = sub=job\n"
                               "roles = Key Vault Crypto User: *\n";
    const char *folder = getenv("KW_TEST_TOKENS");
    char config_text[2048];
    struct kw_config config = {.tokens = NULL};
    struct kw_access *access = NULL;
    struct kw_error err;
    int len = snprintf(config_text, sizeof(config_text), text, folder, a_json, folder);
    assert_ok(kw_config_parse(&config, config_text, (size_t)len, "x.conf", &err));
    assert_ok(kw_access_new(test_crypto(), &config, &access, &err));
    kw_config_cleanup(&config);
    return access;
}

/* The exact size, so that a read beyond its end is seen by a sanitizer. */
static enum kw_status identify_at(struct kw_access *access, const char *authorization, time_t now,
                                  const struct kw_client **ret_client, struct kw_error *err)
{
    const struct kw_http_peer peer = {.verified = true, .common_name = "two"};
    char *exact = strdup(authorization);
    assert_non_null(exact);
    memset(err, 0, sizeof(*err));
    enum kw_status status = kw_access_identify(access, &peer, exact, now, ret_client, err);
    free(exact);
    return status;
}

static enum kw_status identify(struct kw_access *access, const char *authorization,
                               const struct kw_client **ret_client, struct kw_error *err)
{
    return identify_at(access, authorization, NOW, ret_client, err);
}

static void tokens(void **state)
{
    (void)state;
    struct kw_access *access = make_access("a.json");
    char *text = read_rows("tokens.tsv"), *rest = text, *row[3];
    size_t good = 0, bad = 0, wrong = 0;
    while (next_row(&rest, row)) {
        struct kw_error err;
        const struct kw_client *client = NULL;
        enum kw_status status = identify(access, row[2], &client, &err);
        bool wanted = strcmp(row[1], "ok") == 0;
        bool as_said = wanted ? status == KW_OK && client
                              : status == KW_DENIED && !client && strstr(err.message, row[1]);
        *(wanted ? &good : &bad) += 1;
        if (as_said)
            continue;
        print_error("%s: wanted \"%s\", got %d \"%s\"\n", row[0], row[1], status, err.message);
        wrong++;
    }
    assert_int_equal(wrong, 0);
    assert_in_range(good, 15, 100);
    assert_in_range(bad, 90, 1000);
    free(text);
    kw_access_free(access);
}

/* Each byte of a good token, changed in turn. */
static void every_byte_counts(void **state)
{
    (void)state;
    struct kw_access *access = make_access("a.json");
    char *text = read_rows("tokens.tsv"), *rest = text, *row[3];
    const struct kw_client *client = NULL;
    struct kw_error err;
    assert_true(next_row(&rest, row));
    assert_int_equal(identify(access, row[2], &client, &err), KW_OK);
    assert_string_equal(kw_client_name(client), "one");
    for (char *at = row[2] + strlen("Bearer "); *at; at++) {
        char kept = *at;
        *at = kept == 'Q' ? 'R' : 'Q';
        assert_int_equal(identify(access, row[2], &client, &err), KW_DENIED);
        *at = kept;
    }
    for (size_t len = strlen(row[2]) - 1; len > 0; len--) {
        row[2][len] = '\0';
        assert_int_equal(identify(access, row[2], &client, &err), KW_DENIED);
    }
    free(text);
    kw_access_free(access);
}

/* That it was verified before is no reason to take it after its end, or under other keys. */
static void a_token_that_was_seen(void **state)
{
    (void)state;
    struct kw_access *access = make_access("a.json");
    char *text = read_rows("tokens.tsv"), *rest = text, *row[3];
    const struct kw_client *client = NULL;
    struct kw_error err;
    assert_true(next_row(&rest, row));
    for (int i = 0; i < 3; i++)
        assert_int_equal(identify(access, row[2], &client, &err), KW_OK);
    assert_int_equal(identify_at(access, row[2], NOW + 299, &client, &err), KW_OK);
    assert_int_equal(identify_at(access, row[2], NOW + 300, &client, &err), KW_DENIED);
    assert_int_equal(identify_at(access, row[2], NOW - 70, &client, &err), KW_OK);
    assert_int_equal(identify_at(access, row[2], NOW - 71, &client, &err), KW_DENIED);
    assert_int_equal(identify(access, row[2], &client, &err), KW_OK);
    free(text);
    kw_access_free(access);
}

static void link_as(const char *name, const char *as)
{
    char from[512], fresh[512], to[512];
    snprintf(from, sizeof(from), "%s/%s", getenv("KW_TEST_TOKENS"), name);
    snprintf(fresh, sizeof(fresh), "%s/fresh", getenv("KW_TEST_TOKENS"));
    snprintf(to, sizeof(to), "%s/%s", getenv("KW_TEST_TOKENS"), as);
    assert_int_equal(link(from, fresh), 0);
    assert_int_equal(rename(fresh, to), 0);
}

static void keys_that_change(void **state)
{
    (void)state;
    link_as("a.json", "now.json");
    struct kw_access *access = make_access("now.json");
    char *text = read_rows("tokens.tsv"), *rest = text, *row[3];
    const struct kw_client *client = NULL;
    struct kw_error err;
    assert_true(next_row(&rest, row));
    assert_int_equal(identify(access, row[2], &client, &err), KW_OK);
    link_as("other.json", "now.json");
    enum kw_status status = KW_OK;
    for (int i = 0; i < 300 && status == KW_OK; i++) {
        const struct timespec tenth = {.tv_nsec = 100000000};
        nanosleep(&tenth, NULL);
        status = identify(access, row[2], &client, &err);
    }
    assert_int_equal(status, KW_DENIED);
    free(text);
    kw_access_free(access);
}

static void the_cache(void **state)
{
    (void)state;
    static struct kw_bearer_cache cache;
    struct kw_bearer_seen found,
        seen = {.client = (const struct kw_client *)&cache,
                .found = {.generation = 7, .from = NOW - 5, .until = NOW + 10}};
    assert_false(kw_bearer_cache_find(&cache, seen.digest, NOW, &found));
    kw_bearer_cache_add(&cache, &seen, NOW);
    assert_true(kw_bearer_cache_find(&cache, seen.digest, NOW + 9, &found));
    assert_int_equal(found.found.generation, 7);
    assert_false(kw_bearer_cache_find(&cache, seen.digest, NOW + 10, &found));
    assert_true(kw_bearer_cache_find(&cache, seen.digest, NOW - 5, &found));
    assert_false(kw_bearer_cache_find(&cache, seen.digest, NOW - 6, &found));
    seen.found.until = NOW + 100000;
    kw_bearer_cache_add(&cache, &seen, NOW);
    assert_true(kw_bearer_cache_find(&cache, seen.digest, NOW + 299, &found));
    assert_false(kw_bearer_cache_find(&cache, seen.digest, NOW + 300, &found));
    for (size_t i = 0; i < sizeof(seen.digest); i++) {
        seen.digest[i] ^= 1;
        assert_false(kw_bearer_cache_find(&cache, seen.digest, NOW, &found));
        seen.digest[i] ^= 1;
    }
}

/* ---- many threads ---- */

static void *identify_all(void *argument)
{
    struct kw_access *access = argument;
    const struct kw_http_peer peer = {.verified = false};
    for (int round = 0; round < 20; round++) {
        char *text = read_rows("tokens.tsv"), *rest = text, *row[3];
        while (next_row(&rest, row)) {
            const struct kw_client *client = NULL;
            unsigned retry;
            bool good = kw_access_identify(access, &peer, row[2], NOW, &client, NULL) == KW_OK;
            if (good != (strcmp(row[1], "ok") == 0))
                abort();
            if (client)
                (void)kw_access_admit(access, client, kw_now_ms(), &retry);
        }
        free(text);
    }
    return NULL;
}

static void many_threads(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_access *access = make_access("a.json");
    pthread_t threads[4];
    for (size_t i = 0; i < KW_COUNT(threads); i++)
        assert_ok(kw_thread_start(&threads[i], identify_all, access, &err));
    for (size_t i = 0; i < KW_COUNT(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    kw_access_free(access);
}

/* ---- sets of keys ---- */

static void sets(void **state)
{
    (void)state;
    char *text = read_rows("sets.tsv"), *rest = text, *row[3];
    size_t rows = 0, wrong = 0;
    for (; next_row(&rest, row); rows++) {
        struct kw_error err;
        struct kw_jwk_set *set = NULL;
        memset(&err, 0, sizeof(err));
        enum kw_status status = kw_jwk_set_parse(row[2], strlen(row[2]), "x.json", &set, &err);
        bool good = row[1][0] >= '0' && row[1][0] <= '9';
        bool as_said = good ? status == KW_OK && kw_jwk_set_count(set) == (size_t)atol(row[1])
                            : status == KW_CONFIG && !set && strstr(err.message, row[1]);
        kw_jwk_set_free(set);
        if (as_said)
            continue;
        print_error("%s: wanted \"%s\", got %d \"%s\"\n", row[0], row[1], status, err.message);
        wrong++;
    }
    assert_int_equal(wrong, 0);
    assert_in_range(rows, 40, 200);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens),
        cmocka_unit_test(every_byte_counts),
        cmocka_unit_test(a_token_that_was_seen),
        cmocka_unit_test(keys_that_change),
        cmocka_unit_test(the_cache),
        cmocka_unit_test(many_threads),
        cmocka_unit_test(sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
