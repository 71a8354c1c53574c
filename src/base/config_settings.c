/* The settings that there are, section by section. */
#include <string.h>

#include "base/config_value.h"

#define EXPECTS_URI          "a URI that starts with pkcs11: and holds no PIN (use pin-source)"
#define EXPECTS_PATH         "an absolute path"
#define EXPECTS_URI_OR_HTTPS EXPECTS_URI ", or an address that starts with https://"
#define EXPECTS_PATHS        "absolute paths with \":\" between them"
#define EXPECTS_YES_NO       "yes or no"
#define EXPECTS_HOURLY       "a number of seconds from 1 to 3600"
#define EXPECTS_DAILY        "a number of seconds from 1 to 86400"
#define EXPECTS_MILLION      "a number from 1 to 1000000"

#define AT(member) offsetof(struct kw_config_token, member)
static const struct setting of_token[] = {
    {"uri", AS_URI_OR_HTTPS, AT(uri), EXPECTS_URI_OR_HTTPS, 0, 0},
    {"module", AS_PATH, AT(module), EXPECTS_PATH, 0, 0},
    {"init-args", AS_TEXT, AT(init_args), "text", 0, 0},
    {"pin-source", AS_PIN_SOURCE, AT(pin_source),
     "file:PATH, an absolute path, fd:N, env:NAME, credential:NAME or prompt", 0, 0},
    {"sessions", AS_NUMBER, AT(sessions), "a number from 1 to 1024", 1, 1024},
    {"timeout", AS_NUMBER, AT(timeout_s), EXPECTS_HOURLY, 1, 3600},
    {"give-up", AS_NUMBER, AT(give_up_s), EXPECTS_DAILY, 1, 86400},
    {"token-source", AS_TEXT, AT(token_source), "text", 0, 0},
    {"resource", AS_TEXT, AT(resource), "text", 0, 0},
    {"ca", AS_PATH, AT(ca), EXPECTS_PATH, 0, 0},
    {"certificate", AS_PATH, AT(certificate), EXPECTS_PATH, 0, 0},
    {"key", AS_PATH, AT(key), EXPECTS_PATH, 0, 0},
    {"failover", AS_TEXT, AT(failover), "the name of another [token]", 0, 0},
    {"failover-probe", AS_NUMBER, AT(failover_probe_s), EXPECTS_HOURLY, 1, 3600},
};
#undef AT

#define AT(member) offsetof(struct kw_config_key, member)
static const struct setting of_key[] = {
    {"uri", AS_URI_OR_HTTPS, AT(uri), EXPECTS_URI_OR_HTTPS, 0, 0},
};
#undef AT

#define AT(member) offsetof(struct kw_config_listener, member)
static const struct setting of_listener[] = {
    {"address", AS_LISTEN, AT(address), "HOST:PORT, with an IPv6 address in brackets", 0, 0},
    {"host", AS_HOST, AT(host), "HOST or HOST:PORT, with an IPv6 address in brackets", 0, 0},
    {"resource", AS_HTTPS, AT(resource), "a URL that starts with https://", 0, 0},
    {"certificate", AS_PATH, AT(certificate), EXPECTS_PATH, 0, 0},
    {"key", AS_PATH_OR_URI, AT(key), "an absolute path, or " EXPECTS_URI, 0, 0},
    {"client-ca", AS_PATH, AT(client_ca), EXPECTS_PATH, 0, 0},
    {"client-crl", AS_PATH, AT(client_crl), EXPECTS_PATH, 0, 0},
    {"client-certificate", AS_CHOICE, AT(client_certificate), "none, optional, required", 0, 0},
    {"prefix", AS_PREFIX, AT(prefix), "1 to 64 letters, digits and \"-\"", 0, 0},
    {"threads", AS_NUMBER, AT(threads), "a number from 1 to 256", 1, 256},
    {"connections", AS_NUMBER, AT(connections), "a number from 1 to 65536", 1, 65536},
    {"idle", AS_NUMBER, AT(idle_s), EXPECTS_HOURLY, 1, 3600},
    {"request-time", AS_NUMBER, AT(request_s), EXPECTS_HOURLY, 1, 3600},
};
#undef AT

