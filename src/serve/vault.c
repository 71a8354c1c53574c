/* The Key Vault keys API: its routes, what they have in common, and how its errors look. */
#include <cjson/cJSON.h>
#include <string.h>

#include "serve/internal.h"

static const struct kw_route routes[] = {
    {KW_GET, "keys", "list", KW_ACT_READ, false, kw_list_keys},
    {KW_POST, "keys/restore", "restore", KW_ACT_RESTORE, true, kw_restore_key},
    {KW_GET, "keys/N", "get", KW_ACT_READ, false, kw_get_key},
    {KW_PUT, "keys/N", "import", KW_ACT_IMPORT, true, kw_import_key},
    {KW_PATCH, "keys/N", "update", KW_ACT_UPDATE, true, kw_update_key},
    {KW_DELETE, "keys/N", "delete", KW_ACT_DELETE, false, kw_delete_key},
    {KW_GET, "keys/N/versions", "versions", KW_ACT_READ, false, kw_list_versions},
    {KW_POST, "keys/N/create", "create", KW_ACT_CREATE, true, kw_create_key},
    {KW_POST, "keys/N/rotate", "rotate", KW_ACT_ROTATE, false, kw_rotate_key},
    {KW_POST, "keys/N/backup", "backup", KW_ACT_BACKUP, false, kw_backup_key},
    {KW_GET, "keys/N/rotationpolicy", "get-policy", KW_ACT_POLICY_READ, false, kw_get_policy},
    {KW_PUT, "keys/N/rotationpolicy", "put-policy", KW_ACT_POLICY_WRITE, true, kw_put_policy},
    {KW_POST, "keys/N/encrypt", "encrypt", KW_ACT_ENCRYPT, true, kw_encrypt},
    {KW_POST, "keys/N/decrypt", "decrypt", KW_ACT_DECRYPT, true, kw_decrypt_value},
    {KW_POST, "keys/N/wrapkey", "wrap", KW_ACT_WRAP, true, kw_wrap_key},
    {KW_POST, "keys/N/unwrapkey", "unwrap", KW_ACT_UNWRAP, true, kw_unwrap_key},
    {KW_POST, "keys/N/sign", "sign", KW_ACT_SIGN, true, kw_sign_digest},
    {KW_POST, "keys/N/verify", "verify", KW_ACT_VERIFY, true, kw_verify_digest},
    {KW_POST, "keys/N/V/encrypt", "encrypt", KW_ACT_ENCRYPT, true, kw_encrypt},
    {KW_POST, "keys/N/V/decrypt", "decrypt", KW_ACT_DECRYPT, true, kw_decrypt_value},
    {KW_POST, "keys/N/V/wrapkey", "wrap", KW_ACT_WRAP, true, kw_wrap_key},
    {KW_POST, "keys/N/V/unwrapkey", "unwrap", KW_ACT_UNWRAP, true, kw_unwrap_key},
    {KW_POST, "keys/N/V/sign", "sign", KW_ACT_SIGN, true, kw_sign_digest},
    {KW_POST, "keys/N/V/verify", "verify", KW_ACT_VERIFY, true, kw_verify_digest},
    {KW_GET, "keys/N/V", "get", KW_ACT_READ, false, kw_get_key},
    {KW_PATCH, "keys/N/V", "update", KW_ACT_UPDATE, true, kw_update_key},
    {KW_GET, "deletedkeys", "list-deleted", KW_ACT_READ, false, kw_list_deleted},
    {KW_GET, "deletedkeys/N", "get-deleted", KW_ACT_READ, false, kw_get_deleted},
    {KW_POST, "deletedkeys/N/recover", "recover", KW_ACT_RECOVER, false, kw_recover_key},
    {KW_DELETE, "deletedkeys/N", "purge", KW_ACT_PURGE, false, kw_purge_key},
    {KW_POST, "rng", "random", KW_ACT_RANDOM, true, kw_random_bytes},
};

static enum kw_status check(struct kw_call *call, struct kw_error *err)
{
    if (call->name && !kw_is_vault_name(call->name))
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                              "The name of a key has 1 to %d letters, digits and \"-\".",
                              KW_NAME_MAX);
    return KW_OK;
}

static struct cJSON *describe(const struct kw_refusal_row *row, const char *message)
{
    cJSON *json = cJSON_CreateObject();
    cJSON *error = kw_json_add_object(json, "error");
    kw_json_add_text(error, "code", row->code);
    kw_json_add_text(error, "message", message);
    if (row->inner)
        kw_json_add_text(kw_json_add_object(error, "innererror"), "code", row->inner);
    return json;
}

const struct kw_api kw_vault_api = {
    .name = "vault",
    .routes = routes,
    .route_count = KW_COUNT(routes),
    .wants_version = true,
    .wants_keys = true,
    .takes_tokens = true,
    .check = check,
    .describe = describe,
};
