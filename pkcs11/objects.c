/* The RSA private keys of a token and what it tells of them. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* ---- values ---- */

static bool is_true(const CK_ATTRIBUTE *attribute)
{
    return attribute->ulValueLen == sizeof(CK_BBOOL) && *(const CK_BBOOL *)attribute->pValue;
}

static bool all_digits(const CK_CHAR *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] < '0' || text[i] > '9')
            return false;
    return true;
}

/* CK_DATE is "YYYYMMDD"; empty, zero or blank means that there is none. */
void kw_date_set(char out[11], const CK_ATTRIBUTE *attribute)
{
    const CK_CHAR *text = attribute->pValue;
    if (attribute->ulValueLen != 8 || !all_digits(text, 8) || memcmp(text, "0000", 4) == 0)
        return;
    memcpy(out, text, 4);
    out[4] = '-';
    memcpy(out + 5, text + 4, 2);
    out[7] = '-';
    memcpy(out + 8, text + 6, 2);
    out[10] = '\0';
}

static void set_public(struct kw_rsa_public *public, const CK_ATTRIBUTE *modulus,
                       const CK_ATTRIBUTE *exponent)
{
    if (!kw_attribute_known(modulus))
        return;
    const uint8_t *number = modulus->pValue;
    size_t len = modulus->ulValueLen;
    kw_number_trim(&number, &len);
    if (len > sizeof(public->modulus))
        return;
    memcpy(public->modulus, number, len);
    public->modulus_len = len;
    size_t bits = len ? kw_rsa_bits(public) : 0;
    if (bits < KW_RSA_MIN_BITS || bits > KW_RSA_MAX_BITS) {
        memset(public, 0, sizeof(*public));
        return;
    }
    if (!kw_attribute_known(exponent))
        return;
    number = exponent->pValue;
    len = exponent->ulValueLen;
    kw_number_trim(&number, &len);
    if (len > sizeof(public->exponent))
        return;
    memcpy(public->exponent, number, len);
    public->exponent_len = len;
}

static void set_label(struct kw_token_key *key, const CK_ATTRIBUTE *attribute)
{
    if (!kw_attribute_known(attribute))
        return;
    size_t len = attribute->ulValueLen;
    const char *text = attribute->pValue;
    while (len > 0 && text[len - 1] == '\0')
        len--;
    memcpy(key->label, text, len);
    key->label[len] = '\0';
}

/* ---- one key ---- */

static CK_RV read_dates(struct kw_token *token, struct kw_session *session, CK_OBJECT_HANDLE object,
                        struct kw_token_key *key)
{
    CK_CHAR start[8], end[8];
    CK_ATTRIBUTE attributes[] = {
        {CKA_START_DATE, start, sizeof(start)},
        {CKA_END_DATE, end, sizeof(end)},
    };
    CK_RV rv =
        kw_attributes_read(token->functions, session, object, attributes, KW_COUNT(attributes));
    if (rv != CKR_OK)
        return rv;
    kw_date_set(key->not_before, &attributes[0]);
    kw_date_set(key->expires, &attributes[1]);
    return CKR_OK;
}

CK_RV kw_key_read(struct kw_token *token, struct kw_session *session, CK_OBJECT_HANDLE object,
                  struct kw_token_key *key)
{
    uint8_t id[KW_KEY_ID_MAX], modulus[KW_RSA_MAX_BYTES + 1], exponent[16];
    char label[KW_KEY_LABEL_MAX];
    CK_BBOOL flags[8];
    CK_ATTRIBUTE attributes[] = {
        {CKA_ID, id, sizeof(id)},
        {CKA_LABEL, label, sizeof(label)},
        {CKA_MODULUS, modulus, sizeof(modulus)},
        {CKA_PUBLIC_EXPONENT, exponent, sizeof(exponent)},
        {CKA_DECRYPT, &flags[0], 1},
        {CKA_UNWRAP, &flags[1], 1},
        {CKA_SIGN, &flags[2], 1},
        {CKA_SENSITIVE, &flags[3], 1},
        {CKA_EXTRACTABLE, &flags[4], 1},
        {CKA_NEVER_EXTRACTABLE, &flags[5], 1},
        {CKA_LOCAL, &flags[6], 1},
        {CKA_ALWAYS_AUTHENTICATE, &flags[7], 1},
    };
    bool *const outputs[8] = {&key->decrypt,     &key->unwrap,
                              &key->sign,        &key->sensitive,
                              &key->extractable, &key->never_extractable,
                              &key->local,       &key->always_authenticate};
    CK_RV rv =
        kw_attributes_read(token->functions, session, object, attributes, KW_COUNT(attributes));
    if (rv != CKR_OK)
        return rv;
    if (kw_attribute_known(&attributes[0])) {
        key->id_len = attributes[0].ulValueLen;
        memcpy(key->id, id, key->id_len);
    }
    set_label(key, &attributes[1]);
    set_public(&key->public, &attributes[2], &attributes[3]);
    for (size_t i = 0; i < KW_COUNT(outputs); i++)
        *outputs[i] = is_true(&attributes[4 + i]);
    return read_dates(token, session, object, key);
}

