/* The subcommands and their options, as data. */
#include "cli.h"

#define ROW_JOBS                                                                                   \
    {                                                                                              \
        "jobs", 'j', OPTION_NUMBER, "N", FIELD(jobs), 256,                                         \
            "decrypt N files at a time (one a processor)"                                          \
    }
#define ROW_DIGEST                                                                                 \
    {                                                                                              \
        "digest", 'd', OPTION_CHOICE, "sha256|none", FIELD(digest), 0,                             \
            "digest of the ciphertext for the report (sha256)"                                     \
    }
#define ROW_WITH_METADATA                                                                          \
    {                                                                                              \
        "with-metadata", 'm', OPTION_SET, NULL, FIELD(with_metadata), 1, "copy the metadata too"   \
    }
#define ROW_COPY_UNENCRYPTED                                                                       \
    {                                                                                              \
        "copy-unencrypted", 'u', OPTION_SET, NULL, FIELD(copy_unencrypted), 1,                     \
            "copy files that are not encrypted, instead of leaving them out"                       \
    }
#define ROW_INCLUDE                                                                                \
    {                                                                                              \
        "include", 'i', OPTION_LIST, "GLOB", FIELD(include), 0,                                    \
            "take files that match only; may be repeated"                                          \
    }
#define ROW_EXCLUDE                                                                                \
    {                                                                                              \
        "exclude", 'x', OPTION_LIST, "GLOB", FIELD(exclude), 0,                                    \
            "leave out files that match; may be repeated"                                          \
    }

static const struct option_row decrypt_options[] = {
    {"out", 'o', OPTION_TEXT, "DIR", FIELD(out), 0, "write the plaintext below DIR (required)"},
    ROW_TOKEN,
    ROW_KEY,
    ROW_UNWRAP_ALG,
    ROW_DECOMPRESS,
    ROW_JOBS,
    ROW_DIGEST,
    ROW_FORCE,
    {"resume", 'R', OPTION_SET, NULL, FIELD(resume), 1,
     "go on from where an earlier run into DIR ended"},
    {"on-error", 'e', OPTION_CHOICE, "continue|stop", FIELD(on_error), 0,
     "whether a file that fails stops the run (continue)"},
    {"max-failures", 'n', OPTION_NUMBER, "N", FIELD(max_failures), 1000000,
     "stop after N files failed"},
    ROW_WITH_METADATA,
    ROW_COPY_UNENCRYPTED,
    ROW_INCLUDE,
    ROW_EXCLUDE,
    ROW_JSON,
    {"report", 'r', OPTION_TEXT, "FILE", FIELD(report), 0, "write the JSON report to FILE"},
    {"progress", 'p', OPTION_SET, NULL, FIELD(progress), 1, "show a progress bar"},
    {"no-progress", 'P', OPTION_SET, NULL, FIELD(progress), -1, "show no progress bar"},
    ROW_QUIET,
};

static const struct option_row serve_options[] = {ROW_TOKEN, ROW_QUIET};

static const struct option_row watch_options[] = {
    {"out", 'o', OPTION_TEXT, "DIR", FIELD(out), 0,
     "the plaintext of the drop NAME becomes DIR/NAME (required)"},
    {"exec", 'e', OPTION_TEXT, "COMMAND", FIELD(exec), 0,
     "pipe each plaintext to this shell command, instead of writing files"},
    {"settle", 's', OPTION_NUMBER, "SECONDS", FIELD(settle), 86400,
     "a drop is complete when nothing in it changed for so long (30)"},
    {"marker", 'M', OPTION_TEXT, "NAME", FIELD(marker), 0, "or when it has a file of this name"},
    {"done", 'D', OPTION_TEXT, "FOLDER", FIELD(done), 0,
     "move drops that were decrypted there (.done in the inbox)"},
    {"quarantine", 'Q', OPTION_TEXT, "FOLDER", FIELD(quarantine), 0,
     "move drops that can't be decrypted there (.quarantine in the inbox)"},
    {"leave", 'l', OPTION_SET, NULL, FIELD(leave), 1,
     "move none; a report in DIR marks those that are done with"},
    {"once", 'O', OPTION_SET, NULL, FIELD(once), 1,
     "end when all drops that are there are done with"},
    ROW_TOKEN,
    ROW_KEY,
    ROW_UNWRAP_ALG,
    ROW_DECOMPRESS,
    ROW_JOBS,
    ROW_DIGEST,
    ROW_WITH_METADATA,
    ROW_COPY_UNENCRYPTED,
    ROW_INCLUDE,
    ROW_EXCLUDE,
    ROW_QUIET,
};

