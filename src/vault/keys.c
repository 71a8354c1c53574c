/* The keys of a vault: lists, page by page, and each key's public half. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "vault/call.h"

#define PAGES_MAX  400
#define PATH_BYTES 2048

/* ---- those that were fetched before ---- */

static bool recall(struct kw_vault *vault, const char *name, const char *version,
                   struct kw_vault_key *ret_key)
{
    bool found = false;
    (void)pthread_mutex_lock(&vault->lock);
    for (size_t i = 0; i < vault->known_count && !found; i++) {
        const struct kw_vault_key *key = &vault->known[i];
        found = (!name || strcasecmp(key->name, name) == 0) && strcmp(key->version, version) == 0;
        if (found)
            *ret_key = *key;
    }
    (void)pthread_mutex_unlock(&vault->lock);
    return found;
}

/* Without memory for it, it is fetched again. */
static void remember(struct kw_vault *vault, const struct kw_vault_key *key)
{
    (void)pthread_mutex_lock(&vault->lock);
    struct kw_vault_key *grown =
        vault->known_count < KW_VAULT_KEYS_MAX
            ? reallocarray(vault->known, vault->known_count + 1, sizeof(*grown))
            : NULL;
    if (grown) {
        grown[vault->known_count++] = *key;
        vault->known = grown;
    }
    (void)pthread_mutex_unlock(&vault->lock);
}

void kw_vault_forget(struct kw_vault *vault)
{
    (void)pthread_mutex_lock(&vault->lock);
    free(vault->known);
    vault->known = NULL;
    vault->known_count = 0;
    (void)pthread_mutex_unlock(&vault->lock);
}

/* ---- one ---- */

static enum kw_status fetch(struct kw_vault *vault, const char *name, const char *version,
                            struct kw_vault_key *ret_key, struct kw_error *err)
{
    char path[PATH_BYTES];
    struct kw_vault_answer answer;
    struct kw_vault_key key;
    if (recall(vault, name, version, ret_key))
        return KW_OK;
    (void)snprintf(path, sizeof(path), "/keys/%s/%s" API_VERSION, name, version);
    enum kw_status status = kw_vault_get(vault, path, &answer, err);
    if (status)
        return status;
    status = kw_vault_parse_key((const char *)answer.body.data, answer.body.len,
                                vault->address.host, &key, err);
    kw_vault_answer_cleanup(&answer);
    if (!status && (strcasecmp(key.name, name) != 0 || strcmp(key.version, version) != 0))
        status = kw_fail(err, KW_TOKEN, "%s gives another key than the one that was asked for",
                         vault->address.host);
    if (status)
        return status;
    remember(vault, &key);
    *ret_key = key;
    return KW_OK;
}

/* ---- lists ---- */

/* Called for each item; *done ends the list. */
typedef enum kw_status (*item_fn)(void *context, const struct kw_vault_item *item, bool *done,
                                  struct kw_error *err);

static enum kw_status get_page(struct kw_vault *vault, const char *path,
                               struct kw_vault_page *ret_page, struct kw_error *err)
{
    struct kw_vault_answer answer;
    enum kw_status status = kw_vault_get(vault, path, &answer, err);
    if (status)
        return status;
    status = kw_vault_parse_page((const char *)answer.body.data, answer.body.len,
                                 vault->address.host, ret_page, err);
    kw_vault_answer_cleanup(&answer);
    return status;
}

/* The next page is on the same host, or there is none: tokens go nowhere else. */
static enum kw_status next_path(const struct kw_vault *vault, const struct kw_vault_page *page,
                                char path[PATH_BYTES], struct kw_error *err)
{
    if (kw_vault_local_path(page->next, vault->address.host, path, PATH_BYTES))
        return KW_OK;
    return kw_fail(err, KW_TOKEN,
                   "%s says that its list goes on at another host, which is not followed; give the "
                   "name and version of the key with --key",
                   vault->address.host);
}

static enum kw_status for_each(struct kw_vault *vault, const char *below, item_fn take,
                               void *context, struct kw_error *err)
{
    char path[PATH_BYTES];
    bool done = false;
    enum kw_status status = KW_OK;
    (void)snprintf(path, sizeof(path), "/keys%s" API_VERSION "&maxresults=25", below);
    for (size_t pages = 0; !done && !status; pages++) {
        struct kw_vault_page page = {.items = NULL};
        if (pages == PAGES_MAX)
            return kw_fail(err, KW_TOKEN, "a list of %s has more than %d pages; name the key",
                           vault->address.host, PAGES_MAX);
        status = get_page(vault, path, &page, err);
        for (size_t i = 0; i < page.count && !status && !done; i++)
            status = take(context, &page.items[i], &done, err);
        if (!status && !done && page.next)
            status = next_path(vault, &page, path, err);
        done |= !page.next;
        kw_vault_page_cleanup(&page);
    }
    return status;
}

