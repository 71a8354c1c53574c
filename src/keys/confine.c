/* What a keyring has to reach in a process that is confined. */
#include <libgen.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define WHAT "the catalogue of keys"

/* A folder that can't be made is told of by whoever needs it. */
static enum kw_status allow_trail(const struct kw_keyring *keyring, bool acts,
                                  struct kw_confinement *confinement, struct kw_error *err)
{
    char *dir = NULL;
    if (keyring->config.audit.enabled == KW_NO || kw_trail_dir(&keyring->config, &dir, NULL))
        return KW_OK;
    if (acts)
        (void)kw_trail_make_dir(dir, NULL);
    enum kw_status status = kw_confine_allow(confinement, dir, KW_MAY_WRITE, err);
    free(dir);
    return status;
}

static enum kw_status allow_catalogue(const struct kw_keyring *keyring, bool acts,
                                      struct kw_confinement *confinement, struct kw_error *err)
{
    char *path = NULL;
    if (kw_catalogue_path(&keyring->config, &path, NULL))
        return KW_OK;
    if (acts)
        (void)kw_make_folders(path, WHAT, NULL);
    const char *folder = dirname(path);
    enum kw_status status = KW_OK;
    if (strcmp(folder, "/") != 0)
        status = kw_confine_allow(confinement, folder, KW_MAY_WRITE, err);
    free(path);
    return status;
}

/* Records are forwarded by connections that are made while it is confined. */
static void allow_forwarding(const struct kw_keyring *keyring, struct kw_confinement *confinement)
{
    enum kw_network network = keyring->config.audit.syslog     ? KW_NETWORK_TCP
                              : keyring->config.audit.journald ? KW_NETWORK_UNIX
                                                               : KW_NETWORK_NONE;
    if (keyring->config.audit.enabled != KW_NO && network > confinement->network)
        confinement->network = network;
}

enum kw_status kw_pin_allow(const char *source, struct kw_confinement *confinement,
                            struct kw_error *err)
{
    static const char file[] = "file:";
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    enum kw_status status = KW_OK;
    if (folder)
        status = kw_confine_allow(confinement, folder, KW_MAY_READ, err);
    if (status || !source)
        return status;
    const char *path = source;
    if (strncmp(source, file, sizeof(file) - 1) == 0)
        path += sizeof(file) - 1;
    return path[0] == '/' ? kw_confine_allow(confinement, path, KW_MAY_READ, err) : KW_OK;
}

static enum kw_status allow_token(const struct kw_keyring *keyring,
                                  struct kw_confinement *confinement, struct kw_error *err)
{
    const struct token_choice *choice = &keyring->choice;
    if (keyring->vault)
        return kw_vault_allow(keyring->vault, confinement, err);
    enum kw_status status = kw_pin_allow(choice->pin_source, confinement, err);
    if (status || !choice->module)
        return status;
    return kw_module_allow(choice->module, choice->init_args, confinement, err);
}

enum kw_status kw_keyring_allow(struct kw_keyring *keyring, bool acts,
                                struct kw_confinement *confinement, struct kw_error *err)
{
    enum kw_status status;
    if ((status = allow_trail(keyring, acts, confinement, err)) ||
        (status = allow_catalogue(keyring, acts, confinement, err)) ||
        (status = allow_token(keyring, confinement, err)))
        return status;
    allow_forwarding(keyring, confinement);
    kw_who_am_i(&keyring->common->who);
    keyring->common->knows_who = true;
    /* One that stands in is loaded when the first one fails, and so while confined. */
    return keyring->twin ? allow_token(keyring->twin, confinement, err) : KW_OK;
}
