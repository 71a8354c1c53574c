/* Access tokens: where they come from, and when another one is got. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vault/internal.h"

#define BEARER "Authorization: Bearer "
/* A token of which nothing says how long it is good is got anew after that. */
#define UNKNOWN_LIFETIME_S 300
#define RENEW_BEFORE_S     300 /* its end, or in the middle of a short life */
#define IMDS_HOST          "http://169.254.169.254"
#define ENDPOINT_MAX       1024

struct kw_vault_token {
    struct kw_secret *header; /* the line, with a NUL */
    size_t held;              /* by so many */
    uint64_t renew_ms;
};

struct source;
struct kw_vault_tokens {
    const struct source *source;
    const char *argument; /* what follows the source's name */
    struct kw_vault_http *http;
    const char *host;
    void (*warn)(void *context, const char *text);
    void *warn_context;
    int server; /* that runs the command, or -1 */

    pthread_mutex_t getting; /* held while a token is got; before `lock` */
    pthread_mutex_t lock;    /* guards what follows */
    struct kw_vault_token *current;
    char resource[KW_VAULT_RESOURCE_SIZE]; /* "": not known yet */
    bool warned;                           /* by who holds `getting` */
};

/* ---- from a file ---- */

static void warn_once(struct kw_vault_tokens *tokens, const char *path)
{
    char text[KW_MESSAGE_SIZE];
    if (tokens->warned || !tokens->warn)
        return;
    tokens->warned = true;
    (void)snprintf(text, sizeof(text),
                   "the access token's file %s can be read by others; run chmod 600 on it", path);
    tokens->warn(tokens->warn_context, text);
}

static enum kw_status get_from_file(struct kw_vault_tokens *tokens, uint64_t deadline_ms,
                                    struct kw_vault_token_text *ret_token, struct kw_error *err)
{
    (void)deadline_ms;
    char shown[256];
    struct stat info;
    size_t len = 0;
    struct kw_buffer text = KW_BUFFER_INIT(KW_VAULT_SECRET_TEXT_MAX);
    const char *path = tokens->argument;
    kw_printable(path, strlen(path), shown, sizeof(shown));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return kw_fail_errno(err, KW_DENIED, errno, "cannot open the access token's file %s",
                             shown);
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & (S_IRWXG | S_IRWXO)))
        warn_once(tokens, shown);
    enum kw_status status = kw_check_owner(fd, shown, KW_CONFIG, err);
    if (!status)
        status = kw_buffer_reserve(&text, KW_VAULT_SECRET_TEXT_MAX, err);
    if (!status)
        status = kw_read_full(fd, text.data, text.max, shown, &len, err);
    if (!status && len == text.max)
        status =
            kw_fail(err, KW_CONFIG, "%s is larger than any access token; name its file", shown);
    if (!status)
        status =
            kw_vault_parse_token((const char *)text.data, len, shown, time(NULL), ret_token, err);
    kw_wipe(text.data, text.capacity);
    kw_buffer_cleanup(&text);
    kw_close(&fd);
    return status;
}

/* ---- from a command ---- */

static enum kw_status get_from_command(struct kw_vault_tokens *tokens, uint64_t deadline_ms,
                                       struct kw_vault_token_text *ret_token, struct kw_error *err)
{
    struct kw_buffer text = KW_BUFFER_INIT(KW_VAULT_SECRET_TEXT_MAX);
    enum kw_status status =
        kw_vault_run_command(tokens->argument, tokens->server, deadline_ms, &text, err);
    if (!status)
        status = kw_vault_parse_token((const char *)text.data, text.len,
                                      "the command of token-source", time(NULL), ret_token, err);
    kw_wipe(text.data, text.capacity);
    kw_buffer_cleanup(&text);
    return status;
}

/* ---- from what manages this machine's identity ---- */

struct endpoint {
    char url[ENDPOINT_MAX];
    char header[ENDPOINT_MAX];
};

/* As Azure's own SDKs find it: App Service, Functions and Container Apps by their environment, and
 * every other machine by the address that is the same on all of them. */
