/* What the files of src/serve share. */
#ifndef KW_SERVE_INTERNAL_H
#define KW_SERVE_INTERNAL_H

#include <stdatomic.h>

#include "serve/call.h"
#include "serve/metrics.h"
#include "serve/serve.h"

/* ---- what a reload replaces: policy.c ---- */

struct kw_policy {
    atomic_uint users;
    struct kw_config config;
    struct kw_access *access;
    struct evp_pkey_st *
        *tls_keys; /* one a listener; NULL where it is no token's, or can't be had */
};
/* `crypto` is NULL where nobody is let in yet: without threads, for the time before the process is
 * confined. */
enum kw_status kw_policy_load(struct kw_crypto *crypto, const char *config_file,
                              struct kw_policy **ret_policy, struct kw_error *err);
/* The keys that it names for the service's own use are reserved: kw_store_reserve. */
enum kw_status kw_policy_reserve(struct kw_service *service, const struct kw_policy *policy,
                                 struct kw_error *err);
/* Takes the place of the service's. */
void kw_policy_replace(struct kw_service *service, struct kw_policy *policy);
/* One user less; the last one frees it. NULL is none. */
void kw_policy_leave(struct kw_policy *policy);
/* The service's as it is now, for one user more. From any thread. */
struct kw_policy *kw_policy_of(struct kw_service *service);

/* ---- what was denied: denials.c ---- */

struct kw_denied {
    char client[128]; /* "": of those that are not known */
    uint64_t second;  /* of the last one, by the monotonic clock */
    unsigned count;   /* in that second */
    uint64_t left_out;
};
struct kw_denials {
    pthread_mutex_t lock;
    struct kw_denied rows[64];
};
/* Puts it on the trail with its client, or counts it where there are too many. */
void kw_call_note_denial(struct kw_call *call, const char *why);
/* Puts on the trail how many were left out, for those that are quiet since. */
void kw_denials_flush(struct kw_service *service);

/* ---- the service: service.c ---- */

/* What was last found out about the audit trail. */
struct kw_trail_view {
    time_t when; /* 0: nothing yet */
    enum kw_status status;
    struct kw_verdict verdict; /* its message says why, where the status is not KW_OK */
};

/* Failures that were told in a second. */
enum kw_tells { KW_TELL_REQUEST, KW_TELL_CERTIFICATE, KW_TELLS };
struct kw_told {
    uint64_t second;
    unsigned count;
    unsigned long long left_out;
};

#define KW_HOST_SIZE  300
#define KW_PREFIX_MAX 64
#define KW_PLACES     3 /* one for each kind of listener */

struct kw_service {
    struct kw_service_options options;
    struct {
        const char *name;
        char url[KW_HOST_SIZE + 16];
    } places[KW_PLACES]; /* where its listeners are */
    size_t place_count;
    struct kw_store *store;
    struct kw_http_server *http;
    struct kw_metrics *metrics;
    struct kw_notifier *notifier; /* NULL: nobody is told */
    struct kw_anomaly *anomaly;
    char *usual_path;        /* where what it learned is kept, or NULL */
    char host[KW_HOST_SIZE]; /* of the Key Vault API, as clients see it, with a port if needed */
    char resource[KW_HOST_SIZE];    /* what tokens are for */
    char prefix[KW_PREFIX_MAX + 1]; /* of the proxy's paths */
    struct kw_api vault, proxy, status;
    atomic_bool ready, stopping;
    struct kw_denials denials;
    time_t began;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;  /* of the caretaker */
    struct kw_policy *policy;
    bool reload;         /* the caretaker is to read the configuration anew */
    bool tls_due;        /* then the loop, the certificates */
    struct kw_error end; /* why the service ends by itself */
    struct kw_trail_view trail;
    struct kw_told told[KW_TELLS];
    bool has_caretaker;
    pthread_t caretaker;
};
/* Tells whoever runs the service one line: what happened, not what was asked for. */
void kw_service_tell(struct kw_service *service, const char *format, ...) KW_PRINTF(2, 3);
/* Tells why a request failed, or a client's certificate does not hold, but not more often in a
 * second than somebody could read; how many were left out is told later, by either of the two:
 * told.c. */
void kw_service_tell_failure(struct kw_service *service, enum kw_tells kind, const char *format,
                             ...) KW_PRINTF(3, 4);
void kw_service_tell_left_out(struct kw_service *service);

