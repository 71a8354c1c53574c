/* Small files that a user names: read and written whole. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

enum kw_status read_text(const char *path, struct kw_buffer *ret_text, struct kw_error *err)
{
    char shown[SHOWN_TEXT];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return kw_fail_errno(err, KW_READ, errno, "%s can't be opened", show(path, shown));
    enum kw_status status =
        kw_read_file(fd, ret_text->max - 1, show(path, shown), KW_CONFIG, ret_text, err);
    kw_close(&fd);
    return status;
}

enum kw_status write_text(const char *path, bool force, const struct kw_buffer *text,
                          struct kw_error *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    struct kw_outdir *outdir = NULL;
    if (path[0] == '\0' || (slash && slash[1] == '\0')) {
        char shown[SHOWN_TEXT];
        return kw_fail(err, KW_USAGE, "%s is no name of a file; give one to write to",
                       show(path, shown));
    }
    if (len >= sizeof(folder))
        return kw_fail(err, KW_USAGE, "the name of the file to write is too long");
    memcpy(folder, slash ? path : ".", slash ? len : 1);
    folder[slash ? len : 1] = '\0';
    enum kw_status status = kw_outdir_open(folder[0] ? folder : "/", false, &outdir, err);
    if (!status)
        status =
            kw_outdir_write(outdir, slash ? slash + 1 : path, force, text->data, text->len, err);
    if (!status)
        status = kw_outdir_sync(outdir, err);
    kw_outdir_free(outdir);
    return status;
}
