/* Lists of the certificates that CAs have revoked: RFC 5280 section 5. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "crypto/openssl.h"
#include "http/internal.h"

#define CRLS_MAX     64
#define CRL_FILE_MAX ((size_t)8 * 1024 * 1024)

/* One whose time is over would turn every client away, and each of them would learn that before
 * whoever runs the server does. A date that can't be read compares as 0. */
static bool is_current(const X509_CRL *crl)
{
    const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
    return X509_cmp_current_time(X509_CRL_get0_lastUpdate(crl)) < 0 && next &&
           X509_cmp_current_time(next) > 0;
}

/* OpenSSL would take a delta CRL for a complete one, and forget who was revoked before it. */
static bool is_complete(X509_CRL *crl)
{
    int critical = -1;
    if (X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) >= 0)
        return false;
    ISSUING_DIST_POINT *point =
        X509_CRL_get_ext_d2i(crl, NID_issuing_distribution_point, &critical, NULL);
    bool whole = point ? point->indirectCRL <= 0 && !point->onlysomereasons : critical == -1;
    ISSUING_DIST_POINT_free(point);
    return whole;
}

static enum kw_status add(X509_STORE *store, X509_CRL *crl, const char *path, struct kw_error *err)
{
    if (!is_current(crl))
        return kw_fail(err, KW_CONFIG,
                       "a CRL in %s is over, as its next update was due, or is not valid yet, or "
                       "does not say; fetch the one that the CA has now",
                       path);
    if (!is_complete(crl))
        return kw_fail(err, KW_CONFIG,
                       "a CRL in %s is a delta CRL, indirect, or for some reasons only; fetch the "
                       "CA's complete one",
                       path);
    return X509_STORE_add_crl(store, crl) == 1
               ? KW_OK
               : kw_fail_openssl(err, KW_CONFIG, "a CRL in %s can't be used", path);
}

/* *ret_crl stays NULL after the last one. */
static enum kw_status next_crl(struct kw_crypto *crypto, BIO *text, const char *path,
                               X509_CRL **ret_crl, struct kw_error *err)
{
    X509_CRL *crl = X509_CRL_new_ex(crypto->context, crypto->properties);
    if (!crl)
        return kw_fail_memory(err);
    if (PEM_read_bio_X509_CRL(text, &crl, kw_http_no_passphrase, NULL)) {
        *ret_crl = crl;
        return KW_OK;
    }
    X509_CRL_free(crl);
    unsigned long why = ERR_peek_last_error();
    if (ERR_GET_LIB(why) != ERR_LIB_PEM || ERR_GET_REASON(why) != PEM_R_NO_START_LINE)
        return kw_fail_openssl(err, KW_CONFIG, "a CRL in %s is damaged", path);
    ERR_clear_error();
    return KW_OK;
}

static enum kw_status add_all(struct kw_crypto *crypto, X509_STORE *store, BIO *text,
                              const char *path, struct kw_error *err)
{
    for (size_t count = 0; count <= CRLS_MAX; count++) {
        X509_CRL *crl = NULL;
        enum kw_status status = next_crl(crypto, text, path, &crl, err);
        if (!status && !crl && count > 0)
            return KW_OK;
        if (!status && !crl)
            status = kw_fail(err, KW_CONFIG, "%s holds no CRL in PEM", path);
        if (!status)
            status = add(store, crl, path, err);
        X509_CRL_free(crl);
        if (status)
            return status;
    }
    return kw_fail(err, KW_CONFIG, "%s holds more than %d CRLs", path, CRLS_MAX);
}

enum kw_status kw_http_use_crls(struct kw_crypto *crypto, SSL_CTX *context, const char *path,
                                struct kw_error *err)
{
    struct kw_buffer text = KW_BUFFER_INIT(CRL_FILE_MAX + 1);
    int fd = -1;
    enum kw_status status = kw_http_open_own(path, false, &fd, err);
    if (!status)
        status = kw_read_file(fd, CRL_FILE_MAX, path, KW_CONFIG, &text, err);
    kw_close(&fd);
    ERR_clear_error();
    BIO *bio = status ? NULL : BIO_new_mem_buf(text.data, (int)text.len);
    if (!status)
        status = bio ? add_all(crypto, SSL_CTX_get_cert_store(context), bio, path, err)
                     : kw_fail_memory(err);
    BIO_free(bio);
    kw_buffer_cleanup(&text);
    if (!status &&
        X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context),
                                    X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) != 1)
        status = kw_fail_openssl(err, KW_CONFIG, "OpenSSL refuses to check CRLs");
    return status;
}
