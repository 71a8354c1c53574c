/* base: errors, secret memory, bytes and text encodings, files, time, JSON.
 *
 * Everything here may be called from any thread; an object is used by one thread at a time unless
 * its comment says otherwise. Outputs named ret_ are untouched when a function fails. */
#ifndef KW_BASE_H
#define KW_BASE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <keyward/status.h>

struct cJSON;

#define KW_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- errors: error.c ---- */

/* Fills *err (which may be NULL) and returns `status`, so that a failing function can end with
 * `return kw_fail(err, KW_METADATA, "...")`. */
enum kw_status kw_fail(struct kw_error *err, enum kw_status status, const char *format, ...)
    KW_PRINTF(3, 4);
/* The same for a failed system call: keeps `sys_errno` and adds ": " and its text. ENOMEM is
 * KW_NO_MEMORY, whatever was to be done. */
enum kw_status kw_fail_errno(struct kw_error *err, enum kw_status status, int sys_errno,
                             const char *format, ...) KW_PRINTF(4, 5);
/* The same for a failed Cryptoki call: keeps `ck_rv`, and leaves its text to the caller. */
enum kw_status kw_fail_ck(struct kw_error *err, enum kw_status status, unsigned long ck_rv,
                          const char *format, ...) KW_PRINTF(4, 5);
enum kw_status kw_fail_memory(struct kw_error *err);
/* One sentence on what a status means. Static memory. */
const char *kw_status_meaning(enum kw_status status);

/* ---- lists of sentences and names: strings.c ---- */

/* At most `max` strings, each owned by the list. A zeroed struct with `max` set is an empty list.
 */
struct kw_strings {
    char **items;
    size_t count;
    size_t max;
};
#define KW_STRINGS_INIT(limit)                                                                     \
    {                                                                                              \
        .items = NULL, .count = 0, .max = (limit)                                                  \
    }
void kw_strings_cleanup(struct kw_strings *list);
/* Adds a formatted string, and never fails: what is over the limit is dropped, and "more warnings
 * were left out" is in the last place then. */
void kw_strings_warn(struct kw_strings *list, const char *format, ...) KW_PRINTF(2, 3);
/* Adds all of them to another list in the same way, and leaves none. */
void kw_strings_move(struct kw_strings *list, struct kw_strings *into);

/* `text` made fit for a message or a terminal: control bytes, invalid UTF-8 and quotes become
 * "\xNN", and it is cut to what fits. Returns `out`. */
const char *kw_printable(const void *text, size_t len, char *out, size_t out_size);

/* RFC 3629: no overlong forms, no surrogates. */
bool kw_utf8_valid(const void *text, size_t len);

/* ---- secrets: secret.c ---- */

/* A PIN, a data key, or what a token gave back. It lives on OpenSSL's secure heap (locked, not
 * dumped, guard pages) and is wiped when freed. It is opaque so that it can't be copied by value.
 */
struct kw_secret;

/* Makes the process fit to hold secrets: no core files, not dumpable (prctl), and the secure heap.
 * Idempotent; call before the first secret. KW_NO_MEMORY where memory can't be locked. */
enum kw_status kw_secret_start(struct kw_error *err);
/* Room for `capacity` bytes (at most KW_SECRET_MAX), length 0, contents zero. */
#define KW_SECRET_MAX 4096
enum kw_status kw_secret_new(size_t capacity, struct kw_secret **ret_secret, struct kw_error *err);
enum kw_status kw_secret_from(const void *data, size_t len, struct kw_secret **ret_secret,
                              struct kw_error *err);
void kw_secret_free(struct kw_secret *secret);
uint8_t *kw_secret_data(struct kw_secret *secret);
const uint8_t *kw_secret_bytes(const struct kw_secret *secret);
size_t kw_secret_len(const struct kw_secret *secret);
size_t kw_secret_capacity(const struct kw_secret *secret);
/* len may not exceed the capacity (an assertion); bytes after it are wiped. */
void kw_secret_set_len(struct kw_secret *secret, size_t len);
/* In time that depends on the lengths only. */
bool kw_secret_equal(const struct kw_secret *a, const struct kw_secret *b);
/* Reads from fd to its end, or to the first newline where `one_line` (neither it nor a \r before it
 * is kept). More than `max` bytes is KW_CONFIG; errors name `what`. */
enum kw_status kw_secret_read(int fd, size_t max, bool one_line, const char *what,
                              struct kw_secret **ret_secret, struct kw_error *err);
