/* Roles: which of them allows what, and reading which client has which of them for which keys. */
#include <stdlib.h>
#include <string.h>

#include "serve/access_parts.h"

#define NAME_MAX_BYTES 127
#define GRANTS_MAX     256

#define BIT(action) (UINT32_C(1) << KW_ACT_##action)
_Static_assert(KW_ACT_COUNT <= 32, "each action has a bit");

/* Azure's data actions, without the provider's name that they start with. The last two are ours. */
static const char *const action_names[KW_ACT_COUNT] = {
    [KW_ACT_READ] = "keys/read",
    [KW_ACT_CREATE] = "keys/create/action",
    [KW_ACT_IMPORT] = "keys/import/action",
    [KW_ACT_UPDATE] = "keys/update/action",
    [KW_ACT_DELETE] = "keys/delete",
    [KW_ACT_RECOVER] = "keys/recover/action",
    [KW_ACT_PURGE] = "keys/purge/action",
    [KW_ACT_BACKUP] = "keys/backup/action",
    [KW_ACT_RESTORE] = "keys/restore/action",
    [KW_ACT_ROTATE] = "keys/rotate/action",
    [KW_ACT_POLICY_READ] = "keyrotationpolicies/read",
    [KW_ACT_POLICY_WRITE] = "keyrotationpolicies/write",
    [KW_ACT_ENCRYPT] = "keys/encrypt/action",
    [KW_ACT_DECRYPT] = "keys/decrypt/action",
    [KW_ACT_WRAP] = "keys/wrap/action",
    [KW_ACT_UNWRAP] = "keys/unwrap/action",
    [KW_ACT_SIGN] = "keys/sign/action",
    [KW_ACT_VERIFY] = "keys/verify/action",
    [KW_ACT_RANDOM] = "rng/action",
    [KW_ACT_STATUS] = "status/read",
    [KW_ACT_TRAIL] = "trail/read",
};

#define SEES (BIT(READ) | BIT(POLICY_READ))
#define MANAGES                                                                                    \
    (BIT(CREATE) | BIT(IMPORT) | BIT(UPDATE) | BIT(DELETE) | BIT(RECOVER) | BIT(PURGE) |           \
     BIT(BACKUP) | BIT(RESTORE) | BIT(ROTATE) | BIT(POLICY_WRITE))
#define WRAPS (BIT(READ) | BIT(WRAP) | BIT(UNWRAP))
#define USES  (WRAPS | BIT(ENCRYPT) | BIT(DECRYPT) | BIT(SIGN) | BIT(VERIFY) | BIT(RANDOM))
#define LOOKS (SEES | BIT(STATUS) | BIT(TRAIL))

/* Azure's names. What they allow there and not here: an Officer uses no key, and a User neither
 * changes nor backs up any. Of Managed HSM's roles, those that mean the same; and
 * Azure Monitor's, for whoever collects metrics. */
static const struct {
    const char *name;
    uint32_t actions;
} roles[] = {
    {"Key Vault Crypto Officer", SEES | MANAGES},
    {"Key Vault Crypto User", USES},
    {"Key Vault Crypto Service Encryption User", WRAPS},
    {"Key Vault Reader", SEES},
    {"Key Vault Crypto Auditor", LOOKS},
    {"Monitoring Reader", BIT(STATUS)},
    {"Managed HSM Crypto Service Encryption User", WRAPS},
    {"Managed HSM Crypto Auditor", LOOKS},
};

const char *kw_action_name(enum kw_action action)
{
    return action_names[action];
}

/* ---- globs ---- */

static int fold(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : (unsigned char)c;
}

/* At most as many steps as the product of both lengths: after a "*", only the last one is tried
 * again. */
static bool glob_matches(const char *glob, size_t glob_len, const char *name)
{
    size_t at = 0, star = SIZE_MAX, after_star = 0, i = 0;
    while (name[i]) {
        if (at < glob_len && glob[at] == '*') {
            star = at++;
            after_star = i;
        } else if (at < glob_len && (glob[at] == '?' || fold(glob[at]) == fold(name[i]))) {
            at++;
            i++;
        } else if (star != SIZE_MAX) {
            at = star + 1;
            i = ++after_star;
        } else {
            return false;
        }
    }
    while (at < glob_len && glob[at] == '*')
        at++;
    return at == glob_len;
}

static bool is_glob(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool letter_or_digit =
            (fold(text[i]) >= 'a' && fold(text[i]) <= 'z') || (text[i] >= '0' && text[i] <= '9');
        if (!letter_or_digit && text[i] != '-' && text[i] != '*' && text[i] != '?')
            return false;
    }
    return len > 0 && len <= NAME_MAX_BYTES;
}

/* ---- reading them ---- */

struct part {
    const char *text;
    size_t len;
};

