/* What the tests of keys in transfer share. */
#ifndef KW_TEST_TRANSFER_SUPPORT_H
#define KW_TEST_TRANSFER_SUPPORT_H

#include <dlfcn.h>
#include <string.h>

#include "fixture.h"
#include "transfer_module.h"

static inline struct kw_transfer_faults *transfer_faults(void)
{
    void *library = dlopen(KW_TEST_TRANSFER_MODULE, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    void *symbol = dlsym(library, "kw_transfer_control");
    assert_non_null(symbol);
    kw_transfer_control_fn control;
    memcpy(&control, &symbol, sizeof(control));
    struct kw_transfer_faults *faults = control();
    memset(faults, 0, sizeof(*faults));
    return faults;
}

static inline struct kw_key_plan plan_of(const char *label, uint8_t id, bool extractable)
{
    static uint8_t ids[256];
    ids[id] = id;
    return (struct kw_key_plan){.label = label,
                                .id = &ids[id],
                                .id_len = 1,
                                .not_before = "",
                                .expires = "2031-10-05",
                                .extractable = extractable};
}

static inline void clean(void)
{
    hsm_begin();
    hsm_clean(hsm_session());
    hsm_end();
}

static inline struct kw_token_key put(struct kw_token *token, const char *label, uint8_t id,
                                      bool extractable, const struct kw_throwaway *key)
{
    struct kw_secret *pkcs8 = NULL;
    struct kw_error err = {.status = KW_OK};
    struct kw_token_key made;
    const struct kw_key_plan plan = plan_of(label, id, extractable);
    assert_int_equal(kw_throwaway_pkcs8(key, &pkcs8, NULL), KW_OK);
    if (kw_token_import_key(token, &plan, pkcs8, &made, &err) != KW_OK)
        fail_msg("%s", err.message);
    kw_secret_free(pkcs8);
    return made;
}

/* Everything that this application sees, session objects too. */
static inline size_t count_objects(void)
{
    CK_OBJECT_HANDLE handles[4096];
    CK_ULONG count = 0;
    CK_FUNCTION_LIST *functions = hsm_functions();
    CK_SESSION_HANDLE session = hsm_session();
    assert_int_equal(functions->C_FindObjectsInit(session, NULL, 0), CKR_OK);
    assert_int_equal(functions->C_FindObjects(session, handles, KW_COUNT(handles), &count), CKR_OK);
    assert_int_equal(functions->C_FindObjectsFinal(session), CKR_OK);
    hsm_close(session);
    return count;
}

#endif
