/* Each kind of tampering is told apart, with the record's number. */
#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

#define RECORDS 40

static struct test_signer signer, forger;

static int setup(void **state)
{
    if (setup_group(state))
        return 1;
    signer_make(&signer, false);
    signer_make(&forger, false);
    return 0;
}

static int teardown(void **state)
{
    signer_free(&signer);
    signer_free(&forger);
    return teardown_group(state);
}

/* Records 0 to 39 in one file, checkpoints of 10, 25 and 37. */
static void make_trail(uint64_t rotate_bytes)
{
    struct kw_trail *trail = must_open(rotate_bytes);
    for (size_t i = 1; i < RECORDS; i++) {
        must_append(trail, 1);
        if (i + 1 == 10 || i + 1 == 25 || i + 1 == 37)
            must_checkpoint(trail, &signer);
    }
    kw_trail_free(trail);
}

static struct kw_verdict verify_since(const char *since)
{
    struct kw_public_key *key = signer_key(&signer);
    struct kw_verify_options options = {
        .keys = &key, .key_count = 1, .since = since, .since_len = since ? strlen(since) : 0};
    struct kw_verdict verdict;
    struct kw_error err;
    assert_ok(kw_trail_verify(crypto, dir, &options, &verdict, &err));
    kw_public_key_free(key);
    return verdict;
}

static void expect(enum kw_tamper tamper, uint64_t first, uint64_t last, const char *part)
{
    struct kw_verdict verdict = verify_since(NULL);
    if (verdict.tamper != tamper || verdict.first != first || verdict.last != last ||
        !strstr(verdict.message, part))
        fail_msg("%s %llu-%llu, not %s %llu-%llu (%s): %s", kw_tamper_name(verdict.tamper),
                 (unsigned long long)verdict.first, (unsigned long long)verdict.last,
                 kw_tamper_name(tamper), (unsigned long long)first, (unsigned long long)last, part,
                 verdict.message);
}

#define FIRST_FILE "trail-000000000000.jsonl"

/* ---- lines of the first file, to be changed ---- */

static char *lines[RECORDS];
static size_t line_count;
static char *text;

static void load(void)
{
    size_t len = 0;
    read_text(in_trail(FIRST_FILE), &text, &len);
    line_count = 0;
    for (char *at = strtok(text, "\n"); at; at = strtok(NULL, "\n"))
        lines[line_count++] = at;
    assert_int_equal(line_count, RECORDS);
}

static void save(void)
{
    struct kw_buffer out = KW_BUFFER_INIT((size_t)1 << 20);
    struct kw_error err;
    for (size_t i = 0; i < line_count; i++)
        if (lines[i])
            assert_ok(kw_buffer_printf(&out, &err, "%s\n", lines[i]));
    write_text(in_trail(FIRST_FILE), (const char *)out.data, out.len);
    kw_buffer_cleanup(&out);
    free(text);
}

/* ---- nothing wrong ---- */

static void test_good(void **state)
{
    (void)state;
    make_trail(0);
    struct kw_verdict verdict = verify_since(NULL);
    assert_int_equal(verdict.tamper, KW_GOOD);
    assert_int_equal(verdict.records, RECORDS);
    assert_int_equal(verdict.signed_records, 37);
    assert_int_equal(verdict.checkpoints, 3);
    assert_int_equal(verdict.torn_bytes, 0);
    assert_false(verdict.own_key);
    struct kw_verify_options options = {.key_count = 0};
    struct kw_error err;
    assert_ok(kw_trail_verify(crypto, dir, &options, &verdict, &err));
    assert_true(verdict.own_key);
    assert_int_equal(verdict.tamper, KW_GOOD);
}

static void test_rotated(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 300, 1000, 1024, 4000, 9999};
    for (size_t i = 0; i < KW_COUNT(sizes); i++) {
        make_trail(sizes[i]);
        expect(KW_GOOD, 0, 0, "");
        assert_int_equal(verify_since(NULL).records, RECORDS);
        shell("test $(ls '%s'/trail-*.jsonl | wc -l) -gt 1 && rm -r '%s'", dir, dir);
    }
}

/* The first line that is not finished is no fault: it was never acknowledged. */
static void test_torn(void **state)
{
    (void)state;
    make_trail(0);
    shell("printf '{\"seq\":40,\"ti' >> '%s'", in_trail(FIRST_FILE));
    expect(KW_GOOD, 0, 0, "");
    assert_int_equal(verify_since(NULL).torn_bytes, 13);
}