/* Wipes memory that is not a kw_secret and held part of one. */
void kw_wipe(void *data, size_t len);

/* ---- growing buffers: buffer.c ---- */

/* Grows up to `max` bytes and no further. Not for secrets. A struct set by KW_BUFFER_INIT is empty.
 */
struct kw_buffer {
    uint8_t *data;
    size_t len;
    size_t capacity;
    size_t max;
};
#define KW_BUFFER_INIT(limit)                                                                      \
    {                                                                                              \
        .data = NULL, .len = 0, .capacity = 0, .max = (limit)                                      \
    }
void kw_buffer_cleanup(struct kw_buffer *buffer);
/* Room for `more` bytes after len. Over max is KW_FAULT: callers check sizes they were given. */
enum kw_status kw_buffer_reserve(struct kw_buffer *buffer, size_t more, struct kw_error *err);
enum kw_status kw_buffer_append(struct kw_buffer *buffer, const void *data, size_t len,
                                struct kw_error *err);
enum kw_status kw_buffer_printf(struct kw_buffer *buffer, struct kw_error *err, const char *format,
                                ...) KW_PRINTF(3, 4);

/* ---- base64 and hex: encode.c ---- */

enum kw_base64 {
    KW_BASE64,    /* RFC 4648 section 4, padding required */
    KW_BASE64URL, /* RFC 4648 section 5, padding optional */
};
#define KW_BASE64_DECODED_MAX(len)  (((len) / 4 + 1) * 3)
#define KW_BASE64_ENCODED_SIZE(len) (((len) + 2) / 3 * 4 + 1)
/* Strict: no white space, no foreign character, no bits left over. No table is indexed by the
 * input, so it may decode secrets. False if the text is not that encoding or `capacity` is too
 * small; then `out` holds nothing of use (and is wiped), *ret_len is untouched. */
bool kw_base64_decode(enum kw_base64 alphabet, const char *text, size_t len, uint8_t *out,
                      size_t capacity, size_t *ret_len);
/* Writes the text and a NUL; base64url is written without padding. `out` has at least
 * KW_BASE64_ENCODED_SIZE(len) bytes. No table is indexed by the data, so it may be a secret. */
void kw_base64_encode(enum kw_base64 alphabet, const void *data, size_t len, char *out);
/* Either letter case; an even number of digits. The same promises as kw_base64_decode. */
bool kw_hex_decode(const char *text, size_t len, uint8_t *out, size_t capacity, size_t *ret_len);
/* Lower case and a NUL; `out` has at least 2 * len + 1 bytes. */
void kw_hex_encode(const void *data, size_t len, char *out);

/* ---- files: file.c ---- */

/* Closes *fd if it is not negative and sets it to -1. For a file that was written, check close
 * yourself. */
void kw_close(int *fd);
/* openat2 that never leaves `dirfd` and never follows a symbolic link; always O_CLOEXEC.
 * Returns -1 and errno as openat2 does (EXDEV for a path that would leave, ELOOP for a link). */
int kw_open_beneath(int dirfd, const char *path, int flags, unsigned mode);
/* renameat2 with RENAME_NOREPLACE, and what comes closest to it where the filesystem can't do that:
 * a look first. Returns -1 and errno, EEXIST where there is such a name. */
int kw_rename_new(int from_dirfd, const char *from, int to_dirfd, const char *to);
/* read and pread that are repeated after EINTR and short counts; fewer than len bytes only at the
 * end of the file. */
enum kw_status kw_read_full(int fd, void *data, size_t len, const char *what, size_t *ret_len,
                            struct kw_error *err);
/* Repeated after EINTR and short counts. A pipe whose reader is gone is KW_WRITE. */
enum kw_status kw_write_full(int fd, const void *data, size_t len, const char *what,
                             struct kw_error *err);
/* The whole of a regular file of at most `max` bytes, and a NUL after it (not counted in len).
 * `what` names it in errors, `family` is their status where the file is too large or not regular.
 */
enum kw_status kw_read_file(int fd, size_t max, const char *what, enum kw_status family,
                            struct kw_buffer *ret_buffer, struct kw_error *err);

/* A file or folder that others than its owner, root or the process's own group may write, or that
 * belongs to another user, is `family`. Pipes and the like are not looked at for who may write. */
enum kw_status kw_check_owner(int fd, const char *what, enum kw_status family,
                              struct kw_error *err);

