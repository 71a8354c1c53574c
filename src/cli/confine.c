/* What the program may still reach once its options and configuration are read. */
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/* ---- what every subcommand needs ---- */

struct place {
    const char *path; /* "$NAME": what the environment has, paths with ":" between them */
    enum kw_may access;
};

/* Libraries that are loaded later, and what they read of the system. */
static const struct place everywhere[] = {
    {"/lib", KW_MAY_READ},
    {"/lib64", KW_MAY_READ},
    {"/usr/lib", KW_MAY_READ},
    {"/usr/lib64", KW_MAY_READ},
    {"/usr/local/lib", KW_MAY_READ},
    {"/usr/local/lib64", KW_MAY_READ},
    {"$LD_LIBRARY_PATH", KW_MAY_READ},
    {"/etc/ld.so.cache", KW_MAY_READ},
    {"/etc/ld.so.preload", KW_MAY_READ},
    {"/etc/ssl/openssl.cnf", KW_MAY_READ},
    {"/etc/pki/tls/openssl.cnf", KW_MAY_READ},
    {"/etc/crypto-policies", KW_MAY_READ},
    {"$OPENSSL_CONF", KW_MAY_READ},
    {"$OPENSSL_MODULES", KW_MAY_READ},
    {"/etc/localtime", KW_MAY_READ},
    {"/usr/share/zoneinfo", KW_MAY_READ},
    {"/etc/passwd", KW_MAY_READ},
    {"/etc/group", KW_MAY_READ},
    {"/etc/nsswitch.conf", KW_MAY_READ},
    {"/proc/self", KW_MAY_READ},
    {"/proc/cpuinfo", KW_MAY_READ},
    {"/proc/meminfo", KW_MAY_READ},
    {"/proc/sys/crypto/fips_enabled", KW_MAY_READ},
    {"/proc/sys/vm/overcommit_memory", KW_MAY_READ},
    {"/sys/devices/system/cpu", KW_MAY_READ},
    {"/dev/random", KW_MAY_READ},
    {"/dev/urandom", KW_MAY_READ},
    {"/dev/zero", KW_MAY_READ},
    {"/dev/null", KW_MAY_WRITE},
    {"/dev/tty", KW_MAY_WRITE},
#ifdef KW_COUNTERS
    {KW_COUNTERS, KW_MAY_WRITE}, /* of lines that tests reach, written at the end */
#endif
};

/* To find and to trust a host. */
static const struct place on_the_network[] = {
    {"/etc/hosts", KW_MAY_READ},
    {"/etc/host.conf", KW_MAY_READ},
    {"/etc/resolv.conf", KW_MAY_READ},
    {"/etc/gai.conf", KW_MAY_READ},
    {"/etc/services", KW_MAY_READ},
    {"/etc/ssl/certs", KW_MAY_READ},
    {"/etc/pki/ca-trust", KW_MAY_READ},
    {"/etc/pki/tls/certs", KW_MAY_READ},
    {"/usr/share/ca-certificates", KW_MAY_READ},
};

static enum kw_status allow_each(struct kw_confinement *confinement, const char *paths,
                                 enum kw_may access, struct kw_error *err)
{
    char *copy = paths ? strdup(paths) : NULL, *rest = copy;
    enum kw_status status = paths && !copy ? kw_fail_memory(err) : KW_OK;
    const char *path;
    while (!status && (path = strsep(&rest, ":")))
        if (path[0] == '/')
            status = kw_confine_allow(confinement, path, access, err);
    free(copy);
    return status;
}

static enum kw_status allow_places(struct kw_confinement *confinement, const struct place *places,
                                   size_t count, struct kw_error *err)
{
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < count && !status; i++) {
        const char *path = places[i].path;
        status = allow_each(confinement, path[0] == '$' ? secure_getenv(path + 1) : path,
                            places[i].access, err);
    }
    return status;
}

/* ---- what the arguments name ---- */

