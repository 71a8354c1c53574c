/* Making a key pair: both halves as planned, or none. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* ---- what a token does not do ---- */

bool kw_make_refused(CK_RV rv)
{
    static const CK_RV refusals[] = {
        CKR_TEMPLATE_INCONSISTENT,   CKR_TEMPLATE_INCOMPLETE, CKR_ATTRIBUTE_TYPE_INVALID,
        CKR_ATTRIBUTE_VALUE_INVALID, CKR_ATTRIBUTE_READ_ONLY, CKR_KEY_SIZE_RANGE,
    };
    for (size_t i = 0; i < KW_COUNT(refusals); i++)
        if (rv == refusals[i])
            return true;
    enum kw_rv_meaning meaning = kw_rv_meaning(rv);
    return meaning == KW_RV_NOT_OFFERED || meaning == KW_RV_NOT_PERMITTED;
}

enum kw_status kw_make_fail(struct kw_token *token, struct kw_session *session, CK_RV rv,
                            const char *what, struct kw_error *err)
{
    if (!kw_make_refused(rv))
        return kw_session_fail(token, session, rv, what, err);
    char name[KW_RV_NAME_SIZE];
    session->failure = rv;
    return kw_fail_ck(err, KW_KEY_UNUSABLE, rv,
                      "the token \"%s\" does not %s as it was asked to (%s); see in its vendor's "
                      "manual which keys it takes, or use another token",
                      token->info.label, what, kw_rv_name(rv, name));
}

/* ---- reading back ---- */

static bool has_names(const struct kw_token_key *key, const struct kw_key_plan *plan)
{
    return key->id_len == plan->id_len && memcmp(key->id, plan->id, plan->id_len) == 0 &&
           strcmp(key->label, plan->label) == 0;
}

/* Where the token tells them; one that tells none of them keeps to its own rules. */
static CK_RV check_flags(struct kw_token *token, struct kw_session *session,
                         CK_OBJECT_HANDLE handle, bool *ret_equal)
{
    static const CK_BBOOL wanted[3] = {CK_TRUE, CK_TRUE, CK_FALSE};
    CK_BBOOL values[3] = {CK_FALSE};
    CK_ATTRIBUTE attributes[] = {
        {CKA_TOKEN, &values[0], 1},
        {CKA_PRIVATE, &values[1], 1},
        {CKA_SIGN_RECOVER, &values[2], 1},
    };
    CK_RV rv = kw_attributes_read(token->functions, session, handle, attributes, 3);
    if (rv != CKR_OK)
        return rv;
    bool equal = true;
    for (size_t i = 0; i < KW_COUNT(attributes); i++)
        if (kw_attribute_known(&attributes[i]) && !values[i] != !wanted[i])
            equal = false;
    *ret_equal = equal;
    return CKR_OK;
}

/* Neither less nor more; more only where the token decides on that. */
static bool fits_use(const struct kw_token_key *private, const struct kw_use_flags *use, bool fixed)
{
    if (fixed)
        return use->sign ? private->sign : use->decrypt ? private->decrypt : private->unwrap;
    return private->decrypt == use->decrypt && private->unwrap == use->unwrap &&
           private->sign == use->sign;
}

/* Both halves, as the token tells them. */
struct pair {
    struct kw_token_key private, public;
    bool flags_equal, dates_equal;
};

static enum kw_status read_pair(struct kw_token *token, struct kw_session *session,
                                const CK_OBJECT_HANDLE handles[2], const struct kw_key_plan *plan,
                                struct pair *pair, struct kw_error *err)
{
    const char *not_before = plan->not_before ? plan->not_before : "";
    const char *expires = plan->expires ? plan->expires : "";
    CK_RV rv = kw_key_read(token, session, handles[0], &pair->private);
    if (rv == CKR_OK)
        rv = kw_key_read(token, session, handles[1], &pair->public);
    if (rv == CKR_OK)
        rv = check_flags(token, session, handles[0], &pair->flags_equal);
    if (rv == CKR_OK)
        rv =
            kw_halves_check_dates(token, session, handles, not_before, expires, &pair->dates_equal);
    if (rv != CKR_OK)
        return kw_session_fail(token, session, rv, "tell what it made", err);
    return KW_OK;
}