static bool fill_endpoint(const struct kw_vault_tokens *tokens, const char *resource,
                          struct endpoint *endpoint)
{
    const char *service = secure_getenv("IDENTITY_ENDPOINT");
    const char *secret = secure_getenv("IDENTITY_HEADER");
    const char *host = secure_getenv("AZURE_POD_IDENTITY_AUTHORITY_HOST");
    bool is_service = service && secret;
    char *escaped = curl_easy_escape(NULL, resource, 0);
    char *client = curl_easy_escape(NULL, tokens->argument, 0);
    bool fits = false;
    if (escaped && client) {
        int len =
            snprintf(endpoint->url, sizeof(endpoint->url), "%s%s?api-version=%s&resource=%s%s%s",
                     is_service ? service
                     : host     ? host
                                : IMDS_HOST,
                     is_service ? "" : "/metadata/identity/oauth2/token",
                     is_service ? "2019-08-01" : "2018-02-01", escaped,
                     client[0] ? "&client_id=" : "", client);
        int header_len =
            is_service ? snprintf(endpoint->header, sizeof(endpoint->header),
                                  "X-IDENTITY-HEADER: %s", secret)
                       : snprintf(endpoint->header, sizeof(endpoint->header), "Metadata: true");
        fits = len > 0 && (size_t)len < sizeof(endpoint->url) && header_len > 0 &&
               (size_t)header_len < sizeof(endpoint->header);
    }
    curl_free(escaped);
    curl_free(client);
    return fits;
}

static enum kw_status get_from_identity(struct kw_vault_tokens *tokens, uint64_t deadline_ms,
                                        struct kw_vault_token_text *ret_token, struct kw_error *err)
{
    static const char who[] = "the endpoint of this machine's managed identity";
    static const long is_updated = 410; /* so it says for up to 70 seconds */
    struct endpoint endpoint;
    struct kw_vault_answer answer;
    char resource[KW_VAULT_RESOURCE_SIZE];
    (void)pthread_mutex_lock(&tokens->lock);
    memcpy(resource, tokens->resource, sizeof(resource));
    (void)pthread_mutex_unlock(&tokens->lock);
    if (!fill_endpoint(tokens, resource, &endpoint))
        return kw_fail(err, KW_CONFIG, "%s has an address that is too long", who);
    const struct kw_vault_request request = {.url = endpoint.url,
                                             .header = endpoint.header,
                                             .secret = true,
                                             .plain = !kw_is_vault_url(endpoint.url),
                                             .deadline_ms = deadline_ms};
    enum kw_status status =
        kw_vault_exchange_patiently(tokens->http, &request, is_updated, who, &answer, err);
    kw_wipe(&endpoint, sizeof(endpoint));
    if (status)
        return status;
    if (answer.status == 200)
        status = kw_vault_parse_token((const char *)answer.body.data, answer.body.len, who,
                                      time(NULL), ret_token, err);
    else
        status = kw_fail(err, answer.status >= 500 || answer.status == 429 ? KW_TOKEN : KW_DENIED,
                         "%s gives no access token (HTTP %ld); give this machine an identity that "
                         "may use the vault, or set another token-source",
                         who, answer.status);
    kw_vault_answer_cleanup(&answer);
    return status;
}

/* ---- the sources ---- */

struct source {
    const char *name;
    enum { WANTS_NOTHING, WANTS_PATH, MAY_HAVE_TEXT } wants; /* after the name and ":" */
    bool by_resource;
    enum kw_status (*get)(struct kw_vault_tokens *tokens, uint64_t deadline_ms,
                          struct kw_vault_token_text *ret_token, struct kw_error *err);
};
static const struct source sources[] = {
    {"none", WANTS_NOTHING, false, NULL},
    {"file", WANTS_PATH, false, get_from_file},
    {"exec", WANTS_PATH, false, get_from_command},
    {"managed-identity", MAY_HAVE_TEXT, true, get_from_identity},
};

static bool is_source(const struct source *source, const char *text, const char **ret_argument)
{
    size_t len = strlen(source->name);
    if (strncmp(text, source->name, len) != 0 || (text[len] != '\0' && text[len] != ':'))
        return false;
    const char *argument = text[len] == ':' ? text + len + 1 : text + len;
    *ret_argument = argument;
    if (source->wants == WANTS_PATH)
        return argument[0] == '/';
    return source->wants == MAY_HAVE_TEXT || text[len] == '\0';
}