static void test_nothing_there(void **state)
{
    (void)state;
    struct kw_verify_options options = {.key_count = 0};
    struct kw_verdict verdict;
    struct kw_error err;
    assert_fails(kw_trail_verify(crypto, dir, &options, &verdict, &err), KW_AUDIT,
                 "can't be opened");
    assert_int_equal(mkdir(dir, 0750), 0);
    assert_fails(kw_trail_verify(crypto, dir, &options, &verdict, &err), KW_AUDIT,
                 "no audit trail in");
}

/* ---- edited ---- */

/* One byte of each member of a signed record, one after the other. */
static void test_each_field(void **state)
{
    (void)state;
    static const char *const members[] = {"time", "run", "phase", "op",    "who",  "uid",  "host",
                                          "pid",  "key", "token", "label", "drop", "file", "bytes"};
    make_trail(0);
    for (size_t i = 0; i < KW_COUNT(members); i++) {
        char name[32];
        load();
        (void)snprintf(name, sizeof(name), "\"%s\":", members[i]);
        char *at = strstr(lines[17], name);
        assert_non_null(at);
        at += strlen(name) + 1;
        *at ^= 1;
        char kept = *at;
        save();
        expect(KW_EDITED, 17, 17, "record 17 was edited");
        load();
        at = strstr(lines[17], name) + strlen(name) + 1;
        assert_int_equal(*at, kept);
        *at ^= 1;
        save();
        expect(KW_GOOD, 0, 0, "");
    }
}

/* Its own number too, also where it becomes another's, and in the last record. */
static void test_number_edited(void **state)
{
    (void)state;
    make_trail(0);
    load();
    lines[17][strlen("{\"seq\":1")] = '9';
    save();
    expect(KW_EDITED, 17, 17, "record 17 was edited: it has the number 19");
    load();
    lines[17][strlen("{\"seq\":1")] = '3';
    save();
    expect(KW_EDITED, 17, 17, "record 17 was edited: it has the number 13");
    load();
    lines[17][strlen("{\"seq\":1")] = 'x';
    save();
    expect(KW_EDITED, 17, 17, "record 17 was edited: it is no record");
    load();
    lines[17][strlen("{\"seq\":1")] = '7';
    lines[36][strlen("{\"seq\":3")] = '9';
    line_count = 37;
    save();
    expect(KW_EDITED, 36, 36, "record 36 was edited: it has the number 39");
}

/* Without the hashes that are kept beside a checkpoint, or with others, an edit is still bounded.
 */
static void test_bounded(void **state)
{
    (void)state;
    make_trail(0);
    load();
    *strstr(lines[17], "unwrap") = 'U';
    save();
    char *leaves = NULL;
    size_t len = 0;
    read_text(in_trail("checkpoints/000000000025.leaves"), &leaves, &len);
    assert_int_equal(len, 15 * 32);
    leaves[40] ^= 1;
    write_text(in_trail("checkpoints/000000000025.leaves"), leaves, len);
    expect(KW_EDITED, 10, 24, "a record between 10 and 24 was edited");
    write_text(in_trail("checkpoints/000000000025.leaves"), leaves, 31);
    expect(KW_EDITED, 10, 24, "a record between 10 and 24 was edited");
    assert_int_equal(unlink(in_trail("checkpoints/000000000025.leaves")), 0);
    expect(KW_EDITED, 10, 24, "a record between 10 and 24 was edited");
    free(leaves);
}

static void test_first_record(void **state)
{
    (void)state;
    make_trail(0);
    load();
    *strstr(lines[0], "trail.begin") = 'T';
    save();
    expect(KW_EDITED, 0, 0, "record 0 was edited");
}

/* ---- removed, reordered, truncated ---- */

static void test_removed(void **state)
{
    (void)state;
    make_trail(0);
    load();
    lines[17] = NULL;
    save();
    expect(KW_REMOVED, 17, 17, "record 17 was removed");
    shell("sed -i '17,20d' '%s'", in_trail(FIRST_FILE));
    expect(KW_REMOVED, 16, 20, "records 16 to 20 were removed");
    shell("sed -i '1d' '%s'", in_trail(FIRST_FILE));
    expect(KW_REMOVED, 0, 0, "record 0 was removed");
}