static const struct option_row inspect_options[] = {ROW_TOKEN, ROW_KEY, ROW_JSON};

static const struct option_row cat_options[] = {ROW_TOKEN, ROW_KEY, ROW_UNWRAP_ALG, ROW_DECOMPRESS,
                                                ROW_QUIET};

static const struct option_row seal_options[] = {
    {"out", 'o', OPTION_TEXT, "DROP", FIELD(out), 0, "make the drop in folder DROP (required)"},
    {"public-key", 'p', OPTION_TEXT, "FILE", FIELD(public_key), 0,
     "encrypt to a public key or certificate in PEM"},
    {"key", 'k', OPTION_TEXT, "URI|NAME", FIELD(key), 0, "or to a key on the token"},
    ROW_TOKEN,
    {"key-version", 'V', OPTION_TEXT, "VERSION", FIELD(key_version), 0,
     "PublicKeyVersion in the metadata (the key's id)"},
    {"wrap-alg", 'a', OPTION_CHOICE, "RSA-OAEP|RSA-OAEP-256|RSA1_5", FIELD(wrap_alg), 0,
     "how to wrap the data key (RSA-OAEP)"},
    {"layout", 'l', OPTION_CHOICE, "data-connect|viva-insights", FIELD(layout), 0,
     "where the metadata goes (data-connect)"},
    {"compress", 'z', OPTION_CHOICE, "gzip|none", FIELD(compress), 0,
     "compress before encrypting (gzip)"},
    ROW_QUIET,
};

static const struct option_row key_list_options[] = {ROW_TOKEN, ROW_JSON};

static const struct option_row key_show_options[] = {ROW_TOKEN, ROW_JSON};

#define ROW_BITS(which)                                                                            \
    {                                                                                              \
        "bits", 'b', OPTION_CHOICE, "2048|3072|4096", FIELD(bits), 0, "size of the modulus " which \
    }
#define ROW_EXPIRES                                                                                \
    {                                                                                              \
        "expires", 'e', OPTION_TEXT, "DATE", FIELD(expires), 0, "the last day, as YYYY-MM-DD"      \
    }
#define ROW_NO_EXPIRY                                                                              \
    {                                                                                              \
        "no-expiry", 'E', OPTION_SET, NULL, FIELD(no_expiry), 1, "no last day"                     \
    }
#define ROW_NOT_BEFORE                                                                             \
    {                                                                                              \
        "not-before", 'n', OPTION_TEXT, "DATE", FIELD(not_before), 0,                              \
            "the first day, as YYYY-MM-DD"                                                         \
    }
#define ROW_EXPORTABLE                                                                             \
    {                                                                                              \
        "exportable", 'X', OPTION_SET, NULL, FIELD(exportable), 1,                                 \
            "the key may leave its token wrapped: for BYOK, and can't be undone"                   \
    }

#define ROW_TAG                                                                                    \
    {                                                                                              \
        "tag", 'g', OPTION_LIST, "NAME=VALUE", FIELD(tag), 0,                                      \
            "note this in the key's record, or take NAME away with \"NAME=\"; may be repeated"     \
    }

static const struct option_row key_create_options[] = {
    ROW_BITS("(2048)"), ROW_EXPIRES, ROW_NO_EXPIRY, ROW_NOT_BEFORE,
    ROW_EXPORTABLE,     ROW_TAG,     ROW_TOKEN,     ROW_JSON};

static const struct option_row key_rotate_options[] = {ROW_BITS("(as the other versions)"),
                                                       ROW_EXPIRES,
                                                       ROW_NO_EXPIRY,
                                                       ROW_NOT_BEFORE,
                                                       ROW_EXPORTABLE,
                                                       ROW_TAG,
                                                       ROW_TOKEN,
                                                       ROW_JSON};