static enum kw_status choose(struct kw_vault_tokens *tokens, const char *text, struct kw_error *err)
{
    char shown[96];
    for (size_t i = 0; i < KW_COUNT(sources); i++)
        if (is_source(&sources[i], text, &tokens->argument)) {
            tokens->source = &sources[i];
            return KW_OK;
        }
    return kw_fail(err, KW_CONFIG,
                   "token-source \"%s\" is none of file:/PATH, exec:/PATH ARGUMENTS, "
                   "managed-identity, managed-identity:CLIENT-ID and none",
                   kw_printable(text, strlen(text), shown, sizeof(shown)));
}

enum kw_status kw_vault_tokens_new(const struct kw_vault_options *options, const char *source,
                                   const char *resource, struct kw_vault_http *http,
                                   const char *host, struct kw_vault_tokens **ret_tokens,
                                   struct kw_error *err)
{
    size_t resource_len = resource ? strlen(resource) : 0;
    struct kw_vault_tokens *tokens = calloc(1, sizeof(*tokens));
    if (!tokens)
        return kw_fail_memory(err);
    tokens->http = http;
    tokens->host = host;
    tokens->warn = options->warn;
    tokens->warn_context = options->warn_context;
    tokens->server = -1;
    enum kw_status status = choose(tokens, source ? source : "none", err);
    if (!status &&
        (resource_len >= sizeof(tokens->resource) || (resource && !kw_is_vault_url(resource))))
        status = kw_fail(err, KW_CONFIG, "resource must be https://HOST");
    if (status) {
        free(tokens);
        return status;
    }
    if (resource)
        memcpy(tokens->resource, resource, resource_len);
    (void)pthread_mutex_init(&tokens->lock, NULL); /* neither can fail on Linux */
    (void)pthread_mutex_init(&tokens->getting, NULL);
    *ret_tokens = tokens;
    return KW_OK;
}

static void token_free(struct kw_vault_token *token)
{
    if (!token)
        return;
    kw_secret_free(token->header);
    free(token);
}

void kw_vault_tokens_free(struct kw_vault_tokens *tokens)
{
    if (!tokens)
        return;
    token_free(tokens->current);
    kw_close(&tokens->server);
    (void)pthread_mutex_destroy(&tokens->lock);
    (void)pthread_mutex_destroy(&tokens->getting);
    free(tokens);
}

const char *kw_vault_tokens_command(const struct kw_vault_tokens *tokens)
{
    return tokens->source->get == get_from_command ? tokens->argument : NULL;
}

const char *kw_vault_tokens_file(const struct kw_vault_tokens *tokens)
{
    return tokens->source->get == get_from_file ? tokens->argument : NULL;
}

void kw_vault_tokens_use_server(struct kw_vault_tokens *tokens, int socket)
{
    tokens->server = socket;
}

/* ---- one token ---- */

const struct kw_secret *kw_vault_token_header(const struct kw_vault_token *token)
{
    return token->header;
}

static uint64_t renew_at(long lifetime_s)
{
    long s = lifetime_s > 0 ? lifetime_s : UNKNOWN_LIFETIME_S;
    if (lifetime_s > 2 * RENEW_BEFORE_S)
        s -= RENEW_BEFORE_S;
    else if (lifetime_s > 0)
        s /= 2;
    return kw_now_ms() + (uint64_t)s * 1000;
}

static enum kw_status make_token(const struct kw_vault_token_text *text,
                                 struct kw_vault_token **ret_token, struct kw_error *err)
{
    size_t start = sizeof(BEARER) - 1, len = kw_secret_len(text->token);
    struct kw_vault_token *token = calloc(1, sizeof(*token));
    if (!token)
        return kw_fail_memory(err);
    enum kw_status status = kw_secret_new(start + len + 1, &token->header, err);
    if (status) {
        free(token);
        return status;
    }
    uint8_t *line = kw_secret_data(token->header);
    memcpy(line, BEARER, start);
    memcpy(line + start, kw_secret_bytes(text->token), len);
    kw_secret_set_len(token->header, start + len + 1);
    token->renew_ms = renew_at(text->lifetime_s);
    *ret_token = token;
    return KW_OK;
}

