/* A scratch folder for each test, with a folder "drop" in it. */
#include "scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A test that waits on a pipe for ever is a fault that this ends. */
#define TEST_SECONDS 300

struct scratch {
    char path[64];
    int home; /* the folder to go back to */
};

int scratch_set_up(void **state)
{
    static struct scratch scratch;
    memcpy(scratch.path, "/tmp/keyward-test-XXXXXX", sizeof("/tmp/keyward-test-XXXXXX"));
    scratch.home = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (scratch.home < 0 || !mkdtemp(scratch.path) || chdir(scratch.path) != 0 ||
        mkdir("drop", 0700) != 0)
        return -1;
    alarm(TEST_SECONDS);
    *state = &scratch;
    return 0;
}

static int remove_below(int parent, const char *name)
{
    if (unlinkat(parent, name, 0) == 0)
        return 0;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder)
        return -1;
    int result = 0;
    for (struct dirent *entry = readdir(folder); entry && result == 0; entry = readdir(folder)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            result = remove_below(dirfd(folder), entry->d_name);
    }
    closedir(folder);
    return result == 0 ? unlinkat(parent, name, AT_REMOVEDIR) : result;
}

int scratch_tear_down(void **state)
{
    struct scratch *scratch = *state;
    alarm(0);
    int result = fchdir(scratch->home);
    close(scratch->home);
    return result == 0 ? scratch_remove(scratch->path) : result;
}

int scratch_remove(const char *path)
{
    return remove_below(AT_FDCWD, path);
}

static void make_folders(const char *path)
{
    char copy[512];
    assert_in_range(snprintf(copy, sizeof(copy), "%s", path), 1, sizeof(copy) - 1);
    for (char *slash = strchr(copy, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        assert_true(mkdir(copy, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
}

void scratch_file(const char *path, const char *text)
{
    make_folders(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

void scratch_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
}

struct kw_drop *scratch_open(void)
{
    struct kw_drop *drop = NULL;
    struct kw_error err = {0};
    if (kw_drop_open("drop", &drop, &err) != KW_OK)
        fail_msg("%s", err.message);
    return drop;
}

void scratch_assert_refused(const char *path, enum kw_status status, const char *says)
{
    struct kw_drop *drop = NULL;
    struct kw_error err = {0};
    assert_int_equal(kw_drop_open(path, &drop, &err), status);
    assert_null(drop);
    if (!strstr(err.message, says))
        fail_msg("\"%s\" does not say \"%s\"", err.message, says);
}

bool scratch_has_warning(const struct kw_drop *drop, const char *name, const char *what)
{
    const struct kw_strings *warnings = kw_drop_warnings(drop);
    for (size_t i = 0; i < warnings->count; i++) {
        if (strstr(warnings->items[i], name) && strstr(warnings->items[i], what))
            return true;
    }
    return false;
}

size_t scratch_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    size_t count = 0;
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}
