/* note: checkpoints as signed notes. */
#include <stdio.h>
#include <string.h>

#include "audit/internal.h"

#define SIGNATURES_MAX 16
#define KEY_ID_SIZE    4
#define DASH           "\xE2\x80\x94 " /* U+2014 and a space */

/* ---- keys ---- */

/* c2sp.org/signed-note: for ECDSA, the SPKI alone; for what has no type byte of its own, the
 * recommended form. */
static enum kw_status key_id(struct kw_crypto *crypto, const struct kw_public_key *key,
                             const char *name, uint8_t out[KEY_ID_SIZE], struct kw_error *err)
{
    uint8_t hash[KW_SHA256_SIZE];
    size_t spki_len = 0;
    const uint8_t *spki = kw_public_key_spki(key, &spki_len);
    struct kw_buffer input = KW_BUFFER_INIT(4096);
    enum kw_status status = KW_OK;
    if (kw_public_key_is_rsa(key))
        status = kw_buffer_printf(&input, err, "%s\n\xFFkeyward/PS256", name);
    if (!status && !(status = kw_buffer_append(&input, spki, spki_len, err)))
        status = kw_sha256(crypto, input.data, input.len, hash, err);
    if (!status)
        memcpy(out, hash, KEY_ID_SIZE);
    kw_buffer_cleanup(&input);
    return status;
}

/* ---- signing ---- */

static enum kw_status write_text(const struct kw_checkpoint *checkpoint, struct kw_buffer *note,
                                 struct kw_error *err)
{
    char root[KW_BASE64_ENCODED_SIZE(KW_SHA256_SIZE)];
    kw_base64_encode(KW_BASE64, checkpoint->root.bytes, sizeof(checkpoint->root.bytes), root);
    return kw_buffer_printf(note, err, "%s\n%llu\n%s\n", checkpoint->origin,
                            (unsigned long long)checkpoint->size, root);
}

static enum kw_status sign_text(struct kw_crypto *crypto, const struct kw_checkpoint *checkpoint,
                                const struct kw_note_signer *signer,
                                const struct kw_public_key *key, struct kw_buffer *note,
                                struct kw_error *err)
{
    uint8_t blob[KEY_ID_SIZE + KW_SIGNATURE_MAX];
    char text[KW_BASE64_ENCODED_SIZE(sizeof(blob))];
    size_t len = 0;
    enum kw_status status;
    if ((status = key_id(crypto, key, checkpoint->origin, blob, err)) ||
        (status =
             signer->sign(signer->context, note->data, note->len, blob + KEY_ID_SIZE, &len, err)))
        return status;
    if (len > KW_SIGNATURE_MAX)
        return kw_fail(err, KW_FAULT, "a signature has %zu bytes", len);
    kw_base64_encode(KW_BASE64, blob, KEY_ID_SIZE + len, text);
    return kw_buffer_printf(note, err, "\n" DASH "%s %s\n", checkpoint->origin, text);
}

enum kw_status kw_checkpoint_sign(struct kw_crypto *crypto, const struct kw_checkpoint *checkpoint,
                                  const struct kw_note_signer *signer, struct kw_buffer *ret_note,
                                  struct kw_error *err)
{
    struct kw_public_key *key = NULL;
    struct kw_buffer note = KW_BUFFER_INIT(KW_NOTE_MAX);
    struct kw_checkpoint again;
    enum kw_status status = kw_public_key_from_pem(crypto, signer->pem, signer->pem_len,
                                                   "the key that signs", &key, err);
    if (!status && !(status = write_text(checkpoint, &note, err)) &&
        !(status = sign_text(crypto, checkpoint, signer, key, &note, err)) &&
        !(status = kw_checkpoint_verify(crypto, (const char *)note.data, note.len, &key, 1,
                                        "the checkpoint that was just signed", &again, NULL, err)))
        status = kw_buffer_append(ret_note, note.data, note.len, err);
    kw_buffer_cleanup(&note);
    kw_public_key_free(key);
    return status;
}

/* ---- parsing ---- */

static enum kw_status fail_note(const char *what, const char *fault, struct kw_error *err)
{
    return kw_fail(err, KW_AUDIT, "%s is no checkpoint: %s", what, fault);
}

/* The line at *text without its newline; *text and *len move behind it. False where none is left.
 */
static bool take_line(const char **text, size_t *len, const char **ret_line, size_t *ret_len)
{
    const char *end = *len > 0 ? memchr(*text, '\n', *len) : NULL;
    if (!end)
        return false;
    *ret_line = *text;
    *ret_len = (size_t)(end - *text);
    *len -= *ret_len + 1;
    *text = end + 1;
    return true;
}

bool kw_parse_number(const char *text, size_t len, uint64_t *ret_number)
{
    uint64_t number = 0;
    if (len == 0 || len > KW_NUMBER_DIGITS || (len > 1 && text[0] == '0'))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(text[i] - '0');
    }
    *ret_number = number;
    return true;
}

/* Key names, and so origins: no white space and no plus; here ASCII alone. */
static bool is_name(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] >= 0x7F || text[i] == '+')
            return false;
    return len > 0 && len <= KW_ORIGIN_MAX;
}