/* How an argument's path is used. */
enum use {
    READS,      /* a file, or a folder and all below it */
    READS_MANY, /* the same, for an option that may be repeated */
    READS_KEY,  /* the same, unless it is a URI */
    READS_PIN,  /* where a PIN or passphrase comes from */
    WRITES,     /* a file, by way of its folder */
    FILLS,      /* a folder that is open, and goes if it stays empty */
    KEEPS,      /* a folder that is open and stays */
    MOVES,      /* a folder whose folders are moved away, unless they are to be left */
};

#define OPERAND(number) (offsetof(struct arguments, operands) + (number) * sizeof(const char *))

static const struct argument_use {
    const char *command; /* or the first words of several; NULL: every subcommand */
    size_t field;
    enum use use;
} uses[] = {
    {"decrypt", OPERAND(0), READS},       {"decrypt", FIELD(out), FILLS},
    {"inspect", OPERAND(0), READS},       {"cat", OPERAND(0), READS},
    {"seal", OPERAND(0), READS},          {"seal", FIELD(out), FILLS},
    {"watch", OPERAND(0), MOVES},         {"watch", FIELD(out), KEEPS},
    {"watch", FIELD(done), KEEPS},        {"watch", FIELD(quarantine), KEEPS},
    {"key import", OPERAND(0), READS},    {"key restore", OPERAND(0), READS},
    {"byok import", OPERAND(0), READS},   {"byok inspect", OPERAND(0), READS},
    {"byok export", FIELD(out), WRITES},  {"key backup", FIELD(to), WRITES},
    {NULL, FIELD(report), WRITES},        {NULL, FIELD(kek), READS_KEY},
    {NULL, FIELD(public_key), READS},     {NULL, FIELD(public_keys), READS_MANY},
    {NULL, FIELD(since), READS},          {NULL, FIELD(passphrase_source), READS_PIN},
    {NULL, FIELD(pin_source), READS_PIN}, {NULL, FIELD(so_pin_source), READS_PIN},
};

/* These look at keys and change none, so they make no folders for records of that. */
static const char *const readers[] = {
    "inspect", "seal", "key list", "key show", "key check", "byok kek show", "token doctor",
};

static bool is_of(const char *command, const char *words)
{
    size_t len = words ? strlen(words) : 0;
    return !words ||
           (strncmp(command, words, len) == 0 && (command[len] == '\0' || command[len] == ' '));
}

bool only_reads(const struct arguments *arguments)
{
    for (size_t i = 0; i < KW_COUNT(readers); i++)
        if (is_of(arguments->command, readers[i]))
            return true;
    return false;
}

static enum kw_status allow_folder_of(struct kw_confinement *confinement, const char *path,
                                      enum kw_may access, struct kw_error *err)
{
    char *copy = strdup(path);
    enum kw_status status =
        copy ? kw_confine_allow(confinement, dirname(copy), access, err) : kw_fail_memory(err);
    free(copy);
    return status;
}

/* A folder that was made and stays empty is taken away again, from where it really is. */
static enum kw_status allow_output(struct kw_confinement *confinement, const char *path,
                                   struct kw_error *err)
{
    char *real = realpath(path, NULL);
    enum kw_status status = kw_confine_allow(confinement, path, KW_MAY_WRITE, err);
    if (!status && real)
        status = allow_folder_of(confinement, real, KW_MAY_REMOVE_FOLDERS, err);
    free(real);
    return status;
}

static enum kw_status allow_argument(struct kw_confinement *confinement,
                                     const struct arguments *arguments,
                                     const struct argument_use *use, struct kw_error *err)
{
    const char *const *at =
        (const char *const *)(const void *)((const char *)arguments + use->field);
    enum kw_status status = KW_OK;
    if (use->use == READS_MANY) {
        for (size_t i = 0; i < MAX_GLOBS && at[i] && !status; i++)
            status = kw_confine_allow(confinement, at[i], KW_MAY_READ, err);
        return status;
    }
    if (!*at || (use->use == READS_KEY && kw_is_uri(*at)))
        return KW_OK;
    switch (use->use) {
    case READS:
    case READS_MANY:
    case READS_KEY:
        return kw_confine_allow(confinement, *at, KW_MAY_READ, err);
    case READS_PIN:
        return kw_pin_allow(*at, confinement, err);
    case WRITES:
        return allow_folder_of(confinement, *at, KW_MAY_PUT, err);
    case KEEPS:
        return kw_confine_allow(confinement, *at, KW_MAY_WRITE, err);
    case MOVES:
        confinement->moves = !arguments->leave;
        return kw_confine_allow(confinement, *at, arguments->leave ? KW_MAY_READ : KW_MAY_WRITE,
                                err);
    case FILLS:
        break;
    }
    return allow_output(confinement, *at, err);
}

