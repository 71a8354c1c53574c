/* How long a service takes to refuse an unwrap: it must not tell why.
 *
 *     bench_failures --at HOST:PORT --path PATH --ca FILE --public FILE --alg ALG --samples N
 *                    [--bearer FILE] [--cert FILE --key FILE]
 *
 * Sends wrapped keys that are wrong in different ways, in turn at random, over one connection, and
 * compares how long their answers take, which have to be one and the same. Prints TAP, a test for
 * each way. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#include "../../keys/padding.h"
#include "../../keys/timing.h"
#include "client.h"

#define POOL    32 /* inputs of a class */
#define CLASSES (PADDING_CLASSES + 3)
#define WARM    50

/* After those of padding.h. What the sender sees himself, from TOO_LARGE on, is measured and no
 * claim is made on it. */
enum { OTHER_ALG = PADDING_CLASSES, TOO_LARGE, TOO_SHORT };
static const char *const more_names[] = {"the padding of another algorithm",
                                         "a number over the modulus", "a byte is missing"};

static struct bench_server server;
static struct bench_request request;
static enum kw_wrap_alg alg;
static struct {
    char *text;
    size_t len;
} inputs[CLASSES][POOL];

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_failures: %s\n", what);
    exit(2);
}

static const char *name_of(size_t class)
{
    return class < PADDING_CLASSES ? padding_names(alg)[class]
                                   : more_names[class - PADDING_CLASSES];
}

/* ---- what is sent ---- */

static size_t number_of(EVP_PKEY *key, const char *name, uint8_t *out, size_t room)
{
    BIGNUM *number = NULL;
    if (EVP_PKEY_get_bn_param(key, name, &number) != 1 || (size_t)BN_num_bytes(number) > room)
        die("this is no RSA key");
    size_t len = (size_t)BN_bn2bin(number, out);
    BN_free(number);
    return len;
}

static void encrypt_with(EVP_PKEY *key, int padding, uint8_t out[PADDING_MODULUS])
{
    uint8_t data_key[32];
    size_t len = PADDING_MODULUS;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    if (RAND_bytes(data_key, sizeof(data_key)) != 1 || EVP_PKEY_encrypt_init(context) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(context, padding) != 1 ||
        (padding == RSA_PKCS1_OAEP_PADDING &&
         EVP_PKEY_CTX_set_rsa_oaep_md(context, alg == KW_RSA_OAEP ? EVP_sha256() : EVP_sha1()) !=
             1) ||
        EVP_PKEY_encrypt(context, out, &len, data_key, sizeof(data_key)) != 1)
        die("encrypting");
    EVP_PKEY_CTX_free(context);
}

static void make_input(EVP_PKEY *key, const struct kw_rsa_public *public, size_t class,
                       uint8_t out[PADDING_MODULUS])
{
    if (class < PADDING_CLASSES) {
        padding_encode(alg, (enum padding_class) class, out);
        padding_encrypt(public, out);
    } else if (class == OTHER_ALG) {
        encrypt_with(key, RSA_PKCS1_OAEP_PADDING, out);
    } else {
        if (RAND_bytes(out, PADDING_MODULUS) != 1)
            die("RAND_bytes");
        out[0] = 0xff; /* more than any modulus, but for one key in many */
        out[1] = 0xff;
    }
}

static void prepare(const char *path)
{
    FILE *file = fopen(path, "re");
    EVP_PKEY *key = file ? PEM_read_PUBKEY(file, NULL, NULL, NULL) : NULL;
    struct kw_rsa_public public = {.modulus_len = 0};
    uint8_t wrapped[PADDING_MODULUS];
    if (!key)
        die("the public key can't be read");
    (void)fclose(file); /* it was only read */
    public.modulus_len =
        number_of(key, OSSL_PKEY_PARAM_RSA_N, public.modulus, sizeof(public.modulus));
    public.exponent_len =
        number_of(key, OSSL_PKEY_PARAM_RSA_E, public.exponent, sizeof(public.exponent));
    if (public.modulus_len != PADDING_MODULUS)
        die("the key has another size");
    for (size_t class = 0; class < CLASSES; class ++)
        for (size_t i = 0; i < POOL; i++) {
            make_input(key, &public, class, wrapped);
            inputs[class][i].text = bench_request_new(
                &request, wrapped, sizeof(wrapped) - (class == TOO_SHORT), &inputs[class][i].len);
        }
    EVP_PKEY_free(key);
}