static void test_file_removed(void **state)
{
    (void)state;
    make_trail(1);
    assert_int_equal(unlink(in_trail("trail-000000000017.jsonl")), 0);
    expect(KW_REMOVED, 17, 17, "record 17 was removed");
    assert_int_equal(unlink(in_trail(FIRST_FILE)), 0);
    expect(KW_REMOVED, 0, 0, "record 0 was removed");
    shell("rm '%s'/trail-*", dir);
    expect(KW_TRUNCATED, 0, 36, "ends before record 0");
}

static void test_file_renamed(void **state)
{
    (void)state;
    make_trail(4000);
    shell("cd '%s' && f=$(ls trail-*.jsonl | sed -n 2p) && mv $f trail-000000000001.jsonl", dir);
    struct kw_verdict verdict = verify_since(NULL);
    assert_int_equal(verdict.tamper, KW_EDITED);
    assert_non_null(strstr(verdict.message, "trail-000000000001.jsonl was renamed"));
}

static void test_reordered(void **state)
{
    (void)state;
    make_trail(0);
    load();
    char *kept = lines[17];
    lines[17] = lines[18];
    lines[18] = kept;
    save();
    expect(KW_REORDERED, 17, 17, "reordered: record 17 is not in its place, where record 18 is");
    load();
    kept = lines[17];
    lines[17] = lines[18];
    lines[18] = kept;
    kept = lines[5];
    lines[5] = lines[30];
    lines[30] = kept;
    save();
    expect(KW_REORDERED, 5, 5, "record 5 is not in its place, where record 30 is");
}

static void test_repeated(void **state)
{
    (void)state;
    make_trail(0);
    shell("sed -i '8p' '%s'", in_trail(FIRST_FILE));
    expect(KW_REORDERED, 8, 8, "reordered: record 8 is not in its place, where record 7 is");
}

static void test_truncated(void **state)
{
    (void)state;
    make_trail(0);
    /* What is after the last checkpoint is not protected. */
    shell("sed -i '38,$d' '%s'", in_trail(FIRST_FILE));
    expect(KW_GOOD, 0, 0, "");
    shell("sed -i '31,$d' '%s'", in_trail(FIRST_FILE));
    expect(KW_TRUNCATED, 30, 36, "truncated: it ends before record 30, and 37 records were signed");
    shell("truncate -s -1 '%s'", in_trail(FIRST_FILE));
    expect(KW_TRUNCATED, 29, 36, "ends before record 29");
}

/* ---- checkpoints ---- */

static void test_forged(void **state)
{
    (void)state;
    make_trail(0);
    /* All anew, with another key. */
    shell("rm -r '%s'", dir);
    struct kw_trail *trail = must_open(0);
    must_append(trail, 10);
    must_checkpoint(trail, &forger);
    kw_trail_free(trail);
    expect(KW_FORGED, 11, 11, "not signed by the key, but by another one");
    /* With the folder's own key, that passes: which is why it is warned of. */
    struct kw_verify_options options = {.key_count = 0};
    struct kw_verdict verdict;
    struct kw_error err;
    assert_ok(kw_trail_verify(crypto, dir, &options, &verdict, &err));
    assert_int_equal(verdict.tamper, KW_GOOD);
    assert_true(verdict.own_key);
}

static void test_checkpoint_replaced(void **state)
{
    (void)state;
    make_trail(0);
    shell("cd '%s/checkpoints' && cp 000000000010 000000000025", dir);
    expect(KW_FORGED, 25, 25, "of another number of records");
    shell("cd '%s/checkpoints' && sed '2s/.*/25/' 000000000010 > 000000000025", dir);
    expect(KW_FORGED, 25, 25, "wrong signature");
    shell("cd '%s/checkpoints' && : > 000000000025", dir);
    expect(KW_FORGED, 25, 25, "no signature");
    shell("cd '%s/checkpoints' && rm 000000000025 && ln -s 000000000010 000000000025", dir);
    expect(KW_FORGED, 25, 25, "can't be opened");
    shell("cd '%s/checkpoints' && rm 000000000025 && cp 000000000010 000000000777", dir);
    expect(KW_FORGED, 777, 777, "of another number of records");
}

