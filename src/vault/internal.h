/* What the files of src/vault share. */
#ifndef KW_VAULT_INTERNAL_H
#define KW_VAULT_INTERNAL_H

#include <pthread.h>

#include <curl/curl.h>

#include "vault/vault.h"

#define KW_VAULT_TEXT_MAX ((size_t)1024 * 1024) /* of an answer */
/* Of an answer that holds a secret: it is read into memory that never moves. */
#define KW_VAULT_SECRET_TEXT_MAX ((size_t)16 * 1024)
/* Of an access token, so that its header fits secret memory. */
#define KW_VAULT_TOKEN_MAX     4000
#define KW_VAULT_RESOURCE_SIZE 300

/* ---- url.c ---- */

/* 1 to 127 letters, digits and "-". */
bool kw_vault_is_name(const char *text, size_t len);
/* 32 hex digits. */
bool kw_vault_is_version(const char *text, size_t len);
/* The path and query of an address on that host below /keys, into `out`; false if it is none. */
bool kw_vault_local_path(const char *url, const char *host, char *out, size_t out_size);
/* Whether a vault of that host may ask for tokens for `resource`: https://, and the host ends in
 * "." and the resource's host. With a port, it has to be the vault's. */
bool kw_vault_owns_resource(const char *host, const char *resource);
/* The value of NAME=VALUE after "?", percent-decoded; NULL where there is none. The caller frees.
 */
enum kw_status kw_vault_url_option(const char *url, const char *name, char **ret_value,
                                   struct kw_error *err);
/* KW_CONFIG where what follows "?" has another name than `names`, or one twice. */
enum kw_status kw_vault_check_options(const char *url, const char *const *names, size_t count,
                                      struct kw_error *err);

/* ---- answers: answer.c, challenge.c; `host` is for messages ---- */

/* A key as lists have it. */
struct kw_vault_item {
    char name[KW_VAULT_NAME_MAX + 1];
    char version[KW_VAULT_VERSION_LEN + 1]; /* or "" */
    bool enabled;
};
struct kw_vault_page {
    struct kw_vault_item *items; /* owned */
    size_t count;
    char *next; /* an address, or NULL; owned */
};
void kw_vault_page_cleanup(struct kw_vault_page *page);
/* KW_TOKEN where the text is no such answer. */
enum kw_status kw_vault_parse_key(const char *text, size_t len, const char *host,
                                  struct kw_vault_key *ret_key, struct kw_error *err);
enum kw_status kw_vault_parse_page(const char *text, size_t len, const char *host,
                                   struct kw_vault_page *ret_page, struct kw_error *err);
/* The value of a KeyOperationResult of that very key. */
enum kw_status kw_vault_parse_result(const char *text, size_t len, const char *host,
                                     const struct kw_vault_key *key, struct kw_secret **ret_secret,
                                     struct kw_error *err);
/* What a vault says of an error, fit to be shown: "CODE: MESSAGE", or "". */
#define KW_VAULT_REASON_SIZE 200
void kw_vault_parse_error(const char *text, size_t len, char out[KW_VAULT_REASON_SIZE]);

/* An access token as commands and identity endpoints give it: JSON with access_token or
 * accessToken, or bare text. */
struct kw_vault_token_text {
    struct kw_secret *token;
    long lifetime_s; /* from `now` on; 0: not told */
};
enum kw_status kw_vault_parse_token(const char *text, size_t len, const char *what, int64_t now,
                                    struct kw_vault_token_text *ret_token, struct kw_error *err);
/* The resource of a challenge, WWW-Authenticate: Bearer ..., resource="..."; or scope="..."
 * without its /.default. False if it has none. */
bool kw_vault_parse_challenge(const char *header, char resource[KW_VAULT_RESOURCE_SIZE]);

/* ---- one exchange: http.c ---- */