/* What a listener's TLS is to be, but for a key that is on the token. KW_CONFIG. */
enum kw_status kw_listener_tls(const struct kw_config_listener *listener, struct kw_http_tls *tls,
                               struct kw_error *err);
/* ---- keys of listeners that are on the token: tls_key.c ---- */

/* Before the first connection: each listener of the service's policy has its key, or it can't
 * start. KW_CONFIG for a key that can't be the one, KW_TOKEN and so on, KW_AUDIT. */
enum kw_status kw_tls_keys_begin(struct kw_service *service, struct kw_error *err);
bool kw_tls_keys_are_there(const struct kw_policy *policy);
/* Finds those of a policy that is to replace the service's, and tells which can't be had. Waits for
 * the token. */
void kw_tls_keys_find(struct kw_service *service, struct kw_policy *policy);
/* In the loop's thread: all listeners get the certificates and keys of the service's policy. One
 * that can't goes on with its old ones, and that is told. */
void kw_replace_certificates(struct kw_service *service);
void kw_tls_keys_free(struct kw_policy *policy);

/* Has the command of [service] notify told of an event, and does not wait for it: notify.c. Texts
 * may be NULL but for the event's name. */
struct kw_event {
    const char *event, *key, *who, *detail;
};
void kw_notify(struct kw_service *service, const struct kw_event *event);
/* Nothing where there is no such command. */
enum kw_status kw_notifier_start(struct kw_service *service, struct kw_error *err);
void kw_notifier_end(struct kw_service *service);
enum kw_status kw_caretaker_start(struct kw_service *service, struct kw_error *err);
void kw_caretaker_end(struct kw_service *service);

/* ---- its APIs ---- */

/* The status listener's handler: health for everybody, the rest for those who may. */
void kw_handle_status(void *service, const struct kw_http_request *request,
                      struct kw_http_answer *answer);

extern const struct kw_api kw_vault_api;  /* vault.c */
extern const struct kw_api kw_proxy_api;  /* proxy.c */
extern const struct kw_api kw_status_api; /* status.c */

/* page.c */
enum kw_status kw_status_page(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);

/* ---- what a key does and when: use.c ---- */

/* What a key with these operations has to be made for; they may narrow that. */
enum kw_key_use kw_use_of(unsigned ops);
/* kw_store_find of the call's name, refused where there is no such key. */
enum kw_status kw_use_find(struct kw_call *call, const char *version,
                           const struct kw_stored **ret_stored, struct kw_error *err);
/* KW_KEY_UNUSABLE, refused as Key Vault does, unless the version is enabled, has the operation,
 * and, for what makes something new with it, is within its time. */
enum kw_status kw_use_check(struct kw_call *call, const struct kw_stored *stored, enum kw_key_op op,
                            struct kw_error *err);
/* "RSA-OAEP", "RSA-OAEP-256", and "RSA1_5" where the configuration names the key. */
enum kw_status kw_use_algorithm(struct kw_call *call, const char *name, const char *key,
                                enum kw_wrap_alg *ret_alg, struct kw_error *err);
/* Wraps or encrypts with the public half, decrypts or unwraps on the token. */
enum kw_status kw_use_public(struct kw_call *call, const struct kw_stored *stored, const char *op,
                             enum kw_wrap_alg alg, const struct kw_secret *plain,
                             struct kw_secret **ret_wrapped, struct kw_error *err);
enum kw_status kw_use_private(struct kw_call *call, const struct kw_stored *stored, const char *op,
                              enum kw_wrap_alg alg, const struct kw_secret *wrapped,
                              struct kw_secret **ret_plain, struct kw_error *err);
/* One record of what was done without the token, on the disk before it returns. */
enum kw_status kw_use_note(struct kw_call *call, const struct kw_stored *stored, const char *op,
                           const char *alg, struct kw_error *err);

/* ---- what is unusual: unusual.c ---- */

/* After a use of a private key. */
void kw_note_use(struct kw_call *call, const struct kw_stored *stored);
/* Before the process is confined; where it can't be read, all begins anew. */
enum kw_status kw_remember_usual(struct kw_service *service, struct kw_error *err);
void kw_save_usual(struct kw_service *service);

/* ---- Key Vault's forms: bundle.c ---- */

