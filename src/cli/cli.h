/* cli: subcommands, their options and what they print. The only code that prints. */
#ifndef KW_CLI_H
#define KW_CLI_H

#include <stdio.h>

#include "base/base.h"
#include "keys/keys.h"
#include "run/run.h"

struct cJSON;

/* ---- options as data: options.c ---- */

#define MAX_GLOBS    64
#define MAX_OPERANDS 3

/* Everything that any subcommand may be told; strings point into argv. */
struct arguments {
    const char *command; /* the subcommand's name */
    const char *operands[MAX_OPERANDS];
    const char *config;
    const char *token;
    const char *key;
    const char *out;
    const char *report;
    const char *unwrap_alg;
    const char *decompress;
    const char *digest;
    const char *public_key;
    const char *key_version;
    const char *wrap_alg;
    const char *layout;
    const char *compress;
    const char *module;
    const char *expires;
    const char *not_before;
    const char *label;
    const char *service;
    const char *with;
    const char *with_token;
    const char *bits;
    const char *kek;
    const char *kid;
    const char *name;
    const char *confirm;
    const char *since;
    const char *run_id;
    const char *who;
    const char *client;
    const char *from;
    const char *format;
    const char *public_keys[MAX_GLOBS];
    size_t public_keys_count;
    const char *tag[MAX_GLOBS];
    size_t tag_count;
    const char *pin_source;
    const char *so_pin_source;
    const char *id;
    const char *passphrase_source;
    const char *to;
    const char *include[MAX_GLOBS];
    size_t include_count;
    const char *exclude[MAX_GLOBS];
    size_t exclude_count;
    const char *on_error;
    const char *exec;
    const char *marker;
    const char *done;
    const char *quarantine;
    long settle;
    long max_failures;
    long jobs;
    int resume;
    int force;
    int with_metadata;
    int copy_unencrypted;
    int json;
    int progress; /* 1 shown, -1 not shown, 0 as the terminal is */
    int quiet;
    int help;
    int version;
    int no_sandbox;
    int no_expiry;
    int exportable;
    int leave;
    int once;
};

enum option_kind {
    OPTION_SET,    /* no argument: stores `value` */
    OPTION_TEXT,   /* stores the argument */
    OPTION_CHOICE, /* the same, if it is one of the words of `argument`, divided by "|" */
    OPTION_NUMBER, /* 1 to `value` */
    OPTION_LIST,   /* adds to a list, whose count comes after it */
};
struct option_row {
    const char *name;
    char letter; /* 0: none */
    enum option_kind kind;
    const char *argument; /* its name in the help */
    size_t offset;        /* in struct arguments */
    int value;
    const char *help;
};

struct subcommand {
    const char *name;     /* one word or two */
    const char *operands; /* as the help shows them; one in brackets may be left out */
    size_t operand_count; /* at most */
    const char *summary;
    const struct option_row *options; /* all but the common ones */
    size_t option_count;
    int (*run)(const struct arguments *arguments, char **argv);
};

/* In the order of the overview: commands.c. */
extern const struct subcommand all_commands[];
extern const size_t all_commands_count;

/* Reads what follows the subcommand's name. KW_USAGE. */
enum kw_status parse_arguments(const struct subcommand *command, int argc, char **argv,
                               struct arguments *arguments, struct kw_error *err);
/* The options that may stand before the subcommand too; *ret_next is the index of its name. */
enum kw_status parse_global(int argc, char **argv, struct arguments *arguments, int *ret_next,
                            struct kw_error *err);
void print_help(const struct subcommand *command);
/* Of subcommands whose first words are the same. */
void print_group(const struct subcommand *commands, size_t count);
void print_overview(const struct subcommand *commands, size_t count);
/* A script for bash, zsh or fish; false for another shell. */
bool print_completion(const char *shell, const struct subcommand *commands, size_t count);

/* Rows that several subcommands share. */
#define FIELD(name) offsetof(struct arguments, name)
#define ROW_TOKEN                                                                                  \
    {                                                                                              \
        "token", 't', OPTION_TEXT, "URI|NAME", FIELD(token), 0,                                    \
            "the token: a pkcs11: URI, or the name of a [token] in the configuration"              \
    }