static const char *parse_text(const char *text, size_t len, struct kw_checkpoint *checkpoint)
{
    const char *line = NULL;
    size_t line_len = 0, root_len = 0;
    if (!take_line(&text, &len, &line, &line_len) || !is_name(line, line_len))
        return "its first line is no origin";
    memcpy(checkpoint->origin, line, line_len);
    checkpoint->origin[line_len] = '\0';
    if (!take_line(&text, &len, &line, &line_len) ||
        !kw_parse_number(line, line_len, &checkpoint->size))
        return "its second line is no number of records";
    if (!take_line(&text, &len, &line, &line_len) ||
        !kw_base64_decode(KW_BASE64, line, line_len, checkpoint->root.bytes,
                          sizeof(checkpoint->root.bytes), &root_len) ||
        root_len != sizeof(checkpoint->root.bytes))
        return "its third line is no hash";
    return len > 0 ? "it has more than three lines" : NULL;
}

static bool has_controls(const char *note, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)note[i] < ' ' && note[i] != '\n')
            return true;
    return false;
}

enum kw_status kw_checkpoint_parse(const char *note, size_t len, const char *what,
                                   struct kw_checkpoint *ret_checkpoint, size_t *ret_text_len,
                                   struct kw_error *err)
{
    struct kw_checkpoint checkpoint;
    if (len > KW_NOTE_MAX)
        return fail_note(what, "it is too long", err);
    if (!kw_utf8_valid(note, len) || has_controls(note, len))
        return fail_note(what, "it is not text", err);
    size_t end = len;
    while (end >= 2 && (note[end - 1] != '\n' || note[end - 2] != '\n'))
        end--;
    if (end < 2 || end == len || note[len - 1] != '\n')
        return fail_note(what, "it has no signature", err);
    const char *fault = parse_text(note, end - 1, &checkpoint);
    if (fault)
        return fail_note(what, fault, err);
    *ret_checkpoint = checkpoint;
    *ret_text_len = end - 1;
    return KW_OK;
}

/* ---- verifying ---- */

struct signature {
    uint8_t blob[KW_NOTE_MAX];
    size_t len;
};

/* "— NAME BASE64". False where it is none; one by another name has length 0. */
static bool parse_signature(const char *line, size_t len, const char *origin,
                            struct signature *signature)
{
    size_t dash = strlen(DASH), name = strlen(origin);
    if (len <= dash || memcmp(line, DASH, dash) != 0)
        return false;
    line += dash;
    len -= dash;
    const char *space = memchr(line, ' ', len);
    if (!space || space == line)
        return false;
    const char *text = space + 1;
    size_t text_len = len - (size_t)(text - line);
    if (!kw_base64_decode(KW_BASE64, text, text_len, signature->blob, sizeof(signature->blob),
                          &signature->len) ||
        signature->len <= KEY_ID_SIZE)
        return false;
    if ((size_t)(space - line) != name || memcmp(line, origin, name) != 0)
        signature->len = 0;
    return true;
}

struct check {
    struct kw_crypto *crypto;
    struct kw_public_key *const *keys;
    size_t key_count;
    const char *what;
    const char *text; /* what is signed */
    size_t text_len;
    bool found;
    size_t found_key;
};

static enum kw_status check_signature(struct check *check, const char *origin,
                                      const struct signature *signature, struct kw_error *err)
{
    for (size_t i = 0; i < check->key_count; i++) {
        uint8_t id[KEY_ID_SIZE];
        enum kw_status status = key_id(check->crypto, check->keys[i], origin, id, err);
        if (status)
            return status;
        if (memcmp(id, signature->blob, KEY_ID_SIZE) != 0)
            continue;
        status =
            kw_public_key_verify(check->keys[i], check->text, check->text_len,
                                 signature->blob + KEY_ID_SIZE, signature->len - KEY_ID_SIZE, err);
        if (status == KW_DAMAGED)
            return kw_fail(err, KW_AUDIT, "%s has a wrong signature: it was edited, or forged",
                           check->what);
        if (status)
            return status;
        check->found = true;
        check->found_key = i;
    }
    return KW_OK;
}

static enum kw_status check_signatures(struct check *check, const char *origin, const char *lines,
                                       size_t len, struct kw_error *err)
{
    struct signature signature;
    const char *line = NULL;
    size_t line_len = 0;
    for (size_t count = 0; take_line(&lines, &len, &line, &line_len); count++) {
        if (count == SIGNATURES_MAX)
            return fail_note(check->what, "it has more than 16 signatures", err);
        if (!parse_signature(line, line_len, origin, &signature))
            return fail_note(check->what, "a signature can't be read", err);
        enum kw_status status =
            signature.len > 0 ? check_signature(check, origin, &signature, err) : KW_OK;
        if (status)
            return status;
    }
    if (!check->found)
        return kw_fail(err, KW_AUDIT, "%s is not signed by the key, but by another one",
                       check->what);
    return KW_OK;
}

enum kw_status kw_checkpoint_verify(struct kw_crypto *crypto, const char *note, size_t len,
                                    struct kw_public_key *const *keys, size_t key_count,
                                    const char *what, struct kw_checkpoint *ret_checkpoint,
                                    size_t *ret_key, struct kw_error *err)
{
    struct kw_checkpoint checkpoint;
    struct check check = {.crypto = crypto, .keys = keys, .key_count = key_count, .what = what};
    enum kw_status status = kw_checkpoint_parse(note, len, what, &checkpoint, &check.text_len, err);
    if (status)
        return status;
    check.text = note;
    status = check_signatures(&check, checkpoint.origin, note + check.text_len + 1,
                              len - check.text_len - 1, err);
    if (status)
        return status;
    *ret_checkpoint = checkpoint;
    if (ret_key)
        *ret_key = check.found_key;
    return KW_OK;
}
