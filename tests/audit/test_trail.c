/* Appending: what is acknowledged is on the disk, and meddling is noticed at the next append. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

#define FIRST_FILE "trail-000000000000.jsonl"

static struct test_signer signer, other_signer;

static int setup(void **state)
{
    if (setup_group(state))
        return 1;
    signer_make(&signer, false);
    signer_make(&other_signer, true);
    return 0;
}

static int teardown(void **state)
{
    signer_free(&signer);
    signer_free(&other_signer);
    return teardown_group(state);
}

static struct kw_verdict verify(void)
{
    struct kw_verify_options options = {.key_count = 0};
    struct kw_verdict verdict;
    struct kw_error err;
    assert_ok(kw_trail_verify(crypto, dir, &options, &verdict, &err));
    return verdict;
}

static const struct kw_deed intent = {.phase = KW_INTENT, .op = "unwrap"};
static const struct kw_deed outcome = {.phase = KW_OUTCOME, .op = "unwrap"};

/* ---- the order of write, fdatasync and return: what the linker wraps ---- */

ssize_t __real_write(int fd, const void *data, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

static unsigned writes, syncs;
static bool unsynced;      /* something was written after the last fdatasync */
static int fail_sync;      /* errno of the next ones */
static size_t short_write; /* so many bytes, then ENOSPC */
static bool failed_write;

ssize_t __wrap_write(int fd, const void *data, size_t len)
{
    if (failed_write) {
        errno = ENOSPC;
        return -1;
    }
    if (short_write > 0 && short_write < len) {
        len = short_write;
        failed_write = true;
    }
    writes++;
    unsynced = true;
    return __real_write(fd, data, len);
}

int __wrap_fdatasync(int fd)
{
    syncs++;
    if (fail_sync) {
        errno = fail_sync;
        return -1;
    }
    unsynced = false;
    return __real_fdatasync(fd);
}

static void test_synced_first(void **state)
{
    (void)state;
    struct kw_trail *trail = must_open(0);
    assert_false(unsynced);
    writes = syncs = 0;
    for (unsigned i = 1; i <= 20; i++) {
        must_append(trail, i);
        assert_false(unsynced);
        assert_int_equal(syncs, i);
        assert_int_equal(writes, i);
    }
    kw_trail_free(trail);
}

/* A sync that fails is a failure, and nothing of it is acknowledged later by mistake. */
static void test_sync_fails(void **state)
{
    (void)state;
    struct kw_error err;
    uint64_t seq = 77;
    struct kw_trail *trail = must_open(0);
    must_append(trail, 3);
    fail_sync = EIO;
    assert_fails(kw_trail_append(trail, &intent, 1, &seq, &err), KW_AUDIT,
                 "can't be brought to the disk");
    assert_int_equal(seq, 77);
    fail_sync = 0;
    assert_ok(kw_trail_append(trail, &intent, 1, &seq, &err));
    assert_int_equal(seq, 4);
    must_checkpoint(trail, &signer);
    kw_trail_free(trail);
    assert_int_equal(verify().tamper, KW_GOOD);
    assert_int_equal(verify().records, 5);
}

static void test_write_fails(void **state)
{
    (void)state;
    struct kw_error err;
    uint64_t seq = 77;
    struct kw_trail *trail = must_open(0);
    short_write = 100;
    assert_fails(kw_trail_append(trail, &intent, 1, &seq, &err), KW_AUDIT, "can't be written");
    short_write = 0;
    failed_write = false;
    assert_int_equal(verify().torn_bytes, 0);
    assert_ok(kw_trail_append(trail, &intent, 1, &seq, &err));
    assert_int_equal(seq, 1);
    must_checkpoint(trail, &signer);
    kw_trail_free(trail);
    assert_int_equal(verify().tamper, KW_GOOD);
}

/* ---- opening ---- */

static void test_begin(void **state)
{
    (void)state;
    struct stat info;
    kw_trail_free(must_open(0));
    assert_int_equal(stat(dir, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0750);
    assert_int_equal(stat(in_trail(FIRST_FILE), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0640);
    char *first = NULL, *again = NULL;
    size_t len = 0, again_len = 0;
    read_text(in_trail(FIRST_FILE), &first, &len);
    assert_non_null(strstr(first, "\"op\":\"trail.begin\",\"trail\":\""));
    kw_trail_free(must_open(0));
    read_text(in_trail(FIRST_FILE), &again, &again_len);
    assert_int_equal(len, again_len);
    assert_memory_equal(first, again, len);
    free(first);
    free(again);
}

static void append_and_close(struct kw_trail *trail, unsigned count)
{
    struct kw_error err;
    for (unsigned i = 0; i < count; i++)
        assert_ok(kw_trail_append(trail, &outcome, 1, NULL, &err));
    kw_trail_free(trail);
}

#define LAST_FILE "ls trail-* | tail -n 1 | xargs cat | "

/* The kept frontier is a cache, which may be gone or wrong. */
static void go_on(uint64_t rotate_bytes)
{
    static const char *const edits[] = {
        "rm frontier",
        ": >frontier",
        "sed -i '2,$d;s/$/\\nAAAA/' frontier",
        "sed -i '2,$d;s/$/\\n0\\n9\\nAAAA/' frontier",
        "sed -i '4s/./A/' frontier",        /* a hash */
        "sed -i '3s/.*/7/' frontier",       /* no line begins there */
        "sed -i '3s/.*/7000000/' frontier", /* nor does the file go as far */
        "sed -i '3s/.*/0/' frontier",       /* an earlier line, in most */
        "sed -i '2s/.*/0/' frontier",       /* another file */
        /* the next line, the last one, and the end */
        "sed -i \"3s/.*/$(($(sed -n 3p frontier) + $(" LAST_FILE "tail -n 1 | wc -c)))/\" frontier",
        "sed -i \"3s/.*/$(($(" LAST_FILE "wc -c) - $(" LAST_FILE "tail -n 1 | wc -c)))/\" frontier",
        "sed -i \"3s/.*/$(" LAST_FILE "wc -c)/\" frontier",
        "true",
    };
    uint64_t records = 0;
    for (unsigned i = 0; i < KW_COUNT(edits); i++) {
        struct kw_trail *trail = must_open(rotate_bytes);
        must_append(trail, 4);
        must_checkpoint(trail, &signer);
        append_and_close(trail, 2);
        uint64_t before = records;
        records = verify().records;
        assert_true(records >= before + 6);
        shell("cd '%s' && %s", dir, edits[i]);
        append_and_close(must_open(rotate_bytes), 3);
        assert_int_equal(verify().tamper, KW_GOOD);
        assert_int_equal(verify().records, records + 3);
    }
}

static void test_goes_on(void **state)
{
    (void)state;
    go_on(0);
}

static void test_goes_on_in_files(void **state)
{
    (void)state;
    go_on(2000);
}

/* What was signed is not read anew at each start, however much it is. */
static void test_start_reads_what_is_new(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_trail *trail = must_open(0);
    must_append(trail, 20);
    must_checkpoint(trail, &signer);
    must_append(trail, 2);
    kw_trail_free(trail);
    /* Of the same length: only verify reads it. */
    shell("sed -i '5s/unwrap/Unwrap/' '%s'", in_trail("trail-000000000000.jsonl"));
    trail = must_open(0);
    must_append(trail, 1);
    kw_trail_free(trail);
    assert_int_equal(verify().tamper, KW_EDITED);
    /* The end of what was signed is not where it was: then all of it is read. */
    shell("sed -i '5d' '%s'", in_trail("trail-000000000000.jsonl"));
    const struct kw_trail_options options = {.dir = dir};
    assert_fails(kw_trail_open(crypto, &options, &trail, &err), KW_AUDIT, "keyward audit verify");
}

static void test_torn(void **state)
{
    (void)state;
    struct kw_error err;
    uint64_t seq = 0;
    struct kw_trail *trail = must_open(0);
    must_append(trail, 2);
    kw_trail_free(trail);
    shell("printf '{\"seq\":3,\"time' >> '%s'", in_trail(FIRST_FILE));
    trail = must_open(0);
    assert_ok(kw_trail_append(trail, &intent, 1, &seq, &err));
    assert_int_equal(seq, 4);
    kw_trail_free(trail);
    char *text = NULL;
    size_t len = 0;
    read_text(in_trail(FIRST_FILE), &text, &len);
    const char *repair = strstr(text, "{\"seq\":3,");
    assert_non_null(repair);
    assert_non_null(strstr(repair, "\"op\":\"trail.repair\""));
    assert_non_null(strstr(repair, "\"bytes\":14}"));
    assert_null(strstr(repair + 1, "{\"seq\":3,"));
    free(text);
    assert_int_equal(verify().tamper, KW_GOOD);
    assert_int_equal(verify().records, 5);
}

/* The very first record too: the folder is begun once more. */
static void test_torn_first(void **state)
{
    (void)state;
    kw_trail_free(must_open(0));
    shell("truncate -s 30 '%s'", in_trail(FIRST_FILE));
    struct kw_trail *trail = must_open(0);
    must_append(trail, 1);
    kw_trail_free(trail);
    assert_int_equal(verify().tamper, KW_GOOD);
    assert_int_equal(verify().records, 2);
    shell(": > '%s'", in_trail(FIRST_FILE));
    trail = must_open(0);
    must_append(trail, 1);
    kw_trail_free(trail);
    assert_int_equal(verify().records, 2);
}

static void refuse_to_open(const char *part)
{
    const struct kw_trail_options options = {.dir = dir};
    struct kw_trail *trail = NULL;
    struct kw_error err;
    assert_fails(kw_trail_open(crypto, &options, &trail, &err), KW_AUDIT, part);
    assert_null(trail);
}

static void test_refused(void **state)
{
    (void)state;
    struct kw_trail *trail = must_open(0);
    must_append(trail, 5);
    must_checkpoint(trail, &signer);
    must_append(trail, 2);
    kw_trail_free(trail);
    assert_int_equal(chmod(dir, 0757), 0);
    refuse_to_open("may be written by others");
    assert_int_equal(chmod(dir, 0750), 0);
    assert_int_equal(chmod(in_trail(FIRST_FILE), 0646), 0);
    refuse_to_open("may be written by others");
    assert_int_equal(chmod(in_trail(FIRST_FILE), 0640), 0);
    shell("cp '%s' '%s/kept'", in_trail(FIRST_FILE), scratch);
    shell("sed -i '8d' '%s' && printf 'x\\n' >> '%s'", in_trail(FIRST_FILE), in_trail(FIRST_FILE));
    refuse_to_open("record 7 of the audit trail");
    shell("cp '%s/kept' '%s' && sed -i '3s/unwrap/unwrep/' '%s'", scratch, in_trail(FIRST_FILE),
          in_trail(FIRST_FILE));
    assert_int_equal(unlink(in_trail("frontier")), 0);
    refuse_to_open("the first 6 records of the audit trail");
    shell("cp '%s/kept' '%s' && sed -i '5,$d' '%s'", scratch, in_trail(FIRST_FILE),
          in_trail(FIRST_FILE));
    refuse_to_open("has 4 records where 6 were signed");
    assert_int_equal(unlink(in_trail(FIRST_FILE)), 0);
    refuse_to_open("has 0 records where 6 were signed");
    shell("cp '%s/kept' '%s' && sed -i 's/^6$/7/' '%s/checkpoints/000000000006'", scratch,
          in_trail(FIRST_FILE), dir);
    refuse_to_open("wrong signature");
    shell("rm -r '%s' && ln -s '%s' '%s'", dir, scratch, dir);
    refuse_to_open("can't be opened");
}

/* ---- meddling while it is open ---- */

struct meddling {
    const char *command; /* %1$s is the folder, %2$s the first file */
    const char *part;
};

static void test_meddling(void **state)
{
    (void)state;
    static const struct meddling cases[] = {
        {"rm $f", "removed or replaced"},
        {"cp $f $f.2 && mv $f.2 $f", "removed or replaced"},
        {"mv $f $f.2 && ln -s $f.2 $f", "removed or replaced"},
        {"mv $f $f.2", "removed or replaced"},
        {"ln $f $f.2", "given a second name"},
        {"truncate -s -1 $f", "cut short"},
        {": > $f", "cut short"},
        {"chmod 0642 $f", "may be written by others"},
        {"chmod 0752 $d", "may be written by others"},
        {"rm -r $d", "removed or replaced"},
        {"mv $d $d.2", "removed or replaced"},
        {"cp -a $d $d.2 && mv $d $d.3 && mv $d.2 $d", "removed or replaced"},
        {"mv $d $d.2 && ln -s $d.2 $d", "removed or replaced"},
        {"rm $d/lock", "removed or replaced"},
        {"cp $d/lock $d/lock.2 && mv $d/lock.2 $d/lock", "removed or replaced"},
        {"printf 'x\\n' >> $f", "is not what should be there"},
        {"sed -n 2p $f >> $f", "is not what should be there"},
        {"head -c 20000 /dev/zero >> $f", "is not what should be there"},
    };
    for (size_t i = 0; i < KW_COUNT(cases); i++) {
        struct kw_error err;
        struct kw_trail *trail = must_open(0);
        must_append(trail, 3);
        shell("d='%s' f='%s'; %s", dir, in_trail(FIRST_FILE), cases[i].command);
        assert_fails(kw_trail_append(trail, &intent, 1, NULL, &err), KW_AUDIT, cases[i].part);
        assert_fails(kw_trail_append(trail, &outcome, 1, NULL, &err), KW_AUDIT, cases[i].part);
        assert_fails(kw_trail_checkpoint(trail, &signer.signer, &err), KW_AUDIT, cases[i].part);
        kw_trail_free(trail);
        shell("rm -rf '%s'*", dir);
    }
}

/* What another process appended in good order is none. */
static void test_others_append(void **state)
{
    (void)state;
    struct kw_error err;
    uint64_t seq = 0;
    struct kw_trail *one = must_open(1500), *two = must_open(1500);
    for (unsigned i = 0; i < 20; i++) {
        must_append(one, 1 + i % 3);
        must_append(two, 2);
        if (i % 4 == 0)
            must_checkpoint(i % 8 ? one : two, &signer);
    }
    assert_ok(kw_trail_append(one, &intent, 1, &seq, &err));
    assert_int_equal(seq, 1 + 39 + 40);
    must_checkpoint(two, &signer);
    kw_trail_free(one);
    kw_trail_free(two);
    assert_int_equal(verify().tamper, KW_GOOD);
    assert_int_equal(verify().records, 81);
    assert_int_equal(verify().signed_records, 81);
}

/* Permissions hold for no one who is root, so another user tries. */
static int as_nobody(void (*work)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        if (getuid() == 0 && (setgroups(0, NULL) || setresgid(65534, 65534, 65534) ||
                              setresuid(65534, 65534, 65534)))
            _exit(3);
        work();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void lose_permission(void)
{
    struct kw_error err = {.message = ""};
    struct kw_trail *trail = NULL;
    const struct kw_trail_options options = {.dir = dir};
    if (kw_trail_open(crypto, &options, &trail, &err) ||
        kw_trail_append(trail, &intent, 1, NULL, &err) || chmod(in_trail(FIRST_FILE), 0440))
        _exit(10);
    if (kw_trail_append(trail, &intent, 1, NULL, &err) != KW_AUDIT ||
        !strstr(err.message, "Permission denied"))
        _exit(11);
    if (chmod(in_trail(FIRST_FILE), 0640) || kw_trail_append(trail, &intent, 1, NULL, &err))
        _exit(12);
    if (chmod(dir, 0))
        _exit(13);
    if (kw_trail_append(trail, &intent, 1, NULL, &err) != KW_AUDIT || chmod(dir, 0750))
        _exit(14);
    kw_trail_free(trail);
}

static void test_permission_lost(void **state)
{
    (void)state;
    assert_int_equal(chmod(scratch, 0777), 0);
    assert_int_equal(as_nobody(lose_permission), 0);
}

/* ---- checkpoints ---- */

static void test_checkpoints(void **state)
{
    (void)state;
    struct kw_trail *trail = must_open(0);
    signer.calls = 0;
    must_append(trail, 4);
    must_checkpoint(trail, &signer);
    assert_int_equal(signer.calls, 1);
    must_checkpoint(trail, &signer);
    assert_int_equal(signer.calls, 1);
    must_append(trail, 1);
    /* Another key takes over; the one before is kept for what it signed. */
    must_checkpoint(trail, &other_signer);
    must_append(trail, 1);
    must_checkpoint(trail, &other_signer);
    kw_trail_free(trail);
    shell("test $(ls '%s'/key*.pem | wc -l) = 2", dir);
    assert_int_equal(verify().tamper, KW_GOOD);
    assert_int_equal(verify().checkpoints, 3);
}

/* What is on the disk must be what was written, before it is signed. */
static void test_no_checkpoint_of_edits(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_trail *trail = must_open(0);
    must_append(trail, 4);
    shell("f='%s'; sed 's/unwrap/unwrep/' $f > $f.2 && cat $f.2 > $f && rm $f.2",
          in_trail(FIRST_FILE));
    assert_fails(kw_trail_checkpoint(trail, &signer.signer, &err), KW_AUDIT,
                 "not what they were when they were written");
    kw_trail_free(trail);
    shell("test -z \"$(ls '%s'/checkpoints)\"", dir);
}

static enum kw_status refuse(void *context, const void *data, size_t len,
                             uint8_t signature[KW_SIGNATURE_MAX], size_t *ret_len,
                             struct kw_error *err)
{
    (void)context;
    (void)data;
    (void)len;
    (void)signature;
    (void)ret_len;
    return kw_fail(err, KW_TOKEN, "the token is gone");
}

static void test_signer_fails(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_note_signer broken = signer.signer;
    struct kw_trail *trail = must_open(0);
    broken.sign = refuse;
    broken.serial = "a b+c/d\n";
    assert_fails(kw_trail_checkpoint(trail, &broken, &err), KW_TOKEN, "the token is gone");
    shell("test -z \"$(ls '%s'/checkpoints)\"", dir);
    broken.sign = signer.signer.sign;
    assert_ok(kw_trail_checkpoint(trail, &broken, &err));
    shell("grep -q '^keyward/a-b-c-d-/[0-9a-f]\\{16\\}$' '%s'/checkpoints/000000000001", dir);
    kw_trail_free(trail);
}

/* ---- proofs ---- */

static void test_proofs(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_verify_options options = {.key_count = 0};
    struct kw_buffer text = KW_BUFFER_INIT((size_t)64 * 1024);
    struct kw_consistency consistency;
    struct kw_trail *trail = must_open(3000);
    must_append(trail, 12);
    assert_fails(kw_trail_prove(crypto, dir, 3, &options, &text, &err), KW_AUDIT, "no checkpoint");
    must_checkpoint(trail, &signer);
    must_append(trail, 3);
    kw_trail_free(trail);
    for (uint64_t seq = 0; seq < 13; seq++) {
        text.len = 0;
        assert_ok(kw_trail_prove(crypto, dir, seq, &options, &text, &err));
        assert_int_equal(strncmp((const char *)text.data, "c2sp.org/tlog-proof@v1\nextra ", 29), 0);
    }
    text.len = 0;
    assert_fails(kw_trail_prove(crypto, dir, 13, &options, &text, &err), KW_AUDIT,
                 "not signed yet");
    assert_int_equal(text.len, 0);
    kw_buffer_cleanup(&text);
    for (uint64_t first = 1; first <= 16; first++)
        assert_ok(kw_trail_consistency(crypto, dir, first, 16, &consistency, &err));
    assert_fails(kw_trail_consistency(crypto, dir, 1, 17, &consistency, &err), KW_AUDIT,
                 "has 16 records, not 17");
    assert_fails(kw_trail_consistency(crypto, dir, 0, 16, &consistency, &err), KW_AUDIT,
                 "two sizes");
    shell("sed -i '2s/unwrap/unwrep/' '%s'", in_trail("trail-000000000001.jsonl"));
    assert_fails(kw_trail_prove(crypto, dir, 5, &options, &text, &err), KW_AUDIT, "does not show");
}

/* ---- a full disk ---- */

/* In a mount namespace of its own, so that nothing is left mounted. */
static bool mount_small(void)
{
    return geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
           mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", scratch, "tmpfs", 0, "size=2m") == 0;
}

static void fill_disk(void)
{
    shell("dd if=/dev/zero of='%s/fill' bs=4k 2>/dev/null || true", scratch);
}

static void on_full_disk(void)
{
    struct kw_error err;
    uint64_t acknowledged = 0;
    if (!mount_small())
        _exit(77);
    struct kw_trail *trail = must_open(0);
    must_append(trail, 1);
    fill_disk();
    /* What was begun can be finished, from what was reserved, and nothing new is begun for long. */
    assert_ok(kw_trail_append(trail, &outcome, 1, &acknowledged, &err));
    while (kw_trail_append(trail, &intent, 1, &acknowledged, &err) == KW_OK)
        assert_true(acknowledged < 100000);
    assert_int_equal(err.status, KW_AUDIT);
    assert_non_null(strstr(err.message, "no room"));
    for (unsigned i = 0; i < 200; i++)
        assert_ok(kw_trail_append(trail, &outcome, 1, &acknowledged, &err));
    while (kw_trail_append(trail, &outcome, 1, &acknowledged, &err) == KW_OK)
        assert_true(acknowledged < 100000);
    assert_int_equal(err.status, KW_AUDIT);
    struct kw_verdict verdict = verify();
    assert_int_equal(verdict.tamper, KW_GOOD);
    assert_int_equal(verdict.records, acknowledged + 1);
    assert_int_equal(verdict.torn_bytes, 0);
    shell("rm '%s/fill'", scratch);
    assert_ok(kw_trail_append(trail, &intent, 1, &acknowledged, &err));
    must_checkpoint(trail, &signer);
    kw_trail_free(trail);
    verdict = verify();
    assert_int_equal(verdict.tamper, KW_GOOD);
    assert_int_equal(verdict.signed_records, acknowledged + 1);
}

static void test_full_disk(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        on_full_disk();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(status, 0);
}

/* ---- where it is ---- */

static void test_dir(void **state)
{
    (void)state;
    struct kw_config config = {.token_count = 0};
    struct kw_error err;
    char *path = NULL, given[] = "/srv/audit";
    assert_int_equal(setenv("XDG_STATE_HOME", "/srv/state", 1), 0);
    assert_ok(kw_trail_dir(&config, &path, &err));
    assert_string_equal(path, "/srv/state/keyward/audit");
    free(path);
    assert_int_equal(unsetenv("XDG_STATE_HOME"), 0);
    assert_ok(kw_trail_dir(&config, &path, &err));
    const char *suffix = geteuid() == 0 ? "/var/lib/keyward/audit" : "/.local/state/keyward/audit";
    assert_non_null(strstr(path, suffix));
    free(path);
    config.audit.dir = given;
    assert_ok(kw_trail_dir(&config, &path, &err));
    assert_string_equal(path, "/srv/audit");
    free(path);
}

/* ---- another key signs ---- */

static enum kw_status keep_detail(void *context, const char *line, size_t len, struct kw_error *err)
{
    char *detail = context;
    (void)err;
    if (memmem(line, len, "\"op\":\"audit.key\"", 16)) {
        assert_int_equal(detail[0], 0); /* told once */
        (void)snprintf(detail, KW_RECORD_MAX, "%.*s", (int)len, line);
    }
    return KW_OK;
}

static void test_key_change_is_told(void **state)
{
    (void)state;
    static char told[KW_RECORD_MAX];
    struct kw_error err;
    char first[KW_FINGERPRINT_SIZE], expected[400];
    struct kw_trail *trail = must_open(0);
    must_append(trail, 3);
    must_checkpoint(trail, &signer);
    memcpy(first, verify().key, sizeof(first));
    assert_int_equal(verify().key_changes, 0);
    /* Nothing new: nothing to sign, and nothing to tell. */
    must_checkpoint(trail, &other_signer);
    assert_string_equal(verify().key, first);
    must_append(trail, 3);
    struct kw_note_signer away = other_signer.signer;
    away.sign = refuse;
    assert_fails(kw_trail_checkpoint(trail, &away, &err), KW_TOKEN, "the token is gone");
    must_checkpoint(trail, &other_signer);
    must_append(trail, 1);
    must_checkpoint(trail, &other_signer);
    kw_trail_free(trail);
    told[0] = '\0';
    assert_ok(kw_trail_read(dir, keep_detail, told, &err));
    struct kw_verdict verdict = verify();
    assert_int_equal(verdict.tamper, KW_GOOD);
    assert_int_equal(verdict.records, 9);
    assert_int_equal(verdict.signed_records, 9);
    assert_int_equal(verdict.key_changes, 1);
    assert_int_equal(verdict.untold, 0);
    (void)snprintf(expected, sizeof(expected),
                   "\"detail\":\"the key that signs is another one: from %s to %s\"}", first,
                   verdict.key);
    assert_non_null(strstr(told, expected));
}

/* ---- others, while the token signs ---- */

/* Another process: it appends, and signs too where it is asked to. */
struct other_process {
    struct kw_trail *trail;
    bool signs;
};

static enum kw_status sign_slowly(void *context, const void *data, size_t len,
                                  uint8_t signature[KW_SIGNATURE_MAX], size_t *ret_len,
                                  struct kw_error *err)
{
    const struct other_process *other = context;
    must_append(other->trail, 2);
    if (other->signs)
        must_checkpoint(other->trail, &signer);
    return signer.signer.sign(signer.signer.context, data, len, signature, ret_len, err);
}

static void test_others_append_while_it_signs(void **state)
{
    (void)state;
    struct kw_error err;
    struct kw_trail *trail = must_open(0);
    struct other_process other = {.trail = must_open(0)};
    struct kw_note_signer slow = signer.signer;
    slow.sign = sign_slowly;
    slow.context = &other;
    must_append(trail, 3);
    assert_ok(kw_trail_checkpoint(trail, &slow, &err));
    assert_int_equal(verify().records, 6);
    assert_int_equal(verify().signed_records, 4);
    other.signs = true;
    assert_ok(kw_trail_checkpoint(trail, &slow, &err));
    /* That of the other one has more records; ours is not needed. */
    assert_int_equal(verify().records, 8);
    assert_int_equal(verify().signed_records, 8);
    assert_int_equal(verify().checkpoints, 2);
    must_append(trail, 1);
    must_checkpoint(trail, &signer);
    assert_int_equal(verify().tamper, KW_GOOD);
    assert_int_equal(verify().signed_records, 9);
    kw_trail_free(other.trail);
    kw_trail_free(trail);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_scratch, teardown_scratch)
    const struct CMUnitTest tests[] = {
        CASE(test_synced_first),
        CASE(test_sync_fails),
        CASE(test_write_fails),
        CASE(test_begin),
        CASE(test_goes_on),
        CASE(test_goes_on_in_files),
        CASE(test_start_reads_what_is_new),
        CASE(test_torn),
        CASE(test_torn_first),
        CASE(test_refused),
        CASE(test_meddling),
        CASE(test_others_append),
        CASE(test_permission_lost),
        CASE(test_checkpoints),
        CASE(test_no_checkpoint_of_edits),
        CASE(test_signer_fails),
        CASE(test_proofs),
        CASE(test_full_disk),
        cmocka_unit_test(test_dir),
        cmocka_unit_test_setup_teardown(test_key_change_is_told, setup_scratch, teardown_scratch),
        cmocka_unit_test_setup_teardown(test_others_append_while_it_signs, setup_scratch,
                                        teardown_scratch),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
