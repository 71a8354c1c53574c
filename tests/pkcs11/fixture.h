/* Tokens for the tests: SoftHSM2 ones made in a scratch folder, or the one that the environment
 * names, so that the same tests run on any token: KW_TEST_MODULE with KW_TEST_TOKEN and
 * KW_TEST_PIN_FILE, as tests/tokens/ sets them, or with KW_TEST_TOKEN_URI and KW_TEST_PIN. */
#ifndef KW_TEST_FIXTURE_H
#define KW_TEST_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fault_module.h"
#include "internal.h"

struct hsm {
    bool there;     /* else every test skips */
    bool made_here; /* SoftHSM2 in `folder`: more tokens can be made, files moved */
    char folder[64];
    char module[256];
    char uri[256]; /* of the token "keyward test" */
    char pin[64];
    struct kw_crypto *crypto;
};
extern struct hsm hsm;

/* Group fixtures of cmocka. hsm_setup makes the token; hsm_teardown removes what was made. */
int hsm_setup(void **state);
int hsm_teardown(void **state);
/* Skips the running test with a message. */
void hsm_skip(const char *why);
#define HSM_NEEDED()                                                                               \
    do {                                                                                           \
        if (!hsm.there) {                                                                          \
            hsm_skip("no SoftHSM2 module is installed");                                           \
            return;                                                                                \
        }                                                                                          \
    } while (0)
#define SOFTHSM_NEEDED()                                                                           \
    do {                                                                                           \
        if (!hsm.there || !hsm.made_here) {                                                        \
            hsm_skip("needs a SoftHSM2 token of its own");                                         \
            return;                                                                                \
        }                                                                                          \
    } while (0)

/* One more SoftHSM2 token with the same PIN. */
void hsm_make_token(const char *label);

/* The module itself, for what happens behind the library's back and for making keys. */
CK_FUNCTION_LIST *hsm_functions(void);
/* C_Initialize before and C_Finalize after the library has the module. */
void hsm_begin(void);
void hsm_end(void);
CK_SLOT_ID hsm_slot(const char *uri);
/* A read-write session with the user logged in. */
CK_SESSION_HANDLE hsm_session(void);
void hsm_close(CK_SESSION_HANDLE session);

struct hsm_key {
    const char *label;
    const void *id;
    size_t id_len;
    unsigned bits; /* 0: 2048 */
    bool no_decrypt;
    bool unwrap;
    bool extractable;
    bool always_authenticate;
    const char *start; /* "20260101" */
    const char *end;
    bool no_public; /* the public half is destroyed again */
};
/* Makes a pair on the token; gives the private key's handle. */
CK_OBJECT_HANDLE hsm_generate(CK_SESSION_HANDLE session, const struct hsm_key *key);
/* Puts a PKCS#8 RSA private key on the token. False where the token takes none. */
bool hsm_import(CK_SESSION_HANDLE session, const struct hsm_key *key, const uint8_t *pkcs8,
                size_t len, CK_OBJECT_HANDLE *ret_handle);
/* A new RSA key of 2048 bits as PKCS#8; the caller's. */
struct kw_secret *hsm_new_pkcs8(void);
/* Destroys every key whose label starts with "kw". */
void hsm_clean(CK_SESSION_HANDLE session);
/* All at once, before the library has the module. */
void hsm_prepare(const struct hsm_key *keys, size_t count);

/* ---- the library ---- */

/* A PIN callback whose context is a struct given_pin. */
struct given_pin {
    const char *pin; /* NULL: there is none */
    unsigned asked;
};
enum kw_status hsm_give_pin(void *context, const struct kw_token_info *token,
                            struct kw_secret **ret_pin, struct kw_error *err);
/* Opens with the URI text (NULL: none) and PIN (NULL: none). */
enum kw_status hsm_try_open(const char *module, const char *uri, const char *pin, size_t sessions,
                            struct kw_token **ret_token, struct kw_error *err);
/* The fixture's token with the right PIN; fails the test otherwise. */
struct kw_token *hsm_open(size_t sessions);
/* The key with that label; fails the test if it is not there. */
struct kw_token_key hsm_find_key(struct kw_token *token, const char *label);
/* Wraps 32 known bytes to the key. */
size_t hsm_wrap(const struct kw_token_key *key, enum kw_wrap_alg alg,
                uint8_t out[KW_RSA_MAX_BYTES]);
/* Whether it is what hsm_wrap wraps. */
bool hsm_is_known_secret(const struct kw_secret *secret);
/* Whether decryption gives these bytes. */
void hsm_assert_unwraps(struct kw_token *token, const struct kw_token_key *key,
                        enum kw_wrap_alg alg);

/* The module with faults over the fixture's module; its switches, all off. */
struct kw_fault *hsm_fault(void);
const char *hsm_fault_path(void);
void *hsm_fault_symbol(const char *name);

struct hsm_fault_kind {
    CK_RV answer;
    bool late;      /* it is done nevertheless, only the answer is lost */
    unsigned calls; /* that fail one after the other */
};
#define HSM_FAULT_KINDS 6
extern const struct hsm_fault_kind hsm_fault_kinds[HSM_FAULT_KINDS];

/* From now on call number `at` fails. */
void hsm_arm(struct kw_fault *fault, const struct hsm_fault_kind *kind, unsigned at);

/* Of all calls every third one is taken, or every KW_TEST_CALL_STEP-th, from another one on in each
 * phase: the first one (at 0) and the one after `at`. */
unsigned hsm_cut_after(unsigned at, size_t phase);

/* Fails each call of an operation in turn, in each of these ways:
 *
 *     while (hsm_cut_next(&cuts)) {
 *         hsm_cut_arm(&cuts);
 *         bool done = work();
 *         hsm_cut_over(&cuts, done);
 *         look at what is there, and bring back what was there before
 *     }
 *     hsm_cuts_end(&cuts, 5);
 */
struct hsm_cuts {
    struct kw_fault *fault;
    const struct hsm_fault_kind *kinds;
    size_t count;   /* of kinds */
    size_t kind;    /* the first one, then the one in hand */
    size_t stride;  /* 2: every other kind, where all would take long */
    unsigned limit; /* an operation has fewer calls */
    unsigned at;
    bool reached;
    unsigned good, bad; /* operations that went well and that failed, where a call had failed */
};
bool hsm_cut_next(struct hsm_cuts *cuts);
void hsm_cut_arm(struct hsm_cuts *cuts);
void hsm_cut_over(struct hsm_cuts *cuts, bool done);
/* Fails the test unless calls were survived, and some were not, of all calls at least so many: what
 * changes a token is not asked for again after each. */
void hsm_cuts_end(const struct hsm_cuts *cuts, unsigned least);

#endif
