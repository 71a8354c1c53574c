#include "two_tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cjson/cJSON.h>

char wrong_pin_path[128], copy_path[128], trail_path[128];
uint8_t wrapped[KW_RSA_MAX_BYTES];
size_t wrapped_len;
static char config_path[128], pin_path[128];

static void put_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void import_key(const char *uri, const char *label, const char *id,
                       const struct kw_secret *pkcs8)
{
    const struct kw_key_plan plan = {
        .use = KW_USE_ALL, .label = label, .id = (const uint8_t *)id, .id_len = strlen(id)};
    struct kw_token *token = NULL;
    struct kw_token_key key;
    struct kw_error err = {.status = KW_OK};
    if (hsm_try_open(hsm.module, uri, hsm.pin, 4, &token, &err) != KW_OK ||
        kw_token_import_key(token, &plan, pkcs8, &key, &err) != KW_OK)
        fail_msg("%s", err.message);
    if (strcmp(label, NAME) == 0)
        wrapped_len = hsm_wrap(&key, KW_RSA_OAEP, wrapped);
    kw_token_free(token);
}

static void make_keys(void)
{
    struct kw_secret *shared = hsm_new_pkcs8(), *one = hsm_new_pkcs8(), *other = hsm_new_pkcs8();
    struct kw_secret *only = hsm_new_pkcs8();
    import_key(hsm.uri, NAME, "s1", shared);
    import_key("pkcs11:token=" SPARE, SPARE_NAME, "s2", shared);
    import_key(hsm.uri, NAMESAKE, "n1", one);
    import_key("pkcs11:token=" SPARE, NAMESAKE, "n2", other);
    import_key(hsm.uri, ONLY_HERE, "o1", only);
    kw_secret_free(shared);
    kw_secret_free(one);
    kw_secret_free(other);
    kw_secret_free(only);
}

static void copy_file(const char *from, const char *to)
{
    char command[600];
    (void)snprintf(command, sizeof(command), "cp -L '%s' '%s'", from, to);
    assert_int_equal(system(command), 0);
}

int two_tokens_setup(void **state)
{
    int result = hsm_setup(state);
    if (result || !hsm.made_here)
        return result;
    snprintf(pin_path, sizeof(pin_path), "%s/pin", hsm.folder);
    put_text(pin_path, hsm.pin);
    snprintf(wrong_pin_path, sizeof(wrong_pin_path), "%s/wrong-pin", hsm.folder);
    put_text(wrong_pin_path, "99999999");
    snprintf(config_path, sizeof(config_path), "%s/keys.conf", hsm.folder);
    snprintf(copy_path, sizeof(copy_path), "%s/copy.so", hsm.folder);
    copy_file(hsm.module, copy_path);
    assert_int_equal(
        setenv("XDG_STATE_HOME", hsm.folder, 1) | setenv("XDG_CONFIG_HOME", hsm.folder, 1), 0);
    hsm_make_token(SPARE);
    make_keys();
    return 0;
}

/* ---- keyrings ---- */

static unsigned trails;

struct kw_keyring *two_tokens_open(const struct plan *plan)
{
    char text[2048];
    (void)snprintf(trail_path, sizeof(trail_path), "%s/trail-%u", hsm.folder, trails++);
    (void)snprintf(text, sizeof(text),
                   "[token b]\nmodule = %s\nuri = pkcs11:token=" SPARE
                   "\npin-source = %s\ntimeout = 1\n"
                   "[token a]\nmodule = %s\nuri = %s\npin-source = %s\ntimeout = 1\n%s"
                   "failover-probe = 3600\n[audit]\ndir = %s\n[run]\ntoken = a\n",
                   plan->second_module ? plan->second_module : copy_path,
                   plan->second_pin ? plan->second_pin : pin_path,
                   plan->first_module ? plan->first_module : hsm_fault_path(), hsm.uri,
                   plan->first_pin ? plan->first_pin : pin_path,
                   plan->without ? "" : "failover = b\n", trail_path);
    put_text(config_path, text);
    const struct kw_keyring_options options = {.config_file = config_path,
                                               .ask_pin = plan->ask_pin};
    struct kw_keyring *keyring = NULL;
    struct kw_error err = {.status = KW_OK};
    if (kw_keyring_open(&options, &keyring, &err) != KW_OK)
        fail_msg("%s", err.message);
    if (plan->probe_ms)
        keyring->failover->probe_ms = plan->probe_ms; /* shorter than it can be configured */
    return keyring;
}

/* ---- what is on record ---- */

static const char *member(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "-";
}

static enum kw_status tell(void *context, const char *line, size_t len, struct kw_error *err)
{
    struct telling *telling = context;
    cJSON *record = NULL;
    enum kw_status status = kw_record_parse(line, len, &record, err);
    if (status)
        return status;
    const cJSON *key = cJSON_GetObjectItemCaseSensitive(record, "key");
    const char *op = member(record, "op");
    if (strcmp(op, "trail.begin") != 0)
        telling->len += (size_t)snprintf(
            telling->text + telling->len, sizeof(telling->text) - telling->len, "%s %s %s %s\n", op,
            member(key, "token"), member(record, "phase"), member(record, "status"));
    if (telling->op && strcmp(telling->op, op) == 0) {
        (void)snprintf(telling->detail, sizeof(telling->detail), "%s", member(record, "detail"));
        (void)snprintf(telling->ck_rv, sizeof(telling->ck_rv), "%s", member(record, "ck_rv"));
    }
    cJSON_Delete(record);
    return telling->len < sizeof(telling->text) ? KW_OK : KW_FAULT;
}

void two_tokens_read_trail(struct telling *telling)
{
    if (access(trail_path, F_OK) == 0)
        assert_int_equal(kw_trail_read(trail_path, tell, telling, NULL), KW_OK);
}