struct kw_vault_http; /* connections that are kept, and how they are made */
struct kw_vault_tls {
    const char *ca, *certificate, *key; /* of the vault's options; they outlive it */
};
enum kw_status kw_vault_http_new(const struct kw_vault_tls *tls, struct kw_vault_http **ret_http,
                                 struct kw_error *err);
void kw_vault_http_free(struct kw_vault_http *http);

struct kw_vault_request {
    const char *url;
    const struct kw_secret *authorization; /* a header line with a NUL, or NULL */
    const char *header;                    /* another one, or NULL */
    const char *body;                      /* JSON to be posted; NULL: GET */
    bool secret;                           /* the answer is one */
    bool plain;                            /* http:// of this machine's own link, by no proxy */
    uint64_t deadline_ms;
};
struct kw_vault_answer {
    long status; /* HTTP's */
    long retry_after_s;
    char challenge[KW_VAULT_RESOURCE_SIZE]; /* its resource, or "" */
    struct kw_buffer body;                  /* with a NUL after it */
};
/* Wipes the body. */
void kw_vault_answer_cleanup(struct kw_vault_answer *answer);
/* KW_TOKEN where no answer came; `who` is for messages. From any thread. */
enum kw_status kw_vault_exchange(struct kw_vault_http *http, const struct kw_vault_request *request,
                                 const char *who, struct kw_vault_answer *ret_answer,
                                 struct kw_error *err);
/* The same until the answer is neither 429 nor 503, nor `other` (0: none), with waits between. */
enum kw_status kw_vault_exchange_patiently(struct kw_vault_http *http,
                                           const struct kw_vault_request *request, long other,
                                           const char *who, struct kw_vault_answer *ret_answer,
                                           struct kw_error *err);

/* ---- access tokens: tokens.c, command.c ---- */

struct kw_vault_tokens;
struct kw_vault_token; /* one token; it stays while it is held */
/* `source` outlives it. KW_CONFIG where it is none of the sources. */
enum kw_status kw_vault_tokens_new(const struct kw_vault_options *options, const char *source,
                                   const char *resource, struct kw_vault_http *http,
                                   const char *host, struct kw_vault_tokens **ret_tokens,
                                   struct kw_error *err);
void kw_vault_tokens_free(struct kw_vault_tokens *tokens);
/* The token to use now, held for the caller; NULL where there is none (yet). `refused` is one that
 * the vault did not take, or NULL: then another one is got. KW_DENIED, KW_TOKEN, KW_CONFIG. */
enum kw_status kw_vault_tokens_take(struct kw_vault_tokens *tokens,
                                    const struct kw_vault_token *refused, uint64_t deadline_ms,
                                    struct kw_vault_token **ret_token, struct kw_error *err);
void kw_vault_token_release(struct kw_vault_tokens *tokens, struct kw_vault_token *token);
/* The whole header line. */
const struct kw_secret *kw_vault_token_header(const struct kw_vault_token *token);
/* The vault asked for a token for `resource`, "" where it did not say: that is what a managed
 * identity asks for from now on, unless that is known already. KW_DENIED where it is not the
 * vault's own: whoever runs it would get a token that is good elsewhere. */
enum kw_status kw_vault_tokens_challenge(struct kw_vault_tokens *tokens, const char *resource,
                                         struct kw_error *err);
const char *kw_vault_tokens_command(const struct kw_vault_tokens *tokens);
void kw_vault_tokens_use_server(struct kw_vault_tokens *tokens, int socket);
/* The file that tokens come from, or NULL. */
const char *kw_vault_tokens_file(const struct kw_vault_tokens *tokens);

/* What the command writes, at most KW_VAULT_SECRET_TEXT_MAX bytes, into memory that never moves; to
 * be wiped by the caller. By that server unless it is -1. KW_DENIED where it fails. */
enum kw_status kw_vault_run_command(const char *command, int server, uint64_t deadline_ms,
                                    struct kw_buffer *ret_text, struct kw_error *err);

#endif
