/* needs: what a confined process has to reach so that a module works in it, by kind, as data. It is
 * asked before the module is loaded, so only its file's name tells what it is: one that lies about
 * that gets less than one that nobody knows. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

#define CONFIG_MAX ((size_t)1024 * 1024)
#define PATHS      6
#define FILES      5

/* Instead of a path: what init-args names, or are themselves. */
#define INIT_ARGS "init-args"

/* "$NAME/REST" is below what the environment has, "~/REST" below the home folder. */
struct need {
    const char *file; /* what the module's file name begins with */
    enum kw_network network;
    struct {
        const char *path;
        enum kw_may access;
    } paths[PATHS];
    /* The module's own configuration: it reads the first of these that is there, and writes to the
     * folders that `key` names in it. */
    struct {
        const char *files[FILES];
        const char *key;
    } config;
};

static const struct need needs[] = {
    {
        .file = "libsofthsm2.",
        .paths = {{"/var/lib/softhsm/tokens", KW_MAY_WRITE}},
        .config = {{"$SOFTHSM2_CONF", "~/.config/softhsm2/softhsm2.conf",
                    "/etc/softhsm/softhsm2.conf", "/etc/softhsm2.conf"},
                   "directories.tokendir"},
    },
    {
        .file = "libsoftokn3.",
        .config = {{INIT_ARGS}, "configdir"},
    },
    {
        .file = "libkryoptic_pkcs11",
        .config = {{INIT_ARGS, "$KRYOPTIC_CONF", "$XDG_CONFIG_HOME/kryoptic/token.conf",
                    "~/.config/kryoptic/token.conf"},
                   "dbargs"},
    },
    {
        .file = "libopencryptoki.",
        .network = KW_NETWORK_UNIX,
        .paths = {{"/etc/opencryptoki", KW_MAY_READ},
                  {"/var/lib/opencryptoki", KW_MAY_WRITE},
                  {"/run/opencryptoki", KW_MAY_WRITE},
                  {"/run/lock/opencryptoki", KW_MAY_WRITE},
                  {"/dev/shm", KW_MAY_WRITE},
                  {"/dev/z90crypt", KW_MAY_WRITE}},
    },
    {
        .file = "libtpm2_pkcs11.",
        .network = KW_NETWORK_UNIX,
        .paths = {{"$TPM2_PKCS11_STORE", KW_MAY_WRITE},
                  {"~/.tpm2_pkcs11", KW_MAY_WRITE},
                  {"/etc/tpm2_pkcs11", KW_MAY_WRITE},
                  {"/dev/tpmrm0", KW_MAY_WRITE},
                  {"/dev/tpm0", KW_MAY_WRITE}},
    },
    {
        .file = "p11-kit-client.",
        .network = KW_NETWORK_UNIX,
        .paths = {{"/etc/pkcs11", KW_MAY_READ},
                  {"/usr/share/p11-kit", KW_MAY_READ},
                  {"~/.config/pkcs11", KW_MAY_READ}},
    },
    {
        .file = "libCryptoki2",
        .network = KW_NETWORK_TCP,
        .paths = {{"/etc/Chrystoki.conf", KW_MAY_READ},
                  {"$ChrystokiConfigurationPath", KW_MAY_READ},
                  {"/usr/safenet/lunaclient", KW_MAY_READ}},
    },
    {
        .file = "libcknfast.",
        .network = KW_NETWORK_TCP,
        .paths = {{"/opt/nfast", KW_MAY_READ},
                  {"/opt/nfast/kmdata/local", KW_MAY_WRITE},
                  {"$NFAST_KMLOCAL", KW_MAY_WRITE}},
    },
    {
        .file = "libazcloudhsm_pkcs11.",
        .network = KW_NETWORK_TCP,
        .paths = {{"/opt/azurecloudhsm", KW_MAY_READ}},
    },
    {
        .file = "libcloudhsm_pkcs11.",
        .network = KW_NETWORK_TCP,
        .paths = {{"/opt/cloudhsm", KW_MAY_READ}, {"/opt/cloudhsm/run", KW_MAY_WRITE}},
    },
    {
        .file = "libcs_pkcs11_R",
        .network = KW_NETWORK_TCP,
        .paths = {{"$CS_PKCS11_R3_CFG", KW_MAY_READ},
                  {"$CS_PKCS11_R2_CFG", KW_MAY_READ},
                  {"/etc/utimaco", KW_MAY_READ}},
    },
    {
        .file = "libkmsp11.",
        .network = KW_NETWORK_TCP,
        .paths = {{"$GOOGLE_APPLICATION_CREDENTIALS", KW_MAY_READ},
                  {"~/.config/gcloud", KW_MAY_READ}},
        .config = {{INIT_ARGS, "$KMS_PKCS11_CONFIG"}, "log_directory"},
    },
    {
        /* It may reach its HSM in any way; that it works counts more here, see keyward.conf(5). */
        .network = KW_NETWORK_TCP,
    },
};

/* What the allowances are made for. */
struct asking {
    struct kw_confinement *confinement;
    const char *init_args;
    struct kw_error *err;
};

static enum kw_status allow(const struct asking *asking, const char *path, enum kw_may access)
{
    return kw_confine_allow(asking->confinement, path, access, asking->err);
}