/* The first thing that is not as planned, or NULL. */
static const char *find_difference(const struct pair *pair, const struct kw_key_plan *plan,
                                   unsigned bits, bool fixed_usage)
{
    const struct kw_token_key *private = &pair->private;
    const struct kw_use_flags *use = &kw_use_flags[plan->use];
    const struct {
        bool equal;
        const char *what;
    } checks[] = {
        {kw_rsa_same(&private->public, &pair->public.public), "modulus"},
        {bits == 0 || kw_rsa_bits(&private->public) == bits, "size"},
        {has_names(private, plan) && has_names(&pair->public, plan), "name or id"},
        {private->sensitive, "sensitivity"},
        {private->extractable == plan->extractable, "extractability"},
        {fits_use(private, use, fixed_usage) && pair->flags_equal, "usage"},
        {pair->dates_equal, "dates"},
    };
    for (size_t i = 0; i < KW_COUNT(checks); i++)
        if (!checks[i].equal)
            return checks[i].what;
    return NULL;
}

enum kw_status kw_pair_check(struct kw_token *token, struct kw_session *session,
                             CK_OBJECT_HANDLE private_handle, CK_OBJECT_HANDLE public_handle,
                             const struct kw_key_plan *plan, unsigned bits,
                             struct kw_token_key *ret_key, struct kw_error *err)
{
    const CK_OBJECT_HANDLE handles[] = {private_handle, public_handle};
    struct pair pair = {.flags_equal = false};
    enum kw_status status = read_pair(token, session, handles, plan, &pair, err);
    if (status)
        return status;
    const char *difference =
        find_difference(&pair, plan, bits, kw_module_quirks(token->module)->fixed_usage);
    if (difference)
        return kw_fail(err, KW_KEY_UNUSABLE,
                       "the token \"%s\" gave the new key another %s than was asked for, so it was "
                       "removed; use another token",
                       token->info.label, difference);
    kw_key_add_public(&pair.private, &pair.public);
    *ret_key = pair.private;
    return KW_OK;
}

/* ---- the public half of a private one ---- */

enum kw_status kw_public_create(struct kw_token *token, struct kw_session *session,
                                const struct kw_key_plan *plan, const struct kw_rsa_public *numbers,
                                CK_OBJECT_HANDLE *ret_handle, struct kw_error *err)
{
    struct kw_template template = {.count = 0};
    kw_template_add_rsa_class(&template, CKO_PUBLIC_KEY);
    kw_template_add_public(&template, plan);
    kw_template_add(&template, CKA_MODULUS, numbers->modulus, numbers->modulus_len);
    kw_template_add(&template, CKA_PUBLIC_EXPONENT, numbers->exponent, numbers->exponent_len);
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    CK_RV rv =
        token->functions->C_CreateObject(session->handle, template.items, template.count, &handle);
    if (rv != CKR_OK)
        return kw_make_fail(token, session, rv, "store a public key", err);
    *ret_handle = handle;
    return KW_OK;
}

/* ---- both or none ---- */

struct making {
    const struct kw_key_plan *plan;
    kw_create_fn create;
    void *context;
    struct kw_token_key names; /* the id alone, to search for */
    bool begun;                /* the id was free, so whatever has it since was made here */
    struct kw_token_key key;
};

/* A public key alone is what an interrupted purge leaves, and no command of ours removes it. */
static enum kw_status is_taken(const struct kw_token *token, const struct kw_token_key *names,
                               CK_OBJECT_CLASS class, struct kw_error *err)
{
    char id[2 * KW_KEY_ID_MAX + 1];
    kw_hex_encode(names->id, names->id_len, id);
    if (class == CKO_PRIVATE_KEY)
        return kw_fail(err, KW_EXISTS,
                       "the token \"%s\" has a private key with this id already; choose another "
                       "id, or delete and purge that key first",
                       token->info.label);
    return kw_fail(err, KW_EXISTS,
                   "the token \"%s\" has a public key with this id already, and no private one; if "
                   "it was left behind, remove it with pkcs11-tool --delete-object --type pubkey "
                   "--id %s, then try again",
                   token->info.label, id);
}

