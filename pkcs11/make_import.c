/* A private key from outside put on the token. */
#include <string.h>

#include "internal.h"

static const CK_ATTRIBUTE_TYPE number_types[KW_RSA_NUMBERS] = {
    [KW_RSA_MODULUS] = CKA_MODULUS,
    [KW_RSA_PUBLIC_EXPONENT] = CKA_PUBLIC_EXPONENT,
    [KW_RSA_PRIVATE_EXPONENT] = CKA_PRIVATE_EXPONENT,
    [KW_RSA_PRIME_1] = CKA_PRIME_1,
    [KW_RSA_PRIME_2] = CKA_PRIME_2,
    [KW_RSA_EXPONENT_1] = CKA_EXPONENT_1,
    [KW_RSA_EXPONENT_2] = CKA_EXPONENT_2,
    [KW_RSA_COEFFICIENT] = CKA_COEFFICIENT,
};

struct import {
    const struct kw_rsa_private *private;
    struct kw_rsa_public public;
};

static enum kw_status create_private(struct kw_token *token, struct kw_session *session,
                                     const struct kw_key_plan *plan,
                                     const struct kw_rsa_private *private,
                                     CK_OBJECT_HANDLE *ret_handle, struct kw_error *err)
{
    struct kw_template template = {.count = 0};
    kw_template_add_rsa_class(&template, CKO_PRIVATE_KEY);
    kw_template_add_private(&template, plan);
    for (size_t i = 0; i < KW_RSA_NUMBERS; i++)
        kw_template_add(&template, number_types[i], kw_secret_bytes(private->numbers[i]),
                        kw_secret_len(private->numbers[i]));
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    CK_RV rv =
        token->functions->C_CreateObject(session->handle, template.items, template.count, &handle);
    if (rv != CKR_OK)
        return kw_make_fail(token, session, rv, "store a private key", err);
    *ret_handle = handle;
    return KW_OK;
}

/* The public half first: should everything end in between, what is left is no key yet. */
static enum kw_status create(struct kw_token *token, struct kw_session *session,
                             const struct kw_key_plan *plan, void *context,
                             struct kw_token_key *ret_key, struct kw_error *err)
{
    const struct import *import = context;
    CK_OBJECT_HANDLE public_handle = CK_INVALID_HANDLE, private_handle = CK_INVALID_HANDLE;
    enum kw_status status =
        kw_public_create(token, session, plan, &import->public, &public_handle, err);
    if (!status)
        status = create_private(token, session, plan, import->private, &private_handle, err);
    if (status)
        return status;
    return kw_pair_check(token, session, private_handle, public_handle, plan,
                         (unsigned)kw_rsa_bits(&import->public), ret_key, err);
}

static bool copy_number(const struct kw_secret *number, uint8_t *out, size_t capacity,
                        size_t *ret_len)
{
    size_t len = kw_secret_len(number);
    if (len > capacity)
        return false;
    memcpy(out, kw_secret_bytes(number), len);
    *ret_len = len;
    return true;
}

static enum kw_status import_numbers(struct kw_token *token, const struct kw_key_plan *plan,
                                     const struct kw_rsa_private *private,
                                     struct kw_token_key *ret_key, struct kw_error *err)
{
    struct import import = {.private = private};
    struct kw_rsa_public *public = &import.public;
    if (!copy_number(private->numbers[KW_RSA_MODULUS], public->modulus, sizeof(public->modulus),
                     &public->modulus_len) ||
        !copy_number(private->numbers[KW_RSA_PUBLIC_EXPONENT], public->exponent,
                     sizeof(public->exponent), &public->exponent_len))
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the private key has a public exponent of more than %zu bytes; use another "
                       "key",
                       sizeof(public->exponent));
    return kw_pair_make(token, plan, create, &import, ret_key, err);
}

enum kw_status kw_token_import_key(struct kw_token *token, const struct kw_key_plan *plan,
                                   const struct kw_secret *pkcs8, struct kw_token_key *ret_key,
                                   struct kw_error *err)
{
    enum kw_status status = kw_plan_check(plan, false, err);
    if (status)
        return status;
    struct kw_rsa_private private = {.numbers = {NULL}};
    status = kw_rsa_private_from_pkcs8(token->crypto, pkcs8, &private, err);
    if (status)
        return status;
    status = import_numbers(token, plan, &private, ret_key, err);
    kw_rsa_private_cleanup(&private);
    return status;
}