#define ROW_KEY                                                                                    \
    {                                                                                              \
        "key", 'k', OPTION_TEXT, "URI|NAME", FIELD(key), 0,                                        \
            "the key: a pkcs11: URI, a label or an id in hex, whatever the metadata says"          \
    }
#define ROW_UNWRAP_ALG                                                                             \
    {                                                                                              \
        "unwrap-alg", 'a', OPTION_CHOICE, "auto|RSA-OAEP|RSA-OAEP-256|RSA1_5", FIELD(unwrap_alg),  \
            0, "how the data key is wrapped (auto)"                                                \
    }
#define ROW_DECOMPRESS                                                                             \
    {                                                                                              \
        "decompress", 'z', OPTION_CHOICE, "auto|none", FIELD(decompress), 0,                       \
            "inflate plaintext that is gzip, or leave it as it is (auto)"                          \
    }
#define ROW_JSON                                                                                   \
    {                                                                                              \
        "json", 'J', OPTION_SET, NULL, FIELD(json), 1, "print one JSON document instead of text"   \
    }
#define ROW_FORCE                                                                                  \
    {                                                                                              \
        "force", 'f', OPTION_SET, NULL, FIELD(force), 1, "replace files that exist"                \
    }
#define ROW_QUIET                                                                                  \
    {                                                                                              \
        "quiet", 'q', OPTION_SET, NULL, FIELD(quiet), 1, "print errors only"                       \
    }

/* What they say of a run, without its callbacks. */
struct kw_decrypt_options decrypt_options_of(const struct arguments *arguments);

/* ---- subcommands, one file each ---- */

int run_version(const struct arguments *arguments, char **argv);
int run_help(const struct arguments *arguments, char **argv);
int run_completion(const struct arguments *arguments, char **argv);
int run_decrypt(const struct arguments *arguments, char **argv);
int run_inspect(const struct arguments *arguments, char **argv);
int run_cat(const struct arguments *arguments, char **argv);
int run_seal(const struct arguments *arguments, char **argv);
int run_watch(const struct arguments *arguments, char **argv);
int run_serve(const struct arguments *arguments, char **argv);
int run_key_list(const struct arguments *arguments, char **argv);
int run_key_show(const struct arguments *arguments, char **argv);
int run_key_create(const struct arguments *arguments, char **argv);
int run_key_rotate(const struct arguments *arguments, char **argv);
int run_key_set(const struct arguments *arguments, char **argv);
int run_key_step(const struct arguments *arguments, char **argv);
int run_key_purge(const struct arguments *arguments, char **argv);
int run_byok_kek_show(const struct arguments *arguments, char **argv);
int run_byok_kek_create(const struct arguments *arguments, char **argv);
int run_byok_export(const struct arguments *arguments, char **argv);
int run_byok_import(const struct arguments *arguments, char **argv);
int run_byok_inspect(const struct arguments *arguments, char **argv);
int run_key_check(const struct arguments *arguments, char **argv);
int run_key_import(const struct arguments *arguments, char **argv);
int run_key_backup(const struct arguments *arguments, char **argv);
int run_key_restore(const struct arguments *arguments, char **argv);
int run_audit_sign(const struct arguments *arguments, char **argv);
int run_audit_verify(const struct arguments *arguments, char **argv);
int run_audit_prove(const struct arguments *arguments, char **argv);
int run_audit_consistency(const struct arguments *arguments, char **argv);
int run_audit_show(const struct arguments *arguments, char **argv);
int run_audit_export(const struct arguments *arguments, char **argv);
int run_token_list(const struct arguments *arguments, char **argv);
int run_token_init(const struct arguments *arguments, char **argv);
int run_token_doctor(const struct arguments *arguments, char **argv);

/* ---- what they share: output.c, session.c ---- */

/* "keyward: MESSAGE" to standard error. Returns the exit code. */
int print_error(const struct kw_error *err);
void print_warnings(const struct kw_strings *warnings, const struct arguments *arguments);
/* The keyring's own; NULL has none. */
void print_keyring_warnings(struct kw_keyring *keyring, const struct arguments *arguments);
/* Prints an object (taken over) on standard output; KW_WRITE. */
enum kw_status print_json(struct cJSON *json, struct kw_error *err);
/* A document that says only what failed, where --json was asked for and nothing better can be said;
 * then the error as always. Returns the exit code. */