#define KW_KID_SIZE (KW_HOST_SIZE + KW_KEY_LABEL_MAX + KW_VERSION_DIGITS + 40)
void kw_write_kid(const struct kw_service *service, const struct kw_stored *stored,
                  char out[KW_KID_SIZE]);
/* The name and version in a kid of this service; false for any other. */
bool kw_kid_parse(const struct kw_service *service, const char *kid, char name[KW_NAME_MAX + 1],
                  char version[KW_VERSION_DIGITS + 1]);
struct cJSON *kw_bundle(const struct kw_call *call, const struct kw_stored *stored);
/* The same with what is told of deleted ones. */
struct cJSON *kw_deleted_bundle(const struct kw_call *call, const struct kw_stored *stored);
/* An entry of a list; `versioned`: its kid has the version. */
struct cJSON *kw_key_item(const struct kw_call *call, const struct kw_stored *stored,
                          bool versioned);
/* From the names in an array, such as "wrapKey". */
enum kw_status kw_ops_parse(struct kw_call *call, const struct cJSON *names, unsigned *ret_ops,
                            struct kw_error *err);
/* The settings of a request to create, import or update a key: attributes, key_ops and tags. What
 * they point to lives in `parsed` and the body. */
struct kw_parsed_settings {
    struct kw_key_settings settings;
    unsigned ops;
    int64_t not_before, expires;
    bool exportable;
};
enum kw_status kw_settings_parse(struct kw_call *call, struct kw_parsed_settings *parsed,
                                 struct kw_error *err);

/* PKCS#8 of the private key in a JSON Web Key (RFC 7518 section 6.3.2). Refused where a number is
 * missing. */
enum kw_status kw_jwk_to_pkcs8(struct kw_call *call, const struct cJSON *jwk,
                               struct kw_secret **ret_pkcs8, struct kw_error *err);

/* ---- the routes of the Key Vault API ---- */

/* KW_USAGE, refused, where a new key of that name would be taken for one of the service's own. For
 * a kw_change_fn. vault_manage.c. */
enum kw_status kw_check_not_reserved(struct kw_keyring *keyring, struct kw_call *call,
                                     const char *name, struct kw_error *err);
/* What a backup of a key is: a line of JSON, and a line with its seal (kw_keyring_seal_text). */
#define KW_SET_SCHEMA       "keyward-backup-set-1"
#define KW_SET_VERSIONS_MAX 64
#define KW_SET_MAX          ((size_t)128 * 1024)
#define KW_SET_SEAL_MAX     ((size_t)2048)
/* The key that [service] backup-kek names; refused where there is none. vault_backup.c. */
enum kw_status kw_backup_kek(struct kw_keyring *keyring, struct kw_call *call,
                             struct kw_kek *ret_kek, struct kw_error *err);

enum kw_status kw_list_keys(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_list_versions(struct kw_call *call, struct cJSON **ret_json,
                                struct kw_error *err);
enum kw_status kw_list_deleted(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_get_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_get_deleted(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_create_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_import_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_update_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_rotate_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_delete_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_recover_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_purge_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_backup_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_restore_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_get_policy(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_put_policy(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_encrypt(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_decrypt_value(struct kw_call *call, struct cJSON **ret_json,
                                struct kw_error *err);
enum kw_status kw_wrap_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_unwrap_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_sign_digest(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);
enum kw_status kw_verify_digest(struct kw_call *call, struct cJSON **ret_json,
                                struct kw_error *err);
enum kw_status kw_random_bytes(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err);

/* ---- rotation policies: rotation.c ---- */

/* How many versions of one name there may be; a token has room for so many objects only. */
#define KW_VERSIONS_MAX 500

/* When the policy of a version says that something is to be done, in unix time; 0: never. */
struct kw_rotation_due {
    int64_t rotate, notify;
    int64_t expiry_s; /* of the next version, in seconds from its creation; 0: none */
};
/* Makes the next version of a key, valid for as long as its policy says. In a change of the store.
 */
enum kw_status kw_rotate_by_policy(struct kw_keyring *keyring, const char *name,
                                   struct kw_token_key *ret_key, struct kw_error *err);
/* Adds to an empty object what is kept of the policy in the call's body: what is known, in its own
 * order. */
enum kw_status kw_rotation_copy(struct kw_call *call, struct cJSON *policy, struct kw_error *err);
void kw_rotation_due(const struct kw_stored *stored, struct kw_rotation_due *ret_due);

#endif
