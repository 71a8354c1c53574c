/* Quirks: what is known of kinds of modules and can't be found out by trying, as data. What can be
 * tried is tried, and has no place here: see probe.c and the tests before a transfer. */
#include <string.h>
#include <unistd.h>

#include "internal.h"

static const char *const softhsm_paths[] = {
    KW_MODULE_DIR "/libsofthsm2.so",
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    NULL,
};

/* The first row that fits is taken; the last one always does. Rows that allow Keyward to do
 * something have no `file`: a name is no proof. */
static const struct kw_quirks rows[] = {
    {
        .name = "SoftHSM2",
        .manufacturer = "SoftHSM",
        .description = "Implementation of PKCS11",
        .paths = softhsm_paths,
        .in_process = true,
        .may_init = true,
        .to_init = "use keyward token init, or softhsm2-util --init-token --free --label LABEL",
        .to_remove = "softhsm2-util --delete-token --token LABEL",
    },
    {
        /* Its tokens are another module's, in another process or on another host. */
        .name = "p11-kit",
        .manufacturer = "PKCS#11 Kit",
        .file = "p11-kit-",
        .to_init = "initialise the token where p11-kit has it from, with the module there",
    },
    {
        /* Its slots may be software or hardware. */
        .name = "opencryptoki",
        .manufacturer = "IBM",
        .description = "Meta PKCS11 LIBRARY",
        .file = "libopencryptoki.",
        .to_init = "use pkcsconf -c SLOT: -I to initialise the token, -P for the security "
                   "officer's PIN, -u for the user's",
    },
    {
        .name = "NSS softokn",
        .manufacturer = "Mozilla Foundation",
        .description = "NSS Internal",
        .file = "libsoftokn3.",
        .to_init = "use certutil -N -d sql:DIR",
    },
    {
        .name = "tpm2-pkcs11",
        .manufacturer = "tpm2-software.github.io",
        .description = "TPM2.0 Cryptoki",
        .file = "libtpm2_pkcs11.",
        .no_session_keys = true,
        .fixed_usage = true,
        .to_init = "use tpm2_ptool init and tpm2_ptool addtoken --pid=1 --label=LABEL",
    },
    {
        .name = "kryoptic",
        .manufacturer = "Kryoptic",
        .description = "Kryoptic PKCS11 Module",
        .file = "libkryoptic_pkcs11",
        .to_init = "use pkcs11-tool --module PATH with --init-token --label LABEL, then with "
                   "--init-pin",
    },
    {
        .name = "Thales Luna",
        .manufacturer = "SafeNet",
        .description = "Chrystoki",
        .file = "libCryptoki2",
        .documented = true,
        .to_init = "use lunacm: partition init -label LABEL, then role init -name co",
    },
    {
        .name = "Entrust nShield",
        .manufacturer = "nCipher Corp. Ltd",
        .file = "libcknfast.",
        .documented = true,
        .to_init = "use createocs for a card set, or ppmk --new NAME for a softcard",
    },
    {
        /* Before AWS's row: the HSMs of both have one maker, and only this name is theirs alone. */
        .name = "Azure Cloud HSM",
        .file = "libazcloudhsm_pkcs11.",
        .documented = true,
        .to_init = "activate the cluster and make a crypto user with azcloudhsm_mgmt_util",
    },
    {
        .name = "AWS CloudHSM",
        .manufacturer = "Cavium Networks",
        .file = "libcloudhsm_pkcs11.",
        .documented = true,
        .rw_sessions = true,
        .to_init = "use cloudhsm-cli: cluster activate, then user create --role crypto-user",
    },
    {
        .name = "Utimaco",
        .manufacturer = "Utimaco",
        .file = "libcs_pkcs11_R",
        .documented = true,
        .to_init = "use p11tool2: Slot=N Label=LABEL InitToken=..., then LoginSO=... InitPIN=...",
    },
    {
        .name = "Google Cloud KMS",
        .manufacturer = "Google",
        .description = "Cryptoki Library for Cloud KMS",
        .file = "libkmsp11.",
        .documented = true,
        .to_init = "there is nothing to initialise, as a token is a key ring named in the file of "
                   "KMS_PKCS11_CONFIG",
    },
    {
        .to_init = "use its vendor's tool",
    },
};

/* CK_INFO pads with blanks, so a prefix is all there is to compare. */
static bool begins(const CK_UTF8CHAR field[32], const char *prefix)
{
    return !prefix || memcmp(field, prefix, strlen(prefix)) == 0;
}

static bool fits(const struct kw_quirks *row, const CK_INFO *info, const char *file)
{
    if (!row->name)
        return true;
    if (row->file && strncmp(file, row->file, strlen(row->file)) == 0)
        return true;
    return info && row->manufacturer && begins(info->manufacturerID, row->manufacturer) &&
           begins(info->libraryDescription, row->description);
}

const struct kw_quirks *kw_quirks_find(const CK_INFO *info, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t i = 0;
    while (!fits(&rows[i], info, slash ? slash + 1 : path))
        i++;
    return &rows[i];
}

/* What a row makes different, for people. */
static const struct fact {
    size_t offset;
    const char *text;
} facts[] = {
    {offsetof(struct kw_quirks, in_process),
     "software in this process: zero bytes behind an exported key are taken off here"},
    {offsetof(struct kw_quirks, may_init), "token init makes tokens for trials"},
    {offsetof(struct kw_quirks, rw_sessions), "every session is read-write"},
    {offsetof(struct kw_quirks, no_session_keys),
     "keys for trying out are made to stay, and removed"},
    {offsetof(struct kw_quirks, fixed_usage), "its keys do what it lets them, and not less"},
    {offsetof(struct kw_quirks, documented), "known from documentation only, not tried"},
};

enum kw_status kw_quirks_print(const struct kw_quirks *quirks, struct kw_buffer *text)
{
    enum kw_status status = kw_buffer_printf(text, NULL, "%s", quirks->name ? quirks->name : "no");
    bool any = false;
    for (size_t i = 0; i < KW_COUNT(facts) && !status; i++) {
        if (!*(const bool *)((const char *)quirks + facts[i].offset))
            continue;
        status = kw_buffer_printf(text, NULL, "; %s", facts[i].text);
        any = true;
    }
    return status || any ? status : kw_buffer_printf(text, NULL, "; nothing is done otherwise");
}

const char *kw_trial_module(void)
{
    for (size_t i = 0; i < KW_COUNT(rows); i++)
        for (size_t j = 0; rows[i].may_init && rows[i].paths[j]; j++)
            if (access(rows[i].paths[j], F_OK) == 0)
                return rows[i].paths[j];
    return NULL;
}
