/* Puts one RSA key pair on a token under many ids and labels, from number FIRST up to END:
 * `bench_make_keys MODULE LABEL PIN-FILE PRIVATE.pem FIRST END`; ids are cafe0000, cafe0001, ... */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "cryptoki.h"

#define NUMBERS   8
#define BYTES_MAX 512
#define KEYS_MAX  65536
#define LABEL_MAX 32
#define STALE_MAX 64

/* The public half needs the first two. */
static const struct {
    CK_ATTRIBUTE_TYPE type;
    const char *openssl;
} numbers[NUMBERS] = {
    {CKA_MODULUS, OSSL_PKEY_PARAM_RSA_N},
    {CKA_PUBLIC_EXPONENT, OSSL_PKEY_PARAM_RSA_E},
    {CKA_PRIVATE_EXPONENT, OSSL_PKEY_PARAM_RSA_D},
    {CKA_PRIME_1, OSSL_PKEY_PARAM_RSA_FACTOR1},
    {CKA_PRIME_2, OSSL_PKEY_PARAM_RSA_FACTOR2},
    {CKA_EXPONENT_1, OSSL_PKEY_PARAM_RSA_EXPONENT1},
    {CKA_EXPONENT_2, OSSL_PKEY_PARAM_RSA_EXPONENT2},
    {CKA_COEFFICIENT, OSSL_PKEY_PARAM_RSA_COEFFICIENT1},
};
static CK_BYTE bytes[NUMBERS][BYTES_MAX];
static CK_ULONG lengths[NUMBERS];

static void read_key(const char *path)
{
    FILE *file = fopen(path, "re");
    EVP_PKEY *key = file ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
    if (!key)
        bench_fail(path, 0);
    for (size_t i = 0; i < NUMBERS; i++) {
        BIGNUM *number = NULL;
        if (EVP_PKEY_get_bn_param(key, numbers[i].openssl, &number) != 1 ||
            BN_num_bytes(number) > BYTES_MAX)
            bench_fail(numbers[i].openssl, i);
        lengths[i] = (CK_ULONG)BN_bn2bin(number, bytes[i]);
        BN_free(number);
    }
    EVP_PKEY_free(key);
    (void)fclose(file); /* it was only read */
}

/* What an earlier run left on a token that lasts. */
static void remove_stale(const struct bench_token *token, CK_BYTE *id, CK_ULONG id_len)
{
    CK_OBJECT_HANDLE stale[STALE_MAX];
    CK_ATTRIBUTE wanted = {CKA_ID, id, id_len};
    size_t count = bench_find(token, &wanted, 1, stale, STALE_MAX);
    for (size_t i = 0; i < count && i < STALE_MAX; i++)
        bench_check(token->functions->C_DestroyObject(token->session, stale[i]), "C_DestroyObject");
}

static void make_half(const struct bench_token *token, bool private, CK_BYTE *id, CK_ULONG id_len,
                      char *label, CK_ULONG label_len)
{
    CK_OBJECT_CLASS class = private ? CKO_PRIVATE_KEY : CKO_PUBLIC_KEY;
    CK_KEY_TYPE rsa = CKK_RSA;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE, is_private = private;
    CK_ATTRIBUTE object[7 + 2 + NUMBERS] = {
        {CKA_CLASS, &class, sizeof(class)},
        {CKA_KEY_TYPE, &rsa, sizeof(rsa)},
        {CKA_TOKEN, &yes, sizeof(yes)},
        {CKA_PRIVATE, &is_private, sizeof(is_private)},
        {CKA_ID, id, id_len},
        {CKA_LABEL, label, label_len},
        {private ? CKA_DECRYPT : CKA_ENCRYPT, &yes, sizeof(yes)},
    };
    CK_ULONG count = 7;
    CK_OBJECT_HANDLE made = 0;
    if (private) {
        object[count++] = (CK_ATTRIBUTE){CKA_SENSITIVE, &yes, sizeof(yes)};
        object[count++] = (CK_ATTRIBUTE){CKA_EXTRACTABLE, &no, sizeof(no)};
    }
    for (size_t i = 0; i < (private ? NUMBERS : 2); i++)
        object[count++] = (CK_ATTRIBUTE){numbers[i].type, bytes[i], lengths[i]};
    bench_check(token->functions->C_CreateObject(token->session, object, count, &made),
                "C_CreateObject");
}

int main(int argc, char **argv)
{
    struct bench_token token;
    if (argc != 7)
        bench_fail("reading the arguments", (unsigned long)argc);
    size_t end = strtoul(argv[6], NULL, 10);
    if (end > KEYS_MAX)
        bench_fail("reading END", end);
    read_key(argv[4]);
    bench_open(&token, argv[1], argv[2], argv[3], CKF_RW_SESSION);
    for (size_t i = strtoul(argv[5], NULL, 10); i < end; i++) {
        CK_BYTE id[] = {0xca, 0xfe, (CK_BYTE)(i >> 8), (CK_BYTE)i};
        char label[LABEL_MAX];
        int len = snprintf(label, sizeof(label), "bench-%05zu", i);
        if (i == 0)
            remove_stale(&token, id, sizeof(id));
        make_half(&token, false, id, sizeof(id), label, (CK_ULONG)len);
        make_half(&token, true, id, sizeof(id), label, (CK_ULONG)len);
    }
    bench_close(&token);
    return 0;
}
