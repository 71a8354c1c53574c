/* The catalogue: records that tokens don't take, in an SQLite file. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "internal.h"

#define ROWS_MAX   (2 * KW_TOKEN_KEYS_MAX)
#define BUSY_MS    5000
#define TOKEN_SIZE 128
#define FILE_NAME  "catalogue.db"
#define WHAT       "the catalogue of keys"

enum kw_status kw_catalogue_path(const struct kw_config *config, char **ret_path,
                                 struct kw_error *err)
{
    if (!config->life.catalogue)
        return kw_state_path(FILE_NAME, WHAT, "catalogue = PATH in [keys]", ret_path, err);
    *ret_path = strdup(config->life.catalogue);
    return *ret_path ? KW_OK : kw_fail_memory(err);
}

/* The folder without the links on its way, which are the administrator's own; the file itself may
 * be none. *path is replaced. */
static enum kw_status resolve_folder(char **path, struct kw_error *err)
{
    char *slash = strrchr(*path, '/'), *file = slash + 1, *whole = NULL;
    char shown[256];
    *slash = '\0';
    char *folder = realpath(slash == *path ? "/" : *path, NULL);
    int failed = errno;
    *slash = '/';
    if (!folder)
        return kw_fail_errno(err, KW_READ, failed,
                             "the folder of the catalogue of keys %s is closed",
                             kw_printable(*path, strlen(*path), shown, sizeof(shown)));
    int len = asprintf(&whole, "%s/%s", folder, file);
    free(folder);
    if (len < 0)
        return kw_fail_memory(err);
    free(*path);
    *path = whole;
    return KW_OK;
}

/* ---- SQLite ---- */

struct catalogue {
    sqlite3 *db;
    char path[256]; /* for messages */
    enum kw_status family;
    char token[TOKEN_SIZE]; /* what tells the token from others */
};

static enum kw_status fail_sqlite(const struct catalogue *catalogue, struct kw_error *err)
{
    const char *reason = catalogue->db ? sqlite3_errmsg(catalogue->db) : "out of memory";
    char shown[128];
    return kw_fail(err, catalogue->family,
                   "the catalogue of keys %s can't be used: %s; mend or restore it, keys are not "
                   "used without it",
                   catalogue->path, kw_printable(reason, strlen(reason), shown, sizeof(shown)));
}

static enum kw_status run(const struct catalogue *catalogue, const char *sql, struct kw_error *err)
{
    return sqlite3_exec(catalogue->db, sql, NULL, NULL, NULL) == SQLITE_OK
               ? KW_OK
               : fail_sqlite(catalogue, err);
}

static void close_catalogue(struct catalogue *catalogue)
{
    (void)sqlite3_close(catalogue->db); /* nothing is left open in it */
    catalogue->db = NULL;
}

static enum kw_status open_catalogue(struct catalogue *catalogue, const char *path, bool write,
                                     const struct kw_token_info *token, struct kw_error *err)
{
    /* A reader too has to be able to undo what a writer left half done. Where the file may not be
     * written, SQLite opens it for reading. */
    int flags = SQLITE_OPEN_READWRITE | (write ? SQLITE_OPEN_CREATE : 0);
    kw_printable(path, strlen(path), catalogue->path, sizeof(catalogue->path));
    catalogue->family = write ? KW_WRITE : KW_READ;
    (void)snprintf(catalogue->token, sizeof(catalogue->token), "%s/%s/%s", token->manufacturer,
                   token->model, token->serial);
    if (sqlite3_open_v2(path, &catalogue->db, flags | SQLITE_OPEN_NOFOLLOW, NULL) != SQLITE_OK ||
        sqlite3_busy_timeout(catalogue->db, BUSY_MS) != SQLITE_OK) {
        enum kw_status status = fail_sqlite(catalogue, err);
        close_catalogue(catalogue);
        return status;
    }
    (void)sqlite3_limit(catalogue->db, SQLITE_LIMIT_LENGTH, 4 * KW_DATA_MAX);
    return KW_OK;
}

static enum kw_status prepare(const struct catalogue *catalogue, const char *sql,
                              const char *const values[], int count, sqlite3_stmt **ret_statement,
                              struct kw_error *err)
{
    sqlite3_stmt *statement = NULL;
    bool ready = sqlite3_prepare_v2(catalogue->db, sql, -1, &statement, NULL) == SQLITE_OK;
    for (int i = 0; i < count && ready; i++)
        ready = sqlite3_bind_text(statement, i + 1, values[i], -1, SQLITE_STATIC) == SQLITE_OK;
    if (ready) {
        *ret_statement = statement;
        return KW_OK;
    }
    enum kw_status status = fail_sqlite(catalogue, err);
    (void)sqlite3_finalize(statement);
    return status;
}

/* ---- reading ---- */

/* A row whose text does not fit is kept as an empty value: it was edited, and that must show. */
static enum kw_status add_row(sqlite3_stmt *statement, struct kw_token_data **data, size_t *count,
                              struct kw_error *err)
{
    const char *label = (const char *)sqlite3_column_text(statement, 0);
    const char *value = (const char *)sqlite3_column_text(statement, 1);
    size_t len = value ? strlen(value) : 0;
    bool fits = len <= KW_DATA_MAX && len == (size_t)sqlite3_column_bytes(statement, 1);
    if (!label || strlen(label) > KW_DATA_LABEL_MAX)
        return KW_OK;
    struct kw_token_data *grown = reallocarray(*data, *count + 1, sizeof(*grown));
    if (!grown)
        return kw_fail_memory(err);
    *data = grown;
    struct kw_token_data *row = &grown[*count];
    memcpy(row->label, label, strlen(label) + 1);
    row->len = fits ? len : 0;
    row->value = strndup(value ? value : "", row->len);
    if (!row->value)
        return kw_fail_memory(err);
    (*count)++;
    return KW_OK;
}