/* ---- where state is kept: state.c ---- */

/* `name` in keyward's folder of the user's state ($XDG_STATE_HOME, else ~/.local/state), or of the
 * system's for the superuser (/var/lib). KW_CONFIG where there is no such place: `what` is to be
 * there, and `setting` says it too. The caller frees. */
enum kw_status kw_state_path(const char *name, const char *what, const char *setting,
                             char **ret_path, struct kw_error *err);
/* Makes each folder above `path`, as mkdir -p does; `what` is to be there. KW_WRITE. */
enum kw_status kw_make_folders(const char *path, const char *what, struct kw_error *err);

/* ---- addresses: address.c ---- */

#define KW_HOST_MAX 255
/* The parts of "HOST:PORT", or of "[HOST]:PORT" for an address of IPv6; *ret_port points into
 * `address`. False where it is neither. */
bool kw_split_address(const char *address, char host[KW_HOST_MAX + 1], const char **ret_port);

/* ---- time: clock.c ---- */

/* Monotonic, for durations. */
uint64_t kw_now_ms(void);
uint64_t kw_now_us(void);
/* "2026-10-05T06:00:00Z" and a NUL: 21 bytes. */
#define KW_TIMESTAMP_SIZE 21
void kw_timestamp(time_t when, char out[KW_TIMESTAMP_SIZE]);

/* ---- threads: thread.c ---- */

/* A condition for kw_cond_wait_until. */
void kw_cond_init(pthread_cond_t *cond);
/* Waits as pthread_cond_wait does, until that time of kw_now_ms at the latest. False: it is over.
 */
bool kw_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t when_ms);
/* A thread that takes no signals: those are for the program's own threads. */
enum kw_status kw_thread_start(pthread_t *ret_thread, void *(*run)(void *argument), void *argument,
                               struct kw_error *err);
/* Those that this process may use; at least 1. */
unsigned kw_processors(void);

/* ---- confinement: confine.c, confine_calls.c ---- */

enum kw_may {
    KW_MAY_READ,           /* a file, or a folder and all below it */
    KW_MAY_PUT,            /* a folder: make, write and replace files, but read none */
    KW_MAY_WRITE,          /* a file or device, or a folder: read, and change all below it */
    KW_MAY_REMOVE_FOLDERS, /* a folder: remove empty folders from it */
};
enum kw_network {
    KW_NETWORK_NONE,
    KW_NETWORK_UNIX, /* services of this machine, by their sockets */
    KW_NETWORK_TCP,  /* these and TCP and UDP to anywhere */
};
/* What a process may still reach. Zeroed, that is nothing. It can't listen on more sockets; those
 * that it listens on already go on to be connected to, whatever its network. */
struct kw_confinement {
    struct kw_allowance {
        char *path;
        enum kw_may access;
    } * items;
    size_t count;
    enum kw_network network;
    bool exec;  /* it may start other programs, which are confined as it is */
    bool moves; /* it moves files from one of the folders to another one */
};
/* A path that is not there when the process is confined allows nothing. */
enum kw_status kw_confine_allow(struct kw_confinement *confinement, const char *path,
                                enum kw_may access, struct kw_error *err);
void kw_confinement_cleanup(struct kw_confinement *confinement);
/* Confines the whole process for good, by Landlock as far as the kernel has it and by seccomp; to
 * be called while it has one thread. What is open stays open. *ret_lacking is what the kernel does
 * not have at all, in static memory, or NULL. Such calls fail with EACCES or EPERM from then on. */
enum kw_status kw_confine(const struct kw_confinement *confinement, const char **ret_lacking,
                          struct kw_error *err);

/* ---- JSON: json.c ---- */

struct kw_json_limits {
    size_t bytes; /* of the text */
    size_t depth; /* of objects and arrays within each other */
    size_t items; /* values in all */
};
/* Parses RFC 8259 text, with or without a UTF-8 byte order mark, through cJSON, after a pass that
 * refuses what cJSON lets through: more than the limits, a name that occurs twice in one object
 * (letter case aside), bytes after the end, NUL, invalid UTF-8. Errors are `family` and start with
 * `what`. A tree that is refused is wiped. The caller frees with cJSON_Delete, or, where the text
 * may hold a secret, with kw_json_wipe_delete. */
enum kw_status kw_json_parse(const char *text, size_t len, const struct kw_json_limits *limits,
                             const char *what, enum kw_status family, struct cJSON **ret_json,
                             struct kw_error *err);