/* ---- what the public halves add ---- */

static int by_modulus_and_id(const void *a, const void *b)
{
    const struct kw_token_key *const *x = a, *const *y = b;
    int order = memcmp((*x)->public.modulus, (*y)->public.modulus, sizeof((*x)->public.modulus));
    if (order == 0)
        order = memcmp((*x)->id, (*y)->id, sizeof((*x)->id)); /* zeros after its end */
    if (order == 0)
        order = ((*x)->id_len > (*y)->id_len) - ((*x)->id_len < (*y)->id_len);
    return order;
}

static bool lacks_something(const struct kw_token_key *key)
{
    return key->public.modulus_len > 0 &&
           (!key->not_before[0] || !key->expires[0] || !key->public.exponent_len);
}

void kw_key_add_public(struct kw_token_key *key, const struct kw_token_key *public)
{
    if (!key->not_before[0])
        memcpy(key->not_before, public->not_before, sizeof(key->not_before));
    if (!key->expires[0])
        memcpy(key->expires, public->expires, sizeof(key->expires));
    if (!key->public.exponent_len)
        key->public = public->public;
}

/* One public key: its id and modulus must both be the private key's, for some tokens keep one
 * public key for two pairs of the same id. */
static CK_RV use_public_key(struct kw_token *token, struct kw_session *session,
                            CK_OBJECT_HANDLE object, struct kw_token_key **sorted, size_t count)
{
    struct kw_token_key public = {.id_len = 0};
    uint8_t modulus[KW_RSA_MAX_BYTES + 1], exponent[16];
    CK_ATTRIBUTE attributes[] = {
        {CKA_ID, public.id, sizeof(public.id)},
        {CKA_MODULUS, modulus, sizeof(modulus)},
        {CKA_PUBLIC_EXPONENT, exponent, sizeof(exponent)},
    };
    CK_RV rv =
        kw_attributes_read(token->functions, session, object, attributes, KW_COUNT(attributes));
    if (rv != CKR_OK || !kw_attribute_known(&attributes[0]))
        return rv;
    public.id_len = attributes[0].ulValueLen;
    memset(public.id + public.id_len, 0, sizeof(public.id) - public.id_len);
    set_public(&public.public, &attributes[1], &attributes[2]);
    const struct kw_token_key *wanted = &public;
    struct kw_token_key **hit = bsearch(&wanted, sorted, count, sizeof(*sorted), by_modulus_and_id);
    if (!hit)
        return CKR_OK;
    rv = read_dates(token, session, object, &public);
    if (rv == CKR_OK)
        kw_key_add_public(*hit, &public);
    return rv;
}

