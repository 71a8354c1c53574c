/* The Key Vault API: what keys there are. The token is not asked. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "serve/internal.h"

#define PAGE_MAX 25

/* ---- one key ---- */

enum kw_status kw_get_key(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    const struct kw_stored *stored = NULL;
    enum kw_status status = kw_use_find(call, call->version, &stored, err);
    if (!status)
        *ret_json = kw_bundle(call, stored);
    return status;
}

/* The newest version of a name of which all are deleted, else NULL. */
static const struct kw_stored *deleted(const struct kw_stored *named, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!kw_stored_is_deleted(&named[i]))
            return NULL;
    return count > 0 ? &named[0] : NULL;
}

/* The newest version that is not deleted, else NULL. */
static const struct kw_stored *newest(const struct kw_stored *named, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!kw_stored_is_deleted(&named[i]))
            return &named[i];
    return NULL;
}

enum kw_status kw_get_deleted(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    size_t count = 0;
    const struct kw_stored *named = kw_store_named(call->snapshot, call->name, &count);
    const struct kw_stored *stored = deleted(named, count);
    enum kw_status status = KW_OK;
    if (stored)
        *ret_json = kw_deleted_bundle(call, stored);
    else
        status = kw_call_refuse(call, KW_REFUSE_NO_KEY, KW_KEY_NOT_FOUND, err,
                                "Deleted key %.127s was not found.", call->name);
    return status;
}

/* ---- lists, a page at a time ---- */

struct page {
    size_t max;
    const char *after; /* the last entry of the page before, or NULL */
    const char *last;  /* of this page */
    cJSON *entries;
    size_t count;
    bool more;
};

static enum kw_status page_init(struct kw_call *call, struct page *page, struct kw_error *err)
{
    const char *max = kw_http_query(call->request, "maxresults");
    size_t digits = max ? strspn(max, "0123456789") : 0;
    unsigned long number =
        max && digits > 0 && digits <= 2 && !max[digits] ? strtoul(max, NULL, 10) : 0;
    if (max && (number < 1 || number > PAGE_MAX))
        return kw_call_refuse(call, KW_REFUSE_PARAMETER, KW_USAGE, err,
                              "maxresults has to be a number from 1 to %d.", PAGE_MAX);
    *page = (struct page){.max = max ? number : PAGE_MAX,
                          .after = kw_http_query(call->request, "$skiptoken"),
                          .entries = cJSON_CreateArray()};
    return KW_OK;
}

/* Takes an entry, unless the page is full; then there is more. */
static void page_add(struct page *page, const char *id, struct cJSON *entry)
{
    page->more = page->count == page->max;
    if (page->more) {
        cJSON_Delete(entry);
        return;
    }
    page->count++;
    page->last = id;
    kw_json_add(page->entries, NULL, entry);
}

/* Of an api-version and a token, what can stand in a URL as it is. */
static bool is_plain(const char *text)
{
    size_t len = strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~");
    return len <= KW_NAME_MAX && text[len] == '\0';
}

static void page_finish(struct kw_call *call, struct page *page, const char *path,
                        struct cJSON **ret_json)
{
    char next[2 * KW_KID_SIZE + 2 * KW_NAME_MAX];
    const char *version = kw_http_query(call->request, "api-version");
    cJSON *json = cJSON_CreateObject();
    (void)snprintf(next, sizeof(next), "https://%s/%s?api-version=%s&$skiptoken=%s&maxresults=%zu",
                   call->service->host, path, is_plain(version) ? version : "7.4",
                   page->last ? page->last : "", page->max);
    kw_json_add(json, "value", page->entries);
    kw_json_add_text(json, "nextLink", page->more ? next : NULL);
    *ret_json = json;
}

/* One entry for each name of which there is such a version, and whose keys the client may read. */
static enum kw_status list_names(struct kw_call *call, const char *path,
                                 const struct kw_stored *(*choose)(const struct kw_stored *named,
                                                                   size_t count),
                                 struct cJSON **ret_json, struct kw_error *err)
{
    struct page page;
    size_t count = 0, named = 0;
    enum kw_status status = page_init(call, &page, err);
    if (status)
        return status;
    const struct kw_stored *all = kw_store_all(call->snapshot, &count);
    for (size_t i = 0; i < count && !page.more; i += named) {
        const char *name = all[i].key->label;
        for (named = 1; i + named < count && strcasecmp(all[i + named].key->label, name) == 0;)
            named++;
        const struct kw_stored *stored = choose(&all[i], named);
        if (stored && !(page.after && strcasecmp(name, page.after) <= 0) &&
            kw_client_may(call->client, KW_ACT_READ, name))
            page_add(&page, name, kw_key_item(call, stored, false));
    }
    page_finish(call, &page, path, ret_json);
    return KW_OK;
}

enum kw_status kw_list_keys(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    return list_names(call, "keys", newest, ret_json, err);
}

enum kw_status kw_list_deleted(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    return list_names(call, "deletedkeys", deleted, ret_json, err);
}

enum kw_status kw_list_versions(struct kw_call *call, struct cJSON **ret_json, struct kw_error *err)
{
    struct page page;
    char path[KW_NAME_MAX + 32];
    size_t count = 0;
    enum kw_status status = page_init(call, &page, err);
    if (status)
        return status;
    const struct kw_stored *named = kw_store_named(call->snapshot, call->name, &count);
    bool begun = !page.after;
    for (size_t i = 0; i < count && !page.more; i++) {
        if (begun && !kw_stored_is_deleted(&named[i]))
            page_add(&page, named[i].version, kw_key_item(call, &named[i], true));
        begun = begun || strcasecmp(named[i].version, page.after) == 0;
    }
    (void)snprintf(path, sizeof(path), "keys/%s/versions", call->name);
    page_finish(call, &page, path, ret_json);
    return KW_OK;
}