/* With the lock held. */
static bool let_go(struct kw_vault_token *token)
{
    return token && --token->held == 0;
}

void kw_vault_token_release(struct kw_vault_tokens *tokens, struct kw_vault_token *token)
{
    (void)pthread_mutex_lock(&tokens->lock);
    bool last = let_go(token);
    (void)pthread_mutex_unlock(&tokens->lock);
    if (last)
        token_free(token);
}

/* The current one, held once more, if it can be used; `refused` can't. `late`: even when it is time
 * for another one. */
static struct kw_vault_token *hold_current(struct kw_vault_tokens *tokens,
                                           const struct kw_vault_token *refused, bool late)
{
    (void)pthread_mutex_lock(&tokens->lock);
    struct kw_vault_token *token = tokens->current;
    if (token && (token == refused || (!late && kw_now_ms() >= token->renew_ms)))
        token = NULL;
    if (token)
        token->held++;
    (void)pthread_mutex_unlock(&tokens->lock);
    return token;
}

/* Once by the caller and once by all. */
static void set_current(struct kw_vault_tokens *tokens, struct kw_vault_token *token)
{
    (void)pthread_mutex_lock(&tokens->lock);
    struct kw_vault_token *before = tokens->current;
    bool last = let_go(before);
    token->held = 2;
    tokens->current = token;
    (void)pthread_mutex_unlock(&tokens->lock);
    if (last)
        token_free(before);
}

static bool can_ask(struct kw_vault_tokens *tokens)
{
    (void)pthread_mutex_lock(&tokens->lock);
    bool known =
        tokens->source->get && (!tokens->source->by_resource || tokens->resource[0] != '\0');
    (void)pthread_mutex_unlock(&tokens->lock);
    return known;
}

static enum kw_status get_another(struct kw_vault_tokens *tokens, uint64_t deadline_ms,
                                  struct kw_vault_token **ret_token, struct kw_error *err)
{
    struct kw_vault_token_text text = {.token = NULL};
    enum kw_status status = tokens->source->get(tokens, deadline_ms, &text, err);
    if (status)
        return status;
    status = make_token(&text, ret_token, err);
    kw_secret_free(text.token);
    if (!status)
        set_current(tokens, *ret_token);
    return status;
}

/* Where none can be got, the one that there is may be good for some minutes more. */
enum kw_status kw_vault_tokens_take(struct kw_vault_tokens *tokens,
                                    const struct kw_vault_token *refused, uint64_t deadline_ms,
                                    struct kw_vault_token **ret_token, struct kw_error *err)
{
    struct kw_vault_token *token = NULL;
    enum kw_status status = KW_OK;
    if (!can_ask(tokens)) {
        *ret_token = NULL;
        return KW_OK;
    }
    (void)pthread_mutex_lock(&tokens->getting);
    token = hold_current(tokens, refused, false);
    if (!token)
        status = get_another(tokens, deadline_ms, &token, err);
    if (status && (token = hold_current(tokens, refused, true)))
        status = KW_OK;
    (void)pthread_mutex_unlock(&tokens->getting);
    if (!status)
        *ret_token = token;
    return status;
}

enum kw_status kw_vault_tokens_challenge(struct kw_vault_tokens *tokens, const char *resource,
                                         struct kw_error *err)
{
    char shown[128];
    if (!tokens->source->by_resource || resource[0] == '\0' || can_ask(tokens))
        return KW_OK;
    if (!kw_vault_owns_resource(tokens->host, resource))
        return kw_fail(err, KW_DENIED,
                       "%s asks for an access token for \"%s\", which is not its own: it gets "
                       "none; check the vault's address, or set resource",
                       tokens->host,
                       kw_printable(resource, strlen(resource), shown, sizeof(shown)));
    (void)pthread_mutex_lock(&tokens->lock);
    if (tokens->resource[0] == '\0')
        memcpy(tokens->resource, resource, strlen(resource) + 1);
    (void)pthread_mutex_unlock(&tokens->lock);
    return KW_OK;
}
