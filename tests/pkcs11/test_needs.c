/* What a confined process is allowed for a module, by what its file is called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "token.h"

/* The working directory: config  tokens/  modules/libx.so, and so on. */
static char root[] = "/tmp/keyward-needs-XXXXXX";
static struct kw_confinement allowed;

static const char *at(const char *name)
{
    static char paths[4][128];
    static size_t next;
    char *path = paths[next++ % KW_COUNT(paths)];
    (void)snprintf(path, sizeof(paths[0]), "%s/%s", root, name);
    return path;
}

static void ask(const char *module, const char *init_args)
{
    kw_confinement_cleanup(&allowed);
    assert_int_equal(kw_module_allow(module, init_args, &allowed, NULL), KW_OK);
}

static bool may(enum kw_may access, const char *path)
{
    for (size_t i = 0; i < allowed.count; i++)
        if (allowed.items[i].access == access && strcmp(allowed.items[i].path, path) == 0)
            return true;
    return false;
}

static void write_config(const char *before, const char *path, const char *after)
{
    FILE *file = fopen("config", "w");
    assert_non_null(file);
    assert_true(fprintf(file, "%s%s%s", before, path, after) > 0);
    assert_int_equal(fclose(file), 0);
}

static void softhsm_writes_to_its_tokens(void **state)
{
    (void)state;
    setenv("SOFTHSM2_CONF", at("config"), 1);
    write_config("# directories.tokendir = /elsewhere/tokens\ndirectories.tokendir = ",
                 at("tokens"), " \nlog.level = ERROR\n");
    ask(at("libsofthsm2.so"), NULL);
    assert_true(may(KW_MAY_READ, at("config")));
    assert_true(may(KW_MAY_WRITE, at("tokens")));
    assert_false(may(KW_MAY_WRITE, root));
    assert_false(may(KW_MAY_WRITE, "/"));
    assert_false(may(KW_MAY_WRITE, "/elsewhere"));
    assert_int_equal(allowed.network, KW_NETWORK_NONE);
    setenv("SOFTHSM2_CONF", at("missing"), 1);
    ask(at("libsofthsm2.so"), NULL);
    assert_false(may(KW_MAY_WRITE, at("tokens")));
    unsetenv("SOFTHSM2_CONF");
}

static void nss_writes_to_what_its_init_args_name(void **state)
{
    char init_args[256];
    (void)state;
    (void)snprintf(init_args, sizeof(init_args),
                   "configdir='sql:%s' certPrefix='' flags=", at("tokens"));
    ask("/usr/lib/libsoftokn3.so", init_args);
    assert_true(may(KW_MAY_WRITE, at("tokens")));
    assert_int_equal(allowed.network, KW_NETWORK_NONE);
    ask("/usr/lib/libsoftokn3.so", "configdir='sql:not/absolute'");
    assert_int_equal(allowed.count, 0);
    ask("/usr/lib/libsoftokn3.so", "configdir");
    ask("/usr/lib/libsoftokn3.so", "configdir='sql:/'");
    ask("/usr/lib/libsoftokn3.so", NULL);
    assert_int_equal(allowed.count, 0);
}

/* SQLite has files beside its database. */
static void kryoptic_writes_beside_its_database(void **state)
{
    (void)state;
    setenv("KRYOPTIC_CONF", at("config"), 1);
    write_config("[[slots]]\ndbtype = \"sqlite\"\ndbargs = \"", at("tokens/token.sql"),
                 "\" # comment\n");
    ask("/opt/libkryoptic_pkcs11.so", NULL);
    assert_true(may(KW_MAY_WRITE, at("tokens")));
    unsetenv("KRYOPTIC_CONF");
    ask("/opt/libkryoptic_pkcs11.so", at("config"));
    assert_true(may(KW_MAY_READ, at("config")));
    assert_true(may(KW_MAY_WRITE, at("tokens")));
}

static void a_database_in_the_root_opens_nothing(void **state)
{
    (void)state;
    write_config("dbargs = \"", "/token.sql", "\"\n");
    ask("/opt/libkryoptic_pkcs11.so", at("config"));
    assert_false(may(KW_MAY_WRITE, "/"));
}