int fail_with(const struct arguments *arguments, const char *schema, const struct kw_error *err);
/* Flushes standard output; KW_WRITE where that fails, as it does on a full disk. */
enum kw_status finish_output(struct kw_error *err);
/* "1.5 MB" in powers of ten. */
#define SIZE_TEXT 32
const char *show_size(uint64_t bytes, char out[SIZE_TEXT]);
/* For the terminal: no control characters. Static buffers would be shared, so the caller's. */
#define SHOWN_TEXT 512
const char *show(const char *text, char out[SHOWN_TEXT]);
/* As kw_json_add_text and kw_json_add_hex, with null for what is empty. */
void json_text(struct cJSON *container, const char *name, const char *text);
void json_hex(struct cJSON *container, const char *name, const void *data, size_t len);

/* Once they are read, PINs have no place in the argument list, which every user can see. */
void hide_pins(char **argv);
/* Opens the keyring that the arguments ask for, with PINs asked for on the terminal, hides PINs in
 * argv, and confines the process to what the subcommand needs. */
enum kw_status open_keyring(const struct arguments *arguments, char **argv,
                            struct kw_keyring **ret_keyring, struct kw_error *err);
/* The same beside one that is open already and stays in use, or NULL. */
enum kw_status open_keyring_beside(const struct arguments *arguments, char **argv,
                                   struct kw_keyring *other, struct kw_keyring **ret_keyring,
                                   struct kw_error *err);

/* Whether it is a URI that says where its token is, too. One that can't be parsed is refused later.
 */
bool names_a_module(const char *uri);

/* Ends the keyring's audit trail (NULL has none), and prints what it warned of then: a run has
 * ended before, and can't tell. */
void close_trail(struct kw_keyring *keyring, const struct arguments *arguments);
/* What most subcommands do: opens the keyring, calls `work`, prints warnings and what failed (as a
 * document of `schema` too where --json asks for it), and returns the exit code. */
typedef enum kw_status (*keyring_fn)(struct kw_keyring *keyring, const struct arguments *arguments,
                                     struct kw_error *err);
int with_keyring(const struct arguments *arguments, char **argv, const char *schema,
                 keyring_fn work);

/* ---- what the process may reach: confine.c ---- */

/* Whether the subcommand puts nothing on the audit trail. */
bool only_reads(const struct arguments *arguments);
/* Confines the process for good to what *confinement has, the arguments name and the configuration
 * adds. *ret_why says why it is not, or not wholly, in static memory; NULL: it is. KW_CONFIG where
 * that may not be. */
enum kw_status confine(const struct arguments *arguments, const struct kw_config *config,
                       struct kw_confinement *confinement, const char **ret_why,
                       struct kw_error *err);

/* The same for a subcommand that has no keyring and puts nothing on the trail: by the configuration
 * as it is read here, and with what a module needs, unless that is NULL. */
enum kw_status confine_alone(const struct arguments *arguments, const char *module,
                             struct kw_error *err);

/* ---- how keys are shown: key_print.c ---- */

/* "keyward-keys-1": a document of keys. */
#define KEYS_SCHEMA "keyward-keys-1"
enum kw_status print_versions(struct kw_keyring *keyring, const struct kw_version *versions,
                              size_t count, const struct arguments *arguments,
                              struct kw_error *err);
/* One key of the keyring's token, with its record as it is now. */
enum kw_status print_key_of(struct kw_keyring *keyring, const struct kw_token_key *key,
                            const struct arguments *arguments, struct kw_error *err);
/* The document, whose array is still empty. */
struct cJSON *json_of_keys(const struct kw_token_info *token, struct cJSON **ret_keys);
/* What an object of the document says of a key; the caller may add to it. */
struct cJSON *json_of_version(const struct kw_version *version);
/* The table's row and what else its record says. */
void print_version(const struct kw_version *version);

/* Every version of the key that the first operand names, with PEM and JWK of its public half. */
enum kw_status show_key(struct kw_keyring *keyring, const struct arguments *arguments,
                        struct kw_error *err);

/* What is to be known of how a key was wrapped, as kw_token_wrap_key names it. */
void warn_of_wrapping(const char *mechanism);