/* RSA keys, of any class where that is NULL. */
static enum kw_status find_keys(struct kw_token *token, struct kw_session *session,
                                const CK_OBJECT_CLASS *class, const struct kw_key_filter *filter,
                                CK_OBJECT_HANDLE **ret_handles, size_t *ret_count,
                                struct kw_error *err)
{
    CK_KEY_TYPE type = CKK_RSA;
    CK_ATTRIBUTE wanted[4] = {{CKA_KEY_TYPE, &type, sizeof(type)}};
    size_t count = 1;
    if (class)
        wanted[count++] = (CK_ATTRIBUTE){CKA_CLASS, (void *)class, sizeof(*class)};
    size_t max = class ? KW_TOKEN_KEYS_MAX : 2 * KW_TOKEN_KEYS_MAX;
    if (filter && filter->id_len > 0)
        wanted[count++] = (CK_ATTRIBUTE){CKA_ID, (void *)filter->id, filter->id_len};
    if (filter && filter->label_len > 0)
        wanted[count++] = (CK_ATTRIBUTE){CKA_LABEL, (void *)filter->label, filter->label_len};
    return kw_objects_find(token, session, wanted, count, max, ret_handles, ret_count, err);
}

/* What a search gave. */
struct halves {
    CK_OBJECT_HANDLE *handles; /* the private halves, then the public ones */
    size_t private_count;
    size_t public_count;
    bool has_public; /* all of the same ids were looked for too */
};

static CK_RV is_private(struct kw_token *token, struct kw_session *session, CK_OBJECT_HANDLE handle,
                        bool *ret_private)
{
    CK_OBJECT_CLASS class = CKO_DATA;
    CK_ATTRIBUTE attribute = {CKA_CLASS, &class, sizeof(class)};
    CK_RV rv = kw_attributes_read(token->functions, session, handle, &attribute, 1);
    *ret_private = rv == CKR_OK && kw_attribute_known(&attribute) && class == CKO_PRIVATE_KEY;
    return rv;
}

/* Both halves of the keys of an id with one search: each takes a module long that has thousands of
 * objects. */
static enum kw_status find_halves(struct kw_token *token, struct kw_session *session,
                                  const struct kw_key_filter *filter, struct halves *halves,
                                  struct kw_error *err)
{
    size_t count = 0;
    enum kw_status status = find_keys(token, session, NULL, filter, &halves->handles, &count, err);
    for (size_t i = 0; i < count && !status; i++) {
        bool private = false;
        CK_OBJECT_HANDLE handle = halves->handles[i];
        CK_RV rv = is_private(token, session, handle, &private);
        if (rv != CKR_OK)
            status = kw_session_fail(token, session, rv, "read a key", err);
        if (private) {
            halves->handles[i] = halves->handles[halves->private_count];
            halves->handles[halves->private_count++] = handle;
        }
    }
    halves->public_count = count - halves->private_count;
    halves->has_public = true;
    return status;
}

static bool was_refused(struct kw_session *session, enum kw_status status)
{
    bool refused = status == KW_TOKEN && kw_rv_remedy(session->failure) == KW_REMEDY_NONE;
    if (refused)
        session->failure = CKR_OK;
    return refused;
}

/* Some tokens refuse ids that none of their keys could have: then all of the class. */
static enum kw_status find_of_class(struct kw_token *token, struct kw_session *session,
                                    CK_OBJECT_CLASS class, const struct kw_key_filter *filter,
                                    CK_OBJECT_HANDLE **ret_handles, size_t *ret_count,
                                    struct kw_error *err)
{
    enum kw_status status = find_keys(token, session, &class, filter, ret_handles, ret_count, err);
    if (!filter || !was_refused(session, status))
        return status;
    return find_keys(token, session, &class, NULL, ret_handles, ret_count, err);
}

/* Some tokens refuse to search without a class. */
static enum kw_status find_private(struct kw_token *token, struct kw_session *session,
                                   const struct kw_key_filter *filter, struct halves *halves,
                                   struct kw_error *err)
{
    if (filter && filter->id_len > 0 && filter->label_len == 0) {
        enum kw_status status = find_halves(token, session, filter, halves, err);
        if (!was_refused(session, status))
            return status;
        free(halves->handles);
        *halves = (struct halves){.handles = NULL};
    }
    return find_of_class(token, session, CKO_PRIVATE_KEY, filter, &halves->handles,
                         &halves->private_count, err);
}

/* Of thousands of public keys none but those of its id are read for the sake of one private key. */
static enum kw_status find_public(struct kw_token *token, struct kw_session *session,
                                  const struct kw_token_key *only, struct halves *halves,
                                  struct kw_error *err)
{
    const struct kw_key_filter of_one = {.id = only ? only->id : NULL,
                                         .id_len = only ? only->id_len : 0};
    if (halves->has_public)
        return KW_OK;
    free(halves->handles);
    *halves = (struct halves){.has_public = true};
    return find_of_class(token, session, CKO_PUBLIC_KEY, only ? &of_one : NULL, &halves->handles,
                         &halves->public_count, err);
}