/* Takes the part up to one of `ends`, without the blanks around it, off *rest, which is NULL after
 * the last one. */
static struct part take_part(const char **rest, const char *ends)
{
    struct part part = {*rest, strcspn(*rest, ends)};
    *rest = part.text[part.len] ? part.text + part.len + 1 : NULL;
    for (; part.len > 0 && part.text[0] == ' '; part.text++)
        part.len--;
    while (part.len > 0 && part.text[part.len - 1] == ' ')
        part.len--;
    return part;
}

bool kw_globs_match(const char *globs, const char *name)
{
    while (globs) {
        struct part glob = take_part(&globs, ",");
        if (glob.len > 0 && glob_matches(glob.text, glob.len, name))
            return true;
    }
    return false;
}

static bool is_name(struct part part, const char *name)
{
    return strlen(name) == part.len && memcmp(name, part.text, part.len) == 0;
}

/* What a role, or the name of one action, allows; 0 where it is neither. */
static uint32_t actions_of(struct part role)
{
    for (size_t i = 0; i < KW_COUNT(roles); i++)
        if (is_name(role, roles[i].name))
            return roles[i].actions;
    for (size_t i = 0; i < KW_COUNT(action_names); i++)
        if (is_name(role, action_names[i]))
            return UINT32_C(1) << i;
    return 0;
}

static enum kw_status add_grant(struct kw_grants *grants, uint32_t actions, struct part glob,
                                const char *client, struct kw_error *err)
{
    if (!is_glob(glob.text, glob.len))
        return kw_fail(err, KW_CONFIG,
                       "[client %s]: roles has a name of keys that is none; write letters, digits, "
                       "\"-\", \"*\" and \"?\"",
                       client);
    if (grants->count == GRANTS_MAX)
        return kw_fail(err, KW_CONFIG, "[client %s]: roles has more than %d names; use globs",
                       client, GRANTS_MAX);
    struct kw_grant *items = reallocarray(grants->items, grants->count + 1, sizeof(*items));
    if (items)
        grants->items = items;
    char *copy = strndup(glob.text, glob.len);
    if (!items || !copy) {
        free(copy);
        return kw_fail_memory(err);
    }
    items[grants->count++] = (struct kw_grant){.actions = actions, .glob = copy};
    return KW_OK;
}

/* "ROLE: GLOB, GLOB" */
static enum kw_status parse_role(const char **rest, const char *client, struct kw_grants *grants,
                                 struct kw_error *err)
{
    const char *start = *rest;
    size_t len = strcspn(start, ":;");
    if (start[len] != ':')
        return kw_fail(err, KW_CONFIG, "[client %s]: roles must be ROLE: NAME, NAME; ROLE: NAME",
                       client);
    struct part role = take_part(rest, ":");
    uint32_t actions = actions_of(role);
    char shown[64];
    if (!actions)
        return kw_fail(err, KW_CONFIG,
                       "[client %s]: there is no role \"%s\"; see keyward.conf(5) for those there "
                       "are",
                       client, kw_printable(role.text, role.len, shown, sizeof(shown)));
    enum kw_status status = KW_OK;
    bool more = true;
    while (status == KW_OK && more) {
        const char *globs = *rest;
        struct part glob = take_part(rest, ",;");
        more = globs[strcspn(globs, ",;")] == ',';
        status = add_grant(grants, actions, glob, client, err);
    }
    return status;
}

/* Who manages keys could otherwise see what others know of it. */
static enum kw_status check_duties(const struct kw_grants *grants, const char *client,
                                   struct kw_error *err)
{
    uint32_t all = 0;
    for (size_t i = 0; i < grants->count; i++)
        all |= grants->items[i].actions;
    if ((all & MANAGES) != 0 && (all & BIT(TRAIL)) != 0)
        return kw_fail(err, KW_CONFIG,
                       "[client %s]: one client can't both manage keys and read the trail; make "
                       "two of it",
                       client);
    return KW_OK;
}

enum kw_status kw_grants_parse(const char *text, const char *client, struct kw_grants *grants,
                               struct kw_error *err)
{
    enum kw_status status = KW_OK;
    while (text && status == KW_OK)
        status = parse_role(&text, client, grants, err);
    return status ? status : check_duties(grants, client, err);
}

void kw_grants_cleanup(struct kw_grants *grants)
{
    for (size_t i = 0; i < grants->count; i++)
        free(grants->items[i].glob);
    free(grants->items);
    *grants = (struct kw_grants){.items = NULL};
}

bool kw_grants_allow(const struct kw_grants *grants, enum kw_action action, const char *key)
{
    for (size_t i = 0; i < grants->count; i++) {
        const struct kw_grant *grant = &grants->items[i];
        if ((grant->actions >> action & 1) != 0 &&
            (!key || glob_matches(grant->glob, strlen(grant->glob), key)))
            return true;
    }
    return false;
}