static enum kw_status for_each_version(struct kw_vault *vault, const char *name, item_fn take,
                                       void *context, struct kw_error *err)
{
    char below[KW_VAULT_NAME_MAX + 32];
    (void)snprintf(below, sizeof(below), "/%s/versions", name);
    return for_each(vault, below, take, context, err);
}

/* ---- what is looked for ---- */

struct search {
    struct kw_vault *vault;
    const char *version; /* or NULL: all */
    struct kw_vault_key *keys;
    size_t count;
};

static enum kw_status add(struct search *search, const struct kw_vault_key *key,
                          struct kw_error *err)
{
    if (search->count == KW_VAULT_KEYS_MAX)
        return kw_fail(err, KW_TOKEN,
                       "%s has more than %d versions of keys; give the name and version of the "
                       "key with --key",
                       search->vault->address.host, KW_VAULT_KEYS_MAX);
    struct kw_vault_key *grown = reallocarray(search->keys, search->count + 1, sizeof(*grown));
    if (!grown)
        return kw_fail_memory(err);
    grown[search->count++] = *key;
    search->keys = grown;
    return KW_OK;
}

/* Of a disabled key, whose public half a vault may keep back, the name is enough. */
static enum kw_status take_version(void *context, const struct kw_vault_item *item, bool *done,
                                   struct kw_error *err)
{
    struct search *search = context;
    struct kw_vault_key key = {.enabled = false};
    struct kw_error failure = {.status = KW_OK};
    if (search->version && strcmp(item->version, search->version) != 0)
        return KW_OK;
    if (item->version[0] == '\0')
        return kw_fail(err, KW_TOKEN, "%s lists a version of \"%s\" without saying which",
                       search->vault->address.host, item->name);
    enum kw_status status = fetch(search->vault, item->name, item->version, &key, &failure);
    if (status == KW_DENIED && !item->enabled && !search->version) {
        memcpy(key.name, item->name, sizeof(key.name));
        memcpy(key.version, item->version, sizeof(key.version));
        status = KW_OK;
    }
    if (status) {
        if (err)
            *err = failure;
        return status;
    }
    *done = search->version != NULL;
    return add(search, &key, err);
}

static enum kw_status take_name(void *context, const struct kw_vault_item *item, bool *done,
                                struct kw_error *err)
{
    struct search *search = context;
    enum kw_status status = for_each_version(search->vault, item->name, take_version, search, err);
    *done = search->version && search->count > 0;
    return status;
}

static enum kw_status look_for(struct search *search, const char *name, struct kw_error *err)
{
    struct kw_vault_key key;
    if (search->version && recall(search->vault, name, search->version, &key))
        return add(search, &key, err);
    if (!name)
        return for_each(search->vault, "", take_name, search, err);
    if (!search->version)
        return for_each_version(search->vault, name, take_version, search, err);
    enum kw_status status = fetch(search->vault, name, search->version, &key, err);
    return status ? status : add(search, &key, err);
}

enum kw_status kw_vault_find(struct kw_vault *vault, const char *name, const char *version,
                             struct kw_vault_key **ret_keys, size_t *ret_count,
                             struct kw_error *err)
{
    struct search search = {.vault = vault, .version = version};
    enum kw_status status = look_for(&search, name, err);
    if (!status && search.count == 0)
        status = kw_fail(err, KW_KEY_NOT_FOUND, "%s has no key %s%s%s; check name and version",
                         vault->address.host, name ? name : "", name && version ? "/" : "",
                         version ? version : "");
    if (status) {
        free(search.keys);
        return status;
    }
    *ret_keys = search.keys;
    *ret_count = search.count;
    return KW_OK;
}

enum kw_status kw_vault_list(struct kw_vault *vault, struct kw_vault_key **ret_keys,
                             size_t *ret_count, struct kw_error *err)
{
    struct search search = {.vault = vault};
    enum kw_status status = look_for(&search, NULL, err);
    if (status) {
        free(search.keys);
        return status;
    }
    *ret_keys = search.keys;
    *ret_count = search.count;
    return KW_OK;
}
