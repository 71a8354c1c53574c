/* The catalogue: rows by token and label, where it is, and what is wrong with a file in its place.
 */
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "keys/internal.h"

#define NOBODY 65534

static char folder[64];
static char path[128];
static struct kw_config config;
static const struct kw_token_info token = {
    .manufacturer = "maker", .model = "model", .serial = "1"};
static const struct kw_token_info other_token = {
    .manufacturer = "maker", .model = "model", .serial = "2"};

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "%s", "/tmp/keyward-catalogue-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/catalogue.db", folder);
    config = (struct kw_config){.life = {.catalogue = path}};
    return unsetenv("XDG_STATE_HOME") | unsetenv("HOME");
}

static int remove_entry(const char *entry, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(entry);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- calls that have to go well, or badly ---- */

static void write_row(const struct kw_token_info *where, const char *label, const char *value)
{
    struct kw_error err = {.status = KW_OK};
    if (kw_catalogue_write(&config, where, label, value, &err) != KW_OK)
        fail_msg("%s", err.message);
}

static void write_fails(const char *value, enum kw_status expected, const char *words)
{
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_catalogue_write(&config, &token, "label", value, &err);
    if (status != expected || err.status != expected || !strstr(err.message, words))
        fail_msg("status %d: %s", (int)status, err.message);
}

static struct kw_token_data *read_rows(const struct kw_token_info *where, const char *label,
                                       size_t expected)
{
    struct kw_token_data *data = NULL;
    size_t count = 0;
    struct kw_error err = {.status = KW_OK};
    if (kw_catalogue_read(&config, where, label, &data, &count, &err) != KW_OK)
        fail_msg("%s", err.message);
    assert_int_equal(count, expected);
    return data;
}

static void read_fails(enum kw_status expected, const char *words)
{
    struct kw_token_data *data = NULL;
    size_t count = 0;
    struct kw_error err = {.status = KW_OK};
    enum kw_status status = kw_catalogue_read(&config, &token, NULL, &data, &count, &err);
    kw_token_data_free(data, count);
    if (status != expected || err.status != expected || !strstr(err.message, words))
        fail_msg("status %d: %s", (int)status, err.message);
}

static void assert_row(const struct kw_token_info *where, const char *label, const char *value)
{
    struct kw_token_data *data = read_rows(where, label, value ? 1 : 0);
    if (value) {
        assert_string_equal(data[0].label, label);
        assert_string_equal(data[0].value, value);
        assert_int_equal(data[0].len, strlen(value));
    }
    kw_token_data_free(data, value ? 1 : 0);
}

static bool exists(const char *name)
{
    struct stat info;
    return lstat(name, &info) == 0;
}

static void put_file(const char *name, const void *bytes, size_t len)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    assert_int_equal(close(fd), 0);
}

static sqlite3 *open_behind(void)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    return db;
}

static void run_behind(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
}

/* Roots may do everything, so for a while it is not root. */
static void drop_root(void)
{
    if (getuid() == 0)
        assert_int_equal(seteuid(NOBODY), 0);
}

static void take_root(void)
{
    if (getuid() == 0)
        assert_int_equal(seteuid(0), 0);
}

/* ---- rows ---- */

static void rows_by_token_and_label(void **state)
{
    (void)state;
    assert_row(&token, "a", NULL);
    assert_false(exists(path));
    write_row(&token, "a", NULL); /* to remove what is not there makes no file */
    assert_false(exists(path));
    write_row(&token, "a", "one");
    write_row(&token, "b", "two");
    write_row(&other_token, "a", "three");
    assert_row(&token, "a", "one");
    assert_row(&token, "b", "two");
    assert_row(&other_token, "a", "three");
    assert_row(&other_token, "b", NULL);
    assert_row(&token, "A", NULL);
    assert_row(&token, "%", NULL);
    write_row(&token, "a", "four");
    assert_row(&token, "a", "four");
    kw_token_data_free(read_rows(&token, NULL, 2), 2);
    kw_token_data_free(read_rows(&other_token, NULL, 1), 1);
    write_row(&token, "a", NULL);
    write_row(&token, "a", NULL);
    assert_row(&token, "a", NULL);
    assert_row(&other_token, "a", "three");
    write_row(&token, "it's; DROP TABLE record", "x'); --");
    assert_row(&token, "it's; DROP TABLE record", "x'); --");
}