#define AT(member) offsetof(struct kw_config_issuer, member)
static const struct setting of_issuer[] = {
    {"issuer", AS_TEXT, AT(issuer), "text", 0, 0},
    {"audience", AS_TEXT, AT(audience), "text", 0, 0},
    {"jwks", AS_PATH_OR_HTTPS, AT(jwks), "an absolute path, or a URL that starts with https://", 0,
     0},
    {"ca", AS_PATH, AT(ca), EXPECTS_PATH, 0, 0},
};
#undef AT

#define AT(member) offsetof(struct kw_config_client, member)
static const struct setting of_client[] = {
    {"subject", AS_TEXT, AT(subject), "text", 0, 0},
    {"san", AS_TEXT, AT(san), "text", 0, 0},
    {"issuer", AS_TEXT, AT(issuer), "text", 0, 0},
    {"claim", AS_PAIR, AT(claim), "NAME=VALUE", 0, 0},
    {"roles", AS_TEXT, AT(roles), "text", 0, 0},
    {"rate", AS_NUMBER, AT(rate), EXPECTS_MILLION, 1, 1000000},
    {"burst", AS_NUMBER, AT(burst), EXPECTS_MILLION, 1, 1000000},
};
#undef AT

#define AT(member) offsetof(struct kw_config, member)
static const struct setting of_keys[] = {
    {"retention-days", AS_NUMBER, AT(life.retention_days), "a number from 1 to 3650", 1, 3650},
    {"purge-protection", AS_YES_NO, AT(life.purge_protection), EXPECTS_YES_NO, 0, 0},
    {"records-key", AS_TEXT, AT(life.records_key), "text", 0, 0},
    {"catalogue", AS_PATH, AT(life.catalogue), EXPECTS_PATH, 0, 0},
};

static const struct setting of_run[] = {
    {"token", AS_TEXT, AT(run.token), "text", 0, 0},
    {"unwrap-alg", AS_CHOICE, AT(run.unwrap_alg), "auto, RSA-OAEP, RSA-OAEP-256, RSA1_5", 0, 0},
    {"decompress", AS_CHOICE, AT(run.decompress), "auto, none", 0, 0},
    {"digest", AS_CHOICE, AT(run.digest), "sha256, none", 0, 0},
    {"jobs", AS_NUMBER, AT(run.jobs), "a number from 1 to 256", 1, 256},
    {"max-ratio", AS_NUMBER, AT(run.max_ratio), EXPECTS_MILLION, 1, 1000000},
    {"max-plaintext-mib", AS_NUMBER, AT(run.max_plaintext_mib), "a number from 1 to 1000000000", 1,
     1000000000},
    {"allow-rsa1_5", AS_YES_NO, AT(run.allow_rsa1_5), EXPECTS_YES_NO, 0, 0},
};

static const struct setting of_audit[] = {
    {"enabled", AS_YES_NO, AT(audit.enabled), EXPECTS_YES_NO, 0, 0},
    {"dir", AS_PATH, AT(audit.dir), EXPECTS_PATH, 0, 0},
    {"rotate-mib", AS_NUMBER, AT(audit.rotate_mib), "a number from 1 to 1024", 1, 1024},
    {"checkpoint-interval", AS_NUMBER, AT(audit.checkpoint_interval_s), EXPECTS_DAILY, 1, 86400},
    {"journald", AS_PATH, AT(audit.journald), EXPECTS_PATH, 0, 0},
    {"syslog", AS_HOST_PORT, AT(audit.syslog), "HOST:PORT, with an IPv6 address in brackets", 0, 0},
    {"forward-timeout", AS_NUMBER, AT(audit.forward_timeout_ms),
     "a number of milliseconds from 1 to 60000", 1, 60000},
};

static const struct setting of_crypto[] = {
    {"fips", AS_YES_NO, AT(crypto.fips), EXPECTS_YES_NO, 0, 0},
};

