/* What a new key is to be: whether the plan makes sense, and how it is told to a token. */
#include <string.h>

#include "internal.h"

/* ---- checks ---- */

enum kw_status kw_plan_check_label(const char *label, struct kw_error *err)
{
    size_t len = label ? strlen(label) : 0;
    if (len == 0 || len > KW_KEY_LABEL_MAX || !kw_utf8_valid(label, len))
        return kw_fail(err, KW_USAGE,
                       "a key's name is UTF-8 text of 1 to %d bytes; give such a one",
                       KW_KEY_LABEL_MAX);
    return KW_OK;
}

static bool read_digits(const char *text, size_t count, unsigned *ret_number)
{
    unsigned number = 0;
    for (size_t i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        number = number * 10 + (unsigned)(text[i] - '0');
    }
    *ret_number = number;
    return true;
}

static unsigned days_of(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap ? 1U : 0U);
}

/* ISO 8601's calendar date. The year 0 means "no date" on some tokens. */
static bool is_date(const char *text)
{
    unsigned year, month, day;
    return strlen(text) == 10 && text[4] == '-' && text[7] == '-' && read_digits(text, 4, &year) &&
           read_digits(text + 5, 2, &month) && read_digits(text + 8, 2, &day) && year > 0 &&
           month >= 1 && month <= 12 && day >= 1 && day <= days_of(year, month);
}

static bool is_date_or_none(const char *text)
{
    return !text || !text[0] || is_date(text);
}

enum kw_status kw_plan_check_dates(const char *not_before, const char *expires,
                                   struct kw_error *err)
{
    const char *const dates[] = {not_before, expires};
    for (size_t i = 0; i < KW_COUNT(dates); i++) {
        char shown[32];
        if (!is_date_or_none(dates[i]))
            return kw_fail(err, KW_USAGE, "\"%s\" is no date; write it as in 2026-10-05",
                           kw_printable(dates[i], strlen(dates[i]), shown, sizeof(shown)));
    }
    if (not_before && not_before[0] && expires && expires[0] && strcmp(not_before, expires) > 0)
        return kw_fail(err, KW_USAGE,
                       "a key that is valid from %s can't expire on %s; give a later expiry",
                       not_before, expires);
    return KW_OK;
}

static bool is_offered(unsigned bits)
{
    return bits == 2048 || bits == 3072 || bits == 4096;
}

enum kw_status kw_plan_check(const struct kw_key_plan *plan, bool check_bits, struct kw_error *err)
{
    enum kw_status status = kw_plan_check_label(plan->label, err);
    if (status)
        return status;
    if (!plan->id || plan->id_len == 0 || plan->id_len > KW_KEY_ID_MAX)
        return kw_fail(err, KW_USAGE, "a key's id has 1 to %d bytes, not %zu", KW_KEY_ID_MAX,
                       plan->id_len);
    if (check_bits && !is_offered(plan->bits))
        return kw_fail(err, KW_USAGE, "a key of %u bits is not made; choose 2048, 3072 or 4096",
                       plan->bits);
    return kw_plan_check_dates(plan->not_before, plan->expires, err);
}

/* ---- templates ---- */

void kw_template_add(struct kw_template *template, CK_ATTRIBUTE_TYPE type, const void *value,
                     size_t len)
{
    if (template->count < KW_TEMPLATE_MAX)
        template->items[template->count++] = (CK_ATTRIBUTE){type, (void *)value, len};
}

void kw_template_add_bool(struct kw_template *template, CK_ATTRIBUTE_TYPE type, bool value)
{
    static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    kw_template_add(template, type, value ? &yes : &no, sizeof(yes));
}

void kw_template_set_bool(struct kw_template *template, CK_ATTRIBUTE_TYPE type, bool value)
{
    static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    for (CK_ULONG i = 0; i < template->count; i++)
        if (template->items[i].type == type)
            template->items[i].pValue = (void *)(value ? &yes : &no);
}