/* Wipes all texts and names in it, then deletes it. NULL is nothing. */
void kw_json_wipe_delete(struct cJSON *json);

enum kw_json_style {
    KW_JSON_COMPACT,  /* no white space at all */
    KW_JSON_LINE,     /* the same, and a newline */
    KW_JSON_INDENTED, /* for people, and a newline */
};
/* Appends the text of `json` and deletes it. NULL stands for JSON that memory did not suffice for,
 * and is KW_NO_MEMORY, as is what lacks a part. */
enum kw_status kw_json_write(struct cJSON *json, enum kw_json_style style, struct kw_buffer *out,
                             struct kw_error *err);

/* ---- building JSON: json_build.c ---- */

/* All of these add to an object under `name`, or to an array where that is NULL. What can't be had
 * for want of memory spoils the container: it and all that it is part of can't be written any more,
 * which kw_json_write then says. So nothing has to be checked before. A container that is NULL
 * stays so, and what was to be added to it is gone. */

/* Takes `item` over; NULL stands for one that memory did not suffice for. */
void kw_json_add(struct cJSON *container, const char *name, struct cJSON *item);
/* The new container, owned by the old one; NULL where there is none. */
struct cJSON *kw_json_add_object(struct cJSON *container, const char *name);
struct cJSON *kw_json_add_array(struct cJSON *container, const char *name);
/* NULL is JSON's null; what is not UTF-8 is shown as kw_printable does. */
void kw_json_add_text(struct cJSON *container, const char *name, const char *text);
/* Exact up to 2^53. */
void kw_json_add_number(struct cJSON *container, const char *name, double value);
void kw_json_add_bool(struct cJSON *container, const char *name, bool value);
/* Bytes as text. Not for secrets. */
void kw_json_add_hex(struct cJSON *container, const char *name, const void *data, size_t len);
void kw_json_add_base64(struct cJSON *container, const char *name, enum kw_base64 alphabet,
                        const void *data, size_t len);

/* For lines that are written by the thousand, without a tree: appends `text` in quotes, as
 * kw_printable shows it in `max` bytes (at most KW_JSON_SHOWN_MAX). */
#define KW_JSON_SHOWN_MAX 4096
enum kw_status kw_json_put_text(struct kw_buffer *out, const char *text, size_t max,
                                struct kw_error *err);

/* ---- configuration: config.c ---- */

enum kw_tristate { KW_UNSET = 0, KW_NO, KW_YES };

