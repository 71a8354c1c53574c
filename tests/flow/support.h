/* What the tests of this folder share. */
#ifndef KW_TEST_FLOW_SUPPORT_H
#define KW_TEST_FLOW_SUPPORT_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "flow/stage.h"

#define BUFFER_MAX ((size_t)64 * 1024 * 1024)

static struct kw_crypto *crypto;
static struct kw_secret *key;
static const uint8_t iv[KW_AES_BLOCK] = "an iv of sixteen";

static inline int start_crypto(void **state)
{
    (void)state;
    if (kw_secret_start(NULL) != KW_OK || kw_crypto_new(false, &crypto, NULL) != KW_OK)
        return -1;
    return kw_secret_from("a key of thirty-two bytes, no le", 32, &key, NULL) == KW_OK ? 0 : -1;
}

static inline int stop_crypto(void **state)
{
    (void)state;
    kw_secret_free(key);
    kw_crypto_free(crypto);
    return 0;
}

static inline struct kw_flow *new_flow(unsigned threads, size_t chunk)
{
    struct kw_flow *flow = NULL;
    struct kw_flow_options options = {.threads = threads, .chunk = chunk};
    assert_int_equal(kw_flow_new(crypto, &options, &flow, NULL), KW_OK);
    return flow;
}

/* Bytes that repeat enough to be compressed, and not so much that it is trivial. */
static inline void fill(uint8_t *data, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525 + 1013904223;
        data[i] = (uint8_t)((seed >> 24) % 23 + 'a');
    }
}

static inline int file_with(const void *data, size_t len)
{
    int fd = memfd_create("source", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(kw_write_full(fd, data, len, "source", NULL), KW_OK);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static inline struct kw_flow_job job_for(enum kw_flow_work work, int fd, uint64_t size, bool gzip,
                                         struct kw_stage *sink)
{
    return (struct kw_flow_job){.work = work,
                                .source_fd = fd,
                                .source_size = size,
                                .source_name = "part-0.json",
                                .key = key,
                                .iv = iv,
                                .gzip = gzip,
                                .sink = sink};
}

/* Runs `data` through the flow into `out`, which is emptied first. */
static inline enum kw_status run_bytes(struct kw_flow *flow, enum kw_flow_work work, bool gzip,
                                       const void *data, size_t len, struct kw_buffer *out,
                                       struct kw_flow_result *ret_result, struct kw_error *err)
{
    int fd = file_with(data, len);
    int out_fd = memfd_create("out", MFD_CLOEXEC);
    struct kw_stage *sink = NULL;
    assert_int_equal(kw_sink_fd_new(out_fd, "out", &sink, NULL), KW_OK);
    struct kw_flow_job job = job_for(work, fd, len, gzip, sink);
    enum kw_status status = kw_flow_run(flow, &job, ret_result, err);
    kw_buffer_cleanup(out);
    *out = (struct kw_buffer)KW_BUFFER_INIT(BUFFER_MAX);
    assert_int_equal(lseek(out_fd, 0, SEEK_SET), 0);
    off_t size = lseek(out_fd, 0, SEEK_END);
    assert_int_equal(lseek(out_fd, 0, SEEK_SET), 0);
    assert_int_equal(kw_buffer_reserve(out, (size_t)size + 1, NULL), KW_OK);
    assert_int_equal(kw_read_full(out_fd, out->data, (size_t)size, "out", &out->len, NULL), KW_OK);
    kw_close(&fd);
    kw_close(&out_fd);
    return status;
}

static inline void assert_bytes(const struct kw_buffer *buffer, const void *data, size_t len)
{
    assert_int_equal(buffer->len, len);
    if (len > 0)
        assert_memory_equal(buffer->data, data, len);
}

static inline void assert_says(const struct kw_error *error, enum kw_status status,
                               const char *text)
{
    assert_int_equal(error->status, status);
    if (!strstr(error->message, text))
        fail_msg("\"%s\" does not say \"%s\"", error->message, text);
}

/* ---- folders ---- */

static inline void make_folder(char path[64])
{
    const char *base = getenv("TMPDIR");
    if (!base || strlen(base) > 32)
        base = "/tmp";
    snprintf(path, 64, "%s/keyward-flow-XXXXXX", base);
    assert_non_null(mkdtemp(path));
}

/* The number of files and folders below, hidden ones too; removes them where `remove_them`. */
static inline size_t count_below(int dirfd, const char *path, bool remove_them)
{
    int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    DIR *folder = fdopendir(fd);
    assert_non_null(folder);
    size_t count = 0;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        struct stat info;
        assert_int_equal(fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW), 0);
        bool is_folder = S_ISDIR(info.st_mode);
        count++;
        if (is_folder)
            count += count_below(fd, entry->d_name, remove_them);
        if (remove_them)
            assert_int_equal(unlinkat(fd, entry->d_name, is_folder ? AT_REMOVEDIR : 0), 0);
    }
    closedir(folder);
    return count;
}

static inline void remove_folder(const char *path)
{
    count_below(AT_FDCWD, path, true);
    assert_int_equal(rmdir(path), 0);
}

#endif