/* Into `out`, a path of a row; false where the environment has no such thing. */
static bool expand(const struct asking *asking, const char *path, char out[PATH_MAX])
{
    char name[64];
    const char *root = "";
    if (strcmp(path, INIT_ARGS) == 0) {
        root = asking->init_args;
        path = "";
    } else if (path[0] == '~') {
        root = secure_getenv("HOME");
        path++;
    } else if (path[0] == '$') {
        size_t len = strcspn(path + 1, "/");
        if (len >= sizeof(name))
            return false;
        memcpy(name, path + 1, len);
        name[len] = '\0';
        root = secure_getenv(name);
        path += 1 + len;
    }
    int len = root ? snprintf(out, PATH_MAX, "%s%s", root, path) : -1;
    return len > 0 && len < PATH_MAX && out[0] == '/';
}

/* A file that is changed in place has journals and locks beside it. */
static enum kw_status allow_folder_of(const struct asking *asking, char *path)
{
    struct stat info;
    bool folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    const char *name = folder ? path : dirname(path);
    return strcmp(name, "/") == 0 ? KW_OK : allow(asking, name, KW_MAY_WRITE);
}

/* The value after KEY and "=" or ":", which may stand in quotes, up to the end of its line; NULL
 * where it is no value. *ret_len is its length. NSS's says which kind of database it is. */
static const char *value_after(const char *at, size_t *ret_len)
{
    static const char kind[] = "sql:";
    at += strspn(at, " \t");
    if (*at != '=' && *at != ':')
        return NULL;
    at++;
    at += strspn(at, " \t");
    const char ends[] = {*at == '"' || *at == '\'' ? *at : '#', '\r', '\n', '\0'};
    if (ends[0] != '#')
        at++;
    if (strncmp(at, kind, sizeof(kind) - 1) == 0)
        at += sizeof(kind) - 1;
    size_t len = strcspn(at, ends);
    while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t'))
        len--;
    *ret_len = len;
    return at;
}

static bool is_comment(const char *text, const char *at)
{
    while (at > text && at[-1] != '\n')
        if (*--at == '#')
            return true;
    return false;
}

static enum kw_status allow_named(const struct asking *asking, const char *text, const char *key)
{
    char path[PATH_MAX];
    enum kw_status status = KW_OK;
    for (const char *at = strstr(text, key); at && !status; at = strstr(at + 1, key)) {
        size_t len = 0;
        const char *value = value_after(at + strlen(key), &len);
        if (!value || is_comment(text, at) || value[0] != '/' || len >= sizeof(path))
            continue;
        memcpy(path, value, len);
        path[len] = '\0';
        status = allow_folder_of(asking, path);
    }
    return status;
}

/* One that can't be read names nothing: the module is the one to say so. */
static enum kw_status allow_config(const struct asking *asking, int fd, const char *path,
                                   const char *key)
{
    struct kw_buffer text = KW_BUFFER_INIT(CONFIG_MAX);
    enum kw_status status = allow(asking, path, KW_MAY_READ);
    if (!status && kw_read_file(fd, CONFIG_MAX - 1, path, KW_CONFIG, &text, NULL) == KW_OK)
        status = allow_named(asking, (const char *)text.data, key);
    kw_buffer_cleanup(&text);
    return status;
}

static enum kw_status allow_configured(const struct asking *asking, const struct need *need)
{
    char path[PATH_MAX];
    const char *key = need->config.key;
    if (key && asking->init_args && strcmp(need->config.files[0], INIT_ARGS) == 0 &&
        strstr(asking->init_args, key))
        return allow_named(asking, asking->init_args, key);
    for (size_t i = 0; i < FILES && need->config.files[i]; i++) {
        if (!expand(asking, need->config.files[i], path))
            continue;
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
            continue;
        enum kw_status status = allow_config(asking, fd, path, key);
        kw_close(&fd);
        return status;
    }
    return KW_OK;
}

/* A module may have its libraries and its configuration beside it. */
static enum kw_status allow_module(const struct asking *asking, const char *module)
{
    char *real = realpath(module, NULL);
    if (!real)
        return KW_OK; /* loading it will say so */
    enum kw_status status = allow(asking, real, KW_MAY_READ);
    const char *folder = dirname(real);
    if (!status && strcmp(folder, "/") != 0)
        status = allow(asking, folder, KW_MAY_READ);
    free(real);
    return status;
}

static const struct need *find(const char *module)
{
    const char *slash = strrchr(module, '/');
    const char *name = slash ? slash + 1 : module;
    size_t i = 0;
    while (needs[i].file && strncmp(name, needs[i].file, strlen(needs[i].file)) != 0)
        i++;
    return &needs[i];
}

enum kw_status kw_module_allow(const char *module, const char *init_args,
                               struct kw_confinement *confinement, struct kw_error *err)
{
    const struct asking asking = {confinement, init_args, err};
    const struct need *need = find(module);
    char path[PATH_MAX];
    enum kw_status status = allow_module(&asking, module);
    for (size_t i = 0; i < PATHS && need->paths[i].path && !status; i++)
        if (expand(&asking, need->paths[i].path, path))
            status = allow(&asking, path, need->paths[i].access);
    if (!status)
        status = allow_configured(&asking, need);
    if (!status && need->network > confinement->network)
        confinement->network = need->network;
    return status;
}