/* A writer may have come no further than making the file. */
static bool is_empty(const struct catalogue *catalogue)
{
    sqlite3_stmt *statement = NULL;
    bool empty = sqlite3_prepare_v2(catalogue->db, "SELECT 1 FROM sqlite_schema LIMIT 1", -1,
                                    &statement, NULL) == SQLITE_OK &&
                 sqlite3_step(statement) == SQLITE_DONE;
    (void)sqlite3_finalize(statement);
    return empty;
}

static enum kw_status read_rows(const struct catalogue *catalogue, const char *label,
                                struct kw_token_data **data, size_t *count, struct kw_error *err)
{
    const char *const values[] = {catalogue->token, label};
    sqlite3_stmt *statement = NULL;
    enum kw_status status = prepare(catalogue,
                                    label ? "SELECT label, value FROM record WHERE token = ?1 AND "
                                            "label = ?2"
                                          : "SELECT label, value FROM record WHERE token = ?1",
                                    values, label ? 2 : 1, &statement, err);
    int step = SQLITE_ROW;
    for (size_t i = 0; i < ROWS_MAX && !status && step == SQLITE_ROW; i++) {
        step = sqlite3_step(statement);
        if (step == SQLITE_ROW)
            status = add_row(statement, data, count, err);
    }
    if (!status && step != SQLITE_DONE)
        status = fail_sqlite(catalogue, err);
    (void)sqlite3_finalize(statement);
    return status;
}

static enum kw_status read_at(char **path, const struct kw_token_info *token, const char *label,
                              struct kw_token_data **data, size_t *count, struct kw_error *err)
{
    struct catalogue catalogue = {.db = NULL};
    enum kw_status status = resolve_folder(path, err);
    if (!status)
        status = open_catalogue(&catalogue, *path, false, token, err);
    if (!status && !is_empty(&catalogue))
        status = read_rows(&catalogue, label, data, count, err);
    close_catalogue(&catalogue);
    return status;
}

enum kw_status kw_catalogue_read(const struct kw_config *config, const struct kw_token_info *token,
                                 const char *label, struct kw_token_data **data, size_t *count,
                                 struct kw_error *err)
{
    char *path = NULL;
    /* Where no place for it is known, there is none. */
    if (kw_catalogue_path(config, &path, NULL) == KW_CONFIG)
        return KW_OK;
    if (!path)
        return kw_fail_memory(err);
    enum kw_status status = KW_OK;
    if (access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR))
        status = read_at(&path, token, label, data, count, err);
    free(path);
    return status;
}

/* ---- writing ---- */

static enum kw_status write_row(const struct catalogue *catalogue, const char *label,
                                const char *value, struct kw_error *err)
{
    const char *const values[] = {catalogue->token, label, value};
    sqlite3_stmt *statement = NULL;
    enum kw_status status =
        prepare(catalogue,
                value ? "INSERT OR REPLACE INTO record (token, label, value) VALUES (?1, ?2, ?3)"
                      : "DELETE FROM record WHERE token = ?1 AND label = ?2",
                values, value ? 3 : 2, &statement, err);
    if (!status && sqlite3_step(statement) != SQLITE_DONE)
        status = fail_sqlite(catalogue, err);
    (void)sqlite3_finalize(statement);
    return status;
}

static enum kw_status write_at(char **path, const struct kw_token_info *token, const char *label,
                               const char *value, struct kw_error *err)
{
    struct catalogue catalogue = {.db = NULL};
    enum kw_status status = value ? kw_make_folders(*path, WHAT, err) : KW_OK;
    if (!status)
        status = resolve_folder(path, err);
    if (!status)
        status = open_catalogue(&catalogue, *path, true, token, err);
    if (status)
        return status;
    if (!(status = run(&catalogue, "PRAGMA synchronous = EXTRA", err)) &&
        !(status = run(&catalogue,
                       "CREATE TABLE IF NOT EXISTS record (token TEXT NOT NULL, label TEXT NOT "
                       "NULL, value TEXT NOT NULL, PRIMARY KEY (token, label)) WITHOUT ROWID",
                       err)))
        status = write_row(&catalogue, label, value, err);
    close_catalogue(&catalogue);
    return status;
}

/* What is not there needs no removing, and no leave to write. */
static enum kw_status remove_row(const struct kw_config *config, char **path,
                                 const struct kw_token_info *token, const char *label,
                                 struct kw_error *err)
{
    struct kw_token_data *data = NULL;
    size_t count = 0;
    enum kw_status status = kw_catalogue_read(config, token, label, &data, &count, err);
    kw_token_data_free(data, count);
    return status || count == 0 ? status : write_at(path, token, label, NULL, err);
}

enum kw_status kw_catalogue_write(const struct kw_config *config, const struct kw_token_info *token,
                                  const char *label, const char *value, struct kw_error *err)
{
    char *path = NULL;
    enum kw_status status = kw_catalogue_path(config, &path, value ? err : NULL);
    if (status)
        return value || status != KW_CONFIG ? status : KW_OK;
    status = value ? write_at(&path, token, label, value, err)
                   : remove_row(config, &path, token, label, err);
    free(path);
    return status;
}
