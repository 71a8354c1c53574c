/* One exchange by libcurl: HTTPS, verified, bounded in size and time. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/ssl.h>

#include "vault/internal.h"

#define IDLE_MAX        16
#define CONNECT_MS      10000L
#define RETRY_AFTER_MAX 3600

struct kw_vault_http {
    struct kw_vault_tls tls;
    pthread_mutex_t lock; /* guards what follows */
    CURL *idle[IDLE_MAX]; /* each with its connection */
    size_t idle_count;
};

/* ---- memory: what libcurl copies of tokens and keys is wiped when it is given back ---- */

static void wiping_free(void *memory)
{
    if (memory)
        kw_wipe(memory, malloc_usable_size(memory));
    free(memory);
}

static void *wiping_realloc(void *memory, size_t size)
{
    size_t before = memory ? malloc_usable_size(memory) : 0;
    void *moved = malloc(size);
    if (!moved)
        return NULL;
    if (memory)
        memcpy(moved, memory, before < size ? before : size);
    wiping_free(memory);
    return moved;
}

static CURLcode started;

/* Where the program has started libcurl before, that one's memory stays as it is. */
static void start(void)
{
    started = curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiping_free, wiping_realloc, strdup,
                                   calloc);
}

enum kw_status kw_vault_http_new(const struct kw_vault_tls *tls, struct kw_vault_http **ret_http,
                                 struct kw_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, start);
    if (started != CURLE_OK)
        return kw_fail(err, KW_FAULT, "libcurl does not start: %s", curl_easy_strerror(started));
    struct kw_vault_http *http = calloc(1, sizeof(*http));
    if (!http || pthread_mutex_init(&http->lock, NULL) != 0) {
        free(http);
        return kw_fail_memory(err);
    }
    http->tls = *tls;
    *ret_http = http;
    return KW_OK;
}

void kw_vault_http_free(struct kw_vault_http *http)
{
    if (!http)
        return;
    for (size_t i = 0; i < http->idle_count; i++)
        curl_easy_cleanup(http->idle[i]);
    (void)pthread_mutex_destroy(&http->lock);
    free(http);
}

static CURL *take_handle(struct kw_vault_http *http)
{
    CURL *curl = NULL;
    (void)pthread_mutex_lock(&http->lock);
    if (http->idle_count > 0)
        curl = http->idle[--http->idle_count];
    (void)pthread_mutex_unlock(&http->lock);
    return curl ? curl : curl_easy_init();
}

static void return_handle(struct kw_vault_http *http, CURL *curl)
{
    if (!curl)
        return;
    curl_easy_reset(curl); /* the connection stays */
    (void)pthread_mutex_lock(&http->lock);
    bool kept = http->idle_count < IDLE_MAX;
    if (kept)
        http->idle[http->idle_count++] = curl;
    (void)pthread_mutex_unlock(&http->lock);
    if (!kept)
        curl_easy_cleanup(curl);
}

/* ---- the answer ---- */

void kw_vault_answer_cleanup(struct kw_vault_answer *answer)
{
    kw_wipe(answer->body.data, answer->body.capacity);
    kw_buffer_cleanup(&answer->body);
}

static size_t take_body(char *data, size_t size, size_t count, void *context)
{
    struct kw_buffer *body = context;
    size_t len = size * count; /* size is 1 */
    if (len >= body->max - body->len)
        return 0; /* a NUL comes after it */
    return kw_buffer_append(body, data, len, NULL) ? 0 : len;
}

/* ---- the request ---- */

/* OpenSSL then wipes what it has decrypted once that is read. */
static CURLcode cleanse(CURL *curl, void *context, void *unused)
{
    (void)curl;
    (void)unused;
    (void)SSL_CTX_set_options(context, SSL_OP_CLEANSE_PLAINTEXT);
    return CURLE_OK;
}