static enum kw_status allow_arguments(struct kw_confinement *confinement,
                                      const struct arguments *arguments, struct kw_error *err)
{
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < KW_COUNT(uses) && !status; i++)
        if (is_of(arguments->command, uses[i].command))
            status = allow_argument(confinement, arguments, &uses[i], err);
    return status;
}

/* ---- all of it ---- */

static void choose_network(struct kw_confinement *confinement, const struct kw_config *config)
{
    static const char *const names[] = {
        [KW_NETWORK_NONE] = "none", [KW_NETWORK_UNIX] = "unix", [KW_NETWORK_TCP] = "tcp"};
    for (size_t i = 0; i < KW_COUNT(names); i++)
        if (config->sandbox.network && strcmp(config->sandbox.network, names[i]) == 0)
            confinement->network = (enum kw_network)i;
}

static enum kw_status fill(struct kw_confinement *confinement, const struct arguments *arguments,
                           const struct kw_config *config, struct kw_error *err)
{
    enum kw_status status;
    choose_network(confinement, config);
    if ((status = allow_places(confinement, everywhere, KW_COUNT(everywhere), err)) ||
        (status = allow_arguments(confinement, arguments, err)) ||
        (status = allow_each(confinement, config->sandbox.read, KW_MAY_READ, err)) ||
        (status = allow_each(confinement, config->sandbox.write, KW_MAY_WRITE, err)))
        return status;
    return confinement->network == KW_NETWORK_TCP
               ? allow_places(confinement, on_the_network, KW_COUNT(on_the_network), err)
               : KW_OK;
}

static const char *why_not(const struct arguments *arguments, const struct kw_config *config)
{
    if (arguments->no_sandbox)
        return "not confined, as --no-sandbox says";
    return config->sandbox.enabled == KW_NO ? "not confined, as enabled = no in [sandbox] says"
                                            : NULL;
}

static const char *why_lacking(const char *lacking)
{
    if (!lacking)
        return NULL;
    if (strcmp(lacking, "Landlock") == 0)
        return "confined in part, as the kernel has no Landlock";
    return strcmp(lacking, "seccomp") == 0
               ? "confined in part, as the kernel has no seccomp"
               : "not confined, as the kernel has neither Landlock nor seccomp";
}

enum kw_status confine(const struct arguments *arguments, const struct kw_config *config,
                       struct kw_confinement *confinement, const char **ret_why,
                       struct kw_error *err)
{
    const char *lacking = NULL, *why = why_not(arguments, config);
    enum kw_status status = KW_OK;
    if (!why && !(status = fill(confinement, arguments, config, err)) &&
        !(status = kw_confine(confinement, &lacking, err)))
        why = why_lacking(lacking);
    if (status)
        return status;
    if (why && config->sandbox.required == KW_YES)
        return kw_fail(err, KW_CONFIG, "the process is %s, and [sandbox] says required = yes", why);
    if (lacking && !arguments->quiet)
        (void)fprintf(stderr, "keyward: warning: the process is %s\n", why);
    *ret_why = why;
    return KW_OK;
}

enum kw_status confine_alone(const struct arguments *arguments, const char *module,
                             struct kw_error *err)
{
    struct kw_config config = {.token_count = 0};
    struct kw_confinement confinement = {.items = NULL};
    const char *why = NULL;
    enum kw_status status = kw_config_load(&config, arguments->config, err);
    if (!status && module)
        status = kw_module_allow(module, NULL, &confinement, err);
    if (!status)
        status = confine(arguments, &config, &confinement, &why, err);
    kw_confinement_cleanup(&confinement);
    kw_config_cleanup(&config);
    return status;
}
