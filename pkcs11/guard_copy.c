/* Arguments of a call with all that they point to: a module that answers late must find its memory
 * as it was. Laid out twice by the same code, first only to learn the sizes. */
#include <stdlib.h>
#include <string.h>

#include "guard.h"

/* Without a base it only counts. */
struct arena {
    uint8_t *base;
    size_t used;
};
struct layout {
    struct arena plain;  /* structures, and bytes that anybody may see */
    struct arena secret; /* bytes that may be secret */
};

#define ALIGNMENT _Alignof(max_align_t)

/* Sizes are of arguments of our own: templates and buffers of at most some pages. */
static void *take(struct arena *arena, const void *data, size_t len)
{
    if (!data)
        return NULL;
    void *place = arena->base ? arena->base + arena->used : NULL;
    arena->used += (len + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (place && len > 0)
        memcpy(place, data, len);
    return place;
}

/* Parameters that point to more. No label of OAEP is used here; a row more where one is. */
static const struct nested {
    CK_MECHANISM_TYPE mechanism;
    size_t at; /* of the pointer */
    size_t size;
} nested[] = {
    {CKM_RSA_AES_KEY_WRAP, offsetof(struct kw_rsa_aes_params, oaep),
     sizeof(CK_RSA_PKCS_OAEP_PARAMS)},
};

static void *take_parameter(struct arena *arena, const CK_MECHANISM *mechanism)
{
    uint8_t *copy = take(arena, mechanism->pParameter, mechanism->ulParameterLen);
    for (size_t i = 0; i < KW_COUNT(nested) && mechanism->pParameter; i++) {
        if (nested[i].mechanism != mechanism->mechanism)
            continue;
        const void *inner;
        memcpy(&inner, (const uint8_t *)mechanism->pParameter + nested[i].at, sizeof(inner));
        inner = take(arena, inner, nested[i].size);
        if (copy)
            memcpy(copy + nested[i].at, &inner, sizeof(inner));
    }
    return copy;
}

static const CK_MECHANISM *take_mechanism(struct arena *arena, const CK_MECHANISM *mechanism)
{
    CK_MECHANISM *copy = take(arena, mechanism, sizeof(*mechanism));
    void *parameter = mechanism ? take_parameter(arena, mechanism) : NULL;
    if (copy)
        copy->pParameter = parameter;
    return copy;
}

static CK_ATTRIBUTE *take_template(struct layout *layout, const CK_ATTRIBUTE *items, CK_ULONG count)
{
    CK_ATTRIBUTE *copy = take(&layout->plain, items, count * sizeof(*items));
    for (CK_ULONG i = 0; i < count; i++) {
        void *value = take(&layout->secret, items[i].pValue, items[i].ulValueLen);
        if (copy)
            copy[i].pValue = value;
    }
    return copy;
}

static void lay_out(struct layout *layout, const struct kw_call_args *from, struct kw_call_args *to)
{
    *to = *from;
    to->mechanism = take_mechanism(&layout->plain, from->mechanism);
    for (size_t i = 0; i < KW_COUNT(from->templates); i++)
        to->templates[i].items =
            take_template(layout, from->templates[i].items, from->templates[i].count);
    to->in = take(&layout->secret, from->in, from->in_len);
    to->label = take(&layout->plain, from->label, 32);
    to->out = take(&layout->secret, from->out, from->out_size);
    for (size_t i = 0; i < KW_COUNT(from->results); i++)
        to->results[i] = take(&layout->plain, from->results[i], sizeof(*from->results[i]));
}

/* More than a secret may have is none, but ciphertext or a record: it is wiped and not locked. */
static bool locks(const struct kw_call_kind *kind, size_t secret_size)
{
    return kind->secret && secret_size > 0 && secret_size <= KW_SECRET_MAX;
}

bool kw_call_copy_init(struct kw_call_copy *copy, const struct kw_call_kind *kind,
                       const struct kw_call_args *args)
{
    struct layout layout = {.plain = {.base = NULL}};
    memset(copy, 0, sizeof(*copy));
    lay_out(&layout, args, &copy->args);
    size_t plain_size = layout.plain.used, secret_size = layout.secret.used;
    copy->wipe = kind->secret;
    if (locks(kind, secret_size)) {
        if (kw_secret_new(secret_size, &copy->secret, NULL) != KW_OK)
            return false;
        secret_size = 0;
    }
    copy->plain_size = plain_size + secret_size;
    copy->plain = copy->plain_size ? malloc(copy->plain_size) : NULL;
    if (copy->plain_size && !copy->plain) {
        kw_call_copy_cleanup(copy);
        return false;
    }
    layout.plain = (struct arena){.base = copy->plain};
    layout.secret = (struct arena){.base = copy->secret  ? kw_secret_data(copy->secret)
                                           : copy->plain ? (uint8_t *)copy->plain + plain_size
                                                         : NULL};
    lay_out(&layout, args, &copy->args);
    return true;
}

static void give(void *to, const void *from, size_t len)
{
    if (to && from && len > 0)
        memcpy(to, from, len);
}

void kw_call_copy_back(const struct kw_call_copy *copy, const struct kw_call_kind *kind,
                       const struct kw_call_args *args)
{
    const struct kw_call_args *from = &copy->args;
    give(args->out, from->out, args->out_size);
    for (size_t i = 0; i < KW_COUNT(args->results); i++)
        give(args->results[i], from->results[i], sizeof(*args->results[i]));
    for (CK_ULONG i = 0; kind->gives_back && i < args->templates[0].count; i++) {
        CK_ATTRIBUTE *to = &args->templates[0].items[i];
        give(to->pValue, from->templates[0].items[i].pValue, to->ulValueLen);
        to->ulValueLen = from->templates[0].items[i].ulValueLen;
    }
}

void kw_call_copy_cleanup(struct kw_call_copy *copy)
{
    if (copy->wipe && copy->plain)
        kw_wipe(copy->plain, copy->plain_size);
    free(copy->plain);
    kw_secret_free(copy->secret);
    memset(copy, 0, sizeof(*copy));
}
