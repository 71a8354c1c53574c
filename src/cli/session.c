/* The keyring that a subcommand works with. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli.h"

void hide_pins(char **argv)
{
    static const char attribute[] = "pin-value=";
    for (size_t i = 0; argv[i]; i++) {
        char *value = strstr(argv[i], attribute);
        if (!value)
            continue;
        value += sizeof(attribute) - 1;
        memset(value, '*', strcspn(value, "&"));
    }
}

bool names_a_module(const char *uri)
{
    struct kw_uri *parsed = NULL;
    if (uri && kw_names_a_vault(uri))
        return true;
    if (!uri || !kw_is_uri(uri) || kw_uri_parse(uri, &parsed, NULL))
        return false;
    bool named = kw_uri_module(parsed) != NULL;
    kw_uri_free(parsed);
    return named;
}

/* ---- the process that starts the command that gives access tokens ---- */

/* It ends with this one, whose end of the socket is then closed. */
static void serve_tokens(int socket, const char *command)
{
    static const int others[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < KW_COUNT(others); i++)
        (void)signal(others[i], SIG_IGN);
    kw_keyring_serve_token_command(socket, command);
    _exit(0);
}

/* Before this process is confined: then it can start none. */
static enum kw_status start_token_server(struct kw_keyring *keyring, struct kw_error *err)
{
    const char *command = kw_keyring_token_command(keyring);
    int ends[2];
    if (!command)
        return KW_OK;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return kw_fail_errno(err, KW_WRITE, errno, "no process for token-source can be started");
    pid_t pid = fork();
    int code = errno;
    if (pid == 0) {
        kw_close(&ends[0]);
        serve_tokens(ends[1], command);
    }
    kw_close(&ends[1]);
    if (pid < 0) {
        kw_close(&ends[0]);
        return kw_fail_errno(err, KW_WRITE, code, "no process for token-source can be started");
    }
    kw_keyring_use_token_server(keyring, ends[0]);
    return KW_OK;
}

/* ---- the keyring ---- */

static enum kw_status confine_to(const struct arguments *arguments,
                                 struct kw_keyring *const keyrings[], size_t count,
                                 struct kw_error *err)
{
    struct kw_confinement confinement = {.items = NULL};
    const char *why = NULL;
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < count && !status; i++)
        status = kw_keyring_allow(keyrings[i], !only_reads(arguments), &confinement, err);
    if (!status)
        status = confine(arguments, kw_keyring_config(keyrings[0]), &confinement, &why, err);
    for (size_t i = 0; i < count && why && !status; i++)
        kw_keyring_note_unconfined(keyrings[i], why);
    kw_confinement_cleanup(&confinement);
    return status;
}

enum kw_status open_keyring_beside(const struct arguments *arguments, char **argv,
                                   struct kw_keyring *other, struct kw_keyring **ret_keyring,
                                   struct kw_error *err)
{
    enum kw_status status = kw_secret_start(err);
    if (status)
        return status;
    bool key_has_token = !arguments->token && names_a_module(arguments->key);
    const struct kw_keyring_options options = {
        .config_file = arguments->config,
        .token = key_has_token ? arguments->key : arguments->token,
        .ask_pin = ask_pin,
    };
    struct kw_keyring *keyring = NULL;
    status = kw_keyring_open(&options, &keyring, err);
    hide_pins(argv);
    if (status)
        return status;
    struct kw_keyring *const both[] = {keyring, other};
    if ((status = start_token_server(keyring, err)) ||
        (status = confine_to(arguments, both, other ? 2 : 1, err))) {
        kw_keyring_free(keyring);
        return status;
    }
    *ret_keyring = keyring;
    return KW_OK;
}

enum kw_status open_keyring(const struct arguments *arguments, char **argv,
                            struct kw_keyring **ret_keyring, struct kw_error *err)
{
    return open_keyring_beside(arguments, argv, NULL, ret_keyring, err);
}

void close_trail(struct kw_keyring *keyring, const struct arguments *arguments)
{
    struct kw_strings warnings = KW_STRINGS_INIT(8);
    if (!keyring)
        return;
    size_t told = kw_keyring_copy_warnings(keyring, 0, NULL);
    kw_keyring_close_trail(keyring);
    (void)kw_keyring_copy_warnings(keyring, told, &warnings);
    print_warnings(&warnings, arguments);
    kw_strings_cleanup(&warnings);
}

int with_keyring(const struct arguments *arguments, char **argv, const char *schema,
                 keyring_fn work)
{
    struct kw_keyring *keyring = NULL;
    struct kw_error err;
    enum kw_status status = open_keyring(arguments, argv, &keyring, &err);
    if (!status)
        status = work(keyring, arguments, &err);
    int exit_code = status ? fail_with(arguments, schema, &err) : 0;
    kw_keyring_close_trail(keyring);
    print_keyring_warnings(keyring, arguments);
    kw_keyring_free(keyring);
    return exit_code;
}
