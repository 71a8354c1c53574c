/* keyward audit sign: the trail signed as it is now. */
#include "cli.h"

static enum kw_status sign_trail(struct kw_keyring *keyring, const struct arguments *arguments,
                                 struct kw_error *err)
{
    (void)arguments;
    if (kw_keyring_config(keyring)->audit.enabled == KW_NO)
        return kw_fail(err, KW_CONFIG, "no audit trail is kept, as [audit] says enabled = no");
    enum kw_status status = kw_keyring_seal_trail(keyring, true, err);
    if (status)
        return status;
    printf("the audit trail is signed\n");
    return finish_output(err);
}

int run_audit_sign(const struct arguments *arguments, char **argv)
{
    return with_keyring(arguments, argv, KEYS_SCHEMA, sign_trail);
}
