/* A JWK set from a URL, through libcurl: HTTPS only, no redirection, with a deadline and a limit.
 */
#include <curl/curl.h>

#include "serve/access_parts.h"

#define CONNECT_MS 5000L
#define TOTAL_MS   10000L

struct fetching {
    struct kw_buffer *out;
    const atomic_bool *stop;
};

/* Anything but `size` ends the transfer. */
static size_t take(char *data, size_t unit, size_t size, void *context)
{
    struct fetching *fetching = context;
    (void)unit; /* 1, as libcurl promises */
    if (size > fetching->out->max - fetching->out->len ||
        kw_buffer_append(fetching->out, data, size, NULL) != KW_OK)
        return size ? 0 : 1;
    return size;
}

static int may_go_on(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct fetching *fetching = context;
    (void)a, (void)b, (void)c, (void)d;
    return atomic_load(fetching->stop) ? 1 : 0;
}

/* Any of them that is not known leaves the handle less safe than it should be. */
static bool set_up(CURL *curl, const char *url, const char *ca, struct fetching *fetching)
{
    return curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
           (!ca || curl_easy_setopt(curl, CURLOPT_CAINFO, ca) == CURLE_OK) &&
           (!ca || curl_easy_setopt(curl, CURLOPT_CAPATH, NULL) == CURLE_OK) &&
           curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, TOTAL_MS) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_USERAGENT, "keyward/" KW_VERSION) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, may_go_on) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_XFERINFODATA, fetching) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEDATA, fetching) == CURLE_OK;
}

enum kw_status kw_jwks_fetch(const char *url, const char *ca, const atomic_bool *stop,
                             struct kw_buffer *out, struct kw_error *err)
{
    struct fetching fetching = {.out = out, .stop = stop};
    CURL *curl = curl_easy_init();
    if (!curl)
        return kw_fail_memory(err);
    long http_status = 0;
    CURLcode code = set_up(curl, url, ca, &fetching) ? curl_easy_perform(curl) : CURLE_FAILED_INIT;
    if (code == CURLE_OK)
        code = curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &http_status);
    curl_easy_cleanup(curl);
    if (code != CURLE_OK)
        return kw_fail(err, KW_READ, "%s can't be read: %s", url, curl_easy_strerror(code));
    if (http_status != 200)
        return kw_fail(err, KW_READ, "%s answers with status %ld; it must be 200", url,
                       http_status);
    return KW_OK;
}