static CURLcode set_tls(CURL *curl, const struct kw_vault_tls *tls)
{
    CURLcode code = CURLE_OK;
    const struct {
        CURLoption option;
        const char *value;
    } files[] = {
        {CURLOPT_CAINFO, tls->ca},
        {CURLOPT_SSLCERT, tls->certificate},
        {CURLOPT_SSLKEY, tls->key},
    };
    for (size_t i = 0; i < KW_COUNT(files) && !code; i++)
        if (files[i].value)
            code = curl_easy_setopt(curl, files[i].option, files[i].value);
    if (!code && tls->ca) /* instead of the system's, and not beside them */
        code = curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    /* Any other library than OpenSSL does not know this; it wipes what it wipes. */
    (void)curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, cleanse);
    return code;
}

/* Certificates and names are verified, and redirections not followed, as is libcurl's default; they
 * are set all the same, as all depends on them. */
static CURLcode set_rules(CURL *curl, const struct kw_vault_request *request)
{
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_SSL_VERIFYPEER, 1},
        {CURLOPT_SSL_VERIFYHOST, 2},
        {CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2},
        {CURLOPT_FOLLOWLOCATION, 0},
        {CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1},
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS},
    };
    CURLcode code = CURLE_OK;
    for (size_t i = 0; i < KW_COUNT(numbers) && !code; i++)
        code = curl_easy_setopt(curl, numbers[i].option, numbers[i].value);
    if (!code)
        code = curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, request->plain ? "http" : "https");
    if (!code && request->plain)
        code = curl_easy_setopt(curl, CURLOPT_PROXY, "");
    if (!code)
        code = curl_easy_setopt(curl, CURLOPT_USERAGENT, "keyward/" KW_VERSION);
    return code;
}

static CURLcode set_request(CURL *curl, const struct kw_vault_request *request,
                            struct curl_slist *headers, struct kw_buffer *body)
{
    CURLcode code;
    uint64_t now = kw_now_ms();
    uint64_t left = request->deadline_ms > now ? request->deadline_ms - now : 1;
    if ((code = curl_easy_setopt(curl, CURLOPT_URL, request->url)) ||
        (code = curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)left)) ||
        (code = curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers)) ||
        (code = curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body)) ||
        (code = curl_easy_setopt(curl, CURLOPT_WRITEDATA, body)) || !request->body)
        return code;
    if (!(code = curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(request->body))))
        code = curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
    return code;
}

/* The lines are only read: they stay where they are, in secret memory among others. */
static struct curl_slist *link_headers(struct curl_slist nodes[3],
                                       const struct kw_vault_request *request)
{
    const char *const lines[3] = {
        request->authorization ? (const char *)kw_secret_bytes(request->authorization) : NULL,
        request->header,
        request->body ? "Content-Type: application/json" : NULL,
    };
    struct curl_slist *first = NULL;
    for (size_t i = 3; i-- > 0;)
        if (lines[i]) {
            nodes[i] = (struct curl_slist){.data = (char *)(uintptr_t)lines[i], .next = first};
            first = &nodes[i];
        }
    return first;
}

/* ---- failures ---- */

static const char *what_to_do(CURLcode code)
{
    static const struct {
        CURLcode code;
        const char *text;
    } table[] = {
        {CURLE_PEER_FAILED_VERIFICATION, "its certificate is not trusted; check ca and the host"},
        {CURLE_SSL_CACERT_BADFILE, "the file of CA certificates can't be used; check ca"},
        {CURLE_SSL_CERTPROBLEM, "the client certificate can't be used; check certificate and key"},
        {CURLE_COULDNT_RESOLVE_HOST, "no such host is found; check the name"},
        {CURLE_OPERATION_TIMEDOUT, "it did not answer in time; try again later"},
        {CURLE_WRITE_ERROR, "its answer is larger than any that is expected"},
    };
    for (size_t i = 0; i < KW_COUNT(table); i++)
        if (table[i].code == code)
            return table[i].text;
    return "check that it runs and can be reached";
}

static bool is_configuration(CURLcode code)
{
    return code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_CERTPROBLEM;
}

