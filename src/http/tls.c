/* What TLS is spoken here: the one place that says so. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "crypto/openssl.h"
#include "http/internal.h"

#define SUITES_13 "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"
#define SUITES_12                                                                                  \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
#define GROUPS_FIPS      "P-256:P-384:P-521"
#define GROUPS           "X25519:" GROUPS_FIPS
#define SECURITY_LEVEL   2 /* 112 bits: RSA of 2048 bits, SHA-256 */
#define CLIENT_CHAIN_MAX 4 /* CAs between a client's certificate and the one that is trusted */
#define CHAIN_SIZE_MAX   (32L * 1024)

/* ---- parameters ---- */

/* RFC 7301: who speaks another protocol alone is told so in the handshake. */
static int choose_protocol(SSL *tls, const unsigned char **ret_chosen, unsigned char *ret_len,
                           const unsigned char *offered, unsigned offered_len, void *argument)
{
    static const unsigned char ours[] = "\x08http/1.1\x08http/1.0";
    unsigned char *chosen = NULL;
    (void)tls;
    (void)argument;
    if (SSL_select_next_proto(&chosen, ret_len, ours, sizeof(ours) - 1, offered, offered_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret_chosen = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* Without tickets and without a cache no session is taken up again: a client's certificate is
 * looked at whenever it connects, and no key outlives the connection that it was made for. */
static bool set_up(SSL_CTX *context, const struct kw_http_tls *tls, bool fips)
{
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_CLEANSE_PLAINTEXT);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_security_level(context, SECURITY_LEVEL);
    SSL_CTX_set_max_cert_list(context, CHAIN_SIZE_MAX);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    return SSL_CTX_set_num_tickets(context, 0) == 1 &&
           SSL_CTX_set_min_proto_version(context,
                                         tls->only_tls13 ? TLS1_3_VERSION : TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_ciphersuites(context, SUITES_13) == 1 &&
           SSL_CTX_set_cipher_list(context, SUITES_12) == 1 &&
           SSL_CTX_set1_groups_list(context, fips ? GROUPS_FIPS : GROUPS) == 1;
}

/* ---- the server's own certificate and key ---- */

enum kw_status kw_http_open_own(const char *path, bool secret, int *ret_fd, struct kw_error *err)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return kw_fail_errno(err, KW_CONFIG, errno, "%s can't be opened", path);
    enum kw_status status = kw_check_owner(fd, path, KW_CONFIG, err);
    if (!status && fstat(fd, &info) != 0)
        status = kw_fail_errno(err, KW_CONFIG, errno, "%s can't be looked at", path);
    if (!status && !S_ISREG(info.st_mode)) /* a pipe would keep the loop waiting */
        status = kw_fail(err, KW_CONFIG, "%s is no regular file", path);
    if (!status && secret && info.st_mode & S_IRWXO)
        status = kw_fail(err, KW_CONFIG,
                         "others may read the private key %s; chmod o= takes that from them", path);
    if (status)
        kw_close(&fd);
    else
        *ret_fd = fd;
    return status;
}

int kw_http_no_passphrase(char *out, int size, int writing, void *argument)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)argument;
    return -1;
}

static enum kw_status parse_key(struct kw_crypto *crypto, const struct kw_secret *pem,
                                const char *path, EVP_PKEY **ret_key, struct kw_error *err)
{
    BIO *bio = BIO_new_mem_buf(kw_secret_bytes(pem), (int)kw_secret_len(pem));
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey_ex(bio, NULL, kw_http_no_passphrase, NULL,
                                                     crypto->context, crypto->properties)
                        : NULL;
    BIO_free(bio);
    if (!key)
        return kw_fail_openssl(err, KW_CONFIG,
                               "%s holds no private key in PEM without a passphrase", path);
    *ret_key = key;
    return KW_OK;
}

static enum kw_status read_key(struct kw_crypto *crypto, const char *path, EVP_PKEY **ret_key,
                               struct kw_error *err)
{
    struct kw_secret *pem = NULL;
    int fd = -1;
    enum kw_status status = kw_http_open_own(path, true, &fd, err);
    if (!status)
        status = kw_secret_read(fd, KW_SECRET_MAX, false, path, &pem, err);
    if (!status)
        status = parse_key(crypto, pem, path, ret_key, err);
    kw_secret_free(pem);
    kw_close(&fd);
    return status;
}