static void test_other_trails_checkpoint(void **state)
{
    (void)state;
    make_trail(0);
    char *since = NULL;
    size_t len = 0;
    read_text(in_trail("checkpoints/000000000025"), &since, &len);
    shell("mv '%s' '%s/old'", dir, scratch);
    make_trail(0);
    assert_int_equal(verify_since(since).tamper, KW_ROLLED_BACK);
    assert_non_null(strstr(verify_since(since).message, "is of another trail"));
    write_text(in_trail("checkpoints/000000000025"), since, len);
    expect(KW_FORGED, 25, 25, "is of another trail");
    free(since);
}

static void test_no_key(void **state)
{
    (void)state;
    make_trail(0);
    struct kw_verify_options options = {.key_count = 0};
    struct kw_verdict verdict;
    struct kw_error err;
    assert_int_equal(unlink(in_trail("key.pem")), 0);
    assert_fails(kw_trail_verify(crypto, dir, &options, &verdict, &err), KW_AUDIT, "no key");
}

/* ---- rolled back ---- */

static void test_rolled_back(void **state)
{
    (void)state;
    struct kw_trail *trail = must_open(0);
    must_append(trail, 10);
    must_checkpoint(trail, &signer);
    kw_trail_free(trail);
    shell("cp -a '%s' '%s/older'", dir, scratch);
    trail = must_open(0);
    must_append(trail, 10);
    must_checkpoint(trail, &signer);
    kw_trail_free(trail);
    char *since = NULL;
    size_t len = 0;
    read_text(in_trail("checkpoints/000000000021"), &since, &len);
    assert_int_equal(verify_since(since).tamper, KW_GOOD);
    shell("rm -r '%s' && cp -a '%s/older' '%s'", dir, scratch, dir);
    expect(KW_GOOD, 0, 0, "");
    struct kw_verdict verdict = verify_since(since);
    assert_int_equal(verdict.tamper, KW_ROLLED_BACK);
    assert_int_equal(verdict.first, 21);
    assert_non_null(strstr(verdict.message, "rolled back to an older state: it has 11 records"));
    /* And used again, so that it has as many records and more. */
    trail = must_open(0);
    must_append(trail, 20);
    must_checkpoint(trail, &signer);
    kw_trail_free(trail);
    expect(KW_GOOD, 0, 0, "");
    verdict = verify_since(since);
    assert_int_equal(verdict.tamper, KW_ROLLED_BACK);
    assert_non_null(strstr(verdict.message, "went on from there: its first 21 records"));
    free(since);
}

/* An edit is told as what it is, also where a checkpoint that was remembered shows it first. */
static void test_edited_since(void **state)
{
    (void)state;
    make_trail(0);
    char *since = NULL;
    size_t len = 0;
    read_text(in_trail("checkpoints/000000000025"), &since, &len);
    assert_int_equal(unlink(in_trail("checkpoints/000000000025")), 0);
    load();
    *strstr(lines[17], "unwrap") = 'U';
    save();
    struct kw_verdict verdict = verify_since(since);
    assert_int_equal(verdict.tamper, KW_EDITED);
    assert_int_equal(verdict.first, 10);
    assert_int_equal(verdict.last, 36);
    free(since);
}

static void test_since_forged(void **state)
{
    (void)state;
    make_trail(0);
    char *since = NULL;
    size_t len = 0;
    struct kw_public_key *key = signer_key(&forger);
    read_text(in_trail("checkpoints/000000000025"), &since, &len);
    struct kw_verify_options options = {
        .keys = &key, .key_count = 1, .since = since, .since_len = len};
    struct kw_verdict verdict;
    struct kw_error err;
    assert_fails(kw_trail_verify(crypto, dir, &options, &verdict, &err), KW_AUDIT,
                 "remembered is not signed by the key");
    kw_public_key_free(key);
    free(since);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_scratch, teardown_scratch)
    const struct CMUnitTest tests[] = {
        CASE(test_good),
        CASE(test_rotated),
        CASE(test_torn),
        CASE(test_nothing_there),
        CASE(test_each_field),
        CASE(test_number_edited),
        CASE(test_bounded),
        CASE(test_first_record),
        CASE(test_removed),
        CASE(test_file_removed),
        CASE(test_file_renamed),
        CASE(test_reordered),
        CASE(test_repeated),
        CASE(test_truncated),
        CASE(test_forged),
        CASE(test_checkpoint_replaced),
        CASE(test_other_trails_checkpoint),
        CASE(test_no_key),
        CASE(test_rolled_back),
        CASE(test_edited_since),
        CASE(test_since_forged),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
