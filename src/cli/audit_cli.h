/* What the subcommands of keyward audit share: audit.c. */
#ifndef KW_AUDIT_CLI_H
#define KW_AUDIT_CLI_H

#include "audit/audit.h"
#include "cli.h"

struct audit {
    struct kw_crypto *crypto;
    char *dir;
    struct kw_public_key *keys[MAX_GLOBS]; /* those of --key */
    size_t key_count;
};
typedef enum kw_status (*audit_fn)(struct audit *audit, const struct arguments *arguments,
                                   struct kw_error *err);
/* Finds the trail, whose folder the operand of that index may name, calls `work`, prints what
 * failed and returns the exit code. */
int with_audit(const struct arguments *arguments, size_t dir_operand, audit_fn work);
/* The whole of a file that an option names. KW_READ; KW_USAGE where it has more than `max` bytes.
 */
enum kw_status read_named_file(const char *path, size_t max, struct kw_buffer *ret_text,
                               struct kw_error *err);
/* A number of records, or a record's. KW_USAGE. */
enum kw_status parse_count(const char *text, const char *what, uint64_t *ret_number,
                           struct kw_error *err);

/* Which records --run, --key, --who, --client, --from and --to ask for: audit_filter.c. */
enum kw_status check_filter(const struct arguments *arguments, struct kw_error *err);
bool passes_filter(const struct arguments *arguments, const struct cJSON *record);

#endif