static enum kw_status fail_exchange(const char *who, CURLcode code, const char *detail,
                                    struct kw_error *err)
{
    char shown[160];
    if (code == CURLE_OUT_OF_MEMORY)
        return kw_fail_memory(err);
    if (detail[0] == '\0')
        detail = curl_easy_strerror(code);
    return kw_fail(err, is_configuration(code) ? KW_CONFIG : KW_TOKEN, "%s can't be used: %s (%s)",
                   who, what_to_do(code),
                   kw_printable(detail, strlen(detail), shown, sizeof(shown)));
}

/* ---- all of it ---- */

static void take_headers(CURL *curl, struct kw_vault_answer *answer)
{
    struct curl_header *header = NULL;
    curl_off_t wait_s = 0;
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer->status);
    if (curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &wait_s) == CURLE_OK && wait_s > 0)
        answer->retry_after_s = wait_s > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : (long)wait_s;
    for (size_t i = 0; i < 4 && answer->challenge[0] == '\0'; i++)
        if (curl_easy_header(curl, "WWW-Authenticate", i, CURLH_HEADER, -1, &header) == CURLHE_OK)
            (void)kw_vault_parse_challenge(header->value, answer->challenge);
}

static enum kw_status perform(CURL *curl, struct kw_vault_http *http,
                              const struct kw_vault_request *request, const char *who,
                              struct kw_vault_answer *answer, struct kw_error *err)
{
    char detail[CURL_ERROR_SIZE] = "";
    struct curl_slist nodes[3];
    CURLcode code;
    /* What holds a secret is read into one place, with nothing left behind elsewhere. */
    enum kw_status status = kw_buffer_reserve(&answer->body, KW_VAULT_SECRET_TEXT_MAX, err);
    if (status)
        return status;
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    if (!(code = set_rules(curl, request)) && !(code = set_tls(curl, &http->tls)) &&
        !(code = set_request(curl, request, link_headers(nodes, request), &answer->body)))
        code = curl_easy_perform(curl);
    if (code)
        return fail_exchange(who, code, detail, err);
    take_headers(curl, answer);
    return kw_buffer_append(&answer->body, "", 1, err);
}

enum kw_status kw_vault_exchange(struct kw_vault_http *http, const struct kw_vault_request *request,
                                 const char *who, struct kw_vault_answer *ret_answer,
                                 struct kw_error *err)
{
    struct kw_vault_answer answer = {
        .body = KW_BUFFER_INIT(request->secret ? KW_VAULT_SECRET_TEXT_MAX : KW_VAULT_TEXT_MAX)};
    CURL *curl = take_handle(http);
    if (!curl)
        return kw_fail_memory(err);
    enum kw_status status = perform(curl, http, request, who, &answer, err);
    return_handle(http, curl);
    if (status) {
        kw_vault_answer_cleanup(&answer);
        return status;
    }
    answer.body.len--; /* the NUL does not count */
    *ret_answer = answer;
    return KW_OK;
}

/* ---- with patience ---- */

static void sleep_ms(uint64_t ms)
{
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000L};
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &left, NULL); /* a signal may end it early */
}

enum kw_status kw_vault_exchange_patiently(struct kw_vault_http *http,
                                           const struct kw_vault_request *request, long other,
                                           const char *who, struct kw_vault_answer *ret_answer,
                                           struct kw_error *err)
{
    static const unsigned waits_s[] = {1, 2, 4, 8, 16};
    for (size_t i = 0;; i++) {
        struct kw_vault_answer answer;
        enum kw_status status = kw_vault_exchange(http, request, who, &answer, err);
        if (status)
            return status;
        bool busy =
            answer.status == 429 || answer.status == 503 || (other && answer.status == other);
        uint64_t wait_ms = 0;
        if (busy && i < KW_COUNT(waits_s))
            wait_ms = (uint64_t)(answer.retry_after_s ? (unsigned long)answer.retry_after_s
                                                      : waits_s[i]) *
                      1000;
        if (wait_ms == 0 || kw_now_ms() + wait_ms >= request->deadline_ms) {
            *ret_answer = answer;
            return KW_OK;
        }
        kw_vault_answer_cleanup(&answer);
        sleep_ms(wait_ms);
    }
}
