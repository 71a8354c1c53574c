/* Where configuration files are, and which of them are trusted. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

#define FILE_MAX_BYTES ((size_t)1024 * 1024)
#define SYSTEM_FILE    "/etc/keyward/keyward.conf"

static enum kw_status read_open_file(struct kw_config *config, int fd, const char *what,
                                     struct kw_error *err)
{
    /* Who may write the file decides which module is loaded into the process. */
    enum kw_status status = kw_check_owner(fd, what, KW_CONFIG, err);
    if (status != KW_OK)
        return status;
    struct kw_buffer buffer = KW_BUFFER_INIT(0);
    status = kw_read_file(fd, FILE_MAX_BYTES, what, KW_CONFIG, &buffer, err);
    if (status != KW_OK)
        return status;
    status = kw_config_parse(config, (const char *)buffer.data, buffer.len, what, err);
    kw_wipe(buffer.data, buffer.len); /* a URI may have a PIN in it */
    kw_buffer_cleanup(&buffer);
    return status;
}

enum kw_status kw_config_read(struct kw_config *config, const char *path, bool optional,
                              struct kw_error *err)
{
    char what[256];
    kw_printable(path, strlen(path), what, sizeof(what));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && optional && (errno == ENOENT || errno == ENOTDIR))
        return KW_OK;
    if (fd < 0)
        return kw_fail_errno(err, KW_CONFIG, errno, "The configuration file %s can't be opened",
                             what);
    enum kw_status status = read_open_file(config, fd, what, err);
    kw_close(&fd);
    return status;
}

/* The XDG Base Directory Specification: a path that is not absolute is not taken; *ret_path is NULL
 * where there is none. */
static enum kw_status user_file(char **ret_path, struct kw_error *err)
{
    const char *base = secure_getenv("XDG_CONFIG_HOME");
    const char *between = "";
    if (!base || base[0] != '/') {
        base = secure_getenv("HOME");
        between = "/.config";
    }
    *ret_path = NULL;
    if (!base || base[0] != '/')
        return KW_OK;
    if (asprintf(ret_path, "%s%s/keyward/keyward.conf", base, between) < 0)
        return kw_fail_memory(err);
    return KW_OK;
}

static enum kw_status read_user_file(struct kw_config *config, struct kw_error *err)
{
    char *path = NULL;
    enum kw_status status = user_file(&path, err);
    if (!status && path)
        status = kw_config_read(config, path, true, err);
    free(path);
    return status;
}

enum kw_status kw_config_load(struct kw_config *config, const char *path, struct kw_error *err)
{
    enum kw_status status = kw_config_read(config, SYSTEM_FILE, true, err);
    if (status == KW_OK)
        status = read_user_file(config, err);
    if (status == KW_OK && path)
        status = kw_config_read(config, path, false, err);
    return status;
}

/* The folder, so that a file that is put in the place of another one can be read too. */
static enum kw_status allow_folder_of(char *path, struct kw_confinement *confinement,
                                      struct kw_error *err)
{
    return kw_confine_allow(confinement, dirname(path), KW_MAY_READ, err);
}

enum kw_status kw_config_allow(const char *path, struct kw_confinement *confinement,
                               struct kw_error *err)
{
    char system[] = SYSTEM_FILE;
    char *user = NULL, *own = path ? strdup(path) : NULL;
    enum kw_status status = path && !own ? kw_fail_memory(err) : user_file(&user, err);
    if (!status)
        status = allow_folder_of(system, confinement, err);
    if (!status && user)
        status = allow_folder_of(user, confinement, err);
    if (!status && own)
        status = allow_folder_of(own, confinement, err);
    free(own);
    free(user);
    return status;
}
