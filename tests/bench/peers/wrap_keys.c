/* Writes COUNT data keys wrapped with RSAES-OAEP (SHA-1), one after the other; each holds its
 * number so that whoever unwraps can tell. `bench_wrap_keys PUBLIC.pem COUNT FILE` */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#define DATA_KEY    32
#define WRAPPED_MAX 512

static int write_wrapped(EVP_PKEY_CTX *context, size_t count, FILE *out)
{
    unsigned char data_key[DATA_KEY] = {0}, wrapped[WRAPPED_MAX];
    for (size_t i = 0; i < count; i++) {
        size_t len = sizeof(wrapped);
        memcpy(data_key, &i, sizeof(i));
        if (EVP_PKEY_encrypt(context, wrapped, &len, data_key, sizeof(data_key)) != 1 ||
            fwrite(wrapped, 1, len, out) != len)
            return 0;
    }
    return 1;
}

int main(int argc, char **argv)
{
    FILE *pem = argc == 4 ? fopen(argv[1], "re") : NULL;
    FILE *out = argc == 4 ? fopen(argv[3], "we") : NULL;
    EVP_PKEY *key = pem ? PEM_read_PUBKEY(pem, NULL, NULL, NULL) : NULL;
    EVP_PKEY_CTX *context = key ? EVP_PKEY_CTX_new(key, NULL) : NULL;
    int good = context && out && EVP_PKEY_encrypt_init(context) == 1 &&
               EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) == 1 &&
               write_wrapped(context, strtoul(argv[2], NULL, 10), out);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(key);
    if (pem)
        (void)fclose(pem); /* it was only read */
    if (out && fclose(out) != 0)
        good = 0;
    if (!good)
        fprintf(stderr, "wrapping data keys failed\n");
    return good ? 0 : 1;
}
