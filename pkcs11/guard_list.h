/* The functions of the guard KW_GUARD_NUMBER. Included by guard_calls.c once for each. */

static CK_RV KW_GUARDED(initialize)(void *init)
{
    const struct kw_call_args args = {.out = init, .out_size = sizeof(struct kw_init_args)};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_INITIALIZE, &args);
}

static CK_RV KW_GUARDED(finalize)(void *reserved)
{
    (void)reserved;
    const struct kw_call_args args = {.numbers = {0}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_FINALIZE, &args);
}

static CK_RV KW_GUARDED(get_info)(CK_INFO *info)
{
    const struct kw_call_args args = {.out = info, .out_size = sizeof(*info)};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_GET_INFO, &args);
}

static CK_RV KW_GUARDED(get_slot_list)(CK_BBOOL present, CK_SLOT_ID *slots, CK_ULONG *count)
{
    const struct kw_call_args args = {.numbers = {present},
                                      .out = slots,
                                      .out_size = *count * sizeof(*slots),
                                      .results = {count}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_GET_SLOT_LIST, &args);
}

static CK_RV KW_GUARDED(get_slot_info)(CK_SLOT_ID slot, CK_SLOT_INFO *info)
{
    const struct kw_call_args args = {.numbers = {slot}, .out = info, .out_size = sizeof(*info)};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_GET_SLOT_INFO, &args);
}

static CK_RV KW_GUARDED(get_token_info)(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    const struct kw_call_args args = {.numbers = {slot}, .out = info, .out_size = sizeof(*info)};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_GET_TOKEN_INFO, &args);
}

static CK_RV KW_GUARDED(init_token)(CK_SLOT_ID slot, CK_UTF8CHAR *pin, CK_ULONG len,
                                    CK_UTF8CHAR *label)
{
    const struct kw_call_args args = {.numbers = {slot}, .in = pin, .in_len = len, .label = label};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_INIT_TOKEN, &args);
}

static CK_RV KW_GUARDED(init_pin)(CK_SESSION_HANDLE session, CK_UTF8CHAR *pin, CK_ULONG len)
{
    const struct kw_call_args args = {.numbers = {session}, .in = pin, .in_len = len};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_INIT_PIN, &args);
}

static CK_RV KW_GUARDED(open_session)(CK_SLOT_ID slot, CK_FLAGS flags, void *application,
                                      CK_NOTIFY notify, CK_SESSION_HANDLE *session)
{
    (void)application;
    (void)notify;
    const struct kw_call_args args = {.numbers = {slot, flags}, .results = {session}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_OPEN_SESSION, &args);
}

static CK_RV KW_GUARDED(close_session)(CK_SESSION_HANDLE session)
{
    const struct kw_call_args args = {.numbers = {session}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_CLOSE_SESSION, &args);
}

static CK_RV KW_GUARDED(get_session_info)(CK_SESSION_HANDLE session, CK_SESSION_INFO *info)
{
    const struct kw_call_args args = {.numbers = {session}, .out = info, .out_size = sizeof(*info)};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_GET_SESSION_INFO, &args);
}

static CK_RV KW_GUARDED(login)(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin,
                               CK_ULONG len)
{
    const struct kw_call_args args = {.numbers = {session, user}, .in = pin, .in_len = len};
    return kw_guard_call(KW_GUARD_NUMBER, pin ? KW_CALL_LOGIN : KW_CALL_LOGIN_BY_PERSON, &args);
}

static CK_RV KW_GUARDED(logout)(CK_SESSION_HANDLE session)
{
    const struct kw_call_args args = {.numbers = {session}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_LOGOUT, &args);
}

static CK_RV KW_GUARDED(create_object)(CK_SESSION_HANDLE session, CK_ATTRIBUTE *items,
                                       CK_ULONG count, CK_OBJECT_HANDLE *object)
{
    const struct kw_call_args args = {
        .numbers = {session}, .templates = {{items, count}}, .results = {object}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_CREATE_OBJECT, &args);
}

static CK_RV KW_GUARDED(destroy_object)(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
    const struct kw_call_args args = {.numbers = {session, object}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_DESTROY_OBJECT, &args);
}

static CK_RV KW_GUARDED(get_attribute_value)(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                             CK_ATTRIBUTE *items, CK_ULONG count)
{
    const struct kw_call_args args = {.numbers = {session, object}, .templates = {{items, count}}};
    return kw_guard_call(KW_GUARD_NUMBER, call_to_read(items, count), &args);
}

static CK_RV KW_GUARDED(set_attribute_value)(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                             CK_ATTRIBUTE *items, CK_ULONG count)
{
    const struct kw_call_args args = {.numbers = {session, object}, .templates = {{items, count}}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_SET_ATTRIBUTE_VALUE, &args);
}

static CK_RV KW_GUARDED(find_objects_init)(CK_SESSION_HANDLE session, CK_ATTRIBUTE *items,
                                           CK_ULONG count)
{
    const struct kw_call_args args = {.numbers = {session}, .templates = {{items, count}}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_FIND_OBJECTS_INIT, &args);
}

static CK_RV KW_GUARDED(find_objects)(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects,
                                      CK_ULONG max, CK_ULONG *count)
{
    const struct kw_call_args args = {.numbers = {session, max},
                                      .out = objects,
                                      .out_size = max * sizeof(*objects),
                                      .results = {count}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_FIND_OBJECTS, &args);
}

static CK_RV KW_GUARDED(find_objects_final)(CK_SESSION_HANDLE session)
{
    const struct kw_call_args args = {.numbers = {session}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_FIND_OBJECTS_FINAL, &args);
}