static void the_environment_names_paths(void **state)
{
    (void)state;
    setenv("HOME", root, 1);
    setenv("TPM2_PKCS11_STORE", at("tokens"), 1);
    ask("/usr/lib/pkcs11/libtpm2_pkcs11.so", NULL);
    assert_true(may(KW_MAY_WRITE, at("tokens")));
    assert_true(may(KW_MAY_WRITE, at(".tpm2_pkcs11")));
    assert_true(may(KW_MAY_WRITE, "/dev/tpmrm0"));
    assert_int_equal(allowed.network, KW_NETWORK_UNIX);
    setenv("TPM2_PKCS11_STORE", "not/absolute", 1);
    ask("/usr/lib/pkcs11/libtpm2_pkcs11.so", NULL);
    assert_false(may(KW_MAY_WRITE, "not/absolute"));
    setenv("TPM2_PKCS11_STORE", "", 1);
    ask("/usr/lib/pkcs11/libtpm2_pkcs11.so", NULL);
    assert_false(may(KW_MAY_WRITE, ""));
    unsetenv("TPM2_PKCS11_STORE");
}

static void networks_of_kinds(void **state)
{
    static const struct {
        const char *file;
        enum kw_network network;
    } kinds[] = {
        {"libsofthsm2.so", KW_NETWORK_NONE},       {"libsoftokn3.so", KW_NETWORK_NONE},
        {"libopencryptoki.so", KW_NETWORK_UNIX},   {"p11-kit-client.so", KW_NETWORK_UNIX},
        {"libCryptoki2_64.so", KW_NETWORK_TCP},    {"libcknfast.so", KW_NETWORK_TCP},
        {"libcloudhsm_pkcs11.so", KW_NETWORK_TCP}, {"libazcloudhsm_pkcs11.so", KW_NETWORK_TCP},
        {"libcs_pkcs11_R3.so", KW_NETWORK_TCP},    {"libkmsp11.so", KW_NETWORK_TCP},
        {"p11-kit-proxy.so", KW_NETWORK_TCP},      {"unknown.so", KW_NETWORK_TCP},
        {"not-libsofthsm2.so", KW_NETWORK_TCP},    {"", KW_NETWORK_TCP},
    };
    char path[128];
    (void)state;
    for (size_t i = 0; i < KW_COUNT(kinds); i++) {
        (void)snprintf(path, sizeof(path), "/libsofthsm2.so/%s", kinds[i].file);
        ask(path, NULL);
        assert_int_equal(allowed.network, kinds[i].network);
    }
    /* Of two modules, the one that needs more decides. */
    ask("/libkmsp11.so", NULL);
    assert_int_equal(kw_module_allow("/libsofthsm2.so", NULL, &allowed, NULL), KW_OK);
    assert_int_equal(allowed.network, KW_NETWORK_TCP);
}

static void a_module_may_read_its_own_folder(void **state)
{
    (void)state;
    assert_int_equal(symlink("modules/libx.so", "link.so"), 0);
    ask(at("link.so"), NULL);
    assert_true(may(KW_MAY_READ, at("modules/libx.so")));
    assert_true(may(KW_MAY_READ, at("modules")));
    assert_false(may(KW_MAY_READ, root));
    ask("/missing.so", NULL);
    assert_int_equal(allowed.count, 0);
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(root) || chdir(root) || mkdir("tokens", 0700) || mkdir("modules", 0700))
        return -1;
    FILE *file = fopen("modules/libx.so", "w");
    return file ? fclose(file) : -1;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    kw_confinement_cleanup(&allowed);
    (void)snprintf(command, sizeof(command), "rm -rf %s", root);
    return chdir("/") || system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softhsm_writes_to_its_tokens),
        cmocka_unit_test(nss_writes_to_what_its_init_args_name),
        cmocka_unit_test(kryoptic_writes_beside_its_database),
        cmocka_unit_test(a_database_in_the_root_opens_nothing),
        cmocka_unit_test(the_environment_names_paths),
        cmocka_unit_test(networks_of_kinds),
        cmocka_unit_test(a_module_may_read_its_own_folder),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