static enum kw_status check_id_is_free(struct kw_token *token, struct kw_session *session,
                                       const struct making *making, struct kw_error *err)
{
    static const CK_OBJECT_CLASS classes[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY};
    for (size_t i = 0; i < KW_COUNT(classes); i++) {
        CK_OBJECT_HANDLE *handles = NULL;
        size_t count = 0;
        enum kw_status status =
            kw_halves_find(token, session, classes[i], &making->names, &handles, &count, err);
        if (status)
            return status;
        free(handles);
        if (count > 0)
            return is_taken(token, &making->names, classes[i], err);
    }
    return kw_session_check_login(token, session, err);
}

static enum kw_status make_once(struct kw_token *token, struct kw_session *session, void *context,
                                struct kw_error *err)
{
    struct making *making = context;
    size_t removed = 0;
    enum kw_status status = making->begun
                                ? kw_halves_destroy(token, session, &making->names, &removed, err)
                                : check_id_is_free(token, session, making, err);
    if (status)
        return status;
    making->begun = true;
    return making->create(token, session, making->plan, making->context, &making->key, err);
}

static enum kw_status remove_made(struct kw_token *token, struct kw_session *session, void *context,
                                  struct kw_error *err)
{
    const struct making *making = context;
    size_t removed = 0;
    return kw_halves_destroy(token, session, &making->names, &removed, err);
}

static enum kw_status may_be_left(const struct making *making, const struct kw_error *failure,
                                  struct kw_error *err)
{
    char id[2 * KW_KEY_ID_MAX + 1];
    kw_hex_encode(making->plan->id, making->plan->id_len, id);
    return kw_fail_ck(err, failure->status, failure->ck_rv,
                      "%.300s; the new key could not be removed: delete what has the id %.40s",
                      failure->message, id);
}

enum kw_status kw_pair_make(struct kw_token *token, const struct kw_key_plan *plan,
                            kw_create_fn create, void *context, struct kw_token_key *ret_key,
                            struct kw_error *err)
{
    struct making making = {.plan = plan, .create = create, .context = context};
    making.names.id_len = plan->id_len;
    memcpy(making.names.id, plan->id, plan->id_len);
    struct kw_error failure = {.status = KW_OK};
    enum kw_status status = kw_token_with_rw_session(token, make_once, &making, &failure);
    if (!status) {
        *ret_key = making.key;
        return KW_OK;
    }
    if (making.begun && kw_token_with_rw_session(token, remove_made, &making, NULL) != KW_OK)
        return may_be_left(&making, &failure, err);
    if (err)
        *err = failure;
    return status;
}

/* ---- on the token ---- */

static enum kw_status generate(struct kw_token *token, struct kw_session *session,
                               const struct kw_key_plan *plan, void *context,
                               struct kw_token_key *ret_key, struct kw_error *err)
{
    static const CK_BYTE f4[] = {1, 0, 1};
    (void)context;
    CK_ULONG bits = plan->bits;
    struct kw_template public = {.count = 0}, private = {.count = 0};
    kw_template_add_public(&public, plan);
    kw_template_add(&public, CKA_MODULUS_BITS, &bits, sizeof(bits));
    kw_template_add(&public, CKA_PUBLIC_EXPONENT, f4, sizeof(f4));
    kw_template_add_private(&private, plan);
    if (kw_module_quirks(token->module)->fixed_usage) {
        kw_template_drop_usage(&public);
        kw_template_drop_usage(&private);
    }
    CK_MECHANISM mechanism = {.mechanism = CKM_RSA_PKCS_KEY_PAIR_GEN};
    CK_OBJECT_HANDLE public_handle = CK_INVALID_HANDLE, private_handle = CK_INVALID_HANDLE;
    CK_RV rv = token->functions->C_GenerateKeyPair(session->handle, &mechanism, public.items,
                                                   public.count, private.items, private.count,
                                                   &public_handle, &private_handle);
    if (rv != CKR_OK)
        return kw_make_fail(token, session, rv, "make a key", err);
    return kw_pair_check(token, session, private_handle, public_handle, plan, plan->bits, ret_key,
                         err);
}

enum kw_status kw_token_make_key(struct kw_token *token, const struct kw_key_plan *plan,
                                 struct kw_token_key *ret_key, struct kw_error *err)
{
    enum kw_status status = kw_plan_check(plan, true, err);
    if (status)
        return status;
    return kw_pair_make(token, plan, generate, NULL, ret_key, err);
}
