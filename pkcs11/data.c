/* Data objects: small values that stay on the token beside its keys. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Objects of an application; one for each key version, and what an interruption left. */
#define MAX_OBJECTS (2 * KW_TOKEN_KEYS_MAX)

struct data_job {
    const char *application;
    const char *label; /* NULL: all */
    const char *value; /* to write; NULL: to remove */
    size_t len;
    struct kw_token_data *found; /* what was read */
    size_t count;
};

static void name_object(struct kw_template *template, const struct data_job *job)
{
    static const CK_OBJECT_CLASS class = CKO_DATA;
    kw_template_add(template, CKA_CLASS, &class, sizeof(class));
    kw_template_add(template, CKA_APPLICATION, job->application, strlen(job->application));
    if (job->label)
        kw_template_add(template, CKA_LABEL, job->label, strlen(job->label));
}

static enum kw_status find(struct kw_token *token, struct kw_session *session,
                           const struct data_job *job, CK_OBJECT_HANDLE **ret_handles,
                           size_t *ret_count, struct kw_error *err)
{
    struct kw_template wanted = {.count = 0};
    name_object(&wanted, job);
    enum kw_status status = kw_objects_find(token, session, wanted.items, wanted.count, MAX_OBJECTS,
                                            ret_handles, ret_count, err);
    /* A token that does not know what is asked for never took such an object. */
    if (status == KW_TOKEN && kw_make_refused(session->failure))
        return kw_make_fail(token, session, session->failure, "search for data objects", err);
    return status;
}

/* ---- reading ---- */

void kw_token_data_free(struct kw_token_data *data, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(data[i].value);
    free(data);
}

static enum kw_status read_one(struct kw_token *token, struct kw_session *session,
                               CK_OBJECT_HANDLE handle, struct data_job *job, struct kw_error *err)
{
    char value[KW_DATA_MAX];
    struct kw_token_data *data = &job->found[job->count];
    CK_ATTRIBUTE attributes[] = {
        {CKA_LABEL, data->label, KW_DATA_LABEL_MAX},
        {CKA_VALUE, value, sizeof(value)},
    };
    CK_RV rv = kw_attributes_read(token->functions, session, handle, attributes, 2);
    if (rv != CKR_OK)
        return kw_session_fail(token, session, rv, "read a data object", err);
    if (!kw_attribute_known(&attributes[0]))
        return KW_OK;
    data->label[attributes[0].ulValueLen] = '\0';
    data->len = kw_attribute_known(&attributes[1]) ? attributes[1].ulValueLen : 0;
    data->value = malloc(data->len + 1);
    if (!data->value)
        return kw_fail_memory(err);
    memcpy(data->value, value, data->len);
    data->value[data->len] = '\0';
    job->count++;
    return KW_OK;
}

static enum kw_status read_all(struct kw_token *token, struct kw_session *session, void *context,
                               struct kw_error *err)
{
    struct data_job *job = context;
    CK_OBJECT_HANDLE *handles = NULL;
    size_t count = 0;
    job->count = 0;
    enum kw_status status = find(token, session, job, &handles, &count, err);
    if (status)
        return status == KW_KEY_UNUSABLE ? KW_OK : status;
    job->found = calloc(count + 1, sizeof(*job->found));
    if (!job->found)
        status = kw_fail_memory(err);
    for (size_t i = 0; i < count && !status; i++)
        status = read_one(token, session, handles[i], job, err);
    free(handles);
    if (!status)
        status = kw_session_check_login(token, session, err);
    if (status) {
        kw_token_data_free(job->found, job->count);
        job->found = NULL;
    }
    return status;
}

enum kw_status kw_token_data_read(struct kw_token *token, const char *application,
                                  const char *label, struct kw_token_data **ret_data,
                                  size_t *ret_count, struct kw_error *err)
{
    struct data_job job = {.application = application, .label = label};
    enum kw_status status = kw_token_with_session(token, read_all, &job, err);
    if (status)
        return status;
    *ret_data = job.found;
    *ret_count = job.count;
    return KW_OK;
}

/* ---- writing ---- */

static enum kw_status create(struct kw_token *token, struct kw_session *session,
                             const struct data_job *job, CK_OBJECT_HANDLE *ret_handle,
                             struct kw_error *err)
{
    struct kw_template template = {.count = 0};
    name_object(&template, job);
    kw_template_add_bool(&template, CKA_TOKEN, true);
    kw_template_add_bool(&template, CKA_PRIVATE, true);
    kw_template_add(&template, CKA_VALUE, job->value, job->len);
    CK_RV rv = token->functions->C_CreateObject(session->handle, template.items, template.count,
                                                ret_handle);
    return rv == CKR_OK ? KW_OK : kw_make_fail(token, session, rv, "store a data object", err);
}

static enum kw_status replace(struct kw_token *token, struct kw_session *session, void *context,
                              struct kw_error *err)
{
    const struct data_job *job = context;
    CK_OBJECT_HANDLE *handles = NULL, new = CK_INVALID_HANDLE;
    size_t count = 0;
    enum kw_status status = kw_session_check_login(token, session, err);
    if (!status)
        status = find(token, session, job, &handles, &count, err);
    if (status == KW_KEY_UNUSABLE && !job->value)
        return KW_OK; /* it has none */
    if (!status && job->value)
        status = create(token, session, job, &new, err);
    for (size_t i = 0; i < count && !status; i++) {
        CK_RV rv = token->functions->C_DestroyObject(session->handle, handles[i]);
        if (rv != CKR_OK)
            status = kw_session_fail(token, session, rv, "remove a data object", err);
    }
    free(handles);
    return status;
}

enum kw_status kw_token_data_write(struct kw_token *token, const char *application,
                                   const char *label, const char *value, size_t len,
                                   struct kw_error *err)
{
    if (len > KW_DATA_MAX || strlen(label) > KW_DATA_LABEL_MAX)
        return kw_fail(err, KW_USAGE, "a data object holds at most %d bytes; store less",
                       KW_DATA_MAX);
    struct data_job job = {.application = application, .label = label, .value = value, .len = len};
    return kw_token_with_rw_session(token, replace, &job, err);
}

enum kw_status kw_token_data_remove(struct kw_token *token, const char *application,
                                    const char *label, struct kw_error *err)
{
    struct data_job job = {.application = application, .label = label};
    return kw_token_with_rw_session(token, replace, &job, err);
}