/* Strings are owned by the configuration and NULL where not set; numbers are 0 where not set. */
struct kw_config_token { /* [token NAME] */
    char *name;
    char *uri;          /* pkcs11: URI that matches one token, or the https:// address of a vault */
    char *module;       /* absolute path of the PKCS#11 module, or NULL where the URI has it */
    char *init_args;    /* handed to C_Initialize as it is, for the modules that want it (NSS) */
    char *pin_source;   /* file:PATH, fd:N, env:NAME, credential:NAME or prompt */
    long sessions;      /* at most so many at a time */
    long timeout_s;     /* for each call into the module, or to the vault */
    long give_up_s;     /* how long a call may hang after that before the program is of no use */
    char *token_source; /* of a vault: where access tokens come from, see src/vault/vault.h */
    char *resource;     /* of a vault: what they are for, an https:// address */
    char *ca;           /* of a vault: absolute path of PEM certificates */
    char *certificate;  /* of a vault: absolute path of a PEM chain for mutual TLS */
    char *key;          /* and of its private key */
    char *failover;     /* the name of the [token] that unwraps in its place; that one has none */
    long failover_probe_s; /* how often it is tried meanwhile whether this one is back */
};
struct kw_config_key { /* [key VERSION] */
    char *version;
    char *uri; /* pkcs11: URI of the private key that the version means, or a vault's address of it
                */
};
struct kw_config_listener { /* [listener vault], [listener proxy], [listener status] */
    char *name;
    char *address;            /* HOST:PORT */
    char *host;               /* HOST or HOST:PORT as clients see it, where that is not `address` */
    char *resource;           /* what tokens are for, as clients are told: https://HOST */
    char *certificate;        /* absolute path of a PEM chain */
    char *key;                /* absolute path of a PEM private key, or a pkcs11: URI */
    char *client_ca;          /* absolute path of PEM certificates */
    char *client_crl;         /* absolute path of PEM CRLs of theirs */
    char *client_certificate; /* none, optional, required */
    char *prefix;             /* of the proxy's paths */
    long threads, connections, idle_s, request_s;
};
struct kw_config_issuer { /* [issuer NAME] */
    char *name;
    char *issuer;   /* the claim "iss" */
    char *audience; /* the claim "aud" */
    char *jwks;     /* absolute path, or a URL that starts with https:// */
    char *ca;       /* absolute path of PEM certificates for that URL */
};
struct kw_config_client { /* [client NAME] */
    char *name;
    char *subject; /* its certificate's common name */
    char *san;     /* or one of its subjectAltNames, DNS or URI */
    char *issuer;  /* or tokens of that [issuer], with this */
    char *claim;   /* NAME=VALUE */
    char *roles;   /* ROLE: GLOB, GLOB; ROLE: GLOB */
    long rate;     /* requests a second */
    long burst;
};
struct kw_config {
    struct kw_config_token *tokens;
    size_t token_count;
    struct kw_config_key *keys;
    size_t key_count;
    struct {
        long retention_days; /* how long a deleted key can be recovered */
        enum kw_tristate purge_protection;
        char *records_key; /* label of the key that signs records of keys */
        char *catalogue;   /* absolute path: records that tokens don't take */
    } life;                /* [keys] */
    struct {
        char *token;      /* the name of a [token], or a URI */
        char *unwrap_alg; /* auto, RSA-OAEP, RSA-OAEP-256, RSA1_5 */
        char *decompress; /* auto, none */
        char *digest;     /* sha256, none */
        long jobs;
        long max_ratio;         /* of inflated to deflated bytes */
        long max_plaintext_mib; /* of one file */
        enum kw_tristate allow_rsa1_5;
    } run; /* [run] */
    struct {
        enum kw_tristate enabled;
        char *dir;       /* absolute path of the trail's folder */
        long rotate_mib; /* when a file is full */
        long checkpoint_interval_s;
        char *journald; /* absolute path of a socket that records are forwarded to */
        char *syslog;   /* HOST:PORT that they are forwarded to */
        long forward_timeout_ms;
    } audit; /* [audit] */
    struct {
        enum kw_tristate fips;
    } crypto; /* [crypto] */
    struct {
        enum kw_tristate enabled;
        enum kw_tristate required;
        char *read, *write; /* absolute paths with ":" between them */
        char *network;      /* none, unix, tcp */
    } sandbox;              /* [sandbox] */
    struct kw_config_listener *listeners;
    size_t listener_count;
    struct kw_config_issuer *issuers;
    size_t issuer_count;
    struct kw_config_client *clients;
    size_t client_count;
    struct {
        char *rsa1_5_keys; /* globs of names of keys that may be used with RSA1_5 */
        char *backup_kek;  /* pkcs11: URI of the key that backups are sealed under */
        char *notify;      /* a command */
        char *anomalies;   /* rules that are on */
        long refresh_s;    /* after how long keys are read anew from the token */
        long drain_s;      /* how long requests that were begun may take at the end */
    } service;             /* [service] */
};

/* Reads `path` over what `config` (zeroed at first) holds already: a later file's settings win.
 * Unknown sections, names and values, lines that are too long, names set twice in one file and
 * files that others may write are KW_CONFIG with the file and the line. A missing file is KW_OK
 * where `optional`. On failure *config is still valid, for kw_config_cleanup only. */
enum kw_status kw_config_read(struct kw_config *config, const char *path, bool optional,
                              struct kw_error *err);
/* The same from memory, named `what` in errors. */
enum kw_status kw_config_parse(struct kw_config *config, const char *text, size_t len,
                               const char *what, struct kw_error *err);
/* /etc/keyward/keyward.conf, then $XDG_CONFIG_HOME (or ~/.config) keyward/keyward.conf, both
 * optional, then `path` unless it is NULL. */
enum kw_status kw_config_load(struct kw_config *config, const char *path, struct kw_error *err);
/* Adds what kw_config_load reads, for a process that reads it again. */
enum kw_status kw_config_allow(const char *path, struct kw_confinement *confinement,
                               struct kw_error *err);
const struct kw_config_token *kw_config_find_token(const struct kw_config *config,
                                                   const char *name);
const struct kw_config_key *kw_config_find_key(const struct kw_config *config, const char *version);
void kw_config_cleanup(struct kw_config *config);

#endif
