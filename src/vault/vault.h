/* vault: keys behind a Key Vault keys REST API (Azure Key Vault, Managed HSM, Keyward's own
 * service), reached through libcurl.
 *
 * A kw_vault may be shared by threads. Only HTTPS, by TLS 1.2 or later; the host's certificate is
 * always verified, and no redirection is followed. Each call has a deadline for all that it does.
 * Access tokens and what was unwrapped live in secret memory; what libcurl copies of them it wipes
 * when it gives the memory back. */
#ifndef KW_VAULT_H
#define KW_VAULT_H

#include "base/base.h"
#include "crypto/crypto.h"

/* ---- addresses: url.c ---- */

#define KW_VAULT_NAME_MAX    127
#define KW_VAULT_VERSION_LEN 32 /* hex digits */
#define KW_VAULT_HOST_SIZE   264

/* What https://HOST[:PORT][/keys/NAME[/VERSION]] says; "" where it does not. */
struct kw_vault_address {
    char host[KW_VAULT_HOST_SIZE]; /* lower case; with the port where that is not 443 */
    char name[KW_VAULT_NAME_MAX + 1];
    char version[KW_VAULT_VERSION_LEN + 1]; /* lower case */
};
/* Whether the text is meant to be such an address. */
bool kw_is_vault_url(const char *text);
/* What follows "?" is not looked at. KW_CONFIG. */
enum kw_status kw_vault_address_parse(const char *text, struct kw_vault_address *ret_address,
                                      struct kw_error *err);
/* NAME or NAME/VERSION, or such an address of that host; false if it is neither. */
bool kw_vault_key_parse(const char *text, const char *host, struct kw_vault_address *ret_address);

/* ---- a vault: vault.c ---- */

struct kw_vault_options {
    /* As above, and what is not set below may follow as ?NAME=VALUE&...: token-source, ca,
     * certificate, key, resource. */
    const char *url;
    const char *ca;          /* absolute path of PEM certificates, the only ones that are trusted;
                                NULL: the system's */
    const char *certificate; /* absolute path of a PEM chain for mutual TLS, or NULL */
    const char *key;         /* absolute path of its private key, or NULL where it is in there */
    /* Where access tokens come from: file:PATH; exec:/PATH/OF/COMMAND ARGUMENTS, without a shell;
     * managed-identity[:CLIENT-ID]; or NULL or none. */
    const char *token_source;
    const char *resource; /* what a managed identity asks tokens for; NULL: what the vault says, if
                             it is its own host's */
    unsigned timeout_s;   /* for each call, with all that is tried again, 1 to 3600; 0: 60 */
    void (*warn)(void *context, const char *text); /* or NULL; from any thread */
    void *warn_context;
};
struct kw_vault;
/* Sends nothing yet. KW_CONFIG. */
enum kw_status kw_vault_open(const struct kw_vault_options *options, struct kw_vault **ret_vault,
                             struct kw_error *err);
void kw_vault_free(struct kw_vault *vault);
/* HOST, or HOST:PORT where the port is not 443. */
const char *kw_vault_host(const struct kw_vault *vault);
/* Adds the files and the network that it needs in a process that is confined. */
enum kw_status kw_vault_allow(const struct kw_vault *vault, struct kw_confinement *confinement,
                              struct kw_error *err);

/* ---- its keys ---- */

struct kw_vault_key {
    char name[KW_VAULT_NAME_MAX + 1];
    char version[KW_VAULT_VERSION_LEN + 1];
    struct kw_rsa_public public; /* modulus_len 0 where it is not RSA of 2048 to 4096 bits */
    bool hsm;                    /* it is in an HSM */
    bool exportable;
    bool enabled;
    bool decrypt, unwrap, sign;                    /* key_ops */
    int64_t not_before, expires, created, updated; /* unix time; 0: not told */
};
/* The versions of a key, or the one with that version; with name NULL the version of whichever key
 * has it, which means a look at each. Those that were fetched before are not fetched again.
 * KW_KEY_NOT_FOUND, KW_DENIED, KW_TOKEN. The caller frees *ret_keys with free(). */
enum kw_status kw_vault_find(struct kw_vault *vault, const char *name, const char *version,
                             struct kw_vault_key **ret_keys, size_t *ret_count,
                             struct kw_error *err);
/* All versions of all keys, one request each at least: at most KW_VAULT_KEYS_MAX, else KW_TOKEN. */
#define KW_VAULT_KEYS_MAX 4096
enum kw_status kw_vault_list(struct kw_vault *vault, struct kw_vault_key **ret_keys,
                             size_t *ret_count, struct kw_error *err);
/* Has keys fetched anew when they are next asked for. */
void kw_vault_forget(struct kw_vault *vault);

/* Decrypts `wrapped` by unwrapkey or decrypt, whichever the key allows. KW_KEY_UNWRAP: the vault
 * did not, for whatever cause; one message. KW_DENIED where the key allows neither, or the vault
 * not for whoever asks; KW_KEY_NOT_FOUND, KW_TOKEN. */
enum kw_status kw_vault_unwrap(struct kw_vault *vault, const struct kw_vault_key *key,
                               enum kw_wrap_alg alg, const uint8_t *wrapped, size_t wrapped_len,
                               struct kw_secret **ret_secret, struct kw_error *err);

/* ---- a command that gives tokens: command.c ---- */

/* A process that will be confined can start no command. So another one does it that was forked
 * before: it calls kw_vault_serve_command with one end of a socketpair (SOCK_SEQPACKET), and the
 * vault has the other end, which it closes when it is freed. */

/* The command of token-source = exec:..., or NULL. */
const char *kw_vault_command(const struct kw_vault *vault);
/* Returns when the other end is closed. Takes the environment over, and wipes it. */
void kw_vault_serve_command(int socket, const char *command);
void kw_vault_use_server(struct kw_vault *vault, int socket);

#endif