static enum kw_status use_certificate(SSL_CTX *context, const char *path, struct kw_error *err)
{
    int fd = -1;
    enum kw_status status = kw_http_open_own(path, false, &fd, err);
    if (status)
        return status;
    if (SSL_CTX_use_certificate_chain_file(context, path) != 1)
        status = kw_fail_openssl(err, KW_CONFIG, "%s is no certificate chain in PEM", path);
    kw_close(&fd);
    return status;
}

static enum kw_status use_key(struct kw_crypto *crypto, SSL_CTX *context,
                              const struct kw_http_tls *tls, struct kw_error *err)
{
    EVP_PKEY *read = NULL;
    if (!tls->private_key && !tls->key)
        return KW_OK;
    enum kw_status status = tls->private_key ? KW_OK : read_key(crypto, tls->key, &read, err);
    if (status)
        return status;
    if (SSL_CTX_use_PrivateKey(context, read ? read : tls->private_key) != 1 ||
        SSL_CTX_check_private_key(context) != 1)
        status = kw_fail_openssl(err, KW_CONFIG, "%s is not the key of the certificate %s",
                                 read ? tls->key : "the key on the token", tls->certificate);
    EVP_PKEY_free(read);
    return status;
}

/* ---- clients' certificates ---- */

static enum kw_status use_client_ca(struct kw_crypto *crypto, SSL_CTX *context,
                                    const struct kw_http_tls *tls, struct kw_error *err)
{
    X509_VERIFY_PARAM *parameters = SSL_CTX_get0_param(context);
    int fd = -1;
    if (tls->client_certificate == KW_CERTIFICATE_NONE)
        return KW_OK;
    if (!tls->client_ca)
        return kw_fail(err, KW_CONFIG,
                       "clients are to have certificates, but no client_ca says whose");
    enum kw_status status = kw_http_open_own(tls->client_ca, false, &fd, err);
    if (status)
        return status;
    kw_close(&fd);
    STACK_OF(X509_NAME) *names =
        SSL_load_client_CA_file_ex(tls->client_ca, crypto->context, crypto->properties);
    if (!names || SSL_CTX_load_verify_file(context, tls->client_ca) != 1 ||
        X509_VERIFY_PARAM_set_purpose(parameters, X509_PURPOSE_SSL_CLIENT) != 1)
        status = kw_fail_openssl(err, KW_CONFIG, "%s holds no certificates in PEM", tls->client_ca);
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify_depth(context, CLIENT_CHAIN_MAX);
    SSL_CTX_set_verify(context,
                       tls->client_certificate == KW_CERTIFICATE_REQUIRED
                           ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
                           : SSL_VERIFY_PEER,
                       NULL);
    return status || !tls->client_crl ? status
                                      : kw_http_use_crls(crypto, context, tls->client_crl, err);
}

enum kw_status kw_http_tls_new(struct kw_crypto *crypto, const struct kw_http_tls *tls,
                               const char *listener, SSL_CTX **ret_tls, struct kw_error *err)
{
    const char *properties = tls->private_key ? crypto->with_elsewhere : crypto->properties;
    SSL_CTX *context = SSL_CTX_new_ex(crypto->context, properties, TLS_server_method());
    if (!context)
        return kw_fail_openssl(err, KW_CONFIG, "TLS can't be set up for \"%s\"", listener);
    enum kw_status status =
        set_up(context, tls, crypto->fips)
            ? KW_OK
            : kw_fail_openssl(err, KW_CONFIG, "OpenSSL refuses the settings of TLS");
    if (!status)
        status = use_certificate(context, tls->certificate, err);
    if (!status)
        status = use_key(crypto, context, tls, err);
    if (!status)
        status = use_client_ca(crypto, context, tls, err);
    if (status)
        SSL_CTX_free(context);
    else
        *ret_tls = context;
    return status;
}
