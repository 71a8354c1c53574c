/* Confinement: what the process may still reach, by Landlock. System calls are confine_calls.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/confine.h"

/* Headers are often older than the kernel that the program runs on; these are in its ABI. */
#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif
#define NET_BIND_TCP        (1ULL << 0)
#define NET_CONNECT_TCP     (1ULL << 1)
#define SCOPE_ABSTRACT_UNIX (1ULL << 0)
#define SCOPE_SIGNAL        (1ULL << 1)
#define ALLOWANCES_MAX      1024
#define FIRST_FS_RIGHTS     (LANDLOCK_ACCESS_FS_REFER - 1) /* all that are below it */
#define ABI_WITH_REFER      2
#define ABI_WITH_TRUNCATE   3
#define ABI_WITH_NET        4
#define ABI_WITH_IOCTL_DEV  5
#define ABI_WITH_SCOPES     6
#define RIGHTS_TO_READ      (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define RIGHTS_TO_PUT                                                                              \
    (LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |   \
     LANDLOCK_ACCESS_FS_REMOVE_FILE)
#define RIGHTS_OF_FILES                                                                            \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE |   \
     LANDLOCK_ACCESS_FS_TRUNCATE | LANDLOCK_ACCESS_FS_IOCTL_DEV)

/* struct landlock_ruleset_attr as of ABI 6. */
struct ruleset {
    uint64_t handled_fs;
    uint64_t handled_net;
    uint64_t scoped;
};

static const uint64_t rights[] = {
    [KW_MAY_READ] = RIGHTS_TO_READ,
    [KW_MAY_PUT] = RIGHTS_TO_PUT,
    [KW_MAY_WRITE] = RIGHTS_TO_READ | RIGHTS_TO_PUT | LANDLOCK_ACCESS_FS_TRUNCATE |
                     LANDLOCK_ACCESS_FS_REFER | LANDLOCK_ACCESS_FS_MAKE_DIR |
                     LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_IOCTL_DEV,
    [KW_MAY_REMOVE_FOLDERS] = LANDLOCK_ACCESS_FS_REMOVE_DIR,
};

enum kw_status kw_confine_allow(struct kw_confinement *confinement, const char *path,
                                enum kw_may access, struct kw_error *err)
{
    size_t count = confinement->count;
    if (count == ALLOWANCES_MAX)
        return kw_fail(err, KW_CONFIG,
                       "the process would be allowed more than %d paths; take some "
                       "out of [sandbox]",
                       ALLOWANCES_MAX);
    struct kw_allowance *items =
        reallocarray(confinement->items, count + 1, sizeof(*confinement->items));
    if (items)
        confinement->items = items;
    char *copy = items ? strdup(path) : NULL;
    if (!copy)
        return kw_fail_memory(err);
    items[count] = (struct kw_allowance){copy, access};
    confinement->count++;
    return KW_OK;
}

void kw_confinement_cleanup(struct kw_confinement *confinement)
{
    for (size_t i = 0; i < confinement->count; i++)
        free(confinement->items[i].path);
    free(confinement->items);
    *confinement = (struct kw_confinement){.items = NULL};
}

/* ---- Landlock ---- */

static struct ruleset make_ruleset(const struct kw_confinement *confinement, long abi)
{
    bool tcp = confinement->network == KW_NETWORK_TCP;
    bool none = confinement->network == KW_NETWORK_NONE;
    struct ruleset ruleset = {.handled_fs = FIRST_FS_RIGHTS};
    if (abi >= ABI_WITH_REFER)
        ruleset.handled_fs |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= ABI_WITH_TRUNCATE)
        ruleset.handled_fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
    if (abi >= ABI_WITH_NET)
        ruleset.handled_net = NET_BIND_TCP | (tcp ? 0 : NET_CONNECT_TCP);
    if (abi >= ABI_WITH_IOCTL_DEV)
        ruleset.handled_fs |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
    if (abi >= ABI_WITH_SCOPES)
        ruleset.scoped = SCOPE_SIGNAL | (none ? SCOPE_ABSTRACT_UNIX : 0);
    if (confinement->exec)
        ruleset.handled_fs &= ~(uint64_t)LANDLOCK_ACCESS_FS_EXECUTE;
    return ruleset;
}

/* What is not there, or closed to this user anyway, needs no rule. */
static enum kw_status add_rule(int ruleset_fd, const struct kw_allowance *item, uint64_t handled,
                               struct kw_error *err)
{
    struct stat info;
    struct landlock_path_beneath_attr rule = {.allowed_access = rights[item->access] & handled};
    int fd = open(item->path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return KW_OK;
    if (fstat(fd, &info) == 0 && !S_ISDIR(info.st_mode))
        rule.allowed_access &= RIGHTS_OF_FILES;
    rule.parent_fd = fd;
    bool added =
        rule.allowed_access == 0 ||
        syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0U) == 0 ||
        errno == EBADFD; /* an object without a path, such as a pipe: no rule is for it */
    int failed = errno;
    kw_close(&fd);
    char shown[256];
    return added
               ? KW_OK
               : kw_fail_errno(err, KW_FAULT, failed, "Landlock takes no rule for %s",
                               kw_printable(item->path, strlen(item->path), shown, sizeof(shown)));
}

static enum kw_status restrict_paths(const struct kw_confinement *confinement, bool *ret_done,
                                     struct kw_error *err)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0,
                       (unsigned)LANDLOCK_CREATE_RULESET_VERSION);
    /* Before there was a right to it, nothing may be moved to another folder. */
    *ret_done = abi >= (confinement->moves ? ABI_WITH_REFER : 1);
    if (!*ret_done)
        return KW_OK;
    const struct ruleset ruleset = make_ruleset(confinement, abi);
    int fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0U);
    if (fd < 0)
        return kw_fail_errno(err, KW_FAULT, errno, "Landlock makes no ruleset");
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < confinement->count && !status; i++)
        status = add_rule(fd, &confinement->items[i], ruleset.handled_fs, err);
    if (!status && syscall(SYS_landlock_restrict_self, fd, 0U) != 0)
        status = kw_fail_errno(err, KW_FAULT, errno, "Landlock does not confine the process");
    kw_close(&fd);
    return status;
}

enum kw_status kw_confine(const struct kw_confinement *confinement, const char **ret_lacking,
                          struct kw_error *err)
{
    static const char *const lacking[2][2] = {{"Landlock and seccomp", "Landlock"},
                                              {"seccomp", NULL}};
    bool paths = false, calls = false;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return kw_fail_errno(err, KW_FAULT, errno, "the process can't give up new privileges");
    enum kw_status status = restrict_paths(confinement, &paths, err);
    if (!status)
        status = kw_confine_calls(confinement, &calls, err);
    if (!status)
        *ret_lacking = lacking[paths][calls];
    return status;
}