void kw_template_add_date(struct kw_template *template, CK_ATTRIBUTE_TYPE type, const char *date)
{
    if (!date[0] || template->date_count >= KW_COUNT(template->dates)) {
        kw_template_add(template, type, NULL, 0);
        return;
    }
    CK_CHAR *out = template->dates[template->date_count++];
    memcpy(out, date, 4);
    memcpy(out + 4, date + 5, 2);
    memcpy(out + 6, date + 8, 2);
    kw_template_add(template, type, out, sizeof(template->dates[0]));
}

void kw_template_add_rsa_class(struct kw_template *template, CK_OBJECT_CLASS class)
{
    static const CK_OBJECT_CLASS private = CKO_PRIVATE_KEY, public = CKO_PUBLIC_KEY;
    static const CK_KEY_TYPE rsa = CKK_RSA;
    kw_template_add(template, CKA_CLASS, class == CKO_PRIVATE_KEY ? &private : &public,
                    sizeof(class));
    kw_template_add(template, CKA_KEY_TYPE, &rsa, sizeof(rsa));
}

/* What each half may do, by the key's use. */
const struct kw_use_flags kw_use_flags[KW_USE_COUNT] = {
    [KW_USE_DECRYPT] = {.decrypt = true, .unwrap = true},
    [KW_USE_IMPORT] = {.unwrap = true},
    [KW_USE_SIGN] = {.sign = true},
    [KW_USE_ALL] = {.decrypt = true, .unwrap = true, .sign = true},
};

struct flag {
    CK_ATTRIBUTE_TYPE type;
    bool value;
};

static void add_flags(struct kw_template *template, const struct flag *flags, size_t count)
{
    for (size_t i = 0; i < count; i++)
        kw_template_add_bool(template, flags[i].type, flags[i].value);
}

static void add_names(struct kw_template *template, const struct kw_key_plan *plan)
{
    kw_template_add(template, CKA_LABEL, plan->label, strlen(plan->label));
    kw_template_add(template, CKA_ID, plan->id, plan->id_len);
    if (plan->not_before && plan->not_before[0])
        kw_template_add_date(template, CKA_START_DATE, plan->not_before);
    if (plan->expires && plan->expires[0])
        kw_template_add_date(template, CKA_END_DATE, plan->expires);
}

void kw_template_add_private(struct kw_template *template, const struct kw_key_plan *plan)
{
    /* What is not wanted is said too: what a token takes for granted differs. */
    const struct kw_use_flags *use = &kw_use_flags[plan->use];
    const struct flag flags[] = {
        {CKA_TOKEN, true},           {CKA_PRIVATE, true},
        {CKA_SENSITIVE, true},       {CKA_EXTRACTABLE, plan->extractable},
        {CKA_DECRYPT, use->decrypt}, {CKA_UNWRAP, use->unwrap},
        {CKA_SIGN, use->sign},       {CKA_SIGN_RECOVER, false},
    };
    add_flags(template, flags, KW_COUNT(flags));
    add_names(template, plan);
}

void kw_template_add_public(struct kw_template *template, const struct kw_key_plan *plan)
{
    const struct kw_use_flags *use = &kw_use_flags[plan->use];
    const struct flag flags[] = {
        {CKA_TOKEN, true},       {CKA_PRIVATE, false},    {CKA_ENCRYPT, use->decrypt},
        {CKA_WRAP, use->unwrap}, {CKA_VERIFY, use->sign}, {CKA_VERIFY_RECOVER, false},
    };
    add_flags(template, flags, KW_COUNT(flags));
    add_names(template, plan);
}

void kw_template_drop_usage(struct kw_template *template)
{
    static const CK_ATTRIBUTE_TYPE usage[] = {
        CKA_DECRYPT, CKA_UNWRAP, CKA_SIGN,   CKA_SIGN_RECOVER,
        CKA_ENCRYPT, CKA_WRAP,   CKA_VERIFY, CKA_VERIFY_RECOVER,
    };
    CK_ULONG kept = 0;
    for (CK_ULONG i = 0; i < template->count; i++) {
        bool drop = false;
        for (size_t j = 0; j < KW_COUNT(usage); j++)
            drop |= template->items[i].type == usage[j];
        if (!drop)
            template->items[kept++] = template->items[i];
    }
    template->count = kept;
}