static const struct option_row key_set_options[] = {
    {"label", 'l', OPTION_TEXT, "NAME", FIELD(label), 0, "the key's name"},
    ROW_EXPIRES,
    ROW_NO_EXPIRY,
    ROW_NOT_BEFORE,
    ROW_TAG,
    ROW_TOKEN,
    ROW_JSON};

static const struct option_row key_step_options[] = {ROW_TOKEN};

static const struct option_row key_purge_options[] = {
    {"confirm", 'y', OPTION_TEXT, "NAME", FIELD(confirm), 0,
     "the key's name once more, instead of typing it"},
    ROW_TOKEN,
};

static const struct option_row byok_kek_create_options[] = {
    ROW_BITS("(3072)"), ROW_EXPIRES, ROW_NO_EXPIRY, ROW_NOT_BEFORE, ROW_TOKEN, ROW_JSON};

static const struct option_row key_check_options[] = {
    {"for", 's', OPTION_CHOICE, "data-connect|customer-key|dataverse|defender", FIELD(service), 0,
     "the service whose rules to check (required)"},
    {"with", 'w', OPTION_TEXT, "URI|NAME", FIELD(with), 0,
     "the second key, for the service that wants two"},
    {"with-token", 'T', OPTION_TEXT, "URI|NAME", FIELD(with_token), 0,
     "the token that the second key is on"},
    ROW_TOKEN,
    ROW_JSON,
};

#define ROW_NAME(which)                                                                            \
    {                                                                                              \
        "name", 'N', OPTION_TEXT, "NAME", FIELD(name), 0, "the new key's name " which              \
    }

static const struct option_row key_import_options[] = {
    ROW_NAME("(required)"),
    ROW_EXPIRES,
    ROW_NO_EXPIRY,
    ROW_NOT_BEFORE,
    ROW_EXPORTABLE,
    {"id", 'i', OPTION_TEXT, "HEX", FIELD(id), 0, "its id, the version (16 random bytes)"},
    {"passphrase-source", 'p', OPTION_TEXT, "SOURCE", FIELD(passphrase_source), 0,
     "where the file's passphrase is: file:PATH, fd:N, env:NAME or credential:NAME"},
    ROW_TOKEN,
    ROW_JSON,
};

static const struct option_row key_backup_options[] = {
    {"to", 'o', OPTION_TEXT, "FILE", FIELD(to), 0, "the backup to write (required)"},
    {"kek", 'K', OPTION_TEXT, "URI|FILE", FIELD(kek), 0,
     "the key to wrap it under: a pkcs11: URI, PEM or JWK (required)"},
    ROW_FORCE,
    ROW_QUIET,
    ROW_TOKEN,
};

static const struct option_row key_restore_options[] = {
    {"kek", 'K', OPTION_TEXT, "URI", FIELD(kek), 0,
     "the key that it is wrapped under (the one on the token that it names)"},
    ROW_NAME("(as it was)"),
    ROW_EXPIRES,
    ROW_NO_EXPIRY,
    ROW_NOT_BEFORE,
    ROW_EXPORTABLE,
    ROW_TOKEN,
    ROW_JSON,
};

static const struct option_row byok_export_options[] = {
    {"kek", 'K', OPTION_TEXT, "FILE|URI", FIELD(kek), 0,
     "the key exchange key: PEM or JWK, or a pkcs11: URI (required)"},
    {"kid", 'i', OPTION_TEXT, "URL", FIELD(kid), 0,
     "its id in the vault, where the JWK does not have it"},
    {"out", 'o', OPTION_TEXT, "FILE", FIELD(out), 0, "the transfer file to write (required)"},
    ROW_FORCE,
    ROW_QUIET,
    ROW_TOKEN,
};

static const struct option_row byok_import_options[] = {
    {"kek", 'K', OPTION_TEXT, "URI|NAME", FIELD(kek), 0,
     "the key on the token that the file was made for (required)"},
    ROW_NAME("(required)"),
    ROW_EXPIRES,
    ROW_NO_EXPIRY,
    ROW_NOT_BEFORE,
    ROW_EXPORTABLE,
    ROW_TOKEN,
    ROW_JSON,
};

