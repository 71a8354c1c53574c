/* Who is at the other end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "http/internal.h"

#define NAME_MAX_LEN 255

/* NULL for what two readers could take for different names, or no reader would show. */
static char *copy_name(const unsigned char *text, int len)
{
    if (len <= 0 || len > NAME_MAX_LEN || !kw_utf8_valid(text, (size_t)len))
        return NULL;
    for (int i = 0; i < len; i++)
        if (text[i] < ' ' || text[i] == 0x7f)
            return NULL;
    return strndup((const char *)text, (size_t)len);
}

/* None where the subject has several: which would it be? */
static char *common_name(X509 *certificate)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
        return NULL;
    unsigned char *text = NULL;
    int len =
        ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    char *name = copy_name(text, len);
    OPENSSL_free(text);
    return name;
}

static void read_names(X509 *certificate, struct kw_http_peer *peer)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        int type = 0;
        const ASN1_STRING *text = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
        if ((type != GEN_DNS && type != GEN_URI) || peer->name_count == KW_HTTP_NAMES_MAX)
            continue;
        const char *name = copy_name(ASN1_STRING_get0_data(text), ASN1_STRING_length(text));
        if (name)
            peer->names[peer->name_count++] = name;
    }
    GENERAL_NAMES_free(names);
}

struct kw_http_peer_held *kw_http_peer_new(const char *address, SSL *tls)
{
    struct kw_http_peer_held *held = calloc(1, sizeof(*held));
    if (!held)
        return NULL;
    held->users = 1;
    (void)snprintf(held->address, sizeof(held->address), "%s", address);
    held->peer.address = held->address;
    X509 *certificate = tls ? SSL_get0_peer_certificate(tls) : NULL;
    if (certificate && SSL_get_verify_result(tls) == X509_V_OK) {
        held->peer.verified = true;
        held->peer.common_name = common_name(certificate);
        read_names(certificate, &held->peer);
    }
    ERR_clear_error();
    return held;
}

void kw_http_peer_release(struct kw_http_peer_held *held)
{
    if (!held || --held->users > 0)
        return;
    free((char *)held->peer.common_name);
    for (size_t i = 0; i < held->peer.name_count; i++)
        free((char *)held->peer.names[i]);
    free(held);
}