/* ---- what comes back ---- */

/* A failure that decrypts is none. */
static int has_class(size_t class)
{
    return !(alg == KW_RSA1_5 && class == PADDING_NO_SEPARATOR);
}

static double ask(struct bench_client *client, size_t class, char first[BENCH_ANSWER_MAX])
{
    size_t i = timing_choose(POOL);
    double before = timing_now();
    int status = bench_client_ask(client, inputs[class][i].text, inputs[class][i].len);
    double took = timing_now() - before;
    if (status != 400) {
        fprintf(stderr, "%s: %d %s\n", name_of(class), status, status > 0 ? client->body : "");
        die("it does not answer 400");
    }
    if (!first[0])
        memcpy(first, client->body, strlen(client->body) + 1);
    if (strcmp(first, client->body) != 0) {
        fprintf(stderr, "%s: %s\ninstead of %s\n", name_of(class), client->body, first);
        die("the answers differ");
    }
    return took;
}

static void measure(struct timing *timing, size_t samples)
{
    static struct bench_client client;
    static char first[BENCH_ANSWER_MAX];
    if (bench_client_open(&client, bench_client_context(&server), &server) != 0)
        die("the service can't be reached");
    for (size_t i = 0; i < WARM; i++)
        if (has_class(i % CLASSES))
            (void)ask(&client, i % CLASSES, first);
    for (size_t i = 0; i < samples * CLASSES; i++) {
        size_t class = timing_choose(CLASSES);
        if (has_class(class))
            timing_add(timing, class, ask(&client, class, first));
    }
    bench_client_close(&client);
}

static int judge(const struct timing *timing)
{
    int leaks = 0, number = 0;
    printf("1..%d\n", (int)CLASSES - 1 - (alg == KW_RSA1_5));
    for (size_t i = 1; i < CLASSES; i++) {
        double difference = 0;
        if (!has_class(i))
            continue;
        double t = timing_compare(timing, i, &difference);
        int leak = t > TIMING_LEAK && i < TOO_LARGE;
        printf("%s %d %s: \"%s\" against \"%s\": |t| %.1f, median %+.0f ns, %zu times%s\n",
               leak ? "not ok" : "ok", ++number, request.alg, name_of(i), name_of(0), t, difference,
               timing->counts[i], i < TOO_LARGE ? "" : ", no claim");
        leaks += leak;
    }
    return leaks;
}

/* ---- start ---- */

static void read_options(int argc, char **argv, const char **ret_public, size_t *ret_samples)
{
    static const struct option options[] = {{"at", 1, NULL, 'a'},     {"path", 1, NULL, 'p'},
                                            {"ca", 1, NULL, 'c'},     {"bearer", 1, NULL, 'b'},
                                            {"cert", 1, NULL, 'C'},   {"key", 1, NULL, 'k'},
                                            {"public", 1, NULL, 'P'}, {"samples", 1, NULL, 's'},
                                            {"alg", 1, NULL, 'A'},    {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 'a':
            server.at = request.host = optarg;
            break;
        case 'p':
            request.path = optarg;
            break;
        case 'c':
            server.ca = optarg;
            break;
        case 'b':
            request.bearer = bench_read_line(optarg);
            break;
        case 'C':
            server.certificate = optarg;
            break;
        case 'k':
            server.key = optarg;
            break;
        case 'P':
            *ret_public = optarg;
            break;
        case 's':
            *ret_samples = strtoul(optarg, NULL, 10);
            break;
        case 'A':
            request.alg = optarg;
            break;
        default:
            die("its options are in failures.c");
        }
    if (!server.at || !server.ca || !request.path || !*ret_public || *ret_samples < 100 ||
        !request.alg || (server.certificate && !server.key))
        die("its options are in failures.c");
}

int main(int argc, char **argv)
{
    const char *public = NULL;
    size_t samples = 0;
    struct timing timing;
    read_options(argc, argv, &public, &samples);
    alg = strcmp(request.alg, "RSA-OAEP") == 0       ? KW_RSA_OAEP
          : strcmp(request.alg, "RSA-OAEP-256") == 0 ? KW_RSA_OAEP_256
                                                     : KW_RSA1_5;
    prepare(public);
    timing_start(&timing, CLASSES, samples * 2);
    measure(&timing, samples);
    int leaks = judge(&timing);
    timing_free(&timing);
    return leaks ? 1 : 0;
}