static const struct option_row token_list_options[] = {
    {"module", 'm', OPTION_TEXT, "PATH", FIELD(module), 0, "ask this PKCS#11 module only"},
    ROW_TOKEN,
    ROW_JSON,
};

static const struct option_row token_init_options[] = {
    {"module", 'm', OPTION_TEXT, "PATH", FIELD(module), 0,
     "the PKCS#11 module (SoftHSM2's, where it usually is)"},
    {"pin-source", 'p', OPTION_TEXT, "SOURCE", FIELD(pin_source), 0,
     "the user PIN to set: file:PATH, fd:N, env:NAME, credential:NAME or prompt (prompt)"},
    {"so-pin-source", 's', OPTION_TEXT, "SOURCE", FIELD(so_pin_source), 0,
     "the same for the security officer's PIN (prompt)"},
    ROW_QUIET,
};

static const struct option_row token_doctor_options[] = {ROW_TOKEN, ROW_JSON};

#define ROW_VERIFY_KEY                                                                             \
    {                                                                                              \
        "key", 'k', OPTION_LIST, "FILE", FIELD(public_keys), 0,                                    \
            "a public key in PEM that signs checkpoints; may be repeated"                          \
    }

static const struct option_row audit_verify_options[] = {
    ROW_VERIFY_KEY,
    {"since", 's', OPTION_TEXT, "FILE", FIELD(since), 0,
     "a checkpoint that was kept elsewhere, which the trail must have grown from"},
    ROW_JSON,
    ROW_QUIET,
};

static const struct option_row audit_sign_options[] = {ROW_TOKEN};

static const struct option_row audit_prove_options[] = {ROW_VERIFY_KEY};

static const struct option_row audit_show_options[] = {
    {"run", 'r', OPTION_TEXT, "ID", FIELD(run_id), 0, "records of this run only"},
    {"key", 'k', OPTION_TEXT, "TEXT", FIELD(key), 0,
     "of this key only: its label, id, modulus' SHA-256, token or serial number"},
    {"who", 'w', OPTION_TEXT, "NAME", FIELD(who), 0, "by this user only: a name or a number"},
    {"client", 'C', OPTION_TEXT, "NAME", FIELD(client), 0,
     "asked of the service by this client only"},
    {"from", 'F', OPTION_TEXT, "TIME", FIELD(from), 0, "not before this time, in UTC"},
    {"to", 'T', OPTION_TEXT, "TIME", FIELD(to), 0, "not after it"},
    {"json", 'J', OPTION_SET, NULL, FIELD(json), 1, "print the records as they are, one a line"},
};

static const struct option_row audit_export_options[] = {
    {"format", 'f', OPTION_CHOICE, "jsonl|cef|syslog", FIELD(format), 0,
     "JSON lines, ArcSight's CEF, or RFC 5424 (jsonl)"},
};