static enum kw_status use_public_keys(struct kw_token *token, struct kw_session *session,
                                      struct halves *halves, struct kw_token_key **sorted,
                                      size_t count, struct kw_error *err)
{
    enum kw_status status = find_public(token, session, count == 1 ? sorted[0] : NULL, halves, err);
    for (size_t i = 0; i < halves->public_count && !status; i++) {
        CK_RV rv = use_public_key(token, session, halves->handles[halves->private_count + i],
                                  sorted, count);
        if (rv != CKR_OK)
            status = kw_session_fail(token, session, rv, "read a public key", err);
    }
    return status;
}

static enum kw_status complete_keys(struct kw_token *token, struct kw_session *session,
                                    struct halves *halves, struct kw_token_key *keys, size_t count,
                                    struct kw_error *err)
{
    struct kw_token_key **sorted = calloc(count + 1, sizeof(*sorted));
    if (!sorted)
        return kw_fail_memory(err);
    size_t lacking = 0;
    for (size_t i = 0; i < count; i++)
        if (lacks_something(&keys[i]))
            sorted[lacking++] = &keys[i];
    enum kw_status status = KW_OK;
    if (lacking > 0) {
        qsort(sorted, lacking, sizeof(*sorted), by_modulus_and_id);
        status = use_public_keys(token, session, halves, sorted, lacking, err);
    }
    free(sorted);
    return status;
}

/* ---- all of them ---- */

struct key_list {
    const struct kw_key_filter *filter;
    struct kw_token_key *keys;
    size_t count;
};

static enum kw_status read_keys(struct kw_token *token, struct kw_session *session,
                                struct halves *halves, struct key_list *list, struct kw_error *err)
{
    size_t count = halves->private_count;
    CK_OBJECT_HANDLE first = count > 0 ? halves->handles[0] : CK_INVALID_HANDLE;
    struct kw_token_key *keys = calloc(count + 1, sizeof(*keys));
    if (!keys)
        return kw_fail_memory(err);
    enum kw_status status = KW_OK;
    for (size_t i = 0; i < count && !status; i++) {
        CK_RV rv = kw_key_read(token, session, halves->handles[i], &keys[i]);
        if (rv != CKR_OK)
            status = kw_session_fail(token, session, rv, "read a key", err);
    }
    if (!status)
        status = complete_keys(token, session, halves, keys, count, err);
    /* It was asked for alone because it is about to be used. */
    if (!status && list->filter && count == 1 && keys[0].public.modulus_len > 0)
        kw_key_remember(token, session, &keys[0], first);
    if (status) {
        free(keys);
        return status;
    }
    list->keys = keys;
    list->count = count;
    return KW_OK;
}

static enum kw_status list_keys(struct kw_token *token, struct kw_session *session, void *context,
                                struct kw_error *err)
{
    struct key_list *list = context;
    struct halves halves = {.handles = NULL};
    enum kw_status status = find_private(token, session, list->filter, &halves, err);
    if (!status)
        status = read_keys(token, session, &halves, list, err);
    free(halves.handles);
    if (!status && (status = kw_session_check_login(token, session, err))) {
        free(list->keys);
        list->keys = NULL;
    }
    return status;
}

enum kw_status kw_token_keys_of(struct kw_token *token, const struct kw_key_filter *filter,
                                struct kw_token_key **ret_keys, size_t *ret_count,
                                struct kw_error *err)
{
    struct key_list list = {.filter = filter};
    enum kw_status status = kw_token_with_session(token, list_keys, &list, err);
    if (status)
        return status;
    *ret_keys = list.keys;
    *ret_count = list.count;
    return KW_OK;
}

enum kw_status kw_token_keys(struct kw_token *token, struct kw_token_key **ret_keys,
                             size_t *ret_count, struct kw_error *err)
{
    return kw_token_keys_of(token, NULL, ret_keys, ret_count, err);
}
