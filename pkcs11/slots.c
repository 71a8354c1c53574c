/* Slots and the tokens in them. A token is known by what it says of itself; slot numbers change
 * when a reader or a module is added. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define MAX_SLOTS 4096
/* Tokens that an error lists by name. */
#define MAX_LISTED 8

/* CK_TOKEN_INFO pads with blanks, some modules with NULs. */
static size_t trimmed_len(const CK_UTF8CHAR *text, size_t len)
{
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\0'))
        len--;
    return len;
}

static void fill_text(char *out, size_t out_size, const CK_UTF8CHAR *text, size_t len)
{
    (void)kw_printable(text, trimmed_len(text, len), out, out_size);
}

void kw_token_info_fill(struct kw_token_info *info, const CK_TOKEN_INFO *from)
{
    fill_text(info->label, sizeof(info->label), from->label, sizeof(from->label));
    fill_text(info->manufacturer, sizeof(info->manufacturer), from->manufacturerID,
              sizeof(from->manufacturerID));
    fill_text(info->model, sizeof(info->model), from->model, sizeof(from->model));
    fill_text(info->serial, sizeof(info->serial), from->serialNumber, sizeof(from->serialNumber));
    info->initialized = from->flags & CKF_TOKEN_INITIALIZED;
    info->login_required = from->flags & CKF_LOGIN_REQUIRED;
    info->pin_count_low = from->flags & CKF_USER_PIN_COUNT_LOW;
    info->pin_final_try = from->flags & CKF_USER_PIN_FINAL_TRY;
    info->pin_locked = from->flags & CKF_USER_PIN_LOCKED;
    info->protected_path = from->flags & CKF_PROTECTED_AUTHENTICATION_PATH;
    info->write_protected = from->flags & CKF_WRITE_PROTECTED;
}

bool kw_same_token(const CK_TOKEN_INFO *a, const CK_TOKEN_INFO *b)
{
    return memcmp(a->label, b->label, sizeof(a->label)) == 0 &&
           memcmp(a->manufacturerID, b->manufacturerID, sizeof(a->manufacturerID)) == 0 &&
           memcmp(a->model, b->model, sizeof(a->model)) == 0 &&
           memcmp(a->serialNumber, b->serialNumber, sizeof(a->serialNumber)) == 0;
}

static enum kw_status slots_fail(const struct kw_module *module, CK_RV rv, struct kw_error *err)
{
    char path[160], name[KW_RV_NAME_SIZE];
    if (kw_rv_meaning(rv) == KW_RV_TIMED_OUT)
        return kw_module_no_answer(module, NULL, err);
    const char *text = kw_module_path(module);
    return kw_fail_ck(
        err, KW_TOKEN, rv,
        "the PKCS#11 module %s does not list its slots (%s); check that its device or "
        "service runs",
        kw_printable(text, strlen(text), path, sizeof(path)), kw_rv_name(rv, name));
}

static enum kw_status read_slot_ids(const struct kw_module *module, CK_SLOT_ID **ret_ids,
                                    size_t *ret_count, struct kw_error *err)
{
    const CK_FUNCTION_LIST *functions = kw_module_functions(module);
    CK_ULONG count = 0;
    /* Some modules look for new tokens only when they are asked for the number. */
    CK_RV rv = functions->C_GetSlotList(CK_TRUE, NULL, &count);
    if (rv == CKR_OK && count > MAX_SLOTS)
        rv = KW_CKR_NONSENSE;
    if (rv != CKR_OK)
        return slots_fail(module, rv, err);
    CK_ULONG room = count + 16;
    CK_SLOT_ID *ids = calloc(room, sizeof(*ids));
    if (!ids)
        return kw_fail_memory(err);
    count = room;
    rv = functions->C_GetSlotList(CK_TRUE, ids, &count);
    if (rv == CKR_OK && count > room)
        rv = KW_CKR_NONSENSE;
    if (rv != CKR_OK) {
        free(ids);
        return slots_fail(module, rv, err);
    }
    *ret_ids = ids;
    *ret_count = count;
    return KW_OK;
}

enum kw_status kw_slots_read(const struct kw_module *module, struct kw_slot **ret_slots,
                             size_t *ret_count, struct kw_error *err)
{
    const CK_FUNCTION_LIST *functions = kw_module_functions(module);
    CK_SLOT_ID *ids = NULL;
    size_t id_count = 0;
    enum kw_status status = read_slot_ids(module, &ids, &id_count, err);
    if (status)
        return status;
    struct kw_slot *slots = calloc(id_count + 1, sizeof(*slots));
    if (!slots) {
        free(ids);
        return kw_fail_memory(err);
    }
    size_t count = 0;
    CK_RV rv = CKR_OK;
    for (size_t i = 0; i < id_count && rv != KW_CKR_NO_MEMORY; i++) {
        slots[count].id = ids[i];
        /* One that was pulled out since then, or can't be read, must not hide the others. */
        rv = functions->C_GetTokenInfo(ids[i], &slots[count].info);
        if (rv == CKR_OK)
            count++;
    }
    free(ids);
    if (rv == KW_CKR_NO_MEMORY) { /* it was not even asked */
        free(slots);
        return kw_fail_memory(err);
    }
    if (kw_module_is_stuck(module)) {
        free(slots);
        return kw_module_no_answer(module, NULL, err);
    }
    *ret_slots = slots;
    *ret_count = count;
    return KW_OK;
}