#define OPTIONS(table) table, KW_COUNT(table)
const struct subcommand all_commands[] = {
    {"decrypt", "DROP", 1, "Decrypt every encrypted file of a drop into a folder.",
     OPTIONS(decrypt_options), run_decrypt},
    {"inspect", "DROP", 1, "Say what a drop is and which key it wants; unwraps nothing.",
     OPTIONS(inspect_options), run_inspect},
    {"cat", "DROP FILE", 2, "Write one file's plaintext to standard output.", OPTIONS(cat_options),
     run_cat},
    {"seal", "SRC", 1, "Make a drop of plain files, for trials and tests.", OPTIONS(seal_options),
     run_seal},
    {"watch", "INBOX", 1, "Decrypt each drop that appears in a folder.", OPTIONS(watch_options),
     run_watch},
    {"serve", "", 0, "Serve Azure's key APIs in front of the token.", OPTIONS(serve_options),
     run_serve},
    {"key list", "", 0, "List the RSA private keys of the token.", OPTIONS(key_list_options),
     run_key_list},
    {"key show", "NAME", 1, "Show all versions of a key, with PEM and JWK of the public half.",
     OPTIONS(key_show_options), run_key_show},
    {"key create", "NAME", 1, "Make an RSA key pair on the token that can't leave it.",
     OPTIONS(key_create_options), run_key_create},
    {"key rotate", "NAME", 1, "Make the next version of a key; the others stay.",
     OPTIONS(key_rotate_options), run_key_rotate},
    {"key set", "KEY", 1, "Change a key's name, dates or tags.", OPTIONS(key_set_options),
     run_key_set},
    {"key disable", "NAME", 1, "Let a key unwrap nothing until it is enabled again.",
     OPTIONS(key_step_options), run_key_step},
    {"key enable", "NAME", 1, "Let a disabled key unwrap again.", OPTIONS(key_step_options),
     run_key_step},
    {"key delete", "NAME", 1, "Delete a key so that it can be recovered for some time.",
     OPTIONS(key_step_options), run_key_step},
    {"key recover", "NAME", 1, "Have a deleted key back.", OPTIONS(key_step_options), run_key_step},
    {"key purge", "NAME", 1, "Destroy a deleted key for ever.", OPTIONS(key_purge_options),
     run_key_purge},
    {"key check", "KEY", 1, "Hold a key against a service's rules.", OPTIONS(key_check_options),
     run_key_check},
    {"key import", "FILE", 1, "Put a key from a PEM, PKCS#8 or PKCS#12 file on the token.",
     OPTIONS(key_import_options), run_key_import},
    {"key backup", "KEY", 1, "Write a key to a file, wrapped under another key.",
     OPTIONS(key_backup_options), run_key_backup},
    {"key restore", "FILE", 1, "Put a key from such a file on the token again.",
     OPTIONS(key_restore_options), run_key_restore},
    {"byok kek create", "NAME", 1, "Make a key exchange key that others wrap keys for.",
     OPTIONS(byok_kek_create_options), run_byok_kek_create},
    {"byok kek show", "NAME", 1, "Show a key exchange key in PEM and as JWK.",
     OPTIONS(key_show_options), run_byok_kek_show},
    {"byok export", "KEY", 1, "Wrap a key for Azure Key Vault or Managed HSM, to a .byok file.",
     OPTIONS(byok_export_options), run_byok_export},
    {"byok import", "FILE", 1, "Take a key from a .byok file that was made for a key here.",
     OPTIONS(byok_import_options), run_byok_import},
    {"byok inspect", "FILE", 1, "Say what a .byok file is.", NULL, 0, run_byok_inspect},
    {"token list", "", 0, "List the tokens that the PKCS#11 modules show.",
     OPTIONS(token_list_options), run_token_list},
    {"token init", "LABEL", 1, "Make a SoftHSM2 token for trials.", OPTIONS(token_init_options),
     run_token_init},
    {"token doctor", "[URI|NAME]", 1, "Try out what the token really does.",
     OPTIONS(token_doctor_options), run_token_doctor},
    {"audit verify", "[DIR]", 1, "Say whether the audit trail is what was signed.",
     OPTIONS(audit_verify_options), run_audit_verify},
    {"audit sign", "", 0, "Sign the audit trail with the token's key, which is made if need be.",
     OPTIONS(audit_sign_options), run_audit_sign},
    {"audit prove", "SEQ [DIR]", 2, "Print a proof that a record is in the signed trail.",
     OPTIONS(audit_prove_options), run_audit_prove},
    {"audit consistency", "A B [DIR]", 3, "Print a proof that B records grew from the first A.",
     NULL, 0, run_audit_consistency},
    {"audit show", "[DIR]", 1, "Show records of the audit trail.", OPTIONS(audit_show_options),
     run_audit_show},
    {"audit export", "[DIR]", 1, "Print all records for another program.",
     OPTIONS(audit_export_options), run_audit_export},
    {"completion", "SHELL", 1, "Print completion for bash, zsh or fish.", NULL, 0, run_completion},
    {"version", "", 0, "Print the version.", NULL, 0, run_version},
    {"help", "[SUBCOMMAND]", 0, "Print this overview, or the help of a subcommand.", NULL, 0,
     run_help},
};

const size_t all_commands_count = KW_COUNT(all_commands);