/* What was found on the token already stays in front. */
static void rows_are_added(void **state)
{
    (void)state;
    write_row(&token, "a", "one");
    struct kw_token_data *data = calloc(1, sizeof(*data));
    assert_non_null(data);
    data->value = strdup("before");
    size_t count = 1;
    assert_int_equal(kw_catalogue_read(&config, &token, "a", &data, &count, NULL), KW_OK);
    assert_int_equal(count, 2);
    assert_string_equal(data[0].value, "before");
    assert_string_equal(data[1].value, "one");
    kw_token_data_free(data, count);
}

/* Edits that don't fit show as values that are no record. */
static void edited_rows(void **state)
{
    (void)state;
    static char large[KW_DATA_MAX + 2];
    memset(large, 'x', sizeof(large) - 1);
    write_row(&token, "full", large + 1);
    write_row(&token, "large", large);
    sqlite3 *db = open_behind();
    run_behind(db, "INSERT INTO record VALUES ('maker/model/1', 'nul', "
                   "CAST(x'6f6e650074776f' AS TEXT))");
    run_behind(db, "INSERT INTO record VALUES ('maker/model/1', 'blob', x'00ff')");
    run_behind(db, "INSERT INTO record VALUES ('maker/model/1', 'number', 7)");
    run_behind(db, "INSERT INTO record VALUES ('maker/model/1', "
                   "printf('%.*c', 128, 'l'), 'long label')");
    sqlite3_close(db);
    assert_row(&token, "full", large + 1);
    assert_row(&token, "large", "");
    assert_row(&token, "nul", "");
    assert_row(&token, "blob", "");
    assert_row(&token, "number", "7");
    kw_token_data_free(read_rows(&token, NULL, 5), 5);
    db = open_behind();
    run_behind(db, "UPDATE record SET value = printf('%.*c', 70000, 'x') WHERE label = 'large'");
    sqlite3_close(db);
    read_fails(KW_READ, "too big");
}

/* ---- where it is ---- */

static void found_by_the_environment(void **state)
{
    (void)state;
    char expected[256];
    config.life.catalogue = NULL;
    if (getuid() == 0)
        assert_int_equal(chown(folder, NOBODY, NOBODY), 0);
    drop_root();
    /* Nothing says where: there are no rows, and none can be written. */
    assert_row(&token, "a", NULL);
    write_row(&token, "a", NULL);
    write_fails("x", KW_CONFIG, "catalogue = PATH");
    assert_int_equal(setenv("HOME", "relative", 1) | setenv("XDG_STATE_HOME", "relative", 1), 0);
    write_fails("x", KW_CONFIG, "catalogue = PATH");

    assert_int_equal(setenv("HOME", folder, 1), 0);
    write_row(&token, "a", "by home");
    snprintf(expected, sizeof(expected), "%s/.local/state/keyward/catalogue.db", folder);
    assert_true(exists(expected));
    assert_row(&token, "a", "by home");

    snprintf(expected, sizeof(expected), "%s/state", folder);
    assert_int_equal(setenv("XDG_STATE_HOME", expected, 1), 0);
    assert_row(&token, "a", NULL);
    write_row(&token, "a", "by state");
    snprintf(expected, sizeof(expected), "%s/state/keyward/catalogue.db", folder);
    assert_true(exists(expected));
    assert_row(&token, "a", "by state");

    config.life.catalogue = path;
    assert_row(&token, "a", NULL);
    write_row(&token, "a", "configured");
    assert_true(exists(path));
    assert_row(&token, "a", "configured");
    take_root();
}