static const struct setting of_sandbox[] = {
    {"enabled", AS_YES_NO, AT(sandbox.enabled), EXPECTS_YES_NO, 0, 0},
    {"required", AS_YES_NO, AT(sandbox.required), EXPECTS_YES_NO, 0, 0},
    {"read", AS_PATHS, AT(sandbox.read), EXPECTS_PATHS, 0, 0},
    {"write", AS_PATHS, AT(sandbox.write), EXPECTS_PATHS, 0, 0},
    {"network", AS_CHOICE, AT(sandbox.network), "none, unix, tcp", 0, 0},
};

static const struct setting of_service[] = {
    {"rsa1_5-keys", AS_GLOBS, AT(service.rsa1_5_keys),
     "names of keys with \", \" between them: letters, digits, \"-\", \"*\" and \"?\"", 0, 0},
    {"backup-kek", AS_URI, AT(service.backup_kek), EXPECTS_URI, 0, 0},
    {"notify", AS_TEXT, AT(service.notify), "a command", 0, 0},
    {"anomalies", AS_RULES, AT(service.anomalies),
     "none, or some of rate, client and hour with \", \" between them", 0, 0},
    {"refresh", AS_NUMBER, AT(service.refresh_s), EXPECTS_DAILY, 1, 86400},
    {"drain", AS_NUMBER, AT(service.drain_s), EXPECTS_HOURLY, 1, 3600},
};

#define SETTINGS(list)             .settings = (list), .setting_count = KW_COUNT(list)
#define WITHOUT_NAME(list, number) SETTINGS(list), .place = FIRST_OTHER + (number)
#define ENTRIES(type, list, count)                                                                 \
    .entry_size = sizeof(struct type), .entries_at = AT(list), .count_at = AT(count)

const struct section kw_sections[KW_SECTIONS] = {
    {.name = "token",
     SETTINGS(of_token),
     .place = FIRST_TOKEN,
     .entry = "NAME",
     .max = TOKENS_MAX,
     ENTRIES(kw_config_token, tokens, token_count)},
    {.name = "key",
     SETTINGS(of_key),
     .place = FIRST_KEY,
     .entry = "VERSION",
     .max = KEYS_MAX,
     ENTRIES(kw_config_key, keys, key_count)},
    {.name = "listener",
     SETTINGS(of_listener),
     .place = FIRST_LISTENER,
     .entry = "NAME",
     .names = "vault, proxy, status",
     .max = LISTENERS_MAX,
     ENTRIES(kw_config_listener, listeners, listener_count)},
    {.name = "issuer",
     SETTINGS(of_issuer),
     .place = FIRST_ISSUER,
     .entry = "NAME",
     .max = ISSUERS_MAX,
     ENTRIES(kw_config_issuer, issuers, issuer_count)},
    {.name = "client",
     SETTINGS(of_client),
     .place = FIRST_CLIENT,
     .entry = "NAME",
     .max = CLIENTS_MAX,
     ENTRIES(kw_config_client, clients, client_count)},
    {.name = "keys", WITHOUT_NAME(of_keys, 0)},
    {.name = "run", WITHOUT_NAME(of_run, 1)},
    {.name = "audit", WITHOUT_NAME(of_audit, 2)},
    {.name = "crypto", WITHOUT_NAME(of_crypto, 3)},
    {.name = "sandbox", WITHOUT_NAME(of_sandbox, 4)},
    {.name = "service", WITHOUT_NAME(of_service, 5)},
};

_Static_assert(offsetof(struct kw_config_token, name) == 0 &&
                   offsetof(struct kw_config_key, version) == 0 &&
                   offsetof(struct kw_config_listener, name) == 0 &&
                   offsetof(struct kw_config_issuer, name) == 0 &&
                   offsetof(struct kw_config_client, name) == 0,
               "an entry starts with its name");
_Static_assert(KW_COUNT(of_listener) <= 32, "the longest list of settings has a bit for each");

void *kw_section_entries(const struct kw_config *config, const struct section *section)
{
    void *entries = NULL; /* copied: a pointer to a struct may not be read as one to void */
    memcpy(&entries, (const char *)config + section->entries_at, sizeof(entries));
    return entries;
}

size_t kw_section_count(const struct kw_config *config, const struct section *section)
{
    size_t count = 0;
    memcpy(&count, (const char *)config + section->count_at, sizeof(count));
    return count;
}