static CK_RV KW_GUARDED(encrypt_init)(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                                      CK_OBJECT_HANDLE key)
{
    const struct kw_call_args args = {.numbers = {session, key}, .mechanism = mechanism};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_ENCRYPT_INIT, &args);
}

static CK_RV KW_GUARDED(encrypt)(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_len,
                                 CK_BYTE *out, CK_ULONG *len)
{
    const struct kw_call_args args = {.numbers = {session},
                                      .in = in,
                                      .in_len = in_len,
                                      .out = out,
                                      .out_size = *len,
                                      .results = {len}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_ENCRYPT, &args);
}

static CK_RV KW_GUARDED(decrypt_init)(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                                      CK_OBJECT_HANDLE key)
{
    const struct kw_call_args args = {.numbers = {session, key}, .mechanism = mechanism};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_DECRYPT_INIT, &args);
}

static CK_RV KW_GUARDED(decrypt)(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_len,
                                 CK_BYTE *out, CK_ULONG *len)
{
    const struct kw_call_args args = {.numbers = {session},
                                      .in = in,
                                      .in_len = in_len,
                                      .out = out,
                                      .out_size = *len,
                                      .results = {len}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_DECRYPT, &args);
}

static CK_RV KW_GUARDED(sign_init)(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                                   CK_OBJECT_HANDLE key)
{
    const struct kw_call_args args = {.numbers = {session, key}, .mechanism = mechanism};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_SIGN_INIT, &args);
}

static CK_RV KW_GUARDED(sign)(CK_SESSION_HANDLE session, CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out,
                              CK_ULONG *len)
{
    const struct kw_call_args args = {.numbers = {session},
                                      .in = in,
                                      .in_len = in_len,
                                      .out = out,
                                      .out_size = *len,
                                      .results = {len}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_SIGN, &args);
}

static CK_RV KW_GUARDED(generate_key)(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                                      CK_ATTRIBUTE *items, CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    const struct kw_call_args args = {.numbers = {session},
                                      .mechanism = mechanism,
                                      .templates = {{items, count}},
                                      .results = {key}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_GENERATE_KEY, &args);
}

static CK_RV KW_GUARDED(generate_key_pair)(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                                           CK_ATTRIBUTE *public, CK_ULONG public_count,
                                           CK_ATTRIBUTE *private, CK_ULONG private_count,
                                           CK_OBJECT_HANDLE *public_key,
                                           CK_OBJECT_HANDLE *private_key)
{
    const struct kw_call_args args = {
        .numbers = {session},
        .mechanism = mechanism,
        .templates = {{public, public_count}, {private, private_count}},
        .results = {public_key, private_key}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_GENERATE_KEY_PAIR, &args);
}

static CK_RV KW_GUARDED(wrap_key)(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                                  CK_OBJECT_HANDLE with, CK_OBJECT_HANDLE key, CK_BYTE *out,
                                  CK_ULONG *len)
{
    const struct kw_call_args args = {.numbers = {session, with, key},
                                      .mechanism = mechanism,
                                      .out = out,
                                      .out_size = *len,
                                      .results = {len}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_WRAP_KEY, &args);
}

static CK_RV KW_GUARDED(unwrap_key)(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                                    CK_OBJECT_HANDLE with, CK_BYTE *in, CK_ULONG in_len,
                                    CK_ATTRIBUTE *items, CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    const struct kw_call_args args = {.numbers = {session, with},
                                      .mechanism = mechanism,
                                      .in = in,
                                      .in_len = in_len,
                                      .templates = {{items, count}},
                                      .results = {key}};
    return kw_guard_call(KW_GUARD_NUMBER, KW_CALL_UNWRAP_KEY, &args);
}

static const CK_FUNCTION_LIST KW_GUARDED(list) = {
    .C_Initialize = KW_GUARDED(initialize),
    .C_Finalize = KW_GUARDED(finalize),
    .C_GetInfo = KW_GUARDED(get_info),
    .C_GetSlotList = KW_GUARDED(get_slot_list),
    .C_GetSlotInfo = KW_GUARDED(get_slot_info),
    .C_GetTokenInfo = KW_GUARDED(get_token_info),
    .C_InitToken = KW_GUARDED(init_token),
    .C_InitPIN = KW_GUARDED(init_pin),
    .C_OpenSession = KW_GUARDED(open_session),
    .C_CloseSession = KW_GUARDED(close_session),
    .C_GetSessionInfo = KW_GUARDED(get_session_info),
    .C_Login = KW_GUARDED(login),
    .C_Logout = KW_GUARDED(logout),
    .C_CreateObject = KW_GUARDED(create_object),
    .C_DestroyObject = KW_GUARDED(destroy_object),
    .C_GetAttributeValue = KW_GUARDED(get_attribute_value),
    .C_SetAttributeValue = KW_GUARDED(set_attribute_value),
    .C_FindObjectsInit = KW_GUARDED(find_objects_init),
    .C_FindObjects = KW_GUARDED(find_objects),
    .C_FindObjectsFinal = KW_GUARDED(find_objects_final),
    .C_EncryptInit = KW_GUARDED(encrypt_init),
    .C_Encrypt = KW_GUARDED(encrypt),
    .C_DecryptInit = KW_GUARDED(decrypt_init),
    .C_Decrypt = KW_GUARDED(decrypt),
    .C_SignInit = KW_GUARDED(sign_init),
    .C_Sign = KW_GUARDED(sign),
    .C_GenerateKey = KW_GUARDED(generate_key),
    .C_GenerateKeyPair = KW_GUARDED(generate_key_pair),
    .C_WrapKey = KW_GUARDED(wrap_key),
    .C_UnwrapKey = KW_GUARDED(unwrap_key),
};