static void missing_folders_are_made(void **state)
{
    (void)state;
    char deep[256];
    snprintf(deep, sizeof(deep), "%s/a/b c/d/catalogue.db", folder);
    config.life.catalogue = deep;
    assert_row(&token, "a", NULL);
    write_row(&token, "a", NULL);
    deep[strlen(folder) + 2] = '\0';
    assert_false(exists(deep));
    deep[strlen(folder) + 2] = '/';
    write_row(&token, "a", "x");
    assert_row(&token, "a", "x");
    /* A file in the way. */
    snprintf(deep, sizeof(deep), "%s/file", folder);
    put_file(deep, "x", 1);
    snprintf(deep, sizeof(deep), "%s/file/catalogue.db", folder);
    assert_row(&token, "a", NULL);
    write_row(&token, "a", NULL);
    write_fails("x", KW_WRITE, "can't be used");
    snprintf(deep, sizeof(deep), "%s/file/x/catalogue.db", folder);
    write_fails("x", KW_WRITE, "can't be made");
}

static void links(void **state)
{
    (void)state;
    char real[256], link[128];
    write_row(&token, "a", "x");
    /* On the way to the file they are the administrator's own. */
    snprintf(link, sizeof(link), "%s-link", folder);
    assert_int_equal(symlink(folder, link), 0);
    snprintf(real, sizeof(real), "%s/catalogue.db", link);
    config.life.catalogue = real;
    assert_row(&token, "a", "x");
    write_row(&token, "a", "y");
    assert_int_equal(unlink(link), 0);
    /* The file itself is none. */
    config.life.catalogue = path;
    snprintf(real, sizeof(real), "%s/elsewhere", folder);
    assert_int_equal(rename(path, real), 0);
    assert_int_equal(symlink(real, path), 0);
    read_fails(KW_READ, "can't be used");
    write_fails("z", KW_WRITE, "can't be used");
    config.life.catalogue = real;
    assert_row(&token, "a", "y");
}

/* ---- files that may not be written ---- */

static void without_leave_to_write(void **state)
{
    (void)state;
    write_row(&token, "a", "x");
    assert_int_equal(chmod(path, 0444) | chmod(folder, 0555), 0);
    drop_root();
    assert_row(&token, "a", "x");
    write_row(&token, "b", NULL); /* nothing is there to remove */
    write_fails("y", KW_WRITE, "can't be used");
    struct kw_error err;
    assert_int_equal(kw_catalogue_write(&config, &token, "a", NULL, &err), KW_WRITE);
    assert_row(&token, "a", "x");
    char other[256];
    snprintf(other, sizeof(other), "%s/new/catalogue.db", folder);
    config.life.catalogue = other;
    write_fails("y", KW_WRITE, "can't be made");
    snprintf(other, sizeof(other), "%s/new.db", folder);
    write_fails("y", KW_WRITE, "can't be used");
    take_root();
    assert_int_equal(chmod(folder, 0755), 0);
}

/* ---- damage ---- */