enum kw_status kw_token_list(const char *module_path, const char *init_args, unsigned timeout_s,
                             const struct kw_uri *uri, struct kw_token_info **ret_infos,
                             size_t *ret_count, struct kw_error *err)
{
    struct kw_module *module = NULL;
    enum kw_status status = kw_module_get(module_path, init_args, timeout_s, &module, err);
    if (status)
        return status;
    struct kw_slot *slots = NULL;
    size_t count = 0;
    status = kw_slots_read(module, &slots, &count, err);
    kw_module_put(module);
    if (status)
        return status;
    struct kw_token_info *infos = calloc(count + 1, sizeof(*infos));
    if (!infos) {
        free(slots);
        return kw_fail_memory(err);
    }
    size_t listed = 0;
    for (size_t i = 0; i < count; i++)
        if (!uri || kw_uri_matches_token_info(uri, &slots[i].info))
            kw_token_info_fill(&infos[listed++], &slots[i].info);
    free(slots);
    *ret_infos = infos;
    *ret_count = listed;
    return KW_OK;
}

static bool matches(const struct kw_module *module, const struct kw_uri *uri,
                    const struct kw_slot *slot)
{
    const CK_FUNCTION_LIST *functions = kw_module_functions(module);
    if (!(slot->info.flags & CKF_TOKEN_INITIALIZED))
        return false;
    if (!uri)
        return true;
    CK_INFO module_info;
    CK_SLOT_INFO slot_info;
    memset(&module_info, 0, sizeof(module_info));
    memset(&slot_info, 0, sizeof(slot_info));
    return functions->C_GetInfo(&module_info) == CKR_OK &&
           functions->C_GetSlotInfo(slot->id, &slot_info) == CKR_OK &&
           kw_uri_matches_token(uri, &module_info, &slot_info, &slot->info);
}

/* `"label" (serial 1234), ...` of the initialised tokens, or only of those that match. */
static void list_tokens(const struct kw_module *module, const struct kw_slot *slots, size_t count,
                        const struct kw_uri *uri, struct kw_buffer *text)
{
    size_t listed = 0, left_out = 0;
    for (size_t i = 0; i < count; i++) {
        if (!matches(module, uri, &slots[i]))
            continue;
        if (listed == MAX_LISTED) {
            left_out++;
            continue;
        }
        struct kw_token_info info;
        kw_token_info_fill(&info, &slots[i].info);
        if (kw_buffer_printf(text, NULL, "%s\"%s\" (serial %s)", listed ? ", " : "", info.label,
                             info.serial) != KW_OK)
            return;
        listed++;
    }
    if (left_out)
        (void)kw_buffer_printf(text, NULL, " and %zu more", left_out);
    else if (!listed)
        (void)kw_buffer_printf(text, NULL, "none that is initialised");
}

static enum kw_status slot_not_found(const struct kw_module *module, const struct kw_uri *uri,
                                     const struct kw_slot *slots, size_t count, size_t matching,
                                     struct kw_error *err)
{
    struct kw_buffer text = KW_BUFFER_INIT(1024);
    char shown[128] = "any token";
    if (uri)
        (void)kw_printable(kw_uri_public_text(uri), strlen(kw_uri_public_text(uri)), shown,
                           sizeof(shown));
    list_tokens(module, slots, count, matching ? uri : NULL, &text);
    const char *list = text.data ? (const char *)text.data : "";
    int list_len = (int)text.len; /* at most 1024 */
    if (matching)
        (void)kw_fail(err, KW_TOKEN_NOT_FOUND,
                      "%zu tokens match %s; name one by its serial. There are %.*s", matching,
                      shown, list_len, list);
    else
        (void)kw_fail(err, KW_TOKEN_NOT_FOUND,
                      "no token matches %s; check the URI and the module. There are %.*s", shown,
                      list_len, list);
    kw_buffer_cleanup(&text);
    return KW_TOKEN_NOT_FOUND;
}

enum kw_status kw_slot_find(const struct kw_module *module, const struct kw_uri *uri,
                            struct kw_slot *ret_slot, struct kw_error *err)
{
    struct kw_slot *slots = NULL;
    size_t count = 0;
    enum kw_status status = kw_slots_read(module, &slots, &count, err);
    if (status)
        return status;
    size_t matching = 0, last = 0;
    for (size_t i = 0; i < count; i++)
        if (matches(module, uri, &slots[i])) {
            matching++;
            last = i;
        }
    if (matching == 1)
        *ret_slot = slots[last];
    else if (kw_module_is_stuck(module))
        status = kw_module_no_answer(module, NULL, err);
    else
        status = slot_not_found(module, uri, slots, count, matching, err);
    free(slots);
    return status;
}

enum kw_status kw_slot_find_again(const struct kw_module *module, const CK_TOKEN_INFO *token,
                                  CK_SLOT_ID *ret_slot, struct kw_error *err)
{
    struct kw_slot *slots = NULL;
    size_t count = 0;
    enum kw_status status = kw_slots_read(module, &slots, &count, err);
    if (status)
        return status;
    struct kw_token_info info;
    kw_token_info_fill(&info, token);
    size_t i = 0;
    while (i < count && !kw_same_token(&slots[i].info, token))
        i++;
    if (i < count)
        *ret_slot = slots[i].id;
    else
        status = kw_fail_ck(err, KW_TOKEN, CKR_TOKEN_NOT_PRESENT,
                            "the token \"%s\" (serial %s) is gone; connect it again", info.label,
                            info.serial);
    free(slots);
    return status;
}