/* A key without an end is asked for by name, so that none is made by forgetting: KW_USAGE unless
 * one of --expires and --no-expiry is there (where it is `needed`) and not both. */
enum kw_status check_expiry(const struct arguments *arguments, bool needed, struct kw_error *err);
/* The key that --name, --expires and the like describe. */
struct kw_new_key new_key_of(const struct arguments *arguments, const char *name,
                             const char *default_bits);

/* ---- small files that a user names: files.c ---- */

/* Reads all of it into an empty buffer, which has room for one byte more than it may have. KW_READ,
 * KW_CONFIG where it is too large. */
enum kw_status read_text(const char *path, struct kw_buffer *ret_text, struct kw_error *err);
/* Writes it beside its name, whole, and then gives it that name. KW_EXISTS unless `force`. */
enum kw_status write_text(const char *path, bool force, const struct kw_buffer *text,
                          struct kw_error *err);

/* ---- the report's file: report.c ---- */

/* Before a run: whether --report can be written at all, so that nothing is unwrapped for a run
 * whose report can't. It may be in the output folder, even one that the run will make, but not in
 * the drop. KW_EXISTS, KW_WRITE, KW_USAGE. */
enum kw_status check_report(const struct arguments *arguments, struct kw_error *err);
/* After it: writes the report beside its name and gives it its name when it is whole. `outcome` is
 * NULL after success. */
enum kw_status save_report(const struct kw_run *run, const struct arguments *arguments,
                           const struct kw_error *outcome, struct kw_error *err);

/* ---- the terminal: prompt.c, progress.c, signals.c ---- */

/* Asks on the terminal and shows what is typed. KW_PIN_MISSING without a terminal or for a line
 * that does not fit, KW_INTERRUPTED. */
enum kw_status ask_line(const char *question, char *line, size_t size);
enum kw_status ask_pin(void *context, const char *token_label, char *pin, size_t capacity,
                       size_t *ret_len);
/* A PIN that is to be set, asked for twice: "FIRST for token "LABEL": ". KW_PIN_MISSING. */
enum kw_status ask_new_pin(const char *first, const char *second, const char *token_label,
                           struct kw_secret **ret_pin, struct kw_error *err);
/* The passphrase of a file named `what`. KW_PIN_MISSING where there is no terminal. */
enum kw_status ask_passphrase(const char *what, struct kw_secret **ret_passphrase,
                              struct kw_error *err);

struct progress_bar {
    bool shown;
    bool drawn;
    uint64_t started_ms;
    uint64_t drawn_ms;
};
void progress_start(struct progress_bar *bar, const struct arguments *arguments);
void progress_draw(struct progress_bar *bar, const struct kw_progress *progress);
/* Takes the bar off the screen, for a message or for good. */
void progress_clear(struct progress_bar *bar);

/* ---- the process that starts commands: launch.c ---- */

/* A zeroed struct with `requests` -1 is none. */
struct launched {
    int requests; /* its socket, as kw_launcher_serve has it; -1 */
    pid_t pid;
};
/* Before there is a second thread, a secret or a confinement. */
enum kw_status launch(struct launched *launched, const char *command, char **argv,
                      struct kw_error *err);
void end_launched(struct launched *launched);

/* ---- the service manager: notify.c ---- */

/* Nothing happens where no manager wants to know. */
struct manager {
    int fd;
    uint64_t interval_ms; /* of its watchdog; 0: it has none */
    uint64_t next_ms;
};
/* Before the process is confined. */
void manager_start(struct manager *manager);
/* Lines of "NAME=VALUE", as sd_notify(3) says. */
void manager_tell(const struct manager *manager, const char *message);
/* That the program is not stuck, as often as the manager asked for. */
void manager_feed(struct manager *manager);
void manager_end(struct manager *manager);

/* SIGINT, SIGTERM and SIGHUP ask to stop, a second one ends at once; SIGPIPE and SIGXFSZ
 * are ignored. */
void catch_signals(void);
bool stop_requested(void);
/* From here on SIGHUP asks to read the configuration anew instead; that is told once. */
void catch_reload(void);
bool reload_requested(void);
/* From here on, such a signal ends the program with exit code 130: for work that leaves nothing
 * behind, and may wait for ever for a reader. */
void end_at_signal(void);

#endif