static void damaged_files(void **state)
{
    (void)state;
    static char bytes[65536];
    /* A file that a writer made, and no more. */
    put_file(path, "", 0);
    assert_row(&token, "a", NULL);
    write_row(&token, "a", "x");
    assert_row(&token, "a", "x");

    put_file(path, "this is no database, but a text that is long enough to be read as one", 69);
    read_fails(KW_READ, "mend or restore it");
    write_fails("x", KW_WRITE, "mend or restore it");
    write_fails(NULL, KW_READ, "mend or restore it");

    assert_int_equal(unlink(path), 0);
    write_row(&token, "a", "x");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ssize_t len = read(fd, bytes, sizeof(bytes));
    assert_in_range(len, 4096, sizeof(bytes));
    assert_int_equal(close(fd), 0);
    put_file(path, bytes, 50); /* cut within its header */
    read_fails(KW_READ, "mend or restore it");
    put_file(path, bytes, (size_t)len / 2);
    read_fails(KW_READ, "mend or restore it");
    memset(bytes + 4096, 0xA5, (size_t)len - 4096);
    put_file(path, bytes, (size_t)len);
    read_fails(KW_READ, "mend or restore it");

    /* A database of something else. */
    assert_int_equal(unlink(path), 0);
    sqlite3 *db = open_behind();
    run_behind(db, "CREATE TABLE record (name TEXT)");
    sqlite3_close(db);
    read_fails(KW_READ, "mend or restore it");
    write_fails("x", KW_WRITE, "mend or restore it");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0755), 0);
    read_fails(KW_READ, "can't be used");
    write_fails("x", KW_WRITE, "can't be used");
    assert_int_equal(rmdir(path), 0);
}

/* Enough for SQLite to write some of it to the file before it is committed. */
static void write_in_part(void)
{
    sqlite3 *db = open_behind();
    run_behind(db, "PRAGMA cache_size = 1");
    run_behind(db, "BEGIN; UPDATE record SET value = 'half done'");
    for (int i = 0; i < 200; i++) {
        char sql[160];
        snprintf(sql, sizeof(sql),
                 "INSERT INTO record VALUES ('maker/model/1', 'n%d', printf('%%.*c', 4000, 'x'))",
                 i);
        run_behind(db, sql);
    }
    _exit(0);
}

static void a_writer_that_was_killed(void **state)
{
    (void)state;
    char journal[160];
    write_row(&token, "a", "whole");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        write_in_part();
    int result = -1;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
    snprintf(journal, sizeof(journal), "%s-journal", path);
    assert_true(exists(journal));
    assert_row(&token, "a", "whole");
    kw_token_data_free(read_rows(&token, NULL, 1), 1);
    assert_false(exists(journal));
}

/* ---- others at work ---- */

static void locked_for_a_while(void **state)
{
    (void)state;
    write_row(&token, "a", "x");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        sqlite3 *db = open_behind();
        run_behind(db, "BEGIN EXCLUSIVE; UPDATE record SET value = 'y'");
        put_file("locked", "", 0);
        (void)usleep(300000);
        run_behind(db, "COMMIT");
        sqlite3_close(db);
        _exit(0);
    }
    for (int i = 0; i < 500 && !exists("locked"); i++)
        (void)usleep(10000);
    assert_int_equal(unlink("locked"), 0);
    assert_row(&token, "a", "y");
    write_row(&token, "a", "z");
    int result = -1;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
    assert_row(&token, "a", "z");
}

static void locked_for_good(void **state)
{
    (void)state;
    write_row(&token, "a", "x");
    sqlite3 *db = open_behind();
    run_behind(db, "BEGIN EXCLUSIVE");
    uint64_t start = kw_now_ms();
    read_fails(KW_READ, "locked");
    assert_in_range(kw_now_ms() - start, 4000, 60000);
    run_behind(db, "ROLLBACK");
    sqlite3_close(db);
    assert_row(&token, "a", "x");
}

static int enter_scratch(void **state)
{
    static char scratch[] = "/tmp/keyward-catalogue-XXXXXX";
    *state = scratch;
    return mkdtemp(scratch) && chdir(scratch) == 0 ? 0 : -1;
}

static int leave_scratch(void **state)
{
    return chdir("/") | rmdir(*state);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(rows_by_token_and_label),
        CASE(rows_are_added),
        CASE(edited_rows),
        CASE(found_by_the_environment),
        CASE(missing_folders_are_made),
        CASE(links),
        CASE(without_leave_to_write),
        CASE(damaged_files),
        CASE(a_writer_that_was_killed),
        CASE(locked_for_a_while),
        CASE(locked_for_good),
    };
    return cmocka_run_group_tests_name("keys/catalogue", tests, enter_scratch, leave_scratch);
}
