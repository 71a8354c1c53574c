/* How the service says no. */
#include <stdarg.h>
#include <stdio.h>

#include "serve/call.h"

static const struct kw_refusal_row rows[KW_REFUSAL_COUNT] = {
    [KW_REFUSE_FAULT] = {500, "InternalServerError", NULL, "InternalServerError", 0,
                         "The service failed; its log says why."},
    [KW_REFUSE_PARAMETER] = {400, "BadParameter", NULL, "InvalidRequest", 0,
                             "The request has a value that can't be taken here."},
    [KW_REFUSE_NOT_SUPPORTED] = {400, "NotSupported", NULL, "UnsupportedAlgorithm", 0,
                                 "The key can't be used for this."},
    [KW_REFUSE_UNAUTHORIZED] = {401, "Unauthorized", NULL, "Unauthorized", 0,
                                "The client is not known here."},
    [KW_REFUSE_ROLE] = {403, "Forbidden", "ForbiddenByRbac", "Forbidden", 0,
                        "The client may not do this."},
    [KW_REFUSE_DISABLED] = {403, "Forbidden", "KeyDisabled", "KeyDisabled", 0,
                            "Operation is not allowed on a disabled key."},
    [KW_REFUSE_OPERATION] = {403, "Forbidden", "KeyOperationForbidden", "OperationNotAllowed", 0,
                             "Operation is not permitted on this key."},
    [KW_REFUSE_POLICY] = {403, "Forbidden", "ForbiddenByPolicy", "Forbidden", 0,
                          "The key's policy does not allow this."},
    [KW_REFUSE_NOT_FOUND] = {404, "NotFound", NULL, "NotFound", 0,
                             "There is nothing under this path."},
    [KW_REFUSE_NO_KEY] = {404, "KeyNotFound", NULL, "KeyNotFound", 0,
                          "The key was not found in this key vault."},
    [KW_REFUSE_METHOD] = {405, "MethodNotAllowed", NULL, "MethodNotAllowed", 0,
                          "The path does not take this method."},
    [KW_REFUSE_CONFLICT] = {409, "Conflict", NULL, "Conflict", 0,
                            "There is such a key already, or somebody else changes it just now."},
    [KW_REFUSE_DELETED] = {409, "Conflict", "ObjectIsDeletedButRecoverable", "Conflict", 0,
                           "There is a deleted key of this name."},
    [KW_REFUSE_TOO_LARGE] = {413, "RequestTooLarge", NULL, "InvalidRequest", 0,
                             "The request is too large."},
    [KW_REFUSE_TOO_OFTEN] = {429, "Throttled", NULL, "TooManyRequests", 1,
                             "The client sends more requests than it may; try again later."},
    [KW_REFUSE_UNAVAILABLE] = {503, "ServiceUnavailable", NULL, "ServiceUnavailable", 5,
                               "The service can't do that now; try again later."},
};

const struct kw_refusal_row *kw_refusal_row(enum kw_refusal refusal)
{
    return (size_t)refusal < KW_REFUSAL_COUNT ? &rows[refusal] : &rows[KW_REFUSE_FAULT];
}

enum kw_refusal kw_refusal_of(enum kw_status status)
{
    static const struct {
        enum kw_status status;
        enum kw_refusal refusal;
    } meanings[] = {
        {KW_USAGE, KW_REFUSE_PARAMETER},
        {KW_METADATA, KW_REFUSE_PARAMETER},
        {KW_DAMAGED, KW_REFUSE_PARAMETER},
        {KW_KEY_UNWRAP, KW_REFUSE_PARAMETER},
        {KW_KEY_UNUSABLE, KW_REFUSE_NOT_SUPPORTED},
        {KW_EXISTS, KW_REFUSE_CONFLICT},
        {KW_DENIED, KW_REFUSE_ROLE},
        /* Which key was asked for the service knows by itself: this is another one that it needs,
         * or one that went away just now. */
        {KW_KEY_NOT_FOUND, KW_REFUSE_UNAVAILABLE},
        {KW_MODULE, KW_REFUSE_UNAVAILABLE},
        {KW_TOKEN_NOT_FOUND, KW_REFUSE_UNAVAILABLE},
        {KW_TOKEN, KW_REFUSE_UNAVAILABLE},
        {KW_PIN_MISSING, KW_REFUSE_UNAVAILABLE},
        {KW_PIN_WRONG, KW_REFUSE_UNAVAILABLE},
        {KW_PIN_LOCKED, KW_REFUSE_UNAVAILABLE},
        {KW_AUDIT, KW_REFUSE_UNAVAILABLE},
        {KW_NO_MEMORY, KW_REFUSE_UNAVAILABLE},
    };
    for (size_t i = 0; i < KW_COUNT(meanings); i++)
        if (meanings[i].status == status)
            return meanings[i].refusal;
    return KW_REFUSE_FAULT;
}

enum kw_status kw_call_refuse(struct kw_call *call, enum kw_refusal refusal, enum kw_status status,
                              struct kw_error *err, const char *format, ...)
{
    char message[KW_MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    call->refusal = refusal;
    call->is_refused = true;
    return kw_fail(err, status, "%s", message);
}

enum kw_status kw_call_no_key(struct kw_call *call, const char *kind, struct kw_error *err)
{
    return kw_call_refuse(call, KW_REFUSE_NO_KEY, KW_KEY_NOT_FOUND, err,
                          "A %skey with (name/id) %.127s%s%.64s was not found in this key vault.",
                          kind, call->name, call->version ? "/" : "",
                          call->version ? call->version : "");
}
