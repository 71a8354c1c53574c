/* Made as libp11 makes its keys: RSA with another method for what is done with the private part. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <stdio.h>
#include <time.h>

#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "slow_key.h"

static long delay_ms;
static RSA_METHOD *method; /* for as long as there are keys */

static int sign_slowly(int len, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
    const struct timespec time = {.tv_sec = delay_ms / 1000, .tv_nsec = delay_ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
    return RSA_meth_get_priv_enc(RSA_PKCS1_OpenSSL())(len, from, to, rsa, padding);
}

EVP_PKEY *slow_key_new(const char *path, long ms)
{
    FILE *file = fopen(path, "re");
    RSA *rsa = file ? PEM_read_RSAPrivateKey(file, NULL, NULL, NULL) : NULL;
    method = RSA_meth_dup(RSA_PKCS1_OpenSSL());
    EVP_PKEY *key = EVP_PKEY_new();
    if (file)
        (void)fclose(file);
    if (!rsa || !method || !key)
        return NULL;
    delay_ms = ms;
    if (RSA_meth_set_priv_enc(method, sign_slowly) != 1 || RSA_set_method(rsa, method) != 1 ||
        EVP_PKEY_assign_RSA(key, rsa) != 1)
        return NULL;
    return key;
}
