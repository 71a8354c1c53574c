/* JSON that held secrets: nothing of them stays in memory, whether it is taken or refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "memory_search.h"
#include "vault/internal.h"

#define SECRET_LEN 40
#define KID        "https://h/keys/k1/" VERSION
#define VERSION    "0123456789abcdef0123456789abcdef"

static struct wanted wanted = {.name = "the secret", .len = SECRET_LEN};

static const struct kw_json_limits limits = {.bytes = 4096, .depth = 8, .items = 100};

/* How often it is in memory. */
static unsigned long found(void)
{
    assert_int_equal(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
    assert_int_equal(search_memory(&wanted, 1), 0);
    return wanted.found;
}

/* The text with the secret for each "$"; letters alone before it, as what is freed loses its first
 * bytes anyway. */
static char *fill_in(const char *form)
{
    static const char before[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    char *text = calloc(1, 4096), *at = text;
    assert_non_null(text);
    for (; *form; form++) {
        if (*form != '$') {
            *at++ = *form;
            continue;
        }
        at = mempcpy(at, before, sizeof(before) - 1);
        for (size_t i = 0; i < SECRET_LEN; i++)
            *at++ = (char)(wanted.masked[i] ^ MASK);
    }
    return text;
}

static void forget(char *text)
{
    kw_wipe(text, 4096);
    free(text);
}

static enum kw_status parse(const char *form, struct cJSON **ret_json)
{
    char *text = fill_in(form);
    enum kw_status status =
        kw_json_parse(text, strlen(text), &limits, "it", KW_USAGE, ret_json, NULL);
    forget(text);
    return status;
}

static void taken(void **state)
{
    static const char *const forms[] = {
        "{\"value\":\"$\"}",
        "\"$\"",
        "{\"a\":{\"b\":[1,{\"c\":[\"x\",\"$\"]}]},\"d\":\"$\"}",
        "{\"$\":1}",
    };
    (void)state;
    for (size_t i = 0; i < KW_COUNT(forms); i++) {
        struct cJSON *json = NULL;
        assert_int_equal(parse(forms[i], &json), KW_OK);
        assert_int_not_equal(found(), 0); /* or the search is of no use */
        kw_json_wipe_delete(json);
        if (found())
            fail_msg("left of %s: %lu times", forms[i], wanted.found);
    }
    kw_json_wipe_delete(NULL);
}

static void refused(void **state)
{
    static const char *const forms[] = {
        "{\"value\":\"$\",\"value\":\"$\"}",
        "{\"value\":\"$\",\"Value\":1}",
        "{\"k\":{\"d\":\"$\"},\"K\":1}",
        "{\"d\":\"$\",\"a\":[{\"x\":1,\"x\":2}]}",
        "{\"d\":\"$\"",
        "{\"d\":\"$\"}}",
    };
    (void)state;
    for (size_t i = 0; i < KW_COUNT(forms); i++) {
        struct cJSON *json = NULL;
        assert_int_equal(parse(forms[i], &json), KW_USAGE);
        if (found())
            fail_msg("left of %s: %lu times", forms[i], wanted.found);
    }
}

static void results(void **state)
{
    static const struct kw_vault_key key = {.name = "k1", .version = VERSION};
    static const struct {
        const char *form;
        enum kw_status status;
    } table[] = {
        {"{\"kid\":\"" KID "\",\"value\":\"$\"}", KW_OK},
        {"{\"kid\":\"https://h/keys/k2/" VERSION "\",\"value\":\"$\"}", KW_TOKEN},
        {"{\"kid\":\"" KID "\",\"value\":\"$.\"}", KW_TOKEN},
        {"{\"kid\":\"" KID "\",\"value\":[\"$\"]}", KW_TOKEN},
        {"{\"kid\":\"" KID "\",\"result\":{\"value\":\"$\"}}", KW_TOKEN},
        {"{\"kid\":\"" KID "\",\"value\":\"$\",\"value\":\"$\"}", KW_TOKEN},
    };
    (void)state;
    for (size_t i = 0; i < KW_COUNT(table); i++) {
        char *text = fill_in(table[i].form);
        struct kw_secret *secret = NULL;
        enum kw_status status = kw_vault_parse_result(text, strlen(text), "h", &key, &secret, NULL);
        forget(text);
        kw_secret_free(secret);
        assert_int_equal(status, table[i].status);
        if (found())
            fail_msg("left of %s: %lu times", table[i].form, wanted.found);
    }
}

/* Letters at random, so that no copy of another run, or of this text, is found. */
static int choose(void **state)
{
    FILE *random = fopen("/dev/urandom", "r");
    (void)state;
    if (!random || fread(wanted.masked, 1, SECRET_LEN, random) != SECRET_LEN)
        return 1;
    for (size_t i = 0; i < SECRET_LEN; i++)
        wanted.masked[i] = (uint8_t)('a' + wanted.masked[i] % 26) ^ MASK;
    (void)fclose(random);
    return kw_secret_start(NULL) == KW_OK ? 0 : 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taken),
        cmocka_unit_test(refused),
        cmocka_unit_test(results),
    };
    return cmocka_run_group_tests(tests, choose, NULL);
}
