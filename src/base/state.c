/* Where state is kept: the XDG Base Directory Specification; the superuser's is the system's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

#define ROOT_FOLDER "/var/lib"
#define HOME_FOLDER "/.local/state"

enum kw_status kw_state_path(const char *name, const char *what, const char *setting,
                             char **ret_path, struct kw_error *err)
{
    const char *folder = secure_getenv("XDG_STATE_HOME"), *home = secure_getenv("HOME");
    const char *below = "";
    if (folder && folder[0] == '/')
        below = "";
    else if (geteuid() == 0)
        folder = ROOT_FOLDER;
    else if (home && home[0] == '/')
        folder = home, below = HOME_FOLDER;
    else
        return kw_fail(err, KW_CONFIG, "nothing says where %s is; give %s", what, setting);
    char *path = NULL;
    if (asprintf(&path, "%s%s/keyward/%s", folder, below, name) < 0)
        return kw_fail_memory(err);
    *ret_path = path;
    return KW_OK;
}

static enum kw_status make_each(char *path, const char *what, struct kw_error *err)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int failed = mkdir(path, 0755) != 0 && errno != EEXIST ? errno : 0;
        char shown[256];
        if (failed)
            return kw_fail_errno(err, KW_WRITE, failed, "the folder %s for %s can't be made",
                                 kw_printable(path, strlen(path), shown, sizeof(shown)), what);
        *slash = '/';
    }
    return KW_OK;
}

enum kw_status kw_make_folders(const char *path, const char *what, struct kw_error *err)
{
    char *copy = path[0] ? strdup(path) : NULL;
    if (!copy)
        return path[0] ? kw_fail_memory(err) : KW_OK;
    enum kw_status status = make_each(copy, what, err);
    free(copy);
    return status;
}
